package sim

import (
	"testing"

	"ashlar/replication/wire"
)

// part begins a write of one sector of a block.
func (s *story) part(h *host, block, at uint64) *operation {
	s.lastTag++
	op := &operation{volume: 1, kind: wire.OpWrite, offset: block*wire.BlockSize + at*sector, length: sector, tag: s.lastTag, then: func() {}}
	h.start(op)
	return op
}

// hold has what begins at a disk from now on stay in the device's hands, until release.
func (s *story) hold(n wire.NodeID)    { s.server(n).disk.slow = 3600 * second }
func (s *story) release(n wire.NodeID) { s.server(n).disk.slow = 0 }

// finish ends what is in a device's hands.
func (s *story) finish(n wire.NodeID) {
	for _, p := range s.server(n).disk.pending {
		s.after(0, p.finish)
	}
}

// forget has what is in a device's hands never reach it.
func (s *story) forget(n wire.NodeID) {
	for _, p := range s.server(n).disk.pending {
		p.done = true
	}
}

// insync is how many copies the set of the first segment has.
func (s *story) insync() int { return len(s.volume().Segments[0].InSync()) }

// verdictWith adds what differed before the faults were over.
func (s *story) verdictWith(differing int) *Result {
	r := s.verdict()
	r.Differing += differing
	return r
}

// One copy has a write, the other's disk takes its time.
func oneCopyHasIt(t *testing.T, bug string) *Result {
	s := tell(t, 3, 2, bug)
	s.leaderIs(3)
	h := s.host(1)
	s.hold(2)
	w := s.begin(h, wire.OpWrite, 0)
	s.run(500 * millisecond)
	s.release(2)
	s.server(2).kill()
	s.server(2).start()
	s.ends(w)
	return s.verdict()
}

// The session with a copy is gone; the copy is still in the set.
func noSession(t *testing.T, bug string) *Result {
	s := tell(t, 3, 2, bug)
	s.leaderIs(3)
	h := s.host(1)
	s.cut(1, 2)
	s.net.reset(s.server(1).process.out[2].c)
	s.run(100 * millisecond)
	w := s.begin(h, wire.OpWrite, 0)
	s.run(300 * millisecond)
	s.mend(1, 2)
	s.ends(w)
	return s.verdict()
}

// The session with a copy breaks while a write is on its way there.
func brokenSession(t *testing.T, bug string) *Result {
	s := tell(t, 3, 2, bug)
	s.leaderIs(3)
	h := s.host(1)
	s.write(h, 0)
	s.cut(1, 2)
	s.begin(h, wire.OpWrite, 0)
	s.run(20 * millisecond)
	s.net.reset(s.server(1).process.out[2].c)
	s.run(100 * millisecond)
	s.mend(1, 2)
	s.run(2 * second)
	return s.verdict()
}

// A block is read while a write of it is on its way to the other copy, which the
// write never reaches.
func readOfWhatIsWritten(t *testing.T, bug string) *Result {
	s := tell(t, 3, 2, bug)
	s.leaderIs(3)
	near, far := s.host(1), s.host(3)
	s.write(near, 0)
	s.cut(1, 2)
	s.begin(near, wire.OpWrite, 0)
	s.run(20 * millisecond)
	r := s.begin(far, wire.OpRead, 0)
	s.run(100 * millisecond)
	s.server(1).crash()
	s.headIs(2)
	s.read(far, 0)
	s.ends(r)
	return s.verdict()
}

// Hosts write different sectors of one block at once.
func sectorsOfOneBlock(t *testing.T, bug string) *Result {
	s := tell(t, 3, 2, bug)
	a, b := s.host(1), s.host(2)
	for range 8 {
		x, y, z := s.part(a, 0, 1), s.part(b, 0, 2), s.part(b, 0, 5)
		s.ends(x)
		s.ends(y)
		s.ends(z)
	}
	return s.verdict()
}

// A head's process is back at once.
func backAtOnce(t *testing.T, bug string) *Result {
	s := tell(t, 3, 2, bug)
	s.leaderIs(3)
	h := s.host(3)
	s.write(h, 0)
	s.server(1).kill()
	s.server(1).start()
	s.write(h, 0)
	return s.verdict()
}

