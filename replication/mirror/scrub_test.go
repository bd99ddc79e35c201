package mirror

import (
	"testing"

	"ashlar/replication/scrub"
	"ashlar/replication/wire"
)

// holding has each copy hold the same write of a block, but for those that a test names.
func holding(block uint32, versions map[wire.NodeID]wire.Version) func(wire.NodeID, *wire.Check) *wire.Checked {
	return func(n wire.NodeID, m *wire.Check) *wire.Checked {
		v, odd := versions[n]
		if !odd {
			v = wire.Version{Epoch: 1, Seq: 9}
		}
		c := &wire.Checked{Changes: []wire.Change{{Block: block, Version: v, CRC: uint32(v.Seq)}}}
		if v == wire.LostVersion {
			c.Bad = []uint32{block}
		}
		return c
	}
}

func (s *stand) scrub(r Range) Scrubbed {
	s.t.Helper()
	s.scrubbed = nil
	s.h.Scrub(s.now, r, "mine")
	s.settle()
	s.pass(Second)
	if len(s.scrubbed) != 1 || s.scrubbed[0].Private != "mine" {
		s.t.Fatalf("scrubbed %+v", s.scrubbed)
	}
	return s.scrubbed[0]
}

var old = wire.Version{Epoch: 1, Seq: 3}

func TestCopiesThatAreAlikeAreLeftAlone(t *testing.T) {
	s := newStand(t, 1, in(1), in(2), in(3))
	s.check = holding(7, nil)
	got := s.scrub(Range{Count: 256, Mend: true})
	if !got.Ended || !got.Whole || got.Copies != 3 || got.Blocks != 1 || len(got.Found) > 0 || len(s.wrote) > 0 {
		t.Errorf("%+v, writes %v", got, s.wrote)
	}
}

func TestAnOldBlockIsMendedFromTheNewest(t *testing.T) {
	s := newStand(t, 1, in(1), in(2), in(3))
	s.check = holding(7, map[wire.NodeID]wire.Version{1: old, 2: old})
	got := s.scrub(Range{Count: 256, Mend: true})
	if !got.Ended || !got.Whole || got.Mended != 1 || len(got.Found) != 1 || s.asked[3] != 1 || s.asked[1]+s.asked[2] > 0 {
		t.Errorf("%+v, read %v", got, s.asked)
	}
	for n := wire.NodeID(1); n <= 3; n++ {
		if s.wrote[n] != 1 {
			t.Errorf("node %d was written to %d times", n, s.wrote[n])
		}
	}
}

func TestNothingIsWrittenWithoutTheOrderToMend(t *testing.T) {
	s := newStand(t, 1, in(1), in(2))
	s.check = holding(7, map[wire.NodeID]wire.Version{2: old})
	got := s.scrub(Range{Count: 256})
	if !got.Ended || got.Whole || got.Mended > 0 || len(got.Found) != 1 || got.Found[0].Old[0] != 2 || len(s.wrote) > 0 {
		t.Errorf("%+v, writes %v", got, s.wrote)
	}
}

func TestTheNewestIsTakenFromNobodyElse(t *testing.T) {
	s := newStand(t, 1, in(1), in(2))
	s.check = holding(7, map[wire.NodeID]wire.Version{1: old})
	s.read = func(n wire.NodeID) wire.Status {
		if n == 2 {
			return wire.Failed
		}
		return wire.OK
	}
	got := s.scrub(Range{Count: 256, Mend: true})
	if got.Whole || got.Mended > 0 || s.asked[1] > 0 || len(s.wrote) > 0 {
		t.Errorf("%+v, read %v, writes %v", got, s.asked, s.wrote)
	}
}

func TestAScrubDoesNotWaitForACopyThatIsAway(t *testing.T) {
	for name, away := range map[string]func(*stand){
		"from the start": func(s *stand) { s.h.Lost(s.now, 2) },
		"in the midst": func(s *stand) {
			s.check = func(n wire.NodeID, m *wire.Check) *wire.Checked {
				if n == 2 {
					s.h.Lost(s.now, 2)
					return nil
				}
				return &wire.Checked{}
			}
		},
		"without a lease": func(s *stand) {
			s.check = func(wire.NodeID, *wire.Check) *wire.Checked { return &wire.Checked{Status: wire.Lapsed} }
		},
	} {
		s := newStand(t, 1, in(1), in(2))
		away(s)
		if got := s.scrub(Range{Count: 256, Mend: true}); got.Ended || got.Whole {
			t.Errorf("%s: %+v", name, got)
		}
		if len(s.h.locks.buckets) > 0 {
			t.Errorf("%s: the range stays locked", name)
		}
	}
}

func TestTheEndOfAReignBreaksItsScrubsOff(t *testing.T) {
	s := newStand(t, 1, in(1), in(2))
	s.check = func(wire.NodeID, *wire.Check) *wire.Checked { return nil }
	s.h.Scrub(s.now, Range{Count: 256}, nil)
	s.settle()
	s.h.Stop(s.now)
	s.settle()
	if len(s.scrubbed) != 1 || s.scrubbed[0].Ended {
		t.Errorf("%+v", s.scrubbed)
	}
}

func TestReadsGoOnWhileCopiesAreCompared(t *testing.T) {
	s := newStand(t, 1, in(1), in(2))
	s.check = func(wire.NodeID, *wire.Check) *wire.Checked { return nil }
	s.h.Scrub(s.now, Range{Count: 256}, nil)
	s.settle()
	if op := s.submit(wire.OpRead, 0, wire.BlockSize); !op.answered {
		t.Error("a read waits")
	}
	if op := s.submit(wire.OpWrite, wire.BlockSize, wire.BlockSize); op.answered {
		t.Error("a write does not wait")
	}
}

func TestOfWhatAllHaveLostNothingIsGuessed(t *testing.T) {
	s := newStand(t, 1, in(1), in(2))
	s.check = holding(7, map[wire.NodeID]wire.Version{1: wire.LostVersion, 2: wire.LostVersion})
	got := s.scrub(Range{Count: 256, Mend: true})
	if got.Whole || len(got.Found) != 1 || got.Found[0].Verdict != scrub.Gone || len(s.wrote) > 0 {
		t.Errorf("%+v, writes %v", got, s.wrote)
	}
}
