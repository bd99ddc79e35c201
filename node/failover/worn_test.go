package failover

import (
	"testing"

	"ashlar/node/cluster"
)

func TestDisksThatAreWornOutLeaveOneAtATime(t *testing.T) {
	st := pool(t)
	for _, id := range []cluster.DiskID{"1", "2"} {
		bad := []cluster.BadBlock{{Block: 1}, {Block: 2}, {Block: 3}}
		var r cluster.Result
		if st, r = st.Apply(st.Index+1, cluster.Command{BadBlocks: &cluster.BadBlocks{Disk: id, Blocks: bad}}); r.Problem != "" {
			t.Fatal(r.Problem)
		}
	}
	w := &Worn{looked: -wornEvery}
	gone := 0
	for now := int64(0); now < 10*wornEvery; now += wornEvery / 4 {
		list := w.Tick(now, st)
		if len(list) > 1 {
			t.Fatalf("%d at once", len(list))
		}
		for _, c := range list {
			var r cluster.Result
			if st, r = st.Apply(st.Index+1, c); r.Problem != "" {
				t.Errorf("%+v: %s", c.EjectDisk, r.Problem)
			}
			gone++
		}
	}
	if gone == 0 || !st.Disks["1"].Ejected || st.Disks["2"].Ejected != (gone == 2) {
		t.Errorf("%d are gone: %+v, %+v", gone, st.Disks["1"], st.Disks["2"])
	}
	for _, v := range st.Volumes {
		for i, g := range v.Segments {
			if len(g.InSync()) == 0 {
				t.Errorf("segment %d has no copy", i)
			}
		}
	}
}
