package mirror

import (
	"slices"

	"ashlar/replication/wire"
)

// remembered is a claim at a copy. It is shown only when its data is stored.
type remembered struct {
	wire.Claim
	stored bool
	at     int64
}

// memory is what a node's copies of one volume remember of claims, oldest first.
// It is lost with the process: then the other copies have it.
type memory []*remembered

func (m memory) find(c *wire.Claim) *remembered {
	for _, r := range m {
		if r.Command == c.Command && r.Segment == c.Segment {
			return r
		}
	}
	return nil
}

// add makes room for a claim that is about to be stored, or that a head gives. It
// says whether another one was forgotten for it.
func (m *memory) add(now int64, c wire.Claim, stored bool) (forgot bool) {
	if forgot = len(*m) >= claimsMax; forgot {
		*m = (*m)[1:]
	}
	*m = append(*m, &remembered{c, stored, now})
	return forgot
}

func (m *memory) expire(now int64) {
	for len(*m) > 0 && now-(*m)[0].at > claimLife {
		*m = (*m)[1:]
	}
}

// begin takes note of the claims that come with a write. Those of which it is
// told in between that they are settled are not taken up again at its end.
func (m *memory) begin(now int64, w *wire.Write) (forgot bool) {
	m.expire(now)
	for _, c := range w.Claims {
		if m.find(&c) == nil {
			forgot = m.add(now, c, false) || forgot
		}
	}
	return forgot
}

// end knows what became of a write. A claim on its blocks that did not come with
// it is about data that is there no more.
func (m *memory) end(w *wire.Write, ok bool) {
	for i := range w.Claims {
		c := &w.Claims[i]
		r := m.find(c)
		switch {
		case r == nil:
		case ok:
			r.Versions, r.stored = taken(r.Versions, c, w.Block, w.Count), true
		case !r.stored:
			*m = slices.DeleteFunc(*m, func(o *remembered) bool { return o == r })
		}
	}
	if !ok {
		return
	}
	for _, r := range *m {
		if r.stored && !r.Changed && meets(&r.Claim, w.Segment, w.Block, w.Count) && !comesWith(w, r) {
			r.Changed = r.differsBy(w)
		}
	}
}

func comesWith(w *wire.Write, r *remembered) bool {
	return slices.ContainsFunc(w.Claims, func(c wire.Claim) bool { return c.Command == r.Command && c.Segment == r.Segment })
}

// differsBy says whether a write gave a block another version than the claim has.
func (r *remembered) differsBy(w *wire.Write) bool {
	for i, v := range r.Versions {
		b := r.Block + uint32(i)
		if b < w.Block || b-w.Block >= w.Count {
			continue
		}
		now := wire.Version{Epoch: w.Epoch, Seq: w.Seq}
		if w.Versions != nil {
			now = w.Versions[b-w.Block]
		}
		if now != v {
			return true
		}
	}
	return false
}

// obey does what a head says of claims.
func (m *memory) obey(now int64, c *wire.Claims) (forgot bool) {
	m.expire(now)
	*m = slices.DeleteFunc(*m, func(r *remembered) bool { return slices.Contains(c.Settled, r.Command) })
	for _, r := range *m {
		r.Orphaned = r.Orphaned || slices.Contains(c.Orphaned, r.Command)
	}
	for _, k := range c.Keep {
		if m.find(&k) == nil {
			forgot = m.add(now, k, true) || forgot
		}
	}
	return forgot
}

// forget drops what a copy has of a segment: it is about to catch up, and what it
// has stored since it left its set may never have been.
func (m *memory) forget(s wire.Segment) {
	*m = slices.DeleteFunc(*m, func(r *remembered) bool { return r.Segment == s })
}

// of are the claims on copies of some segments.
func (m *memory) of(now int64, segments []wire.Segment) (list []wire.Claim) {
	m.expire(now)
	for _, r := range *m {
		if r.stored && slices.Contains(segments, r.Segment) {
			list = append(list, r.Claim)
		}
	}
	return list
}
