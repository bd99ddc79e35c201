package mirror

// paceBurst is how much may be copied at once after a pause, in time.
const paceBurst = 200 * Millisecond

// Pace says how fast copies may catch up from now on, bytes per second; with 0 as fast as they can.
func (h *Head) Pace(rate uint64) { h.rate = rate }

// allow raises the allowance by what has become due since the last time.
func (h *Head) allow() {
	since := min(h.now-h.paced, paceBurst)
	h.paced = h.now
	due := float64(h.rate) * float64(since) / float64(Second)
	h.allowance = min(h.allowance+due, float64(h.rate)*float64(paceBurst)/float64(Second))
}

// heldBack says whether a copy has to wait for an allowance. It is gone on with at
// the next tick that has one.
func (h *Head) heldBack(s *segment, j *joiner) bool {
	if h.rate == 0 || h.allowance > 0 {
		return false
	}
	if !j.held {
		j.held = true
		h.later(func() {
			j.held = false
			h.mergeJoin(s, j)
		})
	}
	return true
}
