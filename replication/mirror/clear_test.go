package mirror

import (
	"slices"
	"testing"

	"ashlar/replication/wire"
)

func (c *cluster) fence(at wire.NodeID, id uint64, scope wire.FenceScope) {
	c.nodes[at].portal.Fence(c.now, id, scope, wire.Nexus{})
	c.settle()
}

func (c *cluster) proven(at wire.NodeID, id uint64) bool {
	return slices.Contains(c.nodes[at].fenced, id)
}

func TestAFenceOfTheUnitEndsWhatAnotherPortalHolds(t *testing.T) {
	for _, scope := range []wire.FenceScope{wire.FenceUnit, wire.FenceTasks} {
		c := newCluster(t, Bugs{})
		c.nodes[2].portal.Head(c.now, 1, c.epoch, false) // it cannot reach the head, which reaches it
		held := c.write(2, "b", 0, 'b')
		c.fence(3, 7, scope)
		held.is(wire.Aborted)
		if c.proven(3, 7) {
			t.Fatal("proven without that portal's word")
		}
		c.nodes[2].portal.Head(c.now, 1, c.epoch, true)
		c.pass(Second)
		if !c.proven(3, 7) {
			t.Fatal("not proven")
		}
		c.holds(0, 0)
		for n, want := range map[wire.NodeID]int{1: 1, 2: 1, 3: 0} {
			if got := c.nodes[n].cleared; len(got) != want || want == 1 && got[0] != scope {
				t.Errorf("node %d was told %v", n, got)
			}
		}
	}
}

// TestWhatIsUnderWayWhenTheUnitIsFencedIsNotCarriedOutAfterIt: it reaches the head
// after the fence, and before its portal's word.
func TestWhatIsUnderWayWhenTheUnitIsFencedIsNotCarriedOutAfterIt(t *testing.T) {
	c := newCluster(t, Bugs{})
	var late []*wire.Submit
	c.lose = func(_ wire.NodeID, m wire.Message) bool {
		if s, ok := m.(*wire.Submit); ok {
			late = append(late, s)
			return true
		}
		_, clear := m.(*wire.Clear)
		return clear
	}
	k := c.write(2, "b", 0, 'b')
	c.fence(3, 7, wire.FenceUnit)
	c.nothingLost()
	c.members[2].Usable = false // so that the head has to hold it
	c.agree(c.members...)
	m := late[0]
	c.h.Submit(c.now, &Op{Kind: m.Op, Command: m.Command, Nexus: m.Nexus, Stamp: m.Stamp, Offset: m.Offset, Length: m.Length, Data: m.Data,
		Deadline: c.now + m.Wait, Private: *m})
	c.pass(clearAgain + 50*Millisecond) // its token is still good
	k.is(wire.Aborted)
	if !c.proven(3, 7) {
		t.Error("not proven")
	}
	c.members[2].Usable = true
	c.agree(c.members...)
	c.pass(Second)
	c.holds(0, 0)
}

// TestAPortalThatDoesNotAnswerAFenceIsNotHeard: it is cut off, and comes back with
// what it held when the fence was answered long ago.
func TestAPortalThatDoesNotAnswerAFenceIsNotHeard(t *testing.T) {
	c := newCluster(t, Bugs{})
	c.nodes[2].portal.Head(c.now, 1, c.epoch, false)
	c.lose = func(to wire.NodeID, m wire.Message) bool { _, ok := m.(*wire.Clear); return ok && to == 2 }
	c.pass(Second)
	held := c.write(2, "b", 0, 'b')
	began := c.now
	c.fence(3, 7, wire.FenceUnit)
	for !c.proven(3, 7) && c.now-began < 4*Second {
		c.pass(50 * Millisecond)
	}
	if d := c.now - began; d < clearMax-Second || d >= HoldMax-500*Millisecond {
		t.Errorf("proven after %d ms", d/Millisecond)
	}
	c.nodes[2].portal.Head(c.now, 1, c.epoch, true)
	c.settle()
	c.holds(0, 0)
	c.nothingLost()
	c.pass(600 * Millisecond)
	held.is(wire.Aborted)
	c.write(2, "b", 0, 'c').is(wire.OK)
	c.holds(0, 'c')
}

func TestADeadPortalDoesNotHoldAFenceUp(t *testing.T) {
	c := newCluster(t, Bugs{})
	c.lose = func(to wire.NodeID, m wire.Message) bool { _, ok := m.(*wire.Clear); return ok && to == 2 }
	c.fence(3, 7, wire.FenceUnit)
	c.kill(2)
	if c.proven(3, 7) {
		t.Fatal("proven before the cluster has fenced it")
	}
	c.agree(in(1), in(3))
	if !c.proven(3, 7) {
		t.Error("not proven")
	}
}

