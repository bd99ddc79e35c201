package mirror

import (
	"slices"

	"ashlar/replication/scrub"
	"ashlar/replication/wire"
)

// A scrub compares what the copies in a set hold of a range. All that a read can
// find is data that does not match its checksum; a write that a disk has lost
// whole leaves what was there before, with a good checksum and an older version,
// and only a look at the other copies tells.
//
// The range is locked while the copies are looked at, since a write under way is on
// some of them first: shared at first, so that reads go on. What differs then is
// looked at again with its data and with the range to itself, and only that counts.
// A copy that cannot be asked breaks it off: nobody's I/O waits behind a scrub for a
// node that is away.

// Range is what is to be compared.
type Range struct {
	Segment wire.Segment
	Block   uint32
	Count   uint32
	Data    bool // each copy reads its blocks, too
	Mend    bool // what differs is made equal, where it is known how
}

// Scrubbed is what came of a Scrub.
type Scrubbed struct {
	Range
	Private any
	Ended   bool // false: it was broken off, and is to be asked for again
	Copies  int
	Leaf    scrub.Leaf // of the range, where Whole
	Whole   bool       // all copies are alike now
	Blocks  int        // that do not read as zeros
	Found   []scrub.Finding
	Mended  int // of Found
}

// scrubbing is one under way.
type scrubbing struct{ out Scrubbed }

// Scrub compares a range of one segment. What comes of it is in Actions.Scrubbed.
func (h *Head) Scrub(now int64, r Range, private any) {
	h.now = now
	k := &scrubbing{Scrubbed{Range: r, Private: private}}
	h.scrubs = append(h.scrubs, k)
	if h.deposed || int(r.Segment) >= len(h.segments) || h.segments[r.Segment].state != serving ||
		r.Count == 0 || r.Count > wire.CheckMax || uint64(r.Block)+uint64(r.Count) > h.segBlocks {
		h.scrubbed(k)
		return
	}
	s := h.segments[r.Segment]
	h.compareCopies(s, r, true, func(copies []scrub.Copy, release func()) {
		release()
		if copies == nil {
			h.scrubbed(k)
			return
		}
		if found := scrub.Compare(h.volume, r.Segment, r.Block, r.Count, copies); len(found) > 0 {
			h.scrubAgain(s, k)
			return
		}
		k.out.Leaf, k.out.Blocks = scrub.LeafOf(h.volume, r.Segment, copies[0].Changes)
		k.out.Ended, k.out.Whole, k.out.Copies = true, true, len(copies)
		h.scrubbed(k)
	})
}

// scrubAgain looks closely, and mends.
func (h *Head) scrubAgain(s *segment, k *scrubbing) {
	r := k.out.Range
	h.mend(s, r.Block, r.Count, mendWhat{differing: r.Mend}, func(m mended) {
		k.out.Ended, k.out.Copies, k.out.Found, k.out.Mended = m.looked, len(m.copies), m.found, m.written
		if len(m.found) == m.written && m.looked {
			k.out.Whole = true
			k.out.Leaf, k.out.Blocks = scrub.LeafOf(h.volume, r.Segment, m.settled())
		}
		h.scrubbed(k)
	})
}

func (h *Head) scrubbed(k *scrubbing) {
	if !slices.Contains(h.scrubs, k) {
		return // broken off with the reign
	}
	h.scrubs = slices.DeleteFunc(h.scrubs, func(o *scrubbing) bool { return o == k })
	h.out.Scrubbed = append(h.out.Scrubbed, k.out)
}

// breakOffScrubs ends what a reign leaves undone.
func (h *Head) breakOffScrubs() {
	for _, k := range slices.Clone(h.scrubs) {
		k.out.Ended, k.out.Whole = false, false
		h.scrubbed(k)
	}
}

// compareCopies locks a range and asks each copy in the set what it holds of it; nil: one
// could not be asked. Then releases the lock.
func (h *Head) compareCopies(s *segment, r Range, shared bool, then func(copies []scrub.Copy, release func())) {
	first := uint64(s.index)*h.segBlocks + uint64(r.Block)
	l := &lock{first: first, last: first + uint64(r.Count) - 1, shared: shared}
	release := func() { h.locks.release(l) }
	if h.bugs.ScrubUnlocked {
		release = func() {}
	}
	l.granted = func() {
		var copies []scrub.Copy
		for _, m := range s.view.Members {
			if !m.InSync {
				continue
			}
			if p := h.peer(m.Node); !p.connected || !p.prepared {
				then(nil, release)
				return
			}
			copies = append(copies, scrub.Copy{Node: m.Node})
		}
		left, over := len(copies), false
		end := func(ok bool) {
			if left--; over || ok && left > 0 {
				return
			}
			if over = true; !ok {
				copies = nil
			}
			then(copies, release)
		}
		for i := range copies {
			h.call(copies[i].Node, func(req uint64) wire.Message {
				return &wire.Check{Req: req, Volume: h.volume, Segment: s.index, Epoch: h.epoch, Block: r.Block, Count: r.Count, Data: r.Data}
			}, func(m wire.Message) {
				c := m.(*wire.Checked)
				if !over && c.Status == wire.OK {
					copies[i].Changes, copies[i].Bad = c.Changes, c.Bad
				}
				end(c.Status == wire.OK)
			}, func() { end(false) })
		}
	}
	if h.bugs.ScrubUnlocked {
		l.granted()
		return
	}
	h.locks.acquire(l)
}

