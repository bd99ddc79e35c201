package mirror

import (
	"slices"

	"ashlar/replication/wire"
)

// How much copying goes on at once for one volume.
const (
	joinersMax = 4  // copies that catch up
	copiesMax  = 16 // runs of blocks under way, for each of them
	runBlocks  = 64 // 256 KiB, from a multiple of it to the next at most, since stores write whole chunks sooner than parts
)

// joiner is a copy that catches up. The situation: the copy has every write up
// to its own commit point C, and may have some above it, which may or may not be
// what the in-sync copies have. These have versions: a block that differs has a
// version above C on one side or the other. So the list of what to look at is
// the union of both sides' blocks above C, and it cannot be lost or be wrong.
//
//   - Both have the same version of a block: it is the same write. Nothing to do.
//   - The source's is higher: the block is copied with its version.
//   - The copy's is higher: a write that was never acknowledged, and that the
//     in-sync copies know nothing of. Its version must not be lowered, so what
//     the source has is written again, to all, at a new version.
//
// Writes go to the joiner, too, from the start; the lists are asked for only
// after every write that did not is settled on the source. A copy that breaks
// off goes on from where it was: what was copied compares equal next time.
type joiner struct {
	node        wire.NodeID
	incarnation wire.Incarnation
	made        uint64
	stage       joinStage
	barrier     uint64 // all writes up to this sequence did not go to the joiner
	commit      wire.Version
	mine, its   pager // the source's changes, and the joiner's
	running     int
	bytes       uint64 // of the runs under way
	asked       uint64 // Gen that was proposed with
	stopped     bool
	held        bool   // until there is an allowance
	copied      uint64 // blocks
}

// joinStage only moves forward.
type joinStage uint8

const (
	joinDrain   joinStage = iota // writes that did not go to the joiner are in flight
	joinMerge                    // comparing and copying
	joinPropose                  // equal; the cluster is asked to take it into the set
)

// pager reads a copy's changes page by page.
type pager struct {
	list    []wire.Change
	next    uint32
	ended   bool
	waiting bool
}

// joinTick starts and drives the copies that are to catch up.
func (h *Head) joinTick() {
	for _, s := range h.segments {
		if s.state != serving {
			continue
		}
		for _, m := range s.view.Members {
			j := s.joiners[m.Node]
			if j == nil && !m.InSync && m.Usable && h.joining < joinersMax && s.settles == 0 {
				if p := h.peer(m.Node); p.connected && p.prepared && h.now >= p.joinsFrom {
					h.startJoin(s, m)
				}
			} else if j != nil && j.stage == joinPropose {
				h.proposeJoin(s, j)
			}
		}
	}
}

func (h *Head) startJoin(s *segment, m Member) {
	j := &joiner{node: m.Node, incarnation: m.Incarnation, made: m.Made, barrier: s.seq}
	s.joiners[m.Node] = j
	h.joining++
	if h.bugs.JoinEarly {
		j.stage = joinPropose
		h.proposeJoin(s, j)
		return
	}
	h.drainJoin(s, j)
}

// drainJoin waits until the source has every write that the joiner was not sent.
func (h *Head) drainJoin(s *segment, j *joiner) {
	if j.stopped {
		return
	}
	if len(s.flight) > 0 && s.flight[0].seq <= j.barrier && !h.bugs.JoinUndrained {
		h.later(func() { h.drainJoin(s, j) })
		return
	}
	j.stage = joinMerge
	j.its.waiting = true
	h.ask(s, j, j.node, &wire.Changes{Own: true}, func(p *wire.Page) {
		j.commit = p.Commit
		j.its.take(p)
		h.mergeJoin(s, j)
	})
}

// ask gets one page of changes. A page that cannot be had is asked for again.
func (h *Head) ask(s *segment, j *joiner, node wire.NodeID, m *wire.Changes, then func(*wire.Page)) {
	again := func() {
		h.later(func() {
			if !j.stopped {
				h.ask(s, j, node, m, then)
			}
		})
	}
	if src := s.member(node); node != j.node && (src == nil || !src.InSync) {
		h.dropJoin(s, j.node) // the source left the set: what it said is worth nothing
		return
	}
	h.call(node, func(req uint64) wire.Message {
		c := *m
		c.Req, c.Volume, c.Segment, c.Epoch, c.Gen = req, h.volume, s.index, h.epoch, s.view.Gen
		return &c
	}, func(r wire.Message) {
		p := r.(*wire.Page)
		if h.bugs.FirstPageOnly {
			p.Next = 0
		}
		switch {
		case j.stopped:
		case p.Status == wire.OK:
			then(p)
		default:
			again()
		}
	}, again)
}

func (p *pager) take(page *wire.Page) {
	p.list = append(p.list, page.Changes...)
	p.next, p.ended, p.waiting = page.Next, page.Next == 0, false
}

