package sim

import (
	"testing"

	"ashlar/replication/wire"
)

func (s *story) copyOn(n wire.NodeID) *replica { return s.server(n).disk.replicas[replicaID{1, 0}] }

// filled is a world in which all blocks of a volume with two copies are written.
func filled(t *testing.T, bug string) (*story, *host) {
	s := tell(t, 3, 2, bug)
	s.leaderIs(3)
	h := s.host(1)
	for b := range uint64(segmentBlocks) {
		s.write(h, b)
	}
	return s, h
}

func (s *story) readAll(h *host) {
	s.Helper()
	for b := range uint64(segmentBlocks) {
		s.read(h, b)
	}
}

// The head's disk says that a write is done, and has what was there before.
func lostWrite(t *testing.T, bug string) *Result {
	s, h := filled(t, bug)
	s.server(1).disk.trick = lose
	s.write(h, 4)
	if s.kinds["lost write"] != 1 {
		t.Error("no write was lost")
	}
	s.readAll(h)
	s.run(second)
	if k := &s.copyOn(1).blocks[4]; bug == "" && k.decayed {
		t.Error("the block was not repaired")
	}
	return s.verdict()
}

// The head's disk writes to another place than it should.
func strayWrite(t *testing.T, bug string) *Result {
	s, h := filled(t, bug)
	s.server(1).disk.trick = misplace
	s.write(h, 4)
	s.readAll(h)
	return s.verdict()
}

// The head's disk cannot read a sector.
func latentError(t *testing.T, bug string) *Result {
	s, h := filled(t, bug)
	s.copyOn(1).blocks[4].bad = true
	s.readAll(h)
	return s.verdict()
}

// A metadata page of the head's disk is gone. What it was about is bad, not new.
func lostPage(t *testing.T, bug string) *Result {
	s, h := filled(t, bug)
	s.run(3 * second) // until it is below all commit points
	s.server(1).disk.loseMetadata(s.copyOn(1), 0, segmentBlocks)
	s.readAll(h)
	s.run(second)
	for b := range segmentBlocks {
		if k := &s.copyOn(1).blocks[b]; bug == "" && k.lost {
			t.Errorf("block %d was not repaired", b)
		}
	}
	return s.verdict()
}

// The same on the other copy's disk, and the head dies: the next one finds its own
// blocks lost, and the volume still has them.
func lostPageOfNextHead(t *testing.T, bug string) *Result {
	s, _ := filled(t, bug)
	far := s.host(3)
	s.server(2).disk.loseMetadata(s.copyOn(2), 0, segmentBlocks)
	s.moveHeadTo(2)
	s.readAll(far)
	return s.verdict()
}

// All nodes lose power right after a write was acknowledged.
func powerCut(t *testing.T, bug string) *Result {
	s, h := filled(t, bug)
	s.run(2 * second)
	s.write(h, 0)
	for _, x := range s.servers {
		x.crash()
	}
	s.run(second)
	for _, x := range s.servers {
		x.start()
	}
	s.read(h, 0)
	return s.verdict()
}

// All nodes lose power, and of a volume's two copies one's disk is not there when its node is back; the other node takes
// longer. The disk turns out dead.
func diskDeadAfterPowerCut(t *testing.T, bug string) *Result {
	s, h := filled(t, bug)
	for _, x := range s.servers {
		x.crash()
	}
	s.run(second)
	s.server(1).disk.missing = true
	s.server(3).start()
	s.server(1).start()
	s.until(20*second, func() bool { return !s.raft.last().Nodes[2].Up })
	s.run(3 * second)
	s.server(2).start()
	if w := s.begin(h, wire.OpWrite, 0); bug == "" {
		s.ends(w)
		s.readAll(h)
	}
	s.server(1).breakDisk()
	s.server(1).disk.missing = false
	s.server(1).replaceDisk()
	return s.verdict()
}

// The last copy's node begins anew, and finds its disk only a while later; the head, on another node, is asked to write meanwhile.
func lastDiskLate(t *testing.T, bug string) *Result {
	s, h := filled(t, bug)
	s.server(1).breakDisk()
	s.until(5*second, func() bool { return s.insync() == 1 })
	s.server(2).kill()
	s.server(2).disk.missing = true
	s.server(2).start()
	s.run(second)
	w := s.begin(h, wire.OpWrite, 0)
	s.run(2 * second)
	s.server(2).find(s.server(2).disk)
	if bug == "" {
		s.ends(w)
		s.readAll(h)
	}
	s.server(1).replaceDisk()
	return s.verdict()
}

