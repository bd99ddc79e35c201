package cluster

import (
	"testing"

	"ashlar/replication/wire"
)

// A cluster formed anew goes on with the copies of one node that were in sync, and
// with no other: a stale copy there is never promoted.
func TestAClusterFormedAnewTakesOnlyCopiesThatWereInSync(t *testing.T) {
	r := newRig(t, 3, 3)
	r.good(Command{CreateVolume: &CreateVolume{Name: "v", Bytes: 6 * mib, Copies: 2}})
	v := r.VolumeNamed("v")
	// Node 2 misses what came while it was away.
	r.good(Command{Fence: &Fence{Dead: []Dead{{Node: 2, Incarnation: r.Nodes[2].Incarnation}}, Refused: true}})
	r.up(2)
	stale, whole := 0, map[wire.Segment]bool{}
	for i, g := range r.Volumes[v.ID].Segments {
		if on := g.On(2); on != nil && !on.InSync {
			stale++
		} else if on != nil {
			whole[wire.Segment(i)] = true
		}
	}
	if stale == 0 {
		t.Fatal("node 2 has no stale copy")
	}
	before := r.State
	next := before.Reform(2, "one")
	for i, g := range next.Volumes[v.ID].Segments {
		on, was := g.On(2), before.Volumes[v.ID].Segments[i]
		if whole[wire.Segment(i)] != (len(g.InSync()) == 1 && on != nil && on.InSync) {
			t.Errorf("segment %d was %+v and is %+v", i, was, g)
		}
		if !whole[wire.Segment(i)] && g.Gen != was.Gen {
			t.Errorf("segment %d without a copy in sync changed from %+v to %+v", i, was, g)
		}
	}
	if next.Volumes[v.ID].Epoch < before.Volumes[v.ID].Epoch+epochGap || next.Lineage != "one" {
		t.Errorf("epoch %d, lineage %q", next.Volumes[v.ID].Epoch, next.Lineage)
	}
	if got := next.Remains(next.Volumes[v.ID], 2); got != len(whole) {
		t.Errorf("%d segments remain, want %d", got, len(whole))
	}
	if voters := next.Voters(); len(voters) != 1 || voters[0] != 2 {
		t.Errorf("voters: %v", voters)
	}
	if before.Lineage != "" || before.Nodes[1].Expelled {
		t.Error("the state that it was formed of has changed")
	}
}

// Who was expelled never registers again, and its name and address are free.
func TestAnExpelledNodeNeverComesBack(t *testing.T) {
	r := newRig(t, 2, 2)
	r.State = r.State.Reform(1, "one")
	if _, got := r.State.Apply(r.Index+1, Command{Register: &Register{Node: 2, Peer: "10.0.0.2:7600"}}); got.Code != NotFound {
		t.Errorf("registering gave %+v", got)
	}
	again := node(2)
	if _, got := r.State.Apply(r.Index+1, Command{AddNode: &again}); got.Problem != "" || got.Node != 3 {
		t.Errorf("joining anew gave %+v", got)
	}
}

func TestWhoKnowsAllThatWasAgreed(t *testing.T) {
	r := newRig(t, 3, 2)
	for _, c := range []struct {
		voters []wire.NodeID
		self   wire.NodeID
		want   bool
	}{{[]wire.NodeID{1}, 1, true}, {[]wire.NodeID{1}, 2, false}, {[]wire.NodeID{1, 2}, 2, true}, {[]wire.NodeID{1, 2}, 3, false},
		{[]wire.NodeID{1, 2, 3}, 1, false}, {nil, 1, false}} {
		if got := r.KnowsAll(c.self, c.voters); got != c.want {
			t.Errorf("node %d of voters %v: %v", c.self, c.voters, got)
		}
	}
	r.good(Command{MoveHeads: &MoveHeads{Node: 2, Incarnation: r.Nodes[2].Incarnation, Leaving: true}})
	if r.KnowsAll(2, []wire.NodeID{1, 2}) {
		t.Error("the other may have taken the vote of a node that was about to stop")
	}
}
