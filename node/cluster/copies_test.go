package cluster

import (
	"testing"

	"ashlar/replication/wire"
)

func TestACopyWhoseNodeDiesLeavesAndTheOtherServes(t *testing.T) {
	r := newRig(t, 3, 3)
	v := r.volume("v", 2, 1)
	r.expectHead(v, 1, 1)
	r.expectInSync(v, 0, 1, 2)
	r.down(1)
	r.expectInSync(v, 0, 2)
	r.expectHead(v, 2, 2)
	r.up(1)
	r.expectInSync(v, 0, 2) // it may miss writes
	r.expectHead(v, 2, 2)
	r.good(r.joins(v, 1))
	r.expectInSync(v, 0, 1, 2)
	r.expectHead(v, 2, 2)
}

func TestBothCopiesDownTheFirstToReturnServes(t *testing.T) {
	for first, other := range map[wire.NodeID]wire.NodeID{1: 2, 2: 1} {
		r := newRig(t, 3, 3)
		v := r.volume("v", 2, 1)
		r.down(1, 2)
		r.expectInSync(v, 0, 1, 2)
		r.expectHead(v, 0, 1)
		r.up(first)
		r.expectInSync(v, 0, first)
		r.expectHead(v, first, 2)
		r.up(other)
		r.expectInSync(v, 0, first)
		r.expectHead(v, first, 2)
	}
}

func TestCopiesThatDieOneAfterTheOtherTheLastOneIsWaitedFor(t *testing.T) {
	r := newRig(t, 3, 3)
	v := r.volume("v", 2, 1)
	r.down(1)
	r.down(2)
	r.expectInSync(v, 0, 2)
	r.up(1)
	r.expectInSync(v, 0, 2)
	r.expectHead(v, 0, 2)
	r.up(2)
	r.expectHead(v, 2, 3)
}

func TestThreeCopiesOutliveTwo(t *testing.T) {
	r := newRig(t, 4, 3)
	v := r.volume("v", 3, 1)
	r.expectInSync(v, 0, 1, 2, 3)
	r.down(1, 3)
	r.expectInSync(v, 0, 2)
	r.expectHead(v, 2, 2)
	r.up(3)
	r.good(r.joins(v, 3))
	r.expectInSync(v, 0, 2, 3)
	r.down(2)
	r.expectInSync(v, 0, 3)
	r.expectHead(v, 3, 3)
}

func TestTheLastCopyOnAFailedDiskStaysListedUntilAReplacementHasItsData(t *testing.T) {
	r := newRig(t, 3, 3)
	v := r.volume("v", 2, 1)
	r.good(Command{FailDisk: &FailDisk{ID: disk(2)}})
	r.expectInSync(v, 0, 1)
	r.good(Command{FailDisk: &FailDisk{ID: disk(1)}})
	r.expectInSync(v, 0, 1)
	r.expectHead(v, 1, 1) // it can still read, and copy from it
	r.good(Command{FailDisk: &FailDisk{ID: disk(1)}})
	r.refuse(Stale, r.joins(v, 2)) // on a failed disk
	gen := r.Volumes[v].Segments[0].Gen
	r.refuse(Refused, Command{MoveReplica: &MoveReplica{Volume: v, Gen: gen, From: disk(1), To: disk(3)}})
	r.refuse(Refused, Command{MoveReplica: &MoveReplica{Volume: v, Gen: gen, From: disk(2), To: disk(2)}})
	r.good(Command{MoveReplica: &MoveReplica{Volume: v, Gen: gen, From: disk(2), To: disk(3)}})
	r.expectInSync(v, 0, 1)
	r.good(r.joins(v, 3))
	r.expectInSync(v, 0, 3)
}

func TestACopyThatWasMadeAnewIsAnother(t *testing.T) {
	r := newRig(t, 3, 3)
	v := r.volume("v", 2, 1)
	r.down(2)
	made := func(n int) uint64 { return r.Volumes[v].Segments[0].OnDisk(disk(n)).Made }
	move := func(from, to int) {
		r.good(Command{MoveReplica: &MoveReplica{Volume: v, Gen: r.Volumes[v].Segments[0].Gen, From: disk(from), To: disk(to)}})
	}
	move(2, 3)
	first := made(3)
	r.up(2)
	move(3, 2)
	second := made(2)
	if second == 0 || first == 0 || second <= first {
		t.Errorf("copies of segments' generations %d and %d", first, second)
	}
	r.good(r.joins(v, 2))
	if made(2) != second || made(1) != 0 {
		t.Errorf("those that stay are of %d and %d, and were of %d and 0", made(2), made(1), second)
	}
}

func TestARestartEndsTheReignButCopiesThatNobodyRemovedStayInSync(t *testing.T) {
	r := newRig(t, 3, 3)
	v := r.volume("v", 2, 1)
	r.up(1) // not fenced before: nothing was acknowledged without its copy
	r.expectInSync(v, 0, 1, 2)
	r.expectHead(v, 2, 2) // its disk was open already
}

