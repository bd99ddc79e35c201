package api

import (
	"strings"
	"testing"

	"ashlar/node/cluster"
	"ashlar/node/disk"
)

func TestThePoolIsTheSumOfWhatCanBeUsedAndKnown(t *testing.T) {
	s := cluster.New()
	s.Volumes[1] = &cluster.Volume{ID: 1, Bytes: 100, Copies: 3}
	s.Volumes[2] = &cluster.Volume{ID: 2, Bytes: 50, Copies: 1}
	disks := []Disk{
		{ID: "a", Node: "node1", Path: "/a", State: "ok"}, {ID: "b", Node: "node1", Path: "/b", State: "ok"},
		{ID: "c", Node: "node2", Path: "/c", State: "failed"}, {ID: "d", Node: "node3", Path: "/d", State: "ok"},
		{ID: "e", Node: "node3", Path: "/e", State: "missing"}, {ID: "f", Node: "node4", Path: "/f", State: "ok"},
	}
	space := map[cluster.DiskID]disk.Stats{
		"a": {Capacity: 1000, Used: 900, Free: 100},
		"b": {Capacity: 1000, Used: 901, Free: 99}, // less than a tenth is free
		"c": {Capacity: 1000, Used: 10, Free: 990}, // failed, whatever it says
		"f": {Capacity: 1000, Used: 10, Free: 990, Low: true},
	}
	s.Settings = &cluster.Settings{PoolWarning: 99}
	p := poolView(s, disks, space)
	if p.Size != 3000 || p.Used != 1811 || p.Free != 1189 || p.Volumes != 150 || p.Provisioned != 350 {
		t.Errorf("%+v", p)
	}
	if len(p.Nodes) != 4 || p.Nodes[0] != (NodeSpace{"node1", 2000, 1801, 199}) || p.Nodes[1] != (NodeSpace{Node: "node2"}) {
		t.Errorf("nodes %+v", p.Nodes)
	}
	var states []string
	for _, d := range p.Disks {
		states = append(states, d.State)
	}
	if got := strings.Join(states, " "); got != "ok ok failed unknown unknown ok" {
		t.Errorf("states %s", got)
	}
	want := []string{"/b of node \"node1\" is nearly full", "/d of node \"node3\": how full", "/e of node \"node3\": how full", "/f of node \"node4\" is nearly full"}
	if len(p.Warnings) != len(want) {
		t.Fatalf("warnings %q", p.Warnings)
	}
	for i, w := range want {
		if !strings.Contains(p.Warnings[i], w) {
			t.Errorf("%q does not say %q", p.Warnings[i], w)
		}
	}
}

func TestThePoolWarnsBeforeItIsFull(t *testing.T) {
	disks := []Disk{{ID: "a", Node: "node1", Path: "/a", State: "ok"}, {ID: "b", Node: "node2", Path: "/b", State: "ok"}}
	for _, c := range []struct {
		used, setting uint64
		level, says   string
	}{{799, 0, "ok", ""}, {800, 0, "warning", "the pool is 80 % full: add disks"}, {799, 70, "warning", "the pool is 79 % full"}, {700, 75, "ok", ""}, {900, 0, "critical", "the pool is 90 % full: writes fail"}, {940, 95, "ok", ""}} {
		s := cluster.New()
		s.Settings = &cluster.Settings{PoolWarning: int(c.setting)}
		full := disk.Stats{Capacity: 1000, Used: int64(c.used), Free: int64(1000 - c.used)}
		p := poolView(s, disks, map[cluster.DiskID]disk.Stats{"a": full, "b": full})
		first := strings.Join(append(p.Warnings, ""), "\n")
		if p.Level != c.level || !strings.HasPrefix(first, c.says) {
			t.Errorf("%d used, warning at %d: %s, %q", c.used, c.setting, p.Level, p.Warnings)
		}
	}
}
