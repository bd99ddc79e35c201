package mirror

import (
	"bytes"
	"testing"

	"ashlar/replication/wire"
)

// losing are filters for cluster.lose.
func answersLost(_ wire.NodeID, m wire.Message) bool { _, ok := m.(*wire.Done); return ok }

func writesLostTo(nodes ...wire.NodeID) func(wire.NodeID, wire.Message) bool {
	return func(to wire.NodeID, m wire.Message) bool {
		_, ok := m.(*wire.Write)
		for _, n := range nodes {
			if ok && n == to {
				return true
			}
		}
		return false
	}
}

func (c *cluster) nothingLost() { c.lose = func(wire.NodeID, wire.Message) bool { return false } }

// lostAnswer is a swap of sector 0 from 0 to 'a' through node 2 whose answer never
// comes, because its head dies. The host has not given up: the portal sends it again.
func TestACommandThatALostHeadCarriedOutIsNotCarriedOutAgain(t *testing.T) {
	for _, carried := range []bool{true, false} {
		c := newCluster(t, Bugs{ClaimsKept: !carried})
		c.lose = answersLost
		k := c.swap(2, "a", 0, 0, 'a')
		c.kill(1)
		c.nothingLost()
		c.agree(in(2), in(3))
		c.headOn(3)
		if carried {
			k.is(wire.OK)
		} else {
			k.is(wire.Miscompare)
		}
		c.holds(0, 'a')
	}
}

func TestACommandThatOneCopyHasIsKnownToThisAndTheNextHead(t *testing.T) {
	c := newCluster(t, Bugs{})
	c.lose = writesLostTo(1, 2)
	k := c.swap(2, "a", 0, 0, 'a')
	c.kill(1)
	c.lose = answersLost
	c.agree(in(2), in(3))
	c.headOn(2) // writes the tail of 3 again, and its answer is lost, too
	if k.ended {
		t.Fatal("answered")
	}
	c.boot(3) // who had it first has forgotten it
	c.nothingLost()
	c.headOn(3)
	k.is(wire.OK)
	c.holds(0, 'a')
}

func TestACommandIsKnownWhateverWasWrittenSince(t *testing.T) {
	c := newCluster(t, Bugs{})
	c.lose = answersLost
	k := c.swap(2, "a", 0, 0, 'a')
	c.nothingLost()
	c.write(3, "b", 0, 'b').is(wire.OK)
	c.kill(1)
	c.agree(in(2), in(3))
	c.headOn(3)
	k.is(wire.OK)
	c.holds(0, 'b')
}

func TestACommandThatNoCopyHasIsCarriedOutWhenItIsSentAgain(t *testing.T) {
	c := newCluster(t, Bugs{})
	c.lose = writesLostTo(1, 2, 3)
	k := c.swap(2, "a", 0, 0, 'a')
	c.kill(1)
	c.nothingLost()
	c.agree(in(2), in(3))
	c.headOn(3)
	k.is(wire.OK)
	c.holds(0, 'a')
}

// TestACommandWhoseOnlyCopyLeftWasNeverCarriedOut: the copy has told of its claim,
// and dies before its data was read.
func TestACommandWhoseOnlyCopyLeftWasNeverCarriedOut(t *testing.T) {
	c := newCluster(t, Bugs{})
	c.swap(1, "b", 0, 0, 'b').is(wire.OK).settle(true)
	c.pass(Second) // until it is below the commit points
	c.lose = writesLostTo(1, 2)
	k := c.swap(2, "a", 0, 'b', 'a')
	c.kill(1)
	c.lose = func(to wire.NodeID, m wire.Message) bool {
		_, read := m.(*wire.Read)
		return read && to == 3
	}
	c.agree(in(2), in(3))
	c.headOn(2)
	c.kill(3)
	c.nothingLost()
	c.agree(in(2))
	c.pass(Second)
	k.is(wire.OK)
	c.holds(0, 'a')
	if n := c.nodes[2].blocks[0].version; n.Epoch != 2 || n.Seq != 2 {
		t.Errorf("the version is %v: not written after the tail was settled", n)
	}
}

