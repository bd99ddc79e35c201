package cluster

import (
	"testing"

	"ashlar/replication/wire"
)

func resize(bytes uint64) Command {
	return Command{ResizeVolume: &ResizeVolume{Name: "v", Bytes: bytes}}
}

func TestAVolumeGrowsAndNeverShrinks(t *testing.T) {
	r := newRig(t, 3, 3)
	r.refuse(NotFound, resize(4*mib))
	v := r.volume("v", 2, 2)
	old := r.Volumes[v].Segments
	r.refuse(Refused, resize(2*mib-4096))
	for _, size := range []uint64{2*mib + 512, 1<<50 + 4096} {
		r.refuse(Invalid, resize(size))
	}
	r.good(resize(2 * mib)) // it comes twice: nothing changes
	r.expectHead(v, r.Volumes[v].Head, 1)
	r.good(resize(5*mib - 4096))
	now := r.Volumes[v]
	if now.Bytes != 5*mib-4096 || len(now.Segments) != 5 || text(now.Segments[:2]) != text(old) {
		t.Fatalf("the volume is %s", text(now))
	}
	for i, g := range now.Segments {
		if g.Gen != 1 || len(g.InSync()) != 2 || g.On(now.Head) == nil {
			t.Errorf("segment %d is %+v", i, g)
		}
	}
	r.good(resize(5 * mib)) // within the last segment
	if now := r.Volumes[v]; now.Bytes != 5*mib || len(now.Segments) != 5 {
		t.Errorf("the volume is %s", text(now))
	}
	r.expectHead(v, now.Head, 1)
}

func TestANewSegmentNeedsItsCopiesAtOnceAndOldOnesDoNot(t *testing.T) {
	r := newRig(t, 2, 1)
	v := r.good(Command{CreateVolume: &CreateVolume{Name: "v", Bytes: mib / 2, Copies: 2}}).Volume
	r.down(2)
	r.good(resize(mib))
	r.refuse(TooFew, resize(2*mib))
	r.expectInSync(v, 0, 1)
	r.up(2)
	r.good(resize(2 * mib))
	r.expectInSync(v, 1, 1, 2)
	r.expectInSync(v, 0, 1)
}

// TestAHeadThatMovedKeepsACopyOfWhatIsAdded, so that its reads stay local.
func TestAHeadThatMovedKeepsACopyOfWhatIsAdded(t *testing.T) {
	r := newRig(t, 5, 3)
	v := r.volume("v", 2, 8)
	for range 3 {
		r.good(Command{MoveHead: &MoveHead{Volume: v, Epoch: r.Volumes[v].Epoch}})
		size := r.Volumes[v].Bytes
		r.good(resize(size + 3*mib))
		for i := int(size / mib); i < len(r.Volumes[v].Segments); i++ {
			if g := r.Volumes[v].Segments[i]; g.On(r.Volumes[v].Head) == nil {
				t.Errorf("segment %d of head %d is on %v", i, r.Volumes[v].Head, g.InSync())
			}
		}
	}
}

func TestACopyOfASegmentThatIsAddedLeavesAndReturnsLikeAnyOther(t *testing.T) {
	r := newRig(t, 3, 3)
	v := r.volume("v", 3, 1)
	r.good(resize(2 * mib))
	other := wire.NodeID(3)
	r.down(other)
	r.expectInSync(v, 1, 1, 2)
	r.up(other)
	r.good(r.joins(v, other))
	r.expectInSync(v, 1, 1, 2, 3)
}