// mendWhat says which blocks are written again.
type mendWhat struct {
	differing bool
	all       bool
}

// mended is what came of it.
type mended struct {
	looked  bool // false: a copy could not be asked
	copies  []scrub.Copy
	found   []scrub.Finding
	written int // of found
	failed  bool
}

// mend looks at a range on all copies in the set, with the range to itself, and writes
// blocks again, at a new version, to all that must have them: from the copies that
// have the newest alone, whatever the others could give.
func (h *Head) mend(s *segment, block, count uint32, what mendWhat, done func(mended)) {
	h.compareCopies(s, Range{Block: block, Count: count, Data: true}, false, func(copies []scrub.Copy, release func()) {
		if copies == nil {
			release()
			done(mended{failed: true})
			return
		}
		m := mended{looked: true, copies: copies, found: scrub.Compare(h.volume, s.index, block, count, copies)}
		left := 1
		end := func() {
			if left--; left == 0 {
				release()
				done(m)
			}
		}
		for _, x := range m.runs(block, count, what) {
			left++
			h.rewriteFrom(s, x, func(ok bool) {
				if m.failed = m.failed || !ok; ok {
					m.written += x.found
				}
				end()
			})
		}
		for _, f := range m.found {
			m.failed = m.failed || f.Verdict != scrub.Mend
		}
		end()
	})
}

// mendRun is blocks that are read from the same copies.
type mendRun struct {
	block, count uint32
	from         []wire.NodeID
	found        int
}

// runs cuts what is to be written again.
func (m *mended) runs(block, count uint32, what mendWhat) (list []mendRun) {
	var everybody []wire.NodeID
	for _, c := range m.copies {
		everybody = append(everybody, c.Node)
	}
	found := m.found
	for b := block; b < block+count; b++ {
		x := mendRun{block: b, count: 1, from: everybody}
		if len(found) > 0 && found[0].Block == b {
			f := found[0]
			found = found[1:]
			if f.Verdict != scrub.Mend || !what.differing && !what.all {
				continue
			}
			x.from, x.found = f.From, 1
		} else if !what.all {
			continue
		}
		if n := len(list) - 1; n >= 0 && list[n].block+list[n].count == b && slices.Equal(list[n].from, x.from) {
			list[n].count++
			list[n].found += x.found
			continue
		}
		list = append(list, x)
	}
	return list
}

// rewriteFrom writes blocks again from what some copies hold, under the caller's lock.
func (h *Head) rewriteFrom(s *segment, x mendRun, done func(ok bool)) {
	f := &fetch{seg: s, block: x.block, count: x.count, from: x.from, strict: true, keep: true, gone: func() bool { return !h.reaches(x.from) }}
	if h.bugs.ScrubOlder {
		f.from, f.strict, f.gone = nil, false, nil
	}
	f.done = func(status wire.Status) {
		if status != wire.OK {
			done(false)
			return
		}
		h.lose(s, f)
		h.storeRuns(s, f, func() { done(true) })
	}
	h.fetch(f)
}

// reaches says whether one of some nodes can be asked now.
func (h *Head) reaches(nodes []wire.NodeID) bool {
	return slices.ContainsFunc(nodes, func(n wire.NodeID) bool { return h.peer(n).connected && h.peer(n).prepared })
}

// settled is what all copies hold once all that was found is written again: of each block what
// the newest has.
func (m *mended) settled() (list []wire.Change) {
	from := func(b uint32) wire.NodeID {
		i, found := slices.BinarySearchFunc(m.found, b, func(f scrub.Finding, b uint32) int { return int(f.Block) - int(b) })
		if found {
			return m.found[i].From[0]
		}
		return m.copies[0].Node
	}
	for _, c := range m.copies {
		for _, k := range c.Changes {
			if from(k.Block) == c.Node {
				list = append(list, k)
			}
		}
	}
	slices.SortFunc(list, func(a, b wire.Change) int { return int(a.Block) - int(b.Block) })
	return list
}