func TestACopyThatCatchesUpForgetsWhatItHadBefore(t *testing.T) {
	c := newCluster(t, Bugs{})
	c.lose = writesLostTo(1, 2)
	k := c.swap(2, "a", 0, 0, 'a') // on 3 only
	c.kill(1)
	c.nothingLost()
	c.agree(in(2), Member{Node: 3, Incarnation: 1, Usable: true})
	c.lose = func(to wire.NodeID, m wire.Message) bool { _, submit := m.(*wire.Submit); return submit }
	c.headOn(2)
	c.pass(Second) // 3 catches up, and loses it
	c.agree(in(2), in(3))
	c.nothingLost()
	c.headOn(3)
	k.is(wire.OK)
	c.holds(0, 'a') // and not OK without having been done
}

func TestARepetitionAfterALostAnswerSucceedsOnce(t *testing.T) {
	c := newCluster(t, Bugs{})
	first := c.swap(2, "a", 0, 0, 'a').is(wire.OK)
	first.settle(false)
	second := c.swap(3, "a", 0, 0, 'a').is(wire.OK)
	c.swap(3, "a", 0, 0, 'a').is(wire.Miscompare)
	second.settle(true)
	c.swap(2, "a", 0, 0, 'a').is(wire.Miscompare)
	c.holds(0, 'a')
}

// TestARepetitionIsKnownToTheNextHead, and that it was used up, too.
func TestARepetitionIsKnownToTheNextHead(t *testing.T) {
	c := newCluster(t, Bugs{})
	c.swap(2, "a", 0, 0, 'a').is(wire.OK).settle(false)
	c.headOn(3)
	c.swap(3, "a", 0, 0, 'a').is(wire.OK)
	c.headOn(2)
	c.swap(3, "a", 0, 0, 'a').is(wire.Miscompare)
}

// TestEqualCommandsOfOneHostSucceedOnce: two processes race over two paths.
func TestEqualCommandsOfOneHostSucceedOnce(t *testing.T) {
	for _, bug := range []bool{false, true} {
		c := newCluster(t, Bugs{ClaimLive: bug})
		c.swap(2, "a", 0, 0, 'a').is(wire.OK)
		k := c.swap(3, "a", 0, 0, 'a')
		if bug != (k.Status == wire.OK) {
			t.Errorf("bug %v: %v", bug, k.Status)
		}
	}
}

func TestAnAcknowledgedAnswerLeavesNothingToRepeat(t *testing.T) {
	for _, bug := range []bool{false, true} {
		c := newCluster(t, Bugs{ClaimSettled: bug})
		c.swap(2, "a", 0, 0, 'a').is(wire.OK).settle(true)
		k := c.swap(3, "a", 0, 0, 'a')
		if bug != (k.Status == wire.OK) {
			t.Errorf("bug %v: %v", bug, k.Status)
		}
	}
}

// TestMutualExclusion: a holds the lock and lets go, b takes it, and a's old
// command comes once more.
func TestMutualExclusion(t *testing.T) {
	for _, move := range []bool{false, true} {
		for _, acknowledged := range []bool{false, true} {
			for _, bug := range []bool{false, true} {
				c := newCluster(t, Bugs{ClaimChanged: bug})
				c.swap(2, "a", 0, 0, 'a').is(wire.OK).settle(acknowledged)
				c.swap(2, "b", 0, 0, 'b').is(wire.Miscompare)
				c.swap(2, "a", 0, 'a', 0).is(wire.OK).settle(true)
				c.swap(3, "b", 0, 0, 'b').is(wire.OK).settle(true)
				if move {
					c.headOn(3)
				}
				k := c.swap(3, "a", 0, 0, 'a')
				if wrong := bug && !acknowledged; wrong != (k.Status == wire.OK) {
					t.Errorf("moved %v, acknowledged %v, bug %v: %v", move, acknowledged, bug, k.Status)
				}
			}
		}
	}
}

// TestNeighboursInABlockDoNotEndAClaim: hosts keep their sectors side by side.
func TestNeighboursInABlockDoNotEndAClaim(t *testing.T) {
	c := newCluster(t, Bugs{})
	c.swap(2, "a", 0, 0, 'a').is(wire.OK).settle(false)
	c.write(3, "b", 1, 'b').is(wire.OK)
	c.headOn(2)
	c.swap(3, "b", 2, 0, 'c').is(wire.OK)
	c.swap(3, "a", 0, 0, 'a').is(wire.OK)
	c.holds(0, 'a')
	c.holds(1, 'b')
	c.holds(2, 'c')
}