// After a power cut the first node to return finds its disk dead. Until its disk is open, its copy is not enough for
// the other one, whose node takes longer, to leave the set.
func TestACopyWhoseDiskIsNotOpenIsNotEnough(t *testing.T) {
	r := newRig(t, 3, 3)
	v := r.volume("v", 2, 1) // on nodes 1 and 2
	r.register(1)
	r.down(2)
	r.expectInSync(v, 0, 1, 2)
	r.expectHead(v, 1, 3)
	r.refuse(Refused, Command{Eject: &Eject{v, 3, 2}})
	r.good(Command{FailDisk: &FailDisk{ID: disk(1), Outdated: true}})
	r.expectInSync(v, 0, 1, 2)
	r.up(2)
	r.expectInSync(v, 0, 2)
}

func TestAnOpenDiskIsEnough(t *testing.T) {
	r := newRig(t, 3, 3)
	v := r.volume("v", 2, 1)
	before := r.Nodes[1].Incarnation
	i := r.register(1)
	r.down(2)
	r.good(Command{NoteDisk: &NoteDisk{ID: disk(1), To: "a", Incarnation: before}}) // of a run that is over
	r.expectInSync(v, 0, 1, 2)
	r.good(Command{NoteDisk: &NoteDisk{ID: disk(1), From: "a", To: "b", Incarnation: i}})
	r.expectInSync(v, 0, 1)
}

func TestAfterTheDeathOfAllNodesTheFirstToReturnServesAlone(t *testing.T) {
	r := newRig(t, 3, 3)
	v := r.volume("v", 2, 1) // on nodes 1 and 2; nobody was left to fence anybody
	r.up(2)
	r.expectInSync(v, 0, 1, 2)
	r.up(3)
	r.down(1) // its lease is found to have run out
	r.expectInSync(v, 0, 2)
	r.expectHead(v, 2, 2)
}

func TestARestartOfTheOnlyCopyGetsAnEpochOfItsOwn(t *testing.T) {
	r := newRig(t, 1, 1)
	v := r.volume("v", 1, 1)
	r.up(1)
	r.expectInSync(v, 0, 1)
	r.expectHead(v, 1, 2)
	if got := r.Volumes[v]; got.HeadIncarnation != 2 {
		t.Errorf("the head is incarnation %d", got.HeadIncarnation)
	}
}

func TestOfTheCopiesLeftTheNodeWithMostBecomesHead(t *testing.T) {
	r := newRig(t, 4, 3)
	v := r.volume("v", 2, 5) // on node 1 each, and in turn on 2, 3, 4, 2, 3
	r.good(Command{MoveHead: &MoveHead{Volume: v, Epoch: 1, To: 4}})
	r.expectHead(v, 4, 2)
	r.down(1)
	r.expectHead(v, 4, 2) // a reign goes on where its node does
	r.down(4)
	r.expectHead(v, 2, 3)
	r.expectInSync(v, 2, 4) // the only one
	r.expectInSync(v, 0, 2)
}

func TestEjectTakesOutOnlyWhatTheSetCanDoWithout(t *testing.T) {
	r := newRig(t, 3, 3)
	v := r.volume("v", 2, 2) // node 1 with 2, and with 3
	eject := func(epoch uint64, n wire.NodeID) Command {
		return Command{Eject: &Eject{Volume: v, Epoch: epoch, Node: n}}
	}
	r.refuse(Stale, eject(0, 2))
	r.refuse(Stale, eject(2, 2))
	r.refuse(Stale, Command{Eject: &Eject{Volume: v + 1, Epoch: 1, Node: 2}})
	r.refuse(Refused, eject(1, 1)) // the head itself
	r.good(eject(1, 2))
	r.expectInSync(v, 0, 1)
	r.expectInSync(v, 1, 1, 3)
	r.refuse(Refused, eject(1, 2)) // out already
	r.good(Command{MoveHead: &MoveHead{Volume: v, Epoch: 1, To: 3}})
	r.good(eject(2, 1))
	r.expectInSync(v, 0, 1) // the last one
	r.expectInSync(v, 1, 3)
	r.refuse(Refused, eject(2, 1))
}

func TestEjectDoesNotChooseAmongCopiesThatAreAllDown(t *testing.T) {
	r := newRig(t, 3, 3)
	v := r.volume("v", 2, 1)
	r.down(1, 2)
	r.refuse(Refused, Command{Eject: &Eject{Volume: v, Epoch: 1, Node: 2}})
	r.expectInSync(v, 0, 1, 2)
}

