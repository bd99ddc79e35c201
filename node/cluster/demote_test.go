package cluster

import (
	"testing"

	"ashlar/replication/wire"
)

func (r *rig) demotes(v wire.VolumeID, n wire.NodeID, at int64) Command {
	return Command{Demote: &Demote{Node: n, Volumes: []VolumeEpoch{{v, r.Volumes[v].Epoch}}, Why: "its disk is slow", At: at}}
}

// inSyncOf are a volume's nodes: its head, and those with the other copies.
func (r *rig) inSyncOf(v wire.VolumeID) (head wire.NodeID, others []wire.NodeID) {
	head = r.Volumes[v].Head
	for _, n := range r.Volumes[v].Segments[0].InSync() {
		if n != head {
			others = append(others, n)
		}
	}
	return head, others
}

func TestADemotedCopyComesBackOnlyOnceItIsReadmitted(t *testing.T) {
	r := newRig(t, 2, 1)
	v := r.volume("v", 2, 2)
	head, others := r.inSyncOf(v)
	slow := others[0]
	r.good(r.demotes(v, slow, 1000))
	for i := range 2 {
		r.expectInSync(v, i, head)
		if c := r.Volumes[v].Segments[i].On(slow); c == nil || !c.Demoted {
			t.Errorf("the copy of segment %d is %+v", i, c)
		}
	}
	r.refuse(Stale, r.joins(v, slow))
	r.good(Command{Readmit: &Readmit{v, slow}})
	r.refuse(Stale, Command{Readmit: &Readmit{v, slow}})
	r.good(r.joins(v, slow))
	if got := r.Volumes[v].Segments[0].InSync(); len(got) != 2 {
		t.Errorf("in sync are %v", got)
	}
}

func TestADemotionNeverStopsWrites(t *testing.T) {
	r := newRig(t, 4, 3)
	two, three := r.volume("two", 2, 1), r.volume("three", 3, 1)
	_, others := r.inSyncOf(two)
	r.good(r.demotes(two, others[0], 0))
	r.refuse(Refused, r.demotes(two, others[0], DemoteEvery)) // out already
	_, others = r.inSyncOf(three)
	r.good(r.demotes(three, others[0], 0))
	r.refuse(Refused, r.demotes(three, others[1], DemoteEvery)) // one of three takes no writes
}

func TestADemotionOfAFormerReignIsStale(t *testing.T) {
	r := newRig(t, 3, 3)
	v := r.volume("v", 2, 1)
	head, others := r.inSyncOf(v)
	late := r.demotes(v, head, 0)
	late.Demote.Volumes[0].Epoch++
	r.good(Command{MoveHead: &MoveHead{v, r.Volumes[v].Epoch, others[0]}})
	old := r.demotes(v, head, 0)
	old.Demote.Volumes[0].Epoch--
	r.refuse(Refused, old)
	r.good(late)
}

func TestADemotionOfADiskLeavesTheNodesOtherCopiesAlone(t *testing.T) {
	r := newRig(t, 2, 1)
	r.good(Command{AddDisk: &AddDisk{ID: "second", Node: 2, Path: "/dev/sdc", Size: 1 << 40}})
	v := r.volume("v", 2, 4)
	if r.Volumes[v].Head == 2 {
		r.good(Command{MoveHead: &MoveHead{v, r.Volumes[v].Epoch, 1}})
	}
	c := r.demotes(v, 2, 0)
	c.Demote.Disk = "second"
	r.good(c)
	demoted := 0
	for i, g := range r.Volumes[v].Segments {
		if g.On(2).Demoted {
			demoted++
		}
		if g.On(2).Demoted != (g.On(2).Disk == "second") {
			t.Errorf("segment %d: %+v", i, g)
		}
	}
	if demoted == 0 || demoted == 4 {
		t.Fatalf("%d of 4 copies are on the second disk", demoted)
	}
}

func TestDemotionsThatFollowOneAnotherAreCounted(t *testing.T) {
	r := newRig(t, 3, 3)
	v := r.volume("v", 2, 1)
	_, others := r.inSyncOf(v)
	for i, at := range []int64{1000, 61_000, 61_000 + forgiveAfter, 121_000 + forgiveAfter} {
		r.good(r.demotes(v, others[0], at))
		want := []int{1, 2, 1, 2}[i]
		if d := r.DemotionOf(v, others[0]); d == nil || d.Times != want || d.At != at || len(r.Demotions) != 1 {
			t.Errorf("demotion %d is %+v of %d, want %d times", i, d, len(r.Demotions), want)
		}
		r.good(Command{Readmit: &Readmit{v, others[0]}})
		r.good(r.joins(v, others[0]))
	}
}

func TestAVolumeLosesCopiesToSlownessOnceAMinuteAtMost(t *testing.T) {
	r := newRig(t, 5, 3)
	v := r.volume("v", 3, 1)
	_, others := r.inSyncOf(v)
	slow := func(n wire.NodeID, at int64) Command {
		r.good(Command{Readmit: &Readmit{v, others[0]}})
		r.good(r.joins(v, others[0]))
		return r.demotes(v, n, at)
	}
	r.good(r.demotes(v, others[0], 100_000))
	r.refuse(Refused, slow(others[1], 100_000+DemoteEvery-1))
	r.refuse(Refused, r.demotes(v, others[1], 100_001-DemoteEvery)) // by another's clock
	r.good(r.demotes(v, others[1], 100_000+DemoteEvery))
}
