package mirror

// paceBurst is how much may be copied at once after a pause, in time.
const paceBurst = 200 * Millisecond

// What may be under way at once of all copies that catch up: what is due in so much time, since what hosts want
// waits behind it, and so many bytes, since slow disks take their time for each.
const (
	paceSpread = 5 * Millisecond
	paceLeast  = 512 << 10
)

// Pace says how fast copies may catch up from now on, bytes per second; with 0 as fast as they can.
func (h *Head) Pace(rate uint64) { h.rate = rate }

// allow raises the allowance by what has become due since the last time.
func (h *Head) allow() {
	since := min(h.now-h.paced, paceBurst)
	h.paced = h.now
	due := float64(h.rate) * float64(since) / float64(Second)
	h.allowance = min(h.allowance+due, float64(h.rate)*float64(paceBurst)/float64(Second))
}

// heldBack says whether a copy has to wait for an allowance. GoOn goes on with it.
func (h *Head) heldBack(s *segment, j *joiner) bool {
	if h.rate == 0 || h.allowance > 0 {
		return false
	}
	if !j.held {
		j.held = true
		h.held = append(h.held, func() {
			j.held = false
			h.mergeJoin(s, j)
		})
	}
	return true
}

// Held says whether copies wait for an allowance.
func (h *Head) Held() bool { return len(h.held) > 0 }

// GoOn goes on with the copies that wait for an allowance, as each Tick does: the more often, the smaller
// are the bursts that hosts wait behind.
func (h *Head) GoOn(now int64) {
	h.now = now
	if h.deposed {
		return
	}
	h.allow()
	held := h.held
	h.held = nil
	for _, f := range held {
		f()
	}
}

// mayRun says whether a copy may have another run under way.
func (h *Head) mayRun(j *joiner) bool {
	if h.rate == 0 || j.running == 0 || j.running >= copiesMax {
		return j.running < copiesMax
	}
	return j.bytes < max(h.rate/uint64(Second/paceSpread), paceLeast)/uint64(max(h.joining, 1))
}