// dry says that nothing can be told of the next block before another page is there.
func (p *pager) dry() bool { return len(p.list) == 0 && !p.ended }

// mergeJoin goes through both lists in order of blocks.
func (h *Head) mergeJoin(s *segment, j *joiner) {
	for !j.stopped && h.mayRun(j) {
		if h.refill(s, j) || h.heldBack(s, j) {
			return
		}
		run, rewrite := j.nextRun()
		if h.bugs.NoTail && rewrite {
			continue
		}
		if h.bugs.NoDelta && !rewrite {
			run = nil
			if len(j.mine.list) > 0 || len(j.its.list) > 0 {
				continue
			}
		}
		switch {
		case len(run) == 0 && len(j.mine.list) == 0 && len(j.its.list) == 0 && j.mine.ended && j.its.ended:
			if j.running == 0 && j.stage == joinMerge {
				j.stage = joinPropose
				h.proposeJoin(s, j)
			}
			return
		case len(run) == 0:
			continue // equal
		}
		bytes := uint64(len(run)) * wire.BlockSize
		j.running++
		j.bytes += bytes
		h.allowance -= float64(bytes)
		done := func() {
			j.running--
			j.bytes -= bytes
			j.copied += uint64(len(run))
			h.mergeJoin(s, j)
		}
		if rewrite {
			h.mend(s, run[0], uint32(len(run)), mendWhat{all: true}, func(m mended) {
				if m.failed {
					h.breakOff(s, j)
				}
				done()
			})
		} else {
			h.copyRun(s, j, run[0], uint32(len(run)), done)
		}
	}
}

// refill asks for the pages that the merge cannot go on without, and says
// whether it has to wait for one.
func (h *Head) refill(s *segment, j *joiner) bool {
	if j.its.dry() && !j.its.waiting {
		j.its.waiting = true
		h.ask(s, j, j.node, &wire.Changes{After: j.commit, From: j.its.next}, func(p *wire.Page) {
			j.its.take(p)
			h.mergeJoin(s, j)
		})
	}
	if j.mine.dry() && !j.mine.waiting {
		src := h.joinSource(s)
		if src == 0 {
			h.later(func() { h.mergeJoin(s, j) })
			return true
		}
		j.mine.waiting = true
		h.ask(s, j, src, &wire.Changes{After: j.commit, From: j.mine.next}, func(p *wire.Page) {
			j.mine.take(p)
			h.mergeJoin(s, j)
		})
	}
	return j.its.dry() || j.mine.dry()
}

func (h *Head) joinSource(s *segment) wire.NodeID {
	n, _ := h.source(&fetch{seg: s})
	return n
}

// nextRun takes blocks off both lists: a run that is to be copied, or
// rewritten, or (empty) one block that is equal.
func (j *joiner) nextRun() (run []uint32, rewrite bool) {
	for {
		a, b := j.mine.list, j.its.list
		// Beyond the last block of a list that has more pages nothing is known of it.
		if len(a) == 0 && !j.mine.ended || len(b) == 0 && !j.its.ended || len(a) == 0 && len(b) == 0 {
			return run, rewrite
		}
		var block uint32
		var stale, divergent, both bool
		switch {
		case len(b) == 0 || len(a) > 0 && a[0].Block < b[0].Block:
			block, stale = a[0].Block, true
		case len(a) == 0 || b[0].Block < a[0].Block:
			block, divergent = b[0].Block, true
		default:
			block, both = a[0].Block, true
			stale, divergent = b[0].Version.Less(a[0].Version), a[0].Version.Less(b[0].Version)
		}
		if len(run) > 0 && (!stale && !divergent || divergent != rewrite || block != run[len(run)-1]+1 || block%runBlocks == 0) {
			return run, rewrite
		}
		if stale && !divergent || both {
			j.mine.list = a[1:]
		}
		if divergent && !both || both {
			j.its.list = b[1:]
		}
		if !stale && !divergent {
			return nil, false
		}
		run, rewrite = append(run, block), divergent
	}
}

// copyRun copies blocks to the joiner with the versions that the source has,
// under their lock, so that no write comes between.
func (h *Head) copyRun(s *segment, j *joiner, block, count uint32, done func()) {
	first := uint64(s.index)*h.segBlocks + uint64(block)
	l := &lock{first: first, last: first + uint64(count) - 1}
	unlock := func() {
		h.locks.release(l)
		done()
	}
	l.granted = func() {
		f := &fetch{seg: s, block: block, count: count, keep: true, gone: func() bool { return j.stopped }}
		f.done = func(status wire.Status) {
			switch {
			case j.stopped:
				unlock()
			case status != wire.OK:
				// No copy has good data of it: the set cannot be widened by guessing.
				h.breakOff(s, j)
				unlock()
			default:
				h.copyBlocks(s, j, f, unlock)
			}
		}
		h.fetch(f)
	}
	h.locks.acquire(l)
}