// TestWhatADeadPortalHasSentIsNotTaken: its command comes when the cluster knows
// that it is gone, and with a token that is still young.
func TestWhatADeadPortalHasSentIsNotTaken(t *testing.T) {
	c := newCluster(t, Bugs{})
	var late *wire.Submit
	c.lose = func(_ wire.NodeID, m wire.Message) bool {
		s, ok := m.(*wire.Submit)
		if ok {
			late = s
		}
		return ok
	}
	c.write(2, "b", 0, 'b')
	c.kill(2)
	c.agree(in(1), in(3))
	c.h.Submit(c.now, &Op{Kind: late.Op, Command: late.Command, Nexus: late.Nexus, Stamp: late.Stamp, Offset: late.Offset, Length: late.Length,
		Data: late.Data, Deadline: c.now + late.Wait, Private: *late})
	c.settle()
	c.holds(0, 0)
}

func TestAFenceOfAHostWithoutAPortIsOfAllItsPorts(t *testing.T) {
	host := wire.Nexus{Host: "nqn.h,h,0x1"}
	for o, want := range map[wire.Nexus]bool{
		{Host: "nqn.h,h,0x1,i,0x7", Port: 3, Generation: 9}: true,
		{Host: "nqn.h,h,0x1,i,0x8", Port: 4}:                true,
		{Host: "nqn.h,h,0x12,i,0x7", Port: 3}:               false,
		{Host: "nqn.other,h,0x1,i,0x7", Port: 3}:            false,
	} {
		if Covers(wire.FenceNexus, host, o) != want {
			t.Errorf("%+v: %v", o, !want)
		}
	}
}

// TestNoAgeProvesAFenceOfTheUnit: what other portals hold may be stamped again.
func TestNoAgeProvesAFenceOfTheUnit(t *testing.T) {
	c := newCluster(t, Bugs{})
	c.kill(1)
	c.fence(3, 7, wire.FenceUnit)
	c.fence(3, 8, wire.FenceHost)
	c.pass(2 * Second)
	if c.proven(3, 7) || !c.proven(3, 8) {
		t.Errorf("proven: %v", c.nodes[3].fenced)
	}
	c.pass(2 * Second)
	if c.proven(3, 7) || !slices.Equal(c.nodes[3].unfenced, []uint64{7}) {
		t.Errorf("proven: %v, given up: %v", c.nodes[3].fenced, c.nodes[3].unfenced)
	}
}

func TestTheNextHeadCarriesAFenceOn(t *testing.T) {
	c := newCluster(t, Bugs{})
	c.kill(1)
	held := c.write(2, "b", 0, 'b')
	c.fence(3, 7, wire.FenceUnit)
	c.agree(in(2), in(3))
	c.headOn(3)
	if !c.proven(3, 7) {
		t.Error("not proven")
	}
	held.is(wire.Aborted)
	c.pass(Second)
	c.holds(0, 0)
}

// TestPreemptAndAbortEndsWhatOtherPortalsHold of the preempted, and nothing else.
func TestPreemptAndAbortEndsWhatOtherPortalsHold(t *testing.T) {
	c := newCluster(t, Bugs{})
	c.nodes[2].portal.Head(c.now, 1, c.epoch, false)
	his, hers := c.write(2, "b", 0, 'b'), c.write(2, "c", 8, 'c')
	op := &Op{Kind: wire.OpReserve, Stamp: wire.Stamp{Epoch: c.epoch, Token: c.now}, Deadline: c.now + HoldMax,
		Private: wire.Submit{Command: wire.Command{Portal: wire.Portal{Node: 3, Incarnation: 1}}}}
	c.h.Submit(c.now, op)
	c.h.Take()
	c.h.Reserved(c.now, op, 0, []wire.Nexus{{Host: his.Nexus.Host, Port: 2}})
	c.settle()
	his.is(wire.Aborted)
	if hers.ended || op.answered {
		t.Errorf("another's command ended: %v, the change is answered: %v", hers.ended, op.answered)
	}
	c.nodes[2].portal.Head(c.now, 1, c.epoch, true)
	c.pass(Second)
	hers.is(wire.OK)
	if !op.answered || op.Status != wire.OK {
		t.Errorf("answered %v %v", op.answered, op.Status)
	}
	c.holds(0, 0)
	c.holds(8, 'c')
}

