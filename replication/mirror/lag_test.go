package mirror

import (
	"testing"

	"ashlar/replication/wire"
)

// lagging are copies of which the third's commit point is behind. had is what each lists above
// that, on pages of one change; it begins when all are connected.
func lagging(t *testing.T, had map[wire.NodeID][]wire.Change) (s *stand, listed map[wire.NodeID]int) {
	s, listed = newStand(t, 1), map[wire.NodeID]int{}
	low, high := wire.Version{Seq: 3}, wire.Version{Seq: 9}
	s.tail = func(n wire.NodeID) wire.Tail {
		if n == 3 {
			return wire.Tail{Commit: low, Changes: had[3]}
		}
		return wire.Tail{Commit: high}
	}
	s.changes = func(n wire.NodeID, m *wire.Changes) *wire.Page {
		if listed[n]++; n == 3 || m.Own || m.After != low {
			t.Errorf("node %d is asked for %v", n, m)
		}
		p := &wire.Page{Changes: had[n][m.From:][:1]}
		if int(m.From)+1 < len(had[n]) {
			p.Next = m.From + 1
		}
		return p
	}
	s.configure(1, 1, in(1), in(2), in(3))
	for n := wire.NodeID(1); n <= 3; n++ {
		s.h.Connected(0, n)
		s.settle()
	}
	s.pass(Second)
	if state := s.h.segments[0].state; state != serving {
		t.Fatalf("state %v", state)
	}
	return s, listed
}

func changed(block uint32, seq uint64) wire.Change {
	return wire.Change{Block: block, Version: wire.Version{Seq: seq}}
}

func TestWhatAllCopiesHoldIsNotWrittenAgainThoughTheirCommitPointsDiffer(t *testing.T) {
	all := []wire.Change{changed(0, 4), changed(1, 9)}
	s, listed := lagging(t, map[wire.NodeID][]wire.Change{1: all, 2: all, 3: all})
	if listed[1] != 2 || listed[2] != 2 || len(s.wrote) > 0 || len(s.asked) > 0 {
		t.Errorf("asked %v, reads %v, writes %v", listed, s.asked, s.wrote)
	}
}

func TestWhatACopyBehindLacksIsReadFromItsHoldersAlone(t *testing.T) {
	all := []wire.Change{changed(0, 4), changed(1, 9)}
	s, _ := lagging(t, map[wire.NodeID][]wire.Change{1: {changed(0, 4), changed(1, 8)}, 2: all, 3: {changed(0, 4)}})
	if s.asked[2] != 1 || s.asked[1]+s.asked[3] > 0 || s.wrote[1] != 1 || s.wrote[3] != 1 {
		t.Errorf("reads %v, writes %v", s.asked, s.wrote)
	}
}

// Nobody stands for the only copy that has it: the block stays as it is.
func TestWhatACopyBehindLacksIsNotReplacedByAnythingOlder(t *testing.T) {
	s := newStand(t, 1)
	s.tail = func(n wire.NodeID) wire.Tail {
		if n == 1 {
			return wire.Tail{Commit: wire.Version{Seq: 9}}
		}
		return wire.Tail{}
	}
	s.changes = func(wire.NodeID, *wire.Changes) *wire.Page { return &wire.Page{Changes: []wire.Change{changed(5, 9)}} }
	s.read = func(wire.NodeID) wire.Status { return wire.Failed }
	s.configure(1, 1, in(1), in(2))
	s.h.Connected(0, 1)
	s.h.Connected(0, 2)
	s.settle()
	s.pass(Second)
	if s.asked[2] > 0 || len(s.wrote) > 0 || s.h.segments[0].settles > 0 {
		t.Errorf("reads %v, writes %v, %d blocks are not settled", s.asked, s.wrote, s.h.segments[0].settles)
	}
}

// A node's copy of one segment leaves its set while its copy of another is being asked what it holds: that goes on.
func TestACopyThatLeavesTakesNoOtherSegmentsQuestionWithIt(t *testing.T) {
	s := newStand(t, 1)
	s.h = NewHead(1, 1, 1, 2<<20, 1<<20, Bugs{})
	s.h.Lease(0, 1000*Second)
	s.tail = func(n wire.NodeID) wire.Tail { return wire.Tail{Commit: wire.Version{Seq: uint64(n)}} }
	asked := map[wire.Segment]uint64{}
	s.changes = func(_ wire.NodeID, m *wire.Changes) *wire.Page {
		asked[m.Segment] = m.Req
		return nil
	}
	agree := func(gen uint64, second ...Member) {
		s.h.Configure(s.now, View{MinInSync: 1, Segments: []SegmentView{{Gen: 1, Members: []Member{in(1), in(2)}}, {Gen: gen, Members: second}}})
		s.settle()
	}
	agree(1, in(1), in(2))
	s.h.Connected(0, 1)
	s.h.Connected(0, 2)
	s.settle()
	out := in(2)
	out.InSync = false
	agree(2, in(1), out)
	if s.h.segments[0].state != preparing || s.h.segments[1].state != serving {
		t.Fatalf("states %v, %v", s.h.segments[0].state, s.h.segments[1].state)
	}
	s.h.Receive(s.now, 2, &wire.Page{Req: asked[0]})
	s.settle()
	if s.h.segments[0].state != serving {
		t.Error("the answer was not taken")
	}
}

func TestACopyThatCannotListIsComplainedOfAndAskedAgain(t *testing.T) {
	s := newStand(t, 1)
	s.tail = func(n wire.NodeID) wire.Tail { return wire.Tail{Commit: wire.Version{Seq: uint64(n)}} }
	fails := true
	s.changes = func(wire.NodeID, *wire.Changes) *wire.Page {
		if fails {
			return &wire.Page{Status: wire.Failed}
		}
		return &wire.Page{}
	}
	s.configure(1, 1, in(1), in(2))
	s.h.Connected(0, 1)
	s.h.Connected(0, 2)
	s.settle()
	s.pass(2 * StuckMax)
	if s.complained[2] == 0 || s.complained[1] > 0 || s.h.segments[0].state != preparing {
		t.Errorf("complained of %v, state %v", s.complained, s.h.segments[0].state)
	}
	fails = false
	s.pass(Second)
	if s.h.segments[0].state != serving {
		t.Error("it is not asked again")
	}
}
