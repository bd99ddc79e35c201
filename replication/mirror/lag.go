package mirror

import (
	"slices"

	"ashlar/replication/wire"
)

// Commit points of copies in a set differ, because each is told of them in its own time.
// What was written between two of them is on both copies, unless a disk has lied: one that
// was put back from an image, or that lost the end of its journal with all that told of it,
// has an older commit point and not what came after it. Nothing on such a disk is
// wrong by itself, so whoever reads there alone gets what was overwritten long ago.
//
// So before a segment is served, copies with a higher commit point than the lowest list what they hold
// above that, too. It costs a question where commit points differ, and nobody's writes
// where no disk has lied: what all hold alike is not written again.

// listing is what a copy holds above the lowest commit point of its set.
type listing struct {
	tail    *wire.Tail // the answer that it belongs to
	after   wire.Version
	changes []wire.Change
	whole   bool
}

// inSyncTails are the tails that are here, of copies in the set.
func (s *segment) inSyncTails() (tails map[wire.NodeID]*wire.Tail, lowest wire.Version) {
	tails = map[wire.NodeID]*wire.Tail{}
	for _, m := range s.view.Members {
		t := s.tails[m.Node]
		if !m.InSync || t == nil {
			continue
		}
		if len(tails) == 0 || t.Commit.Less(lowest) {
			lowest = t.Commit
		}
		tails[m.Node] = t
	}
	return tails, lowest
}

// listed says whether all copies in the set have told what they hold above the lowest
// commit point, and asks those that have not.
func (h *Head) listed(s *segment) bool {
	tails, lowest := s.inSyncTails()
	whole := true
	for _, m := range s.view.Members {
		t := tails[m.Node]
		if t == nil || !lowest.Less(t.Commit) || h.bugs.CommitTrusted {
			continue
		}
		l := s.listings[m.Node]
		if l == nil || l.tail != t || lowest.Less(l.after) {
			l = &listing{tail: t, after: lowest}
			s.listings[m.Node] = l
			h.list(s, m.Node, l, 0)
		}
		whole = whole && l.whole
	}
	return whole
}

func (h *Head) list(s *segment, node wire.NodeID, l *listing, from uint32) {
	wanted := func() bool { return s.listings[node] == l && s.state == preparing }
	h.call(node, func(req uint64) wire.Message {
		return &wire.Changes{Req: req, Volume: h.volume, Segment: s.index, Epoch: h.epoch, After: l.after, From: from, Gen: s.view.Gen}
	}, func(m wire.Message) {
		p := m.(*wire.Page)
		switch {
		case !wanted():
			return
		case p.Status != wire.OK:
			h.later(func() {
				if wanted() {
					h.list(s, node, l, from)
				}
			})
			return
		}
		l.changes = append(l.changes, p.Changes...)
		if p.Next > 0 {
			h.list(s, node, l, p.Next)
			return
		}
		l.whole = true
		h.tryReconcile(s)
	}, func() {
		if wanted() {
			delete(s.listings, node) // with its session; the next one brings another tail
		}
	})
}

// newest is the highest version of a block that copies in the set have told of.
type newest struct {
	version wire.Version
	nodes   []wire.NodeID // that have it
}

// newer are the blocks that copies hold above the lowest commit point. What a copy has lost is
// no version of it where another one tells of one.
func (h *Head) newer(s *segment) map[uint32]*newest {
	tails, _ := s.inSyncTails()
	blocks := map[uint32]*newest{}
	for _, m := range s.view.Members {
		t := tails[m.Node]
		if t == nil {
			continue
		}
		changes := t.Changes
		if l := s.listings[m.Node]; l != nil && l.tail == t && l.whole {
			changes = l.changes
		}
		for _, c := range changes {
			w := blocks[c.Block]
			switch {
			case w == nil, c.Version != wire.LostVersion && (w.version == wire.LostVersion || w.version.Less(c.Version)):
				blocks[c.Block] = &newest{c.Version, []wire.NodeID{m.Node}}
			case w.version == c.Version:
				w.nodes = append(w.nodes, m.Node)
			}
		}
	}
	return blocks
}

// differing are the blocks, in order, that have to be made equal: those that are not known to be on all copies.
func (h *Head) differing(s *segment, blocks map[uint32]*newest) (order []uint32) {
	tails, _ := s.inSyncTails()
	for b, w := range blocks {
		if s.commit.Less(w.version) || len(w.nodes) < len(tails) && !h.bugs.CommitTrusted {
			order = append(order, b)
		}
	}
	slices.Sort(order)
	return order
}
