package mirror

import (
	"testing"

	"ashlar/replication/wire"
)

// stand is a Head of one segment of 256 blocks, and copies that answer at once,
// as their test says.
type stand struct {
	t          *testing.T
	h          *Head
	now        int64
	tail       func(n wire.NodeID) wire.Tail
	write      func(n wire.NodeID) wire.Status
	read       func(n wire.NodeID) wire.Status
	changes    func(n wire.NodeID, m *wire.Changes) *wire.Page
	check      func(n wire.NodeID, m *wire.Check) *wire.Checked
	asked      map[wire.NodeID]int // reads
	wrote      map[wire.NodeID]int
	scrubbed   []Scrubbed
	caught     []Caught
	done       []*Op
	spent      []*Op
	complained map[wire.NodeID]int
}

func newStand(t *testing.T, minInSync int, members ...Member) *stand {
	s := &stand{t: t, asked: map[wire.NodeID]int{}, wrote: map[wire.NodeID]int{}, complained: map[wire.NodeID]int{},
		h:       NewHead(1, 1, 1, 1<<20, 1<<20, Bugs{}),
		tail:    func(wire.NodeID) wire.Tail { return wire.Tail{} },
		write:   func(wire.NodeID) wire.Status { return wire.OK },
		read:    func(wire.NodeID) wire.Status { return wire.OK },
		check:   func(wire.NodeID, *wire.Check) *wire.Checked { return &wire.Checked{} },
		changes: func(wire.NodeID, *wire.Changes) *wire.Page { return &wire.Page{} }}
	s.h.Lease(0, 1000*Second)
	s.configure(1, minInSync, members...)
	for _, m := range members {
		if m.Usable {
			s.h.Connected(0, m.Node)
		}
	}
	s.settle()
	return s
}

func (s *stand) configure(gen uint64, minInSync int, members ...Member) {
	s.h.Configure(s.now, View{MinInSync: minInSync, Segments: []SegmentView{{Gen: gen, Members: members}}})
	s.settle()
}

// settle lets the copies answer until nothing is asked any more.
func (s *stand) settle() {
	for {
		a := s.h.Take()
		s.caught, s.done = append(s.caught, a.Caught...), append(s.done, a.Done...)
		s.spent = append(s.spent, a.Spent...)
		s.scrubbed = append(s.scrubbed, a.Scrubbed...)
		for _, n := range a.Complain {
			s.complained[n]++
		}
		if len(a.Sends) == 0 {
			return
		}
		for _, x := range a.Sends {
			if m := s.answer(x.To, x.Msg); m != nil {
				s.h.Receive(s.now, x.To, m)
			}
		}
	}
}

func (s *stand) answer(n wire.NodeID, m wire.Message) wire.Message {
	switch m := m.(type) {
	case *wire.Prepare:
		p := &wire.Prepared{Req: m.Req, Epoch: m.Epoch}
		for _, i := range m.Segments {
			t := s.tail(n)
			t.Segment = i
			p.Segments = append(p.Segments, t)
		}
		return p
	case *wire.Changes:
		p := s.changes(n, m)
		if p == nil {
			return nil
		}
		p.Req = m.Req
		return p
	case *wire.Check:
		c := s.check(n, m)
		if c == nil {
			return nil
		}
		c.Req = m.Req
		return c
	case *wire.Write:
		s.wrote[n]++
		return &wire.Ack{Req: m.Req, Status: s.write(n)}
	case *wire.Read:
		s.asked[n]++
		if status := s.read(n); status != wire.OK {
			return &wire.Blocks{Req: m.Req, Status: status}
		}
		return &wire.Blocks{Req: m.Req, Data: make([]byte, m.Count*wire.BlockSize), CRC: make([]uint32, m.Count), Versions: make([]wire.Version, m.Count)}
	}
	return nil
}

// pass lets time go by, a tick every 50 ms.
func (s *stand) pass(d int64) {
	for end := s.now + d; s.now < end; {
		s.now += 50 * Millisecond
		s.h.Tick(s.now)
		s.settle()
	}
}

func (s *stand) submit(kind wire.OpKind, data int, length uint64) *Op {
	op := &Op{Kind: kind, Stamp: wire.Stamp{Epoch: 1, Token: s.now}, Length: length, Deadline: s.now + HoldMax}
	if data > 0 {
		op.Data = make([]byte, data)
		op.Data[0] = 1
	}
	s.h.Submit(s.now, op)
	s.settle()
	return op
}

func in(n wire.NodeID) Member      { return Member{Node: n, Incarnation: 1, InSync: true, Usable: true} }
func outside(n wire.NodeID) Member { return Member{Node: n, Incarnation: 1, Usable: true} }

func TestAWriteThatAProposedCopyHasNoSpaceForWaitsForTheClustersAnswer(t *testing.T) {
	s := newStand(t, 1, in(1), outside(2))
	s.pass(Second)
	if len(s.caught) != 1 {
		t.Fatalf("%d copies caught up", len(s.caught))
	}
	s.write = func(n wire.NodeID) wire.Status {
		if n == 2 {
			return wire.NoSpace
		}
		return wire.OK
	}
	op := s.submit(wire.OpWrite, wire.BlockSize, wire.BlockSize)
	s.pass(Second)
	if op.answered {
		t.Fatalf("answered %v while the copy may come into the set without it", op.Status)
	}
	s.configure(2, 1, in(1), in(2))
	s.pass(Second)
	if op.answered || s.complained[2] == 0 {
		t.Fatalf("answered %v, %d complaints of the copy that lacks it", op.answered, s.complained[2])
	}
	s.configure(3, 1, in(1), Member{Node: 2, Incarnation: 2, Usable: true})
	s.pass(Second)
	if !op.answered || op.Status != wire.OK {
		t.Errorf("%v, answered %v, when the copy was out", op.Status, op.answered)
	}
}

