package api

import (
	"strings"
	"testing"

	"ashlar/node/cluster"
	"ashlar/replication/wire"
)

func TestWhatIsWrongIsSaidAndNothingElse(t *testing.T) {
	s := &cluster.State{Volumes: map[wire.VolumeID]*cluster.Volume{
		1: {ID: 1, Name: "good", Scrubs: &cluster.Scrubs{Light: cluster.Round{Last: cluster.Counts{Differing: 3, Mended: 3}}}},
		2: {ID: 2, Name: "torn", Scrubs: &cluster.Scrubs{Deep: cluster.Round{Last: cluster.Counts{Differing: 3, Mended: 1}}}},
		3: {ID: 3, Name: "new"},
	}}
	disks := []Disk{{Node: "n1", Path: "/dev/sda", State: "ok"}, {Node: "n1", Path: "/dev/sdb", State: "failed"}, {Node: "n2", Path: "/dev/sdc", State: "worn"},
		{Node: "n2", Path: "/dev/sdd", State: "ejected", BadEver: 7}, {Node: "n3", Path: "/dev/sde", State: "missing"}, {Node: "n3", Path: "/dev/sdf", State: "draining"}, {Node: "n3", Path: "/dev/sdg", State: "outdated"}}
	got := attention(disks, s)
	want := []string{"Disk /dev/sdb of node n1 failed a write", "Disk /dev/sdc of node n2 lost 3 blocks within a day; it leaves", "Disk /dev/sdd of node n2 lost 7 blocks, 3 of them",
		"Disk /dev/sde of node n3 cannot be opened", "Disk /dev/sdg of node n3 is an old copy", "Volume torn: copies of 2 blocks differed"}
	if len(got) != len(want) {
		t.Fatalf("%d sentences, want %d:\n%s", len(got), len(want), strings.Join(got, "\n"))
	}
	for i := range want {
		if !strings.HasPrefix(got[i], want[i]) {
			t.Errorf("%q does not begin with %q", got[i], want[i])
		}
	}
}