func TestADeadPortalsAnswersWereNotHeard(t *testing.T) {
	c := newCluster(t, Bugs{})
	c.swap(2, "a", 0, 0, 'a').is(wire.OK)
	c.kill(2)
	c.swap(3, "a", 0, 0, 'a').is(wire.Busy) // nobody knows yet
	c.agree(in(1), in(3))
	c.swap(3, "a", 0, 0, 'a').is(wire.OK)
}

// TestBusyMakesAnOrphan: the portal has said that the host shall try again.
func TestBusyMakesAnOrphan(t *testing.T) {
	c := newCluster(t, Bugs{})
	c.lose = answersLost
	k := c.swap(2, "a", 0, 0, 'a')
	c.pass(HoldMax)
	c.nothingLost()
	k.is(wire.Busy)
	c.swap(3, "a", 0, 0, 'a').is(wire.OK)
}

func TestAVerdictReachesTheNextHead(t *testing.T) {
	c := newCluster(t, Bugs{})
	k := c.swap(2, "a", 0, 0, 'a').is(wire.OK)
	c.kill(1)
	k.settle(false) // nobody hears it
	c.agree(in(2), in(3))
	c.headOn(3)
	c.swap(3, "a", 0, 0, 'a').is(wire.OK)
}

func TestACommandThatFoundNoSpaceHasNoClaim(t *testing.T) {
	c := newCluster(t, Bugs{})
	c.each(func(x *node) { x.full = true })
	c.swap(2, "a", 0, 0, 'a').is(wire.NoSpace)
	c.each(func(x *node) { x.full = false })
	if n := len(c.h.claims.list); n != 0 {
		t.Errorf("%d claims", n)
	}
	c.headOn(2)
	c.swap(3, "a", 0, 0, 'a').is(wire.OK)
}

func TestACopyThatBeganAnewIsToldOfClaims(t *testing.T) {
	c := newCluster(t, Bugs{})
	c.swap(2, "a", 0, 0, 'a').is(wire.OK).settle(false)
	c.boot(3)
	c.h.Lost(c.now, 3)
	c.h.Connected(c.now, 3)
	c.settle()
	c.kill(1)
	c.kill(2)
	c.agree(in(3))
	c.headOn(3)
	c.swap(3, "a", 0, 0, 'a').is(wire.OK)
}

func TestClaimsAreBounded(t *testing.T) {
	c := newCluster(t, Bugs{})
	for i := range claimsMax + 10 {
		c.swap(2, "a", uint64(i), 0, 'a').is(wire.OK)
	}
	if n := len(c.h.claims.list); n != claimsMax || n != len(c.h.claims.byID) {
		t.Errorf("the head has %d claims", n)
	}
	if n := len(c.nodes[2].replica.volumes[1].claims); n != claimsMax {
		t.Errorf("a copy has %d claims", n)
	}
	c.pass(claimLife + Second)
	c.swap(2, "a", 2000, 0, 'a').is(wire.OK)
	if n, m := len(c.h.claims.list), len(c.nodes[2].replica.volumes[1].claims); n != 1 || m != 1 {
		t.Errorf("%d and %d claims are left", n, m)
	}
}

// TestAVerdictIsSaidAgain: who is to be the head may not have known it yet.
func TestAVerdictIsSaidAgain(t *testing.T) {
	c := newCluster(t, Bugs{})
	k := c.swap(2, "a", 0, 0, 'a').is(wire.OK)
	c.lose = func(_ wire.NodeID, m wire.Message) bool { _, ok := m.(*wire.Settle); return ok }
	k.settle(false)
	c.nothingLost()
	c.swap(3, "a", 0, 0, 'a').is(wire.Miscompare)
	c.pass(2 * Second)
	c.swap(3, "a", 0, 0, 'a').is(wire.OK)
}

// settlesLost is for what copies and heads know without the portal's saying it again.
func settlesLost(_ wire.NodeID, m wire.Message) bool { _, ok := m.(*wire.Settle); return ok }

func TestCopiesKnowWhatIsOrphaned(t *testing.T) {
	c := newCluster(t, Bugs{})
	c.swap(2, "a", 0, 0, 'a').is(wire.OK).settle(false)
	c.lose = settlesLost
	c.headOn(3)
	c.swap(3, "a", 0, 0, 'a').is(wire.OK)
}

func TestCopiesKnowWhatIsSettled(t *testing.T) {
	c := newCluster(t, Bugs{})
	c.swap(2, "a", 0, 0, 'a').is(wire.OK).settle(true)
	c.lose = settlesLost
	c.headOn(3)
	c.kill(2) // which would make an orphan of what is left
	c.agree(in(1), in(3))
	c.swap(3, "a", 0, 0, 'a').is(wire.Miscompare)
}