func TestWhatASegmentHeldForTooLongIsForgotten(t *testing.T) {
	s := newStand(t, 2, in(1), Member{Node: 2, Incarnation: 1})
	for range 100 {
		op := s.submit(wire.OpWrite, wire.BlockSize, wire.BlockSize)
		s.pass(HoldMax + Second)
		if op.Status != wire.Busy {
			t.Fatalf("%v below the minimum of copies", op.Status)
		}
	}
	if n := len(s.h.segments[0].held); n > 0 || s.h.bytesHeld > 0 {
		t.Errorf("%d operations and %d bytes are kept", n, s.h.bytesHeld)
	}
}

func TestACopyThatCannotShowItsTailIsComplainedOf(t *testing.T) {
	for n := wire.NodeID(1); n <= 2; n++ { // also the head's own
		s := newStand(t, 1)
		s.tail = func(m wire.NodeID) wire.Tail {
			if m == n {
				return wire.Tail{Status: wire.Missing}
			}
			return wire.Tail{}
		}
		s.configure(1, 1, in(1), in(2))
		s.h.Connected(0, 1)
		s.h.Connected(0, 2)
		s.pass(2 * StuckMax)
		if s.complained[n] == 0 || s.complained[3-n] > 0 {
			t.Errorf("complaints %v, want them of node %d", s.complained, n)
		}
	}
}

func TestAReadGoesToAnotherCopyWhereOneHasNone(t *testing.T) {
	s := newStand(t, 1, in(1), in(2))
	s.read = func(n wire.NodeID) wire.Status {
		if n == 1 {
			return wire.Missing
		}
		return wire.OK
	}
	if op := s.submit(wire.OpRead, 0, wire.BlockSize); op.Status != wire.OK || !op.answered || s.asked[2] != 1 {
		t.Errorf("%v, answered %v, asked %v", op.Status, op.answered, s.asked)
	}
}

func TestALongTailIsFetchedPageByPage(t *testing.T) {
	s := newStand(t, 1)
	change := func(b uint32) wire.Change { return wire.Change{Block: b, Version: wire.Version{Seq: uint64(b) + 1}} }
	s.tail = func(n wire.NodeID) wire.Tail {
		if n == 2 {
			return wire.Tail{Changes: []wire.Change{change(0)}, Next: 1}
		}
		return wire.Tail{}
	}
	s.changes = func(n wire.NodeID, m *wire.Changes) *wire.Page {
		if n != 2 || m.Own || m.From == 0 || m.From > 3 {
			t.Errorf("node %d is asked for %v", n, m)
		}
		p := &wire.Page{Changes: []wire.Change{change(m.From)}, Next: m.From + 1}
		if m.From == 3 {
			p.Next = 0
		}
		return p
	}
	s.configure(1, 1, in(1), in(2))
	s.h.Connected(0, 1)
	s.h.Connected(0, 2)
	s.pass(Second)
	if seg := s.h.segments[0]; seg.state != serving || s.asked[2] != 1 || seg.seq == 0 {
		t.Errorf("state %v, %d writes to make tails equal, reads %v", seg.state, seg.seq, s.asked)
	}
}

func TestAnAnswerToSomethingElseIsNone(t *testing.T) {
	h := NewHead(1, 1, 1, 1<<20, 1<<20, Bugs{})
	h.Configure(0, View{MinInSync: 1, Segments: []SegmentView{{Gen: 1, Members: []Member{in(2)}}}})
	h.Connected(0, 2)
	m := h.Take().Sends[0].Msg.(*wire.Prepare)
	h.Receive(0, 2, &wire.Ack{Req: m.Req})
	h.Receive(0, 2, &wire.Prepared{Req: m.Req, Epoch: 1, Segments: []wire.Tail{{}}})
	if h.segments[0].state != serving {
		t.Error("the right answer was not taken any more")
	}
}

func TestAnOperationWhoseDataDoesNotFitItsLengthIsRefused(t *testing.T) {
	s := newStand(t, 1, in(1))
	for name, op := range map[string]*Op{
		"a short write":          s.submit(wire.OpWrite, 4096, 8192),
		"half a compare":         s.submit(wire.OpCompareAndWrite, 4096, 4096),
		"a read of everything":   s.submit(wire.OpRead, 0, 1<<62),
		"a verify of too little": s.submit(wire.OpVerify, 512, 4096),
		"zeros with data":        s.submit(wire.OpZero, 4096, 4096),
	} {
		if op.Status != wire.OutOfRange || !op.answered {
			t.Errorf("%s: %v, answered %v", name, op.Status, op.answered)
		}
	}
}

func TestRequestsThatFoundTheWindowFullAreNotSentAllAgainForEachOther(t *testing.T) {
	p := NewPortal(1, wire.Portal{Node: 2, Incarnation: 1}, Bugs{})
	p.Lease(0, 1000*Second)
	p.Head(0, 2, 1, true)
	p.Token(0, 2, 1)
	sent := 0
	refuse := func() {
		for _, x := range p.Take().Sends {
			if m, ok := x.Msg.(*wire.Submit); ok {
				sent++
				p.Receive(0, 2, &wire.Done{Req: m.Req, Status: wire.Window})
			}
		}
	}
	const n = 128
	for range n {
		p.Submit(0, &Request{Kind: wire.OpWrite, Stamp: wire.Stamp{Epoch: 1, Token: 1}})
		refuse()
	}
	if sent != n {
		t.Errorf("%d requests were sent %d times", n, sent)
	}
	p.Tick(50 * Millisecond)
	refuse()
	if again := sent - n; again == 0 || again > roomEach {
		t.Errorf("%d were sent again on a tick", again)
	}
}
