package mirror

import (
	"slices"

	"ashlar/replication/wire"
)

// The write cache: a write is answered once it is in the memory of every copy in the
// set, two at least. The copies store it at once all the same, and FLUSH waits for
// that; so a cache holds what is on its way to disks, and nothing else.
//
//   - Until a write is stored by all, it is in flight: above the commit point, and
//     sent again to a copy whose session ended, its blocks locked. So as long as the head lives, a copy
//     that begins anew gets it once more; and a new head finds it in the tail of any
//     copy that has it.
//   - It is gone only where every copy in the set may have forgotten it. The cluster
//     knows when that is so (SegmentView.Members' Forgot), counts it (View.Losses), and
//     a FLUSH of a session that is older fails.

// Limits of what has been answered and is not stored yet, of one volume.
const (
	cachedOps   = 1024
	cachedBytes = 16 << 20
)

// caches says whether a host's write may be answered from memory. One that changes claims
// may not, and none while a copy catches up: what that one has must be on its disk when it enters the set.
func (h *Head) caches(s *segment, f *flight, by *Op) bool {
	return h.writeCache && by != nil && !by.FUA && len(f.claims) == 0 && len(f.changes) == 0 &&
		len(s.joiners) == 0 && (inSync(s) >= 2 || h.bugs.CacheAlone) &&
		len(h.unstable) < cachedOps && h.unstableBytes < cachedBytes
}

func inSync(s *segment) (n int) {
	for _, m := range s.view.Members {
		if m.InSync {
			n++
		}
	}
	return n
}

// cache notes that a write may be answered from memory.
func (h *Head) cache(f *flight, bytes int, by *Op) {
	f.cached = &cached{bytes: bytes, by: by}
	h.unstable = append(h.unstable, f)
	h.unstableBytes += bytes
}

// cached is what belongs to a write that may be answered from memory: one part of an operation.
type cached struct {
	bytes   int
	by      *Op
	nodes   []wire.NodeID // that have it in memory, on the session that they have now
	held    bool          // by all
	flushes []*flush      // that wait for it
}

// holds takes a copy's word that a write is in its memory.
func (h *Head) holds(f *flight, n wire.NodeID) {
	if c := f.cached; c != nil && !f.done && !slices.Contains(c.nodes, n) {
		c.nodes = append(c.nodes, n)
		h.heldByAll(f)
	}
}

// heldByAll looks whether every copy holds a write or has stored it, two of the set at
// least (invariant I3).
func (h *Head) heldByAll(f *flight) {
	c := f.cached
	if c == nil || f.done || c.held || len(f.full) > 0 {
		return
	}
	n := 0
	for _, m := range f.segment.view.Members {
		has := slices.Contains(c.nodes, m.Node) || slices.Contains(f.stored, m.Node)
		if (f.pending.by(m.Node) != 0 || m.InSync) && !has {
			return
		}
		if m.InSync && has {
			n++
		}
	}
	if n < 2 && !h.bugs.CacheAlone {
		return
	}
	c.held = true
	c.by.heldParts++
	h.answerEarly(c.by)
	if h.bugs.CommitHeld {
		h.advance(f.segment)
	}
}

// answerEarly answers an operation all of whose parts are held or done. It keeps its lock until they are done: what comes
// later and meets it must find it on every copy that it asks, also on one that has begun anew meanwhile.
func (h *Head) answerEarly(op *Op) {
	if op.heldParts < op.parts || op.answered || op.Status != wire.OK || !h.leased() {
		return
	}
	op.early = true
	if h.bugs.CacheOvertaken {
		h.unlock(op)
	}
	h.answer(op, wire.OK)
}

// forget is the end of a node's session: its process may have ended with it. What it held, it is sent again.
func (h *Head) forget(n wire.NodeID) {
	for _, f := range h.unstable {
		c := f.cached
		c.nodes = slices.DeleteFunc(c.nodes, func(m wire.NodeID) bool { return m == n })
		if c.held && !c.by.early { // it waits for other parts, and for this one again
			c.held = false
			c.by.heldParts--
		}
	}
}

// stable is the end of a flight: it is on stable storage, or (false) never will be.
func (h *Head) stable(f *flight, stored bool) {
	c := f.cached
	i := slices.Index(h.unstable, f)
	h.unstable = slices.Delete(h.unstable, i, i+1)
	h.unstableBytes -= c.bytes
	if c.held {
		c.by.heldParts--
	}
	for _, w := range c.flushes {
		w.failed = w.failed || !stored
		w.left--
		h.flushed(w)
	}
}

// flush is a FLUSH that waits for what was answered before it.
type flush struct {
	op     *Op
	left   int
	failed bool
}

// startFlush waits, where there is a cache, until all copies of every segment have what an earlier head
// had answered, and for what this one has answered from memory.
func (h *Head) startFlush(op *Op) {
	switch {
	case len(h.segments) > 0 && !h.writeCache || h.bugs.FlushNothing:
		h.conclude(op, wire.OK)
		return
	case len(h.segments) == 0 || slices.ContainsFunc(h.segments, func(s *segment) bool {
		return s.state == preparing || s.settles > 0 && !h.bugs.FlushUnsettled
	}):
		h.later(func() {
			if !op.answered {
				h.startFlush(op)
			}
		})
		return
	}
	w := &flush{op: op}
	for _, f := range h.unstable {
		if f.cached.by.early {
			w.left++
			f.cached.flushes = append(f.cached.flushes, w)
		}
	}
	h.flushed(w)
}

func (h *Head) flushed(w *flush) {
	switch {
	case w.left > 0 || w.op.answered:
	case w.failed || w.op.Losses < h.losses && !h.bugs.LossUntold:
		h.conclude(w.op, wire.CacheLost)
	default:
		h.conclude(w.op, wire.OK)
	}
}

// remembers tells the cluster of copies that had forgotten what they held in memory, and have it again: all that was
// sent to them before they began anew was sent again, and what comes after they hold like the others. So it
// does of a copy that is alone in its set: once what was answered from memory is stored, nothing else will be.
func (h *Head) remembers() {
	if !h.writeCache {
		return
	}
	for _, s := range h.segments {
		if s.state != serving || s.settles > 0 {
			continue
		}
		for i := range s.view.Members {
			m := &s.view.Members[i]
			p := h.peer(m.Node)
			if !m.InSync || !m.Usable || !m.Forgot && (m.Stored || inSync(s) > 1) || !p.connected || !p.prepared {
				delete(s.relearning, m.Node)
				continue
			}
			r := s.relearning[m.Node]
			if r == nil || r.incarnation != m.Incarnation || r.gen != s.view.Gen {
				if s.relearning == nil {
					s.relearning = map[wire.NodeID]*relearner{}
				}
				r = &relearner{incarnation: m.Incarnation, gen: s.view.Gen, barrier: s.seq}
				s.relearning[m.Node] = r
			}
			if !r.asked && (len(s.flight) == 0 || s.flight[0].seq > r.barrier) {
				r.asked = true
				h.out.Caught = append(h.out.Caught, Caught{Node: m.Node, Incarnation: m.Incarnation, Segment: s.index, Gen: s.view.Gen})
			}
		}
	}
}

// relearner is a copy in the set that is about to have on its disk what it had in memory, or should have had.
type relearner struct {
	incarnation wire.Incarnation
	gen         uint64 // of the set that this is about
	barrier     uint64 // what came up to this sequence, it has when it is stored
	asked       bool   // the cluster was
}
