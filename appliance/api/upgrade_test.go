package api

import (
	"strings"
	"testing"

	"ashlar/node/cluster"
	"ashlar/replication/wire"
)

func TestANodeIsUpgradedOnlyWhileTheOthersDoWithoutIt(t *testing.T) {
	copies := func(inSync ...wire.NodeID) (g cluster.Segment) {
		for _, n := range []wire.NodeID{1, 2, 3} {
			in := false
			for _, x := range inSync {
				in = in || x == n
			}
			g.Replicas = append(g.Replicas, cluster.Replica{Node: n, Disk: cluster.DiskID("abc"[n-1 : n]), InSync: in})
		}
		return g
	}
	for _, c := range []struct {
		what       string
		copies     int
		least      int
		segment    cluster.Segment
		change     func(*cluster.State)
		why, notes string
	}{
		{what: "all is well", copies: 3, least: 2, segment: copies(1, 2, 3)},
		{what: "its own copy is out", copies: 3, least: 2, segment: copies(2, 3)},
		{what: "another's is", copies: 3, least: 2, segment: copies(1, 2), why: `volume "v" has too few copies in sync elsewhere of 1 of its 1 segments`},
		{what: "one is enough", copies: 3, least: 1, segment: copies(1, 2)},
		{what: "it has the last copy", copies: 2, least: 1, segment: copies(1), why: "too few copies"},
		{what: "it has the only copy", copies: 1, least: 1, segment: copies(1), notes: `volume "v" waits meanwhile`},
		{what: "another has the only copy", copies: 1, least: 1, segment: copies(2)},
		{what: "another's disk was not opened yet", copies: 2, least: 1, segment: copies(1, 2), change: func(s *cluster.State) { s.Disks["b"].Opened = 0 }, why: "too few copies"},
		{what: "another node is down", copies: 3, least: 1, segment: copies(1, 2), change: func(s *cluster.State) { s.Nodes[3].Up = false }, why: `node "n3" is down`},
		{what: "a node that is no more", copies: 3, least: 1, segment: copies(1, 2), change: func(s *cluster.State) { s.Nodes[3].Up, s.Nodes[3].Expelled = false, true }},
		{what: "another node stops", copies: 3, least: 1, segment: copies(1, 2), change: func(s *cluster.State) { s.Nodes[2].Leaving = true }, why: `node "n2" is about to stop`},
	} {
		s := cluster.New()
		for n := wire.NodeID(1); n <= 3; n++ {
			id := cluster.DiskID("abc"[n-1 : n])
			s.Nodes[n] = &cluster.Node{ID: n, Name: "n" + string('0'+rune(n)), Up: true, Incarnation: 1}
			s.Disks[id] = &cluster.Disk{ID: id, Node: n, Opened: 1}
		}
		s.Volumes[1] = &cluster.Volume{ID: 1, Name: "v", Copies: c.copies, MinInSync: c.least, Segments: []cluster.Segment{c.segment}}
		if c.change != nil {
			c.change(s)
		}
		u := upgradeView(s, 1)
		why, notes := strings.Join(u.Why, "; "), strings.Join(u.Notes, "; ")
		if u.Ready != (c.why == "") || !strings.Contains(why, c.why) || c.why == "" && why != "" || !strings.Contains(notes, c.notes) || c.notes == "" && notes != "" {
			t.Errorf("%s: %+v", c.what, u)
		}
	}
}