// Power is cut with a write in two devices' hands: of one, some sectors are new.
func tornWrite(t *testing.T, bug string) *Result {
	s, h := filled(t, bug)
	far := s.host(3)
	s.run(500 * millisecond)
	s.hold(1)
	s.hold(2)
	s.begin(h, wire.OpWrite, 0)
	s.run(50 * millisecond)
	s.net.sever(h.at, s.server(1).at) // the host does not write it again
	s.server(2).disk.pending[0].tear()
	for n := range wire.NodeID(2) {
		s.forget(n + 1)
		s.release(n + 1)
		s.server(n + 1).crash()
		s.server(n + 1).start()
	}
	s.read(far, 0)
	return s.verdict()
}

// A copy's disk fails a write: it leaves its set, and another takes its place.
func writeError(t *testing.T, bug string) *Result {
	s, h := filled(t, bug)
	s.moveHeadTo(2) // a new epoch, so that it is seen who has what is written in it
	s.run(second)
	s.server(1).breakDisk()
	s.after(second, s.server(1).replaceDisk)
	s.write(h, 0)
	r := s.verdict()
	if bug == "" && s.server(1).spare != 1 {
		t.Error("the disk was not replaced")
	}
	return r
}

// The head's own disk fails with writes in its hands.
func writeErrorOfHead(t *testing.T, bug string) *Result {
	s, h := filled(t, bug)
	s.hold(1)
	w := s.begin(h, wire.OpWrite, 0)
	s.run(20 * millisecond)
	s.release(1)
	s.server(1).breakDisk()
	s.after(second, s.server(1).replaceDisk)
	s.ends(w)
	s.readAll(h)
	return s.verdict()
}

// A copy's disk is replaced while what its head has told the old copy is still on its
// way: the new one is empty, and does not pass for whole up to the old one's commit point.
func lateCommit(t *testing.T, bug string) *Result {
	s := tell(t, 3, 2, bug)
	s.leaderIs(3)
	h := s.host(1)
	s.write(h, 0)
	s.write(h, 1)
	s.net.sever(s.server(1).at, s.server(2).at)
	s.run(200 * millisecond) // the commit point is told
	s.server(2).breakDisk()
	s.after(0, s.server(2).replaceDisk)
	s.until(2500*millisecond, func() bool { return s.server(2).spare > 0 && s.copyOn(2) != nil })
	s.run(300 * millisecond)
	s.net.mend(s.server(1).at, s.server(2).at)
	return s.verdict()
}

// A copy's disk is replaced, which its head does not hear. The head's own disk loses what
// it knew, and the third copy cannot be reached: the empty one is not read in its place.
func readOfAnother(t *testing.T, bug string) *Result {
	s := tell(t, 3, 3, bug)
	s.leaderIs(3)
	h := s.host(1)
	s.write(h, 0)
	s.server(1).deaf = true
	s.server(3).breakDisk()
	s.after(0, s.server(3).replaceDisk)
	s.until(5*second, func() bool { return s.server(3).spare > 0 && s.volume().Segments[0].On(3).Disk == s.server(3).diskID })
	s.cut(1, 3) // the head has to ask anew for a promise, and has it of the new disk
	s.run(200 * millisecond)
	s.mend(1, 3)
	s.run(200 * millisecond)
	s.cut(1, 2)
	s.until(10*second, func() bool { return s.server(1).process.out[2] == nil })
	s.server(1).disk.loseMetadata(s.copyOn(1), 0, segmentBlocks)
	r := s.begin(h, wire.OpRead, 0)
	s.run(500 * millisecond)
	s.mend(1, 2)
	s.server(1).deaf = false
	s.ends(r)
	return s.verdict()
}

// A copy's disk runs out of space unexpectedly: it does not have the write.
func fullDisk(t *testing.T, bug string) *Result {
	s := tell(t, 3, 2, bug)
	s.leaderIs(3)
	h := s.host(1)
	s.server(2).disk.full = true
	s.write(h, 0)
	return s.verdict()
}

// A copy's disk has no space for a write, and before it leaves its set the disk
// with the write fails: the full one is the last, stays, and goes on when it has space.
func fullDiskIsLast(t *testing.T, bug string) *Result {
	s := tell(t, 3, 2, bug)
	s.leaderIs(3)
	h := s.host(3)
	s.server(2).disk.full = true
	w := s.begin(s.host(1), wire.OpWrite, 0)
	s.until(second, func() bool { return s.copyOn(1).blocks[0].data != nil })
	s.server(1).breakDisk()
	s.until(second, func() bool { return s.insync() == 1 })
	if n := s.volume().Segments[0].InSync()[0]; n != 2 {
		t.Errorf("node %d is left in the set", n)
	}
	s.run(second)
	s.server(2).disk.full = false
	s.after(second, s.server(1).replaceDisk)
	s.ends(w)
	s.write(h, 0)
	return s.verdict()
}

