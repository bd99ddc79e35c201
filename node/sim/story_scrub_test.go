package sim

import (
	"testing"

	"ashlar/node/cluster"
	"ashlar/replication/mirror"
	"ashlar/replication/wire"
)

// scrubs waits until the volume was gone round, by what is known and with its data.
func (s *story) scrubs() {
	s.scrubEvery = 100 * millisecond
	s.run(2 * second)
}

// atOnce is a single look at the first segment by its head.
func (s *story) atOnce(data bool) {
	p := s.server(s.volume().Head).process
	p.run(fromControl, func() {
		p.reign(1).head.Scrub(p.now(), mirror.Range{Count: segmentBlocks, Data: data, Mend: true}, nil)
	})
}

// The other copy's disk says that a write is done, and has nothing of it. Nobody
// reads there until its node is the head.
func forgottenWrite(t *testing.T, bug string) *Result {
	s, h := filled(t, bug)
	far := s.host(3)
	s.server(2).disk.trick = forget
	w := s.write(h, 4)
	if s.kinds["forgotten write"] != 1 {
		t.Error("no write was forgotten")
	}
	s.scrubs()
	s.moveHeadTo(2)
	if got := s.read(far, 4); bug == "" && got != w.tag {
		t.Errorf("read %d, not %d", got, w.tag)
	}
	return s.verdict()
}

// The head's own disk forgets a write, and another copy's: what the third has is taken.
func twoForget(t *testing.T, bug string) *Result {
	s := tell(t, 3, 3, bug)
	s.leaderIs(3)
	h := s.host(1)
	s.write(h, 4)
	s.server(1).disk.trick, s.server(2).disk.trick = forget, forget
	w := s.write(h, 4)
	s.scrubs()
	if got := s.read(h, 4); bug == "" && got != w.tag {
		t.Errorf("read %d, not %d", got, w.tag)
	}
	return s.verdict()
}

// The head cannot read a block, and a second copy's disk has forgotten the last write
// of it: the second is not read, and nothing is mended from it.
func badAndOld(t *testing.T, bug string) *Result {
	s := tell(t, 3, 3, bug)
	s.leaderIs(3)
	h := s.host(1)
	s.write(h, 4)
	s.server(2).disk.trick = forget
	w := s.write(h, 4)
	s.copyOn(1).blocks[4].bad = true
	if got := s.read(h, 4); bug == "" && got != w.tag {
		t.Errorf("read %d, not %d", got, w.tag)
	}
	s.run(second)
	for n := wire.NodeID(1); n <= 3; n++ {
		if k := &s.copyOn(n).blocks[4]; bug == "" && (k.bad || !same(k, &s.copyOn(3).blocks[4])) {
			t.Errorf("node %d has %v after the read", n, k)
		}
	}
	return s.verdict()
}

// What nobody reads decays on the other copy's disk: bits flip, a write goes astray,
// a page of metadata is gone.
func decayUnread(t *testing.T, bug string) *Result {
	s, h := filled(t, bug)
	s.run(3 * second)
	s.copyOn(2).blocks[1].bad = true
	s.server(2).disk.trick = misplace
	s.write(h, 4)
	s.server(2).disk.loseMetadata(s.copyOn(2), 6, 2)
	s.scrubs()
	if n := s.unsound(); bug == "" && n > 0 {
		t.Errorf("%d blocks are still bad", n)
	}
	return s.verdict()
}

// A host writes a block while a scrub mends it: the scrub has read the good copy
// before the write, and stores it after.
func writeUnderScrub(t *testing.T, bug string) *Result {
	s, h := filled(t, bug)
	s.run(3 * second)
	for range 20 {
		s.copyOn(2).blocks[4].bad = true
		s.server(1).disk.slow, s.server(2).disk.slow = 40*millisecond, 40*millisecond
		s.atOnce(true)
		for range 6 {
			w := s.begin(h, wire.OpWrite, 4)
			s.until(second, func() bool { return w.ended != 0 })
			s.run(microsecond)
		}
	}
	s.server(1).disk.slow, s.server(2).disk.slow = 0, 0
	return s.verdict()
}

// A copy's node dies in the midst of a scrub: what it is asked for is not waited for,
// and hosts' I/O goes on when the copy is out.
func copyDiesUnderScrub(t *testing.T, bug string) *Result {
	s, h := filled(t, bug)
	s.copyOn(1).blocks[4].bad = true
	s.server(2).disk.slow = 10 * second
	s.atOnce(true)
	s.run(20 * millisecond)
	s.server(2).kill()
	s.server(2).disk.slow = 0
	s.write(h, 4)
	s.server(2).start()
	return s.verdict()
}

// The head moves in the midst of a scrub.
func headMovesUnderScrub(t *testing.T, bug string) *Result {
	s, h := filled(t, bug)
	s.scrubEvery = 10 * millisecond
	s.copyOn(1).blocks[4].bad, s.copyOn(2).blocks[5].bad = true, true
	for n := range 6 {
		s.moveHeadTo(wire.NodeID(2 - n%2))
		s.write(h, uint64(n))
	}
	return s.verdict()
}

// A disk loses a third block when it holds the last copy: it stays until there is another, and
// is out then.
func wornOut(t *testing.T, bug string) *Result {
	s, h := filled(t, bug)
	s.run(3 * second)
	bad := func(blocks ...int) {
		for _, b := range blocks {
			s.copyOn(1).blocks[b].bad = true
			s.read(h, uint64(b))
		}
		s.run(second)
	}
	worn := func() *cluster.Disk { return s.raft.last().Disks["d1"] }
	bad(1, 2)
	s.server(2).kill()
	s.until(10*second, func() bool { return s.insync() == 1 })
	s.run(second) // until its head knows
	p := s.server(1).process
	s.copyOn(1).blocks[5].bad = true
	p.run(fromControl, func() {
		p.reign(1).head.Scrub(p.now(), mirror.Range{Count: segmentBlocks, Data: true, Mend: true}, nil)
	})
	s.run(3 * second)
	if d := worn(); bug == "" && (!d.Worn || d.Failed || len(d.Bad) != 3) {
		t.Errorf("alone: %+v", d)
	}
	w := s.begin(h, wire.OpWrite, 6)
	s.until(10*second, func() bool { return w.ended != 0 })
	if bug == "" && w.ended == 0 {
		t.Error("writes wait")
	}
	s.server(2).start()
	r := s.verdict()
	if d := worn(); bug == "" && !d.Ejected {
		t.Errorf("with another copy: %+v", d)
	}
	return r
}

var scrubStories = []aStory{
	{"a write that a copy's disk forgets", forgottenWrite, []string{"ScrubNothing"}},
	{"a write that two disks of three forget", twoForget, []string{"ScrubOlder"}},
	{"a bad block and an old one", badAndOld, []string{"OlderRead"}},
	{"decay that nobody reads", decayUnread, []string{"ScrubNothing"}},
	{"a write to what a scrub mends", writeUnderScrub, []string{"ScrubUnlocked"}},
	{"a copy that dies under a scrub", copyDiesUnderScrub, nil},
	{"a disk that is worn out", wornOut, []string{"EjectLast"}},
	{"a head that moves under a scrub", headMovesUnderScrub, nil},
}
