package mirror

import (
	"testing"

	"ashlar/replication/wire"
)

// grow is the view after the volume got a second segment.
func (s *stand) grow(members ...Member) {
	s.h.Configure(s.now, View{Bytes: 2 << 20, MinInSync: 1, Segments: []SegmentView{{Gen: 1, Members: members}, {Gen: 1, Members: members}}})
	s.settle()
}

func TestWhatIsBeyondTheEndWaitsUntilTheHeadKnowsThatTheVolumeHasGrown(t *testing.T) {
	s := newStand(t, 1, in(1), in(2))
	behind := &Op{Kind: wire.OpWrite, Offset: 1<<20 - 4096, Length: 8192, Data: make([]byte, 8192),
		Stamp: wire.Stamp{Epoch: 1, Token: s.now}, Deadline: s.now + HoldMax}
	s.h.Submit(s.now, behind)
	s.settle()
	s.pass(100 * Millisecond)
	if behind.answered {
		t.Fatalf("answered %v by a head that does not know", behind.Status)
	}
	s.grow(in(1), in(2)) // at once: what comes after this may overwrite it
	if !behind.answered || behind.Status != wire.OK {
		t.Errorf("answered %v: %v by a head that knows", behind.answered, behind.Status)
	}
}

func TestWhatIsBeyondTheEndForGoodIsAnsweredBusy(t *testing.T) {
	s := newStand(t, 1, in(1))
	op := &Op{Kind: wire.OpRead, Offset: 1 << 20, Length: 4096, Stamp: wire.Stamp{Epoch: 1, Token: s.now}, Deadline: s.now + HoldMax}
	s.h.Submit(s.now, op)
	s.pass(HoldMax + 100*Millisecond)
	if !op.answered || op.Status != wire.Busy {
		t.Errorf("answered %v: %v", op.answered, op.Status)
	}
}

func TestASegmentThatIsAddedServesOnlyWhenItsCopiesHavePromised(t *testing.T) {
	s := newStand(t, 1, in(1), in(2))
	s.h.Configure(s.now, View{Bytes: 2 << 20, MinInSync: 1, Segments: []SegmentView{
		{Gen: 1, Members: []Member{in(1), in(2)}}, {Gen: 1, Members: []Member{in(1), in(3)}}}})
	s.settle()
	op := &Op{Kind: wire.OpWrite, Offset: 1 << 20, Length: 4096, Data: make([]byte, 4096), Stamp: wire.Stamp{Epoch: 1, Token: s.now}, Deadline: s.now + HoldMax}
	s.h.Submit(s.now, op)
	s.settle()
	if op.answered || s.h.segments[1].state != preparing {
		t.Fatalf("a copy has not promised, and the segment is in state %v", s.h.segments[1].state)
	}
	s.h.Connected(s.now, 3)
	s.settle()
	if !op.answered || op.Status != wire.OK {
		t.Errorf("answered %v: %v", op.answered, op.Status)
	}
}