func (h *Head) copyBlocks(s *segment, j *joiner, f *fetch, done func()) {
	left := 1
	end := func() {
		if left--; left == 0 {
			done()
		}
	}
	for i := uint32(0); i < f.count; {
		n := f.run(i)
		if h.bugs.ZerosSkipped && f.zero(i) {
			i += n
			continue
		}
		left++
		m := &wire.Write{Volume: h.volume, Segment: s.index, Epoch: h.epoch, Block: f.block + i, Count: n, Versions: f.versions[i : i+n]}
		if !f.zero(i) {
			m.Data, m.CRC = f.data[i*wire.BlockSize:(i+n)*wire.BlockSize], f.crc[i:i+n]
		}
		h.call(j.node, func(req uint64) wire.Message { m.Req = req; return m }, func(r wire.Message) {
			if r.(*wire.Ack).Status != wire.OK {
				h.breakOff(s, j)
			}
			end()
		}, func() {
			// Nobody knows whether it was copied, so nothing may follow from it.
			if !h.bugs.LostCopied {
				h.breakOff(s, j)
			}
			end()
		})
		i += n
	}
	end()
}

// breakOff gives up a joiner that is still being copied to.
func (h *Head) breakOff(s *segment, j *joiner) {
	if !j.stopped {
		h.dropJoin(s, j.node)
	}
}

// proposeJoin asks the cluster once for each generation of the segment.
func (h *Head) proposeJoin(s *segment, j *joiner) {
	if j.asked == s.view.Gen {
		return
	}
	j.asked = s.view.Gen
	h.out.Caught = append(h.out.Caught, Caught{Node: j.node, Incarnation: j.incarnation, Segment: s.index, Gen: s.view.Gen})
}

// Refused says that the cluster did not take a copy in, and will not under that
// generation: it is asked again with the present one.
func (h *Head) Refused(now int64, c Caught) {
	h.now = now
	if h.deposed || int(c.Segment) >= len(h.segments) {
		return
	}
	s := h.segments[c.Segment]
	if r := s.relearning[c.Node]; r != nil && r.gen == c.Gen {
		r.asked = false
	}
	j := s.joiners[c.Node]
	switch {
	case j == nil || j.asked != c.Gen:
	case h.peer(c.Node).connected:
		j.asked = 0
	default:
		h.removeJoin(s, c.Node)
	}
}

// settleJoins follows what the cluster has agreed on: a joiner that is in sync is
// a member now; one that cannot be taken in any more is dropped.
func (h *Head) settleJoins(s *segment) {
	for _, n := range joinerIDs(s) {
		j, m := s.joiners[n], s.member(n)
		switch {
		case m != nil && m.InSync && m.Incarnation == j.incarnation:
			j.stopped = true
			h.peer(n).pause = 0
			delete(s.joiners, n)
			delete(s.told, n)
			s.untold = true
			h.joining--
			h.keepClaims(n, func(o *segment) bool { return o == s })
		case m == nil || !m.Usable || m.Incarnation != j.incarnation || m.Made != j.made && !h.bugs.CopyByNode: // what was copied is in the other copy
			h.removeJoin(s, n)
		}
	}
}

func joinerIDs(s *segment) (ids []wire.NodeID) {
	for n := range s.joiners {
		ids = append(ids, n)
	}
	slices.Sort(ids)
	return ids
}

// dropJoins gives up what goes on with a node whose session ended.
func (h *Head) dropJoins(node wire.NodeID) {
	for _, s := range h.segments {
		h.dropJoin(s, node)
	}
}

// dropJoin gives up a joiner, unless the cluster was asked: then it may be in
// the set at any moment, and stays among those that must acknowledge until the
// cluster has said what became of it (invariant I2).
func (h *Head) dropJoin(s *segment, n wire.NodeID) {
	if j := s.joiners[n]; j != nil && (j.stage != joinPropose || h.bugs.ProposedDropped) {
		h.removeJoin(s, n)
	}
}

func (h *Head) removeJoin(s *segment, n wire.NodeID) {
	s.joiners[n].stopped = true
	delete(s.joiners, n)
	h.joining--
	h.dropPending(s)
}

// Progress is how far a copy has caught up.
type Progress struct {
	Segment wire.Segment
	Node    wire.NodeID
	Copied  uint64 // blocks
}

// Progress lists the copies that catch up now.
func (h *Head) Progress() (list []Progress) {
	for _, s := range h.segments {
		for _, n := range joinerIDs(s) {
			list = append(list, Progress{s.index, n, s.joiners[n].copied})
		}
	}
	return list
}
