package sim

import (
	"testing"

	"ashlar/node/cluster"
	"ashlar/replication/wire"
)

func (s *story) zero(h *host, block uint64) *operation {
	op := &operation{volume: 1, kind: wire.OpZero, offset: block * wire.BlockSize, length: wire.BlockSize, then: func() {}}
	h.start(op)
	return s.ends(op)
}

// fellBehind is a world in which node 2's copy misses writes of all blocks, and
// its node is still down.
func fellBehind(t *testing.T, bug string) (*story, *host) {
	s := tell(t, 3, 2, bug)
	s.leaderIs(3)
	h := s.host(1)
	for b := range uint64(segmentBlocks) {
		s.write(h, b)
	}
	s.server(2).kill()
	s.until(10*second, func() bool { return s.insync() == 1 })
	for b := range uint64(segmentBlocks) {
		s.write(h, b)
	}
	s.zero(h, 2)
	return s, h
}

// copying waits until node 2 is written to as a joiner.
func (s *story) copying() {
	s.until(10*second, func() bool {
		r := s.server(1).process.reign(1)
		return r != nil && len(r.head.Progress()) > 0 && len(s.server(2).disk.pending) > 0
	})
}

// A copy that missed writes and zeros is in its set again only when it has them all.
func comesBack(t *testing.T, bug string) *Result {
	s, _ := fellBehind(t, bug)
	s.server(2).start()
	s.until(10*second, func() bool { return s.insync() == 2 })
	return s.verdictWith(s.differing())
}

// A copy is back in its set, and hosts go on writing: what was agreed stays so.
func writesAfterwards(t *testing.T, bug string) *Result {
	s, h := fellBehind(t, bug)
	s.server(2).start()
	s.until(10*second, func() bool { return s.insync() == 2 })
	differing := 0
	for i := range uint64(1000) {
		s.write(h, i%segmentBlocks)
		differing += s.differing()
	}
	return s.verdictWith(differing)
}

// Hosts write while a copy catches up.
func writesMeanwhile(t *testing.T, bug string) *Result {
	s, h := fellBehind(t, bug)
	s.server(2).start()
	s.until(5*second, func() bool { return s.server(1).process.out[2] != nil })
	s.server(2).disk.slow = 300 * millisecond
	s.copying()
	a, b := s.begin(h, wire.OpWrite, 0), s.begin(h, wire.OpWrite, 7)
	s.until(10*second, func() bool { return s.insync() == 2 })
	s.ends(a)
	s.ends(b)
	s.server(2).disk.slow = 0
	s.run(second)
	return s.verdictWith(s.differing())
}

// A write that a joiner was not sent is in the device's hands when its catch-up begins.
func joinsUnderWrite(t *testing.T, bug string) *Result {
	s, h := filled(t, bug) // only that write makes a difference
	s.server(2).kill()
	s.until(10*second, func() bool { return s.insync() == 1 })
	s.hold(1)
	w := s.begin(h, wire.OpWrite, 3)
	s.run(20 * millisecond)
	s.release(1)
	s.server(2).start()
	s.until(2500*millisecond, func() bool { return s.insync() == 2 })
	s.finish(1)
	s.ends(w)
	s.until(5*second, func() bool { return s.insync() == 2 })
	return s.verdictWith(s.differing())
}

// A copy that catches up is sent a host's write, and its node dies before it was
// sent the rest: what it has heard of commit points was not about it.
func commitToJoiner(t *testing.T, bug string) *Result {
	s, h := fellBehind(t, bug)
	s.server(2).start()
	s.until(5*second, func() bool { return len(s.server(1).process.reign(1).head.Progress()) > 0 })
	s.hold(1) // nothing is known yet of what is to be copied
	s.begin(h, wire.OpWrite, 7)
	s.run(3 * second)
	s.release(1)
	s.finish(1)
	s.run(millisecond)
	s.server(2).kill()
	s.server(2).start()
	s.until(10*second, func() bool { return s.insync() == 2 })
	s.run(second)
	return s.verdictWith(s.differing())
}