// TestAFenceIsAskedForAgainOfAHeadThatDidNotKnowYet that it is the head.
func TestAFenceIsAskedForAgainOfAHeadThatDidNotKnowYet(t *testing.T) {
	p := NewPortal(1, wire.Portal{Node: 2, Incarnation: 1}, Bugs{})
	p.Lease(0, 1000*Second)
	p.Head(0, 1, 1, true)
	p.Fence(0, 7, wire.FenceUnit, wire.Nexus{})
	for asked := 1; asked < 3; asked++ {
		a := p.Take()
		if len(a.Sends) != 1 {
			t.Fatalf("asked %d times, then sent %v", asked-1, a.Sends)
		}
		m := a.Sends[0].Msg.(*wire.Fence)
		p.Receive(0, 1, &wire.Fenced{Req: m.Req, Status: wire.NotHead})
		p.Tick(int64(asked) * 50 * Millisecond)
	}
	m := p.Take().Sends[0].Msg.(*wire.Fence)
	p.Receive(0, 1, &wire.Fenced{Req: m.Req})
	if a := p.Take(); !slices.Equal(a.Fenced, []uint64{7}) {
		t.Errorf("proven: %v", a.Fenced)
	}
}

// TestHostsHearOfAFenceBeforeTheirCommandsEnd: the portal of commands that are with
// the head has not been told yet that another one has asked for their end.
func TestHostsHearOfAFenceBeforeTheirCommandsEnd(t *testing.T) {
	c := newCluster(t, Bugs{})
	c.members[2].Usable = false // so that the head has to hold it
	c.agree(c.members...)
	k := c.write(2, "b", 0, 'b')
	c.lose = func(to wire.NodeID, m wire.Message) bool { _, ok := m.(*wire.Clear); return ok && to == 2 }
	c.fence(3, 7, wire.FenceTasks)
	if k.ended || c.proven(3, 7) {
		t.Fatalf("ended %t, fenced %t, and the portal was not told", k.ended, c.proven(3, 7))
	}
	c.nothingLost()
	c.pass(clearAgain + 50*Millisecond)
	k.is(wire.Aborted)
	if !c.proven(3, 7) || len(c.nodes[2].cleared) != 1 {
		t.Errorf("fenced %t, told %v", c.proven(3, 7), c.nodes[2].cleared)
	}
}

// TestWhatWasReadBeforeAFenceIsNotSubmittedAfterIt: the portal has answered the fence
// while a command's bytes were on their way to it inside of its node.
func TestWhatWasReadBeforeAFenceIsNotSubmittedAfterIt(t *testing.T) {
	for _, at := range []wire.NodeID{2, 3} { // told of the fence; asked for it
		c := newCluster(t, Bugs{})
		x := c.nodes[at].portal
		late := &Request{Kind: wire.OpWrite, Length: sector, Data: make([]byte, sector), Nexus: wire.Nexus{Host: "b", Port: uint16(at)},
			Stamp: x.Stamp(), Read: c.now}
		late.Data[0] = 'b'
		c.pass(50 * Millisecond)
		c.fence(3, 7, wire.FenceUnit)
		if !c.proven(3, 7) {
			t.Fatal("not proven")
		}
		x.Submit(c.now, late)
		c.settle()
		if !late.ended || late.Status != wire.Aborted {
			t.Errorf("node %d: ended %v with %v", at, late.ended, late.Status)
		}
		c.holds(0, 0)
		c.write(at, "b", 0, 'c').is(wire.OK)
	}
}

// TestAFenceOfANexusIsNotProvenByAHeadWhoseCopiesMayObeyAnother.
func TestAFenceOfANexusIsNotProvenByAHeadWhoseCopiesMayObeyAnother(t *testing.T) {
	c := newCluster(t, Bugs{})
	c.lose = func(to wire.NodeID, m wire.Message) bool { _, ok := m.(*wire.Prepare); return ok && to == 2 }
	c.headOn(3)
	c.fence(3, 7, wire.FenceNexus)
	if c.proven(3, 7) {
		t.Error("proven before a copy has promised the head's epoch")
	}
	for range 12 { // by then no token is good that the older head would have taken
		c.pass(100 * Millisecond)
	}
	if !c.proven(3, 7) {
		t.Error("never proven")
	}
}

// Its connections' end says nothing of what other portals hold.
func TestDroppedConnectionsDoNotProveAFenceOfTheUnit(t *testing.T) {
	p := NewPortal(1, wire.Portal{Node: 3, Incarnation: 1}, Bugs{})
	p.Fence(Second, 7, wire.FenceUnit, wire.Nexus{})
	p.Fence(Second, 8, wire.FenceNexus, wire.Nexus{Host: "a"})
	p.Drop(2 * Second)
	if a := p.Take(); !slices.Equal(a.Unfenced, []uint64{7}) || !slices.Equal(a.Fenced, []uint64{8}) {
		t.Errorf("proven: %v, not: %v", a.Fenced, a.Unfenced)
	}
}