// A copy that catches up has no space for a write over two segments' border: it is
// given up, which ends the one segment's part of the write, and not the other's, too.
func fullDiskOfAJoiner(t *testing.T, bug string) *Result {
	s := tellOf(t, 3, volumePlan{segments: 2, copies: 3}, bug)
	s.leaderIs(3)
	h := s.host(1)
	s.server(2).disk.slow = 20 * millisecond
	for range 20 {
		s.server(3).kill()
		s.write(h, 3)
		s.server(3).disk.full = true
		s.server(3).start()
		head := s.server(1).process.reign(1).head
		s.until(5*second, func() bool { return len(head.Progress()) == 2 })
		s.ends(s.beginOf(h, wire.OpWrite, segmentBlocks-1, 2))
		s.server(3).disk.full = false
		s.until(10*second, func() bool { return s.unsynced() == 0 })
		s.ends(s.beginOf(h, wire.OpZero, segmentBlocks-1, 2)) // so that they want space again
	}
	return s.verdict()
}

// A copy's disk has said that it runs out of space: the write is refused before any
// copy has it, and nobody leaves the set.
func lowDisk(t *testing.T, bug string) *Result {
	s := tell(t, 3, 2, bug)
	s.leaderIs(3)
	h := s.host(1)
	s.server(2).disk.low = true
	s.write(h, 0)
	s.server(2).disk.full = true
	w := s.begin(h, wire.OpWrite, 1)
	s.write(h, 0) // which has its place
	s.run(2 * second)
	if w.ended != 0 || s.insync() != 2 || (s.copyOn(1).blocks[1].version != wire.Version{}) {
		t.Errorf("%v, and %d copies are in the set", w, s.insync())
	}
	s.server(2).disk.low, s.server(2).disk.full = false, false
	s.ends(w)
	return s.verdict()
}

// All nodes lose power, and under one of them an image of its disk is put back that was taken while it
// ran: all of it is as it was then. Nobody leaves the set, and then it is the head's.
func imagePutBack(t *testing.T, bug string) *Result {
	s, h := filled(t, bug)
	far := s.host(3)
	s.run(3 * second)
	restore := s.server(2).disk.image()
	var last []tag
	for b := range uint64(segmentBlocks) {
		last = append(last, s.write(h, b).tag)
	}
	s.run(3 * second) // until it is below all commit points
	for _, x := range s.servers {
		x.crash()
	}
	restore()
	for _, x := range s.servers {
		x.start()
	}
	s.until(10*second, func() bool { return s.volume().Head > 0 })
	s.run(2 * second)
	if s.insync() != 2 {
		t.Errorf("%d copies are in the set", s.insync())
	}
	s.moveHeadTo(2)
	for b := range uint64(segmentBlocks) {
		if got := s.read(far, b); bug == "" && got != last[b] {
			t.Errorf("block %d: read %d, not %d", b, got, last[b])
		}
	}
	return s.verdict()
}

var diskStories = []aStory{
	{"an image of a disk that is put back", imagePutBack, []string{"CommitTrusted"}},
	{"a lost write", lostWrite, []string{"ReadUnverified", "BadTaken"}},
	{"a misdirected write", strayWrite, []string{"ReadUnverified"}},
	{"a latent sector error", latentError, []string{"BadTaken"}},
	{"a lost metadata page", lostPage, []string{"LossUnnoticed", "BadTaken"}},
	{"a lost metadata page of the next head", lostPageOfNextHead, nil},
	{"a power cut after an acknowledgement", powerCut, []string{"VolatileCache"}},
	{"a disk that is dead after a power cut", diskDeadAfterPowerCut, []string{"UnopenedCounts"}},
	{"a last disk that is late", lastDiskLate, []string{"MissingForGood"}},
	{"a torn write", tornWrite, []string{"TornKept"}},
	{"a write error", writeError, []string{"WriteErrorIgnored"}},
	{"a write error of the head's disk", writeErrorOfHead, nil},
	{"a commit point for the copy of a replaced disk", lateCommit, []string{"CommitOfAnother"}},
	{"a read for the copy of a replaced disk", readOfAnother, []string{"ReadOfAnother"}},
	{"a full disk", fullDisk, []string{"FullCounts"}},
	{"a full disk that is the last", fullDiskIsLast, nil},
	{"a full disk of a copy that catches up", fullDiskOfAJoiner, []string{"SettledTwice"}},
	{"a disk that says it is short of space", lowDisk, nil},
}
