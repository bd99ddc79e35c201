package cluster

import (
	"testing"

	"ashlar/replication/wire"
)

func drain(n wire.NodeID, drained bool) Command {
	return Command{SetDrained: &SetDrained{Node: n, Drained: drained}}
}

func TestADrainedNodeIsAHeadOnlyWhereNoOtherCanBe(t *testing.T) {
	r := newRig(t, 3, 3)
	both, only := r.volume("both", 3, 2), wire.VolumeID(0)
	head := r.Volumes[both].Head
	for i := 0; only == 0; i++ { // a volume whose one copy is on the same node
		if v := r.volume(string(rune('a'+i)), 1, 1); r.Volumes[v].Head == head {
			only = v
		}
	}
	r.good(drain(head, true))
	if r.Volumes[both].Head == head || r.Volumes[both].Epoch != 2 {
		t.Errorf("the drained node is head at epoch %d", r.Volumes[both].Epoch)
	}
	r.expectHead(only, head, 1)
	r.expectInSync(both, 0, 1, 2, 3)

	second := r.Volumes[both].Head
	r.down(second) // heads that are left go to the third node, and not to the drained one
	if h := r.Volumes[both].Head; h == head || h == second {
		t.Errorf("the head is node %d", h)
	}
	third := r.Volumes[both].Head
	r.down(third)
	r.expectHead(both, head, 4)
	r.up(second)
	r.up(third)

	r.good(drain(head, false))
	r.good(drain(head, false))
	r.expectHead(both, head, 4)
	if r.Nodes[head].Drained {
		t.Error("still drained")
	}
}

func TestANewVolumesHeadIsNoDrainedNode(t *testing.T) {
	r := newRig(t, 3, 3)
	r.good(drain(1, true))
	for i := range 6 {
		v := r.volume(string(rune('a'+i)), 2, 4)
		if r.Volumes[v].Head == 1 {
			t.Errorf("the head of volume %d is drained", v)
		}
	}
	if r.up(1); !r.Nodes[1].Drained {
		t.Error("it serves hosts again after a start")
	}
}

func TestTheLastNodeThatServesHostsIsNotDrained(t *testing.T) {
	r := newRig(t, 3, 3)
	r.refuse(NotFound, drain(9, true))
	r.down(3)
	r.good(drain(1, true))
	r.refuse(Refused, drain(2, true))
	r.up(3)
	r.good(drain(2, true))
}

func TestHeadsLeaveANodeThatIsAboutToStop(t *testing.T) {
	r := newRig(t, 3, 3)
	for i := range 6 {
		r.volume(string(rune('a'+i)), 2, 2)
	}
	stop := Command{MoveHeads: &MoveHeads{Node: 1, Incarnation: r.Nodes[1].Incarnation}}
	r.good(stop)
	heads := r.headCounts()
	if heads[1] != 0 || heads[2] != 3 || heads[3] != 3 {
		t.Errorf("heads are %v", heads)
	}
	r.up(1)
	r.refuse(Stale, stop)
	r.down(1)
	r.refuse(Stale, Command{MoveHeads: &MoveHeads{Node: 1, Incarnation: r.Nodes[1].Incarnation}})
}
