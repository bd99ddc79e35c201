package mirror

import (
	"testing"

	"ashlar/replication/wire"
)

// Invariant I15: whatever hosts send, no more than the window is under way, and
// what finds no room is told so at once.
func TestTheWindowOfAVolumeIsBounded(t *testing.T) {
	for name, c := range map[string]struct {
		kind   wire.OpKind
		length uint64
		room   int // operations that fit
		bytes  int
	}{
		"small writes": {wire.OpWrite, 4096, WindowOps, WindowOps * 4096},
		"large writes": {wire.OpWrite, 1 << 20, WindowBytes >> 20, WindowBytes},
		"zeros":        {wire.OpZero, 4096, WindowOps, 0},
		"large reads":  {wire.OpRead, 1 << 20, WindowBytes >> 20, WindowBytes},
	} {
		t.Run(name, func(t *testing.T) {
			h := newStand(t, 1, in(1), in(2)).h // whose copies answer nothing from here on
			full := 0
			for range c.room + 100 {
				op := &Op{Kind: c.kind, Stamp: wire.Stamp{Epoch: 1}, Length: c.length, Deadline: HoldMax}
				if c.kind == wire.OpWrite {
					op.Data = make([]byte, c.length)
				}
				h.Submit(0, op)
				if op.answered && op.Status == wire.Window {
					full++
				} else if op.answered {
					t.Fatal(op.Status)
				}
			}
			l := h.Load(0)
			if full != 100 || l.Operations != c.room || l.Bytes != c.bytes {
				t.Errorf("%d found no room; %d operations and %d bytes are under way", full, l.Operations, l.Bytes)
			}
		})
	}
}

// A portal holds no more for a head that it cannot reach, or that is full.
func TestAPortalHoldsNoMoreThanAWindow(t *testing.T) {
	for name, c := range map[string]struct{ data, room int }{"small": {4096, WindowOps}, "large": {1 << 20, WindowBytes >> 20}} {
		p := NewPortal(1, wire.Portal{Node: 2, Incarnation: 1}, Bugs{})
		p.Lease(0, 1000*Second)
		for range c.room {
			p.Submit(0, &Request{Kind: wire.OpWrite, Length: uint64(c.data), Data: make([]byte, c.data)})
		}
		if done := p.Take().Done; len(done) > 0 {
			t.Fatalf("%s: %d were answered %v", name, len(done), done[0].Status)
		}
		p.Submit(0, &Request{Kind: wire.OpWrite, Length: uint64(c.data), Data: make([]byte, c.data)})
		if done := p.Take().Done; len(done) != 1 || done[0].Status != wire.Window {
			t.Fatalf("%s: one more: %v", name, done)
		}
		p.Tick(HoldMax)
		if done := p.Take().Done; len(done) != c.room || done[0].Status != wire.Busy || p.bytes != 0 {
			t.Errorf("%s: at last %d were answered, %d bytes are held", name, len(done), p.bytes)
		}
	}
}

// A command for which there was no room to the end is answered TASK SET FULL, which
// has its host send fewer, not BUSY.
func TestWhatFoundTheWindowFullToTheEndIsToldSo(t *testing.T) {
	p := NewPortal(1, wire.Portal{Node: 2, Incarnation: 1}, Bugs{})
	p.Lease(0, 1000*Second)
	p.Head(0, 2, 1, true)
	p.Token(0, 2, 1)
	p.Submit(0, &Request{Kind: wire.OpWrite, Stamp: wire.Stamp{Epoch: 1, Token: 1}})
	for now := int64(0); now <= HoldMax; now += 50 * Millisecond {
		p.Token(now, 2, max(1, now))
		p.Tick(now)
		a := p.Take()
		for _, x := range a.Sends {
			if m, ok := x.Msg.(*wire.Submit); ok {
				p.Receive(now, 2, &wire.Done{Req: m.Req, Status: wire.Window})
			}
		}
		for _, r := range a.Done {
			if r.Status != wire.Window || now < HoldMax {
				t.Errorf("%v after %d ms", r.Status, now/Millisecond)
			}
			return
		}
	}
	t.Error("it was not answered")
}

// A copy that catches up and hangs is given up after 2 s, left alone for a while,
// and for longer the next time.
func TestACopyThatCatchesUpHoldsNothingUp(t *testing.T) {
	h := newStand(t, 1, in(1), outside(2)).h
	now := int64(0)
	seg := h.segments[0]
	ackOwn := func() {
		for _, x := range h.Take().Sends {
			if m, ok := x.Msg.(*wire.Write); ok && x.To == 1 {
				h.Receive(now, 1, &wire.Ack{Req: m.Req})
			}
		}
	}
	for round, pause := range []int64{1 * Second, 2 * Second, 4 * Second} {
		for ; seg.joiners[2] == nil; now += 50 * Millisecond {
			h.Lease(now, now+Second)
			h.Tick(now)
			ackOwn()
		}
		op := &Op{Kind: wire.OpWrite, Stamp: wire.Stamp{Epoch: 1, Token: now}, Length: 4096, Data: make([]byte, 4096), Deadline: now + HoldMax}
		begun := now
		h.Submit(now, op)
		for ; !op.answered && now < begun+HoldMax; now += 50 * Millisecond {
			h.Lease(now, now+Second)
			h.Tick(now)
			ackOwn()
		}
		if op.Status != wire.OK || now-begun < joinPatience || now-begun > joinPatience+200*Millisecond {
			t.Fatalf("round %d: %v after %d ms", round, op.Status, (now-begun)/Millisecond)
		}
		if p := h.peer(2); p.pause != pause {
			t.Errorf("round %d: it is left alone for %d ms", round, p.pause/Millisecond)
		}
	}
}

// Two copies catch up. One hangs, and the other has no space for the same write: once the first is given up, nobody
// waits for the second either; that one begins anew.
func TestACopyThatIsGivenUpTakesAnotherWithIt(t *testing.T) {
	h := newStand(t, 1, in(1), outside(2), outside(3)).h
	now := int64(0)
	seg := h.segments[0]
	step := func() {
		now += 50 * Millisecond
		h.Lease(now, now+Second)
		h.Tick(now)
		for _, x := range h.Take().Sends {
			if m, ok := x.Msg.(*wire.Write); ok && x.To != 2 {
				status := wire.OK
				if x.To == 3 {
					status = wire.NoSpace
				}
				h.Receive(now, x.To, &wire.Ack{Req: m.Req, Status: status})
			}
		}
	}
	for seg.joiners[2] == nil || seg.joiners[3] == nil {
		step()
	}
	op := &Op{Kind: wire.OpWrite, Stamp: wire.Stamp{Epoch: 1, Token: now}, Length: 4096, Data: make([]byte, 4096), Deadline: now + HoldMax}
	h.Submit(now, op)
	for end := now + HoldMax; !op.answered && now < end; {
		step()
	}
	if op.Status != wire.OK || !op.answered || seg.joiners[2] != nil {
		t.Errorf("answered %v with %v; copies that still catch up: %v", op.answered, op.Status, joinerIDs(seg))
	}
}