// A node is cut off, and its sessions end. That says nothing: its lease holds.
func silence(t *testing.T, bug string) *Result {
	s := tell(t, 3, 2, bug)
	s.leaderIs(3)
	near, far := s.host(1), s.host(2)
	s.write(near, 0)
	s.cut(1, 2)
	s.cut(1, 3)
	s.net.reset(s.server(2).process.out[1].c)
	s.until(second, func() bool { return s.volume().Head == 2 })
	w := s.begin(far, wire.OpWrite, 0)
	s.until(300*millisecond, func() bool { return w.ended != 0 })
	s.run(microsecond)
	r := s.begin(near, wire.OpRead, 0)
	s.run(millisecond)
	s.mend(1, 2)
	s.mend(1, 3)
	s.ends(r)
	s.ends(w)
	return s.verdict()
}

// A dead head's write is with one of two copies, which the next head cannot reach
// for a moment: it waits for that copy's tail.
func tailOutOfReach(t *testing.T, bug string) *Result {
	s := tell(t, 5, 3, bug)
	s.leaderIs(5)
	h := s.host(1)
	s.write(h, 0)
	s.run(500 * millisecond)
	s.cut(1, 2)
	s.begin(h, wire.OpWrite, 0)
	s.run(50 * millisecond)
	s.cut(2, 3)
	s.net.sever(h.at, s.server(1).at)
	s.server(1).crash()
	s.headIs(2)
	s.run(300 * millisecond)
	s.mend(2, 3)
	s.run(2 * second)
	return s.verdictWith(s.differing())
}

// A write that a copy has not is below no commit point, though a later one has ended: the
// copy's node dies, and gets it when it returns.
func commitOfOne(t *testing.T, bug string) *Result {
	s := tell(t, 5, 3, bug)
	s.leaderIs(5)
	h := s.host(1)
	s.write(h, 0)
	s.run(500 * millisecond)
	s.hold(3)
	s.begin(h, wire.OpWrite, 1)
	s.run(20 * millisecond)
	s.release(3)
	s.write(h, 0)
	s.run(1500 * millisecond) // what it is told is durable
	s.forget(3)
	s.server(3).crash()
	s.until(10*second, func() bool { return s.insync() == 2 })
	s.server(3).start()
	return s.verdict()
}

// A new head writes the tails again, and a host writes to the same blocks.
func writeOverTail(t *testing.T, bug string) *Result {
	s := tell(t, 5, 3, bug)
	s.leaderIs(5)
	h := s.host(4)
	every := func(kind wire.OpKind) (list []*operation) {
		for b := uint64(0); b < segmentBlocks; b += 2 {
			list = append(list, s.begin(h, kind, b))
		}
		return list
	}
	for _, w := range every(wire.OpWrite) {
		s.ends(w)
	}
	s.server(1).crash()
	again := every(wire.OpWrite)
	s.until(10*second, func() bool { return s.server(2).disk.promises[1] == 2 })
	s.server(2).disk.slow = 2 * second // it has told of its tail, and is asked for the data
	s.run(10 * millisecond)
	s.release(2)
	for _, w := range again {
		s.ends(w)
	}
	s.run(3 * second)
	for _, r := range every(wire.OpRead) {
		s.ends(r)
	}
	return s.verdict()
}

// A copy promises a new head's epoch while a write that no other has is in its
// device's hands: the write is in the tail, or never was.
func writeUnderPromise(t *testing.T, bug string) *Result {
	s := tell(t, 5, 3, bug)
	s.leaderIs(5)
	h := s.host(1)
	s.write(h, 0)
	s.run(500 * millisecond)
	s.cut(1, 3)
	s.hold(1)
	s.hold(2)
	s.begin(h, wire.OpWrite, 0)
	s.run(50 * millisecond)
	s.release(1)
	s.release(2)
	s.forget(1)
	s.net.sever(h.at, s.server(1).at)
	s.server(1).kill()
	s.headIs(2)
	s.run(second)
	s.finish(2)
	s.run(second)
	return s.verdictWith(s.differing())
}

var orderStories = []aStory{
	{"a copy that takes its time", oneCopyHasIt, []string{"AckEarly"}},
	{"a copy without a session", noSession, []string{"AckUnremoved"}},
	{"a session that breaks under a write", brokenSession, []string{"NotResent"}},
	{"a read of what is written", readOfWhatIsWritten, []string{"ReadsDontWait"}},
	{"sectors of one block", sectorsOfOneBlock, []string{"EdgesShared"}},
	{"a head that is back at once", backAtOnce, []string{"EpochReused"}},
	{"a node that says nothing", silence, []string{"SilenceIsDeath"}},
	{"a tail out of reach", tailOutOfReach, []string{"PartialPrepare"}},
	{"a commit point and a write in flight", commitOfOne, []string{"CommitEarly"}},
	{"a host's write over a tail", writeOverTail, []string{"RewriteUnlocked"}},
	{"a promise over a write in flight", writeUnderPromise, []string{"PrepareUndrained"}},
}