// The head is on a node whose copy is not in the set yet.
func headOutOfSet(t *testing.T, bug string) *Result {
	s, _ := fellBehind(t, bug)
	far := s.host(3)
	s.cut(1, 2)
	s.server(2).start()
	s.until(5*second, func() bool { return s.raft.last().Nodes[2].Up })
	s.run(200 * millisecond)
	s.orderOf(cluster.Command{MoveHead: &cluster.MoveHead{Volume: 1, Epoch: s.volume().Epoch, To: 2}})
	s.headIs(2)
	r := s.begin(far, wire.OpRead, 0)
	s.run(100 * millisecond)
	s.mend(1, 2)
	s.ends(r)
	return s.verdict()
}

// A joiner's session ends when the cluster was asked to take it in, and has not
// answered: until then it may be in the set, and no write goes without it.
func lostWhenProposed(t *testing.T, bug string) *Result {
	s, h := fellBehind(t, bug)
	s.server(2).start()
	s.until(5*second, func() bool { return s.raft.last().Nodes[2].Up })
	s.run(20 * millisecond)
	s.server(3).pause()
	s.run(500 * millisecond)
	s.cut(1, 2)
	s.net.reset(s.server(1).process.out[2].c)
	s.run(60 * millisecond)
	w := s.begin(h, wire.OpWrite, 0)
	s.run(60 * millisecond)
	s.server(3).resume()
	s.run(100 * millisecond)
	differing := 0
	if w.ended != 0 {
		differing = s.differing()
	}
	s.mend(1, 2)
	s.ends(w)
	return s.verdictWith(differing)
}

// A copy that was proposed is removed and another one made in its place, which the head hears of at once.
func madeAnewWhenProposed(t *testing.T, bug string) *Result {
	s, _ := fellBehind(t, bug)
	s.server(2).start()
	s.copying()
	s.cut(1, 3)
	s.run(300 * millisecond)
	for _, disks := range [][2]wire.NodeID{{2, 3}, {3, 2}} {
		g := s.volume().Segments[0]
		s.orderOf(cluster.Command{MoveReplica: &cluster.MoveReplica{Volume: 1, Gen: g.Gen, From: s.server(disks[0]).diskID, To: s.server(disks[1]).diskID}})
		s.run(100 * millisecond)
	}
	s.mend(1, 3)
	s.until(10*second, func() bool { return s.insync() == 2 })
	return s.verdictWith(s.differing())
}

// A write that was refused, since the copy in the set has no space, is still in the device's hands of a copy
// that catches up, and gave up meanwhile: it catches up again, with the write or without it.
func refusedLate(t *testing.T, bug string) *Result {
	s, h := filled(t, bug)
	s.zero(h, 3)
	s.zero(h, 5)
	s.server(2).kill()
	s.until(10*second, func() bool { return s.insync() == 1 })
	s.write(h, 5)
	near, far := s.server(1).disk, s.server(2).disk
	near.full, near.low, far.full = true, true, true
	s.server(2).start()
	s.until(5*second, func() bool { return s.server(1).process.out[2] != nil })
	far.slow = 300 * millisecond
	s.copying() // block 5, for which there is no space
	s.hold(2)
	s.begin(h, wire.OpWrite, 3)
	s.until(second, func() bool { return len(s.server(1).process.reign(1).head.Progress()) == 0 })
	far.full = false
	s.release(2)
	s.until(2500*millisecond, func() bool { return s.insync() == 2 })
	s.finish(2)
	s.until(5*second, func() bool { return s.insync() == 2 })
	s.run(millisecond)
	return s.verdictWith(s.differing())
}

var joinStories = []aStory{
	{"a copy that comes back", comesBack, []string{"NoDelta", "JoinEarly", "FirstPageOnly", "ZerosSkipped"}},
	{"writes when a copy has caught up", writesAfterwards, []string{"ConfigReordered"}},
	{"writes while a copy catches up", writesMeanwhile, []string{"JoinNoShadow"}},
	{"a catch-up that begins under a write", joinsUnderWrite, []string{"JoinUndrained"}},
	{"a joiner that hears of commit points", commitToJoiner, []string{"CommitJoiner"}},
	{"a head whose copy is out of the set", headOutOfSet, []string{"ReadOutOfSync"}},
	{"a joiner that is lost when it is proposed", lostWhenProposed, []string{"ProposedDropped"}},
	{"a refused write that a joiner has late", refusedLate, []string{"JoinOverWrites"}},
	{"a copy made anew when it is proposed", madeAnewWhenProposed, []string{"CopyByNode"}},
}
