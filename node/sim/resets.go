package sim

import "ashlar/replication/wire"

// resetting is a fence of a whole unit that a host has asked for.
type resetting struct {
	volume wire.VolumeID
	began  int64 // when the portal had it; 0: it never did
	done   int64 // when it was proven; 0: it was not
}

// resets has a host reset a volume now and then.
func (h *host) resets(v wire.VolumeID) {
	w := h.w
	w.after(w.between(500*millisecond, 6*second), func() {
		if !w.working {
			return
		}
		h.resets(v)
		for _, x := range h.paths[v-1] {
			if x.up {
				x.reset()
				return
			}
		}
	})
}

func (x *path) reset() *resetting {
	r := &resetting{volume: x.volume}
	x.h.w.resets = append(x.h.w.resets, r)
	x.c.send(0, reset{r})
	return r
}

// before is until when an attempt may have taken effect: not after a reset was
// answered that began when some portal had the attempt already.
func (op *operation) before(attempt int, ended int64) int64 {
	at := op.received[attempt]
	for _, r := range op.h.w.resets {
		if at != 0 && r.volume == op.volume && r.began > at && r.done != 0 {
			ended = min(ended, r.done)
		}
	}
	return ended
}

// repeated says whether an earlier attempt of an operation, or its twin's that is
// the same to a head, may have been carried out without its host's knowledge.
func (op *operation) repeated() bool {
	return len(op.attempts) > 1 || op.twin != nil && (len(op.twin.attempts) > 1 || op.orphaned() || op.twin.orphaned())
}

// judgeTwins: of two equal comparisons one succeeds at most, unless what they
// expect was written again.
func (w *world) judgeTwins() {
	for _, op := range w.operations {
		if op.twin == nil || op.id > op.twin.id || op.expected == 0 || op.orphaned() || op.twin.orphaned() {
			continue
		}
		if w.mayReturn(op.expected, op.attempts[0]) {
			continue
		}
		if op.status == wire.OK && op.twin.status == wire.OK && op.ended != 0 && op.twin.ended != 0 {
			w.violate("both of two equal comparisons succeeded: %v and %v", op, op.twin)
		}
	}
}

// mayReturn says whether a tag may be written by its operation after a time.
func (w *world) mayReturn(t tag, after int64) bool {
	for _, op := range w.operations {
		if op.tag == t && (op.ended == 0 || op.ended >= after) {
			return true
		}
	}
	return false
}

// orphaned says whether the portal that answered an operation was gone before its
// twin ended: whether the host had the answer may then be unknown, and the twin taken
// for a repetition, even if the host's acknowledgement was on its way.
func (op *operation) orphaned() bool {
	return op.from != nil && (op.twin.ended == 0 || op.from.gone() <= op.twin.ended)
}

// gone is when a session was over at its portal, or the portal's node was fenced,
// though an answer of it might still be on its way then; never, as long as it is there.
func (hc *hostConn) gone() int64 {
	at := min(hc.ended, hc.p.ended)
	if fenced, ok := hc.p.w.fenced[wire.Portal{Node: hc.p.s.id, Incarnation: hc.p.incarnation}]; ok {
		at = min(at, fenced)
	}
	return at
}