// TestAVerdictThatComesBeforeTheClaimIsKept: the next head hears it from the portal
// before the copies have shown it what they have.
func TestAVerdictThatComesBeforeTheClaimIsKept(t *testing.T) {
	for _, acknowledged := range []bool{false, true} {
		c := newCluster(t, Bugs{})
		k := c.swap(2, "a", 0, 0, 'a').is(wire.OK)
		c.kill(1)
		k.settle(acknowledged)
		c.agree(in(2), in(3))
		c.lose = func(_ wire.NodeID, m wire.Message) bool { _, ok := m.(*wire.Prepare); return ok }
		c.headOn(3)
		c.lose = settlesLost
		for n := wire.NodeID(2); n <= 3; n++ {
			c.h.Lost(c.now, n)
			c.h.Connected(c.now, n)
		}
		c.settle()
		want := wire.OK
		if acknowledged {
			want = wire.Miscompare
		}
		c.swap(3, "a", 0, 0, 'a').is(want)
	}
}

func TestACopyThatHasCaughtUpIsToldOfClaims(t *testing.T) {
	c := newCluster(t, Bugs{})
	c.agree(in(1), in(2), Member{Node: 3, Incarnation: 1})
	c.swap(2, "a", 0, 0, 'a').is(wire.OK).settle(false)
	c.agree(in(1), in(2), outside(3))
	c.pass(Second)
	c.agree(in(1), in(2), in(3))
	c.kill(1)
	c.kill(2)
	c.agree(in(3))
	c.headOn(3)
	c.swap(3, "a", 0, 0, 'a').is(wire.OK)
}

// TestWhatNobodyKnowsAnyMoreIsAnsweredBusy: the only copy that was left has begun
// anew, and whether the command was carried out before is forgotten.
func TestWhatNobodyKnowsAnyMoreIsAnsweredBusy(t *testing.T) {
	c := newCluster(t, Bugs{})
	c.kill(3)
	c.agree(in(1), in(2))
	c.lose = answersLost
	k := c.swap(2, "a", 0, 0, 'a')
	c.nothingLost()
	c.kill(1)
	c.boot(1)
	c.agree(in(1), Member{Node: 2, Incarnation: 1})
	c.headOn(1)
	k.is(wire.Busy)
	c.holds(0, 'a')
	fresh := c.swap(2, "a", 8, 0, 'b').is(wire.OK) // of which it knows all
	fresh.settle(true)
}

// TestWritesBesideAClaimHandItOnTogether: they change different blocks of it at once.
func TestWritesBesideAClaimHandItOnTogether(t *testing.T) {
	c := newCluster(t, Bugs{})
	swap := func(at wire.NodeID) *command { // the last sector of block 0 and the first of block 1
		return c.submit(at, "a", &Request{Kind: wire.OpCompareAndWrite, Offset: 7 * sector, Length: 2 * sector,
			Data: append(make([]byte, 2*sector), bytes.Repeat([]byte{'a'}, 2*sector)...)})
	}
	k := swap(2)
	k.is(wire.OK)
	k.settle(false)
	x := c.nodes[3].portal
	for _, s := range []uint64{0, 15} {
		x.Submit(c.now, &Request{Kind: wire.OpWrite, Offset: s * sector, Length: sector, Data: bytes.Repeat([]byte{'b'}, sector),
			Nexus: wire.Nexus{Host: "b", Port: 3}, Stamp: x.Stamp(), Read: c.now})
	}
	c.settle()
	c.holds(0, 'b')
	c.holds(15, 'b')
	swap(1).is(wire.OK)
}

// TestAClaimThatWasForgottenForOthersIsNotDenied: its command may have been carried
// out, and nobody can tell.
func TestAClaimThatWasForgottenForOthersIsNotDenied(t *testing.T) {
	c := newCluster(t, Bugs{})
	c.lose = answersLost
	k := c.swap(2, "a", 0, 0, 'a')
	c.nothingLost()
	for i := range claimsMax {
		c.swap(3, "b", 8+uint64(i%64)*8, byte(i/64), byte(i/64+1)).is(wire.OK)
	}
	c.kill(1)
	c.agree(in(2), in(3))
	c.headOn(3)
	k.is(wire.Busy)
	c.holds(0, 'a')
}
