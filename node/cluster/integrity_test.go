package cluster

import (
	"testing"

	"ashlar/replication/wire"
)

const hour = int64(3_600_000)

func lostAt(at int64, blocks ...uint32) (list []BadBlock) {
	for _, b := range blocks {
		list = append(list, BadBlock{Volume: 1, Block: b, At: at})
	}
	return list
}

func TestABadBlockCountsOnceADay(t *testing.T) {
	r := newRig(t, 2, 2)
	r.good(Command{BadBlocks: &BadBlocks{disk(1), lostAt(0, 7)}})
	r.refuse(Stale, Command{BadBlocks: &BadBlocks{disk(1), lostAt(23*hour, 7)}})
	r.good(Command{BadBlocks: &BadBlocks{disk(1), lostAt(24*hour, 7)}})
	r.good(Command{BadBlocks: &BadBlocks{disk(1), lostAt(24*hour, 7, 8)}})
	d := r.Disks[disk(1)]
	if d.BadEver != 3 || d.BadLately(25*hour) != 2 || d.Worn {
		t.Errorf("%+v", d)
	}
	r.refuse(NotFound, Command{BadBlocks: &BadBlocks{"x", lostAt(0, 7)}})
}

func TestTheThirdBadBlockInADayWearsADiskOut(t *testing.T) {
	r := newRig(t, 2, 2)
	r.good(Command{BadBlocks: &BadBlocks{disk(1), lostAt(0, 1, 2)}})
	r.good(Command{BadBlocks: &BadBlocks{disk(1), lostAt(24*hour, 3)}})
	r.refuse(Refused, Command{EjectDisk: &EjectDisk{disk(1)}})
	r.good(Command{BadBlocks: &BadBlocks{disk(1), lostAt(25*hour, 4)}})
	if d := r.Disks[disk(1)]; d.Worn {
		t.Errorf("two in a day: %+v", d)
	}
	r.good(Command{BadBlocks: &BadBlocks{disk(1), lostAt(47*hour, 5)}})
	if d := r.Disks[disk(1)]; !d.Worn {
		t.Errorf("three in a day: %+v", d)
	}
}

func TestADiskIsEjectedOnlyWhereEachOfItsSetsCanDoWithout(t *testing.T) {
	r := newRig(t, 3, 3)
	r.good(Command{CreateVolume: &CreateVolume{Name: "v", Bytes: 3 * mib, Copies: 2}})
	g := r.Volumes[1].Segments[1]
	one, other := g.Replicas[0], g.Replicas[1]
	r.good(Command{BadBlocks: &BadBlocks{one.Disk, lostAt(0, 1, 2, 3)}})
	if !r.CanEject(one.Disk) {
		t.Fatal("with two copies of everything it cannot be ejected")
	}
	r.good(Command{Fence: &Fence{Dead: []Dead{{other.Node, r.Nodes[other.Node].Incarnation}}, Refused: true}})
	if r.CanEject(one.Disk) {
		t.Error("the last copy of a segment would be ejected")
	}
	r.refuse(Refused, Command{EjectDisk: &EjectDisk{one.Disk}})
	if r.Disks[one.Disk].Failed || !r.Volumes[1].Segments[1].On(one.Node).InSync {
		t.Fatal("a refused ejection changed something")
	}
	n := r.up(other.Node)
	join := &Join{Volume: 1, Epoch: r.Volumes[1].Epoch, Node: other.Node, Incarnation: n}
	for i, g := range r.Volumes[1].Segments {
		join.Segments = append(join.Segments, SegmentGen{wire.Segment(i), g.Gen})
	}
	r.good(Command{Join: join})
	r.good(Command{EjectDisk: &EjectDisk{one.Disk}})
	d := r.Disks[one.Disk]
	if !d.Failed || !d.Ejected {
		t.Errorf("%+v", d)
	}
	for i, g := range r.Volumes[1].Segments {
		if c := g.On(one.Node); c != nil && c.InSync {
			t.Errorf("segment %d still counts on it", i)
		}
	}
	r.refuse(Refused, Command{EjectDisk: &EjectDisk{one.Disk}})
	r.refuse(Refused, Command{BadBlocks: &BadBlocks{one.Disk, lostAt(0, 9)}})
}

func TestProgressOfAScrubIsOfThePresentReign(t *testing.T) {
	r := newRig(t, 2, 2)
	r.good(Command{CreateVolume: &CreateVolume{Name: "v", Bytes: mib, Copies: 2}})
	v := r.Volumes[1]
	r.good(Command{NoteScrub: &NoteScrub{Volume: 1, Epoch: v.Epoch, Light: &Round{Since: 5}}})
	r.good(Command{NoteScrub: &NoteScrub{Volume: 1, Epoch: v.Epoch, Deep: &Round{Since: 6, Began: 7, Next: 1}}})
	if k := r.Volumes[1].Scrubs; k.Light.Since != 5 || k.Deep.Next != 1 {
		t.Errorf("%+v", k)
	}
	r.refuse(Stale, Command{NoteScrub: &NoteScrub{Volume: 1, Epoch: v.Epoch + 1, Light: &Round{}}})
}