func TestJoinTakesInOnlyWhatIsStillAsItWasCopied(t *testing.T) {
	prepare := func() (*rig, wire.VolumeID, Command) {
		r := newRig(t, 3, 3)
		v := r.volume("v", 2, 2)
		r.down(2)
		r.up(2)
		return r, v, r.joins(v, 2)
	}
	for name, change := range map[string]func(*rig, *Join){
		"another head":         func(r *rig, j *Join) { r.good(Command{MoveHead: &MoveHead{Volume: j.Volume, Epoch: j.Epoch, To: 3}}) },
		"an older epoch":       func(r *rig, j *Join) { j.Epoch-- },
		"an epoch to come":     func(r *rig, j *Join) { j.Epoch++ },
		"another incarnation":  func(r *rig, j *Join) { r.up(2) },
		"an older incarnation": func(r *rig, j *Join) { j.Incarnation-- },
		"a fenced incarnation": func(r *rig, j *Join) { r.down(2) },
		"an unknown node":      func(r *rig, j *Join) { j.Node = 9 },
		"an unknown volume":    func(r *rig, j *Join) { j.Volume = 9 },
		"an older generation":  func(r *rig, j *Join) { j.Segments[0].Gen-- },
		"no such segment":      func(r *rig, j *Join) { j.Segments[0].Segment = 7 },
		"no copy there":        func(r *rig, j *Join) { j.Node, j.Incarnation = 3, r.Nodes[3].Incarnation; j.Segments = j.Segments[:1] },
		"another disk": func(r *rig, j *Join) {
			r.good(Command{AddDisk: &AddDisk{ID: "d2b", Node: 2}})
			r.good(Command{MoveReplica: &MoveReplica{Volume: j.Volume, Gen: j.Segments[0].Gen, From: disk(2), To: "d2b"}})
		},
		"its disk failed": func(r *rig, j *Join) { r.good(Command{FailDisk: &FailDisk{ID: disk(2)}}) },
	} {
		t.Run(name, func(t *testing.T) {
			r, _, c := prepare()
			r.t = t
			change(r, c.Join)
			r.refuse(Stale, c)
		})
	}
	r, v, c := prepare()
	r.good(c)
	r.expectInSync(v, 0, 1, 2)
	r.refuse(Stale, c) // once
}

// TestJoinTakesInWhatCanBeAndLeavesTheRest: one segment of many that changed
// meanwhile holds up no other.
func TestJoinTakesInWhatCanBeAndLeavesTheRest(t *testing.T) {
	r := newRig(t, 2, 1)
	v := r.volume("v", 2, 3)
	r.down(2)
	r.up(2)
	c := r.joins(v, 2)
	c.Join.Segments[1].Gen++
	r.good(c)
	r.expectInSync(v, 0, 1, 2)
	r.expectInSync(v, 1, 1)
	r.expectInSync(v, 2, 1, 2)
}

func TestMoveHeadIsForTheReignItNames(t *testing.T) {
	r := newRig(t, 3, 3)
	v := r.volume("v", 2, 1)
	move := func(epoch uint64, to wire.NodeID) Command {
		return Command{MoveHead: &MoveHead{Volume: v, Epoch: epoch, To: to}}
	}
	r.refuse(Stale, move(0, 2))
	r.refuse(Stale, move(2, 2))
	r.refuse(Refused, move(1, 1)) // it is there
	r.refuse(Refused, move(1, 9))
	r.down(3)
	r.refuse(Refused, move(1, 3))
	if got := r.good(move(1, 0)); got.Node != 2 {
		t.Errorf("the best other node is %d", got.Node)
	}
	r.expectHead(v, 2, 2)
	r.refuse(Stale, move(1, 1))
	r.down(1)
	r.refuse(Refused, move(2, 0)) // the only copy in sync is the head's own
	r.expectHead(v, 2, 2)
}

func TestMoveReplicaReplacesOnlyWhatIsNotInSync(t *testing.T) {
	r := newRig(t, 3, 3)
	v := r.volume("v", 2, 1)
	move := func(from, to DiskID) Command {
		return Command{MoveReplica: &MoveReplica{Volume: v, Gen: r.Volumes[v].Segments[0].Gen, From: from, To: to}}
	}
	r.refuse(Refused, move(disk(2), disk(3)))
	stale := move(disk(2), disk(3))
	r.down(2)
	r.refuse(Stale, stale)
	r.refuse(Refused, move(disk(2), "none"))
	r.refuse(Refused, move(disk(2), disk(2))) // its node is down
	r.refuse(TooFew, move(disk(2), disk(1)))
	r.refuse(NotFound, move("d9", disk(3)))
	r.good(move(disk(2), disk(3)))
	r.expectInSync(v, 0, 1)
	if g := r.Volumes[v].Segments[0]; g.On(3) == nil || g.On(3).Disk != disk(3) || g.On(2) != nil {
		t.Errorf("copies are %+v", g.Replicas)
	}
	r.good(r.joins(v, 3))
	r.expectInSync(v, 0, 1, 3)
}
