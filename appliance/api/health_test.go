package api

import (
	"slices"
	"strings"
	"testing"
	"time"

	"ashlar/node/cluster"
	"ashlar/node/failover"
	"ashlar/replication/wire"
)

// ward is a cluster of three nodes with a disk each and a volume of two segments in two copies.
func ward() *cluster.State {
	s := cluster.New()
	s.SegmentBytes = 1 << 30
	for id, name := range []string{"n1", "n2", "n3"} {
		n := wire.NodeID(id + 1)
		s.Nodes[n] = &cluster.Node{ID: n, Name: name, Incarnation: 1, Up: true}
		s.Disks[cluster.DiskID(name)] = &cluster.Disk{ID: cluster.DiskID(name), Node: n, Path: "/d", Opened: 1}
	}
	copies := func(a, b wire.NodeID) cluster.Segment {
		return cluster.Segment{Replicas: []cluster.Replica{{Node: a, Disk: cluster.DiskID(s.Nodes[a].Name), InSync: true}, {Node: b, Disk: cluster.DiskID(s.Nodes[b].Name), InSync: true}}}
	}
	s.Volumes[1] = &cluster.Volume{ID: 1, Name: "db", Bytes: 2 << 30, Copies: 2, Head: 1, Segments: []cluster.Segment{copies(1, 2), copies(1, 3)}}
	return s
}

func TestHealthSaysWhatIsSafeWhatIsDoneAndUntilWhen(t *testing.T) {
	now := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	look := func(s *cluster.State, stale bool, told map[wire.NodeID]failover.Measured) Health {
		c := Cluster{Stale: stale, Advice: "do this", Settings: Settings(s.Effective()), Attention: []string{}}
		for _, id := range s.NodeIDs() {
			state := "up"
			if !s.Nodes[id].Up {
				state = "down"
			}
			c.Nodes = append(c.Nodes, Node{Name: s.Nodes[id].Name, State: state})
		}
		c.Volumes = volumeViews(nil, s)
		return healthView(c, s, told, now)
	}
	has := func(name string, sentences []string, words ...string) {
		t.Helper()
		for _, w := range words {
			if !slices.ContainsFunc(sentences, func(x string) bool { return strings.Contains(x, w) }) {
				t.Errorf("%s: %q say nothing of %q", name, sentences, w)
			}
		}
	}

	s := ward()
	if h := look(s, false, nil); h.Data != "safe" || len(h.Why)+len(h.Doing)+len(h.Attention) != 0 {
		t.Errorf("well: %+v", h)
	}

	s = ward() // n3 is back, and its copy catches up: a quarter of a segment is copied, at 64 MiB/s
	s.Volumes[1].Segments[1].Replicas[1].InSync = false
	head := failover.HeadMinute{Volume: 1}
	head.Catching = append(head.Catching, struct {
		Segment wire.Segment
		Node    wire.NodeID
		Copied  uint64
	}{1, 3, 64 << 10})
	told := map[wire.NodeID]failover.Measured{1: {Pace: 64 << 20, Heads: []failover.HeadMinute{head}}}
	h := look(s, false, told)
	if h.Data != "reduced" || len(h.Doing) != 1 || h.Doing[0].Kind != "rebuild" || h.Doing[0].Copies != 1 || h.Doing[0].Bytes != 768<<20 || !h.Doing[0].Until.Equal(now.Add(12*time.Second)) {
		t.Errorf("catching up: %+v", h)
	}
	has("catching up", h.Why, "Volume db: 3 of 4 copies are in sync; of 1 segments it is the last")
	if h = look(s, false, nil); h.Doing[0].Until != nil {
		t.Errorf("nobody told the pace: %+v", h)
	}

	s.Nodes[3].Up = false // it is gone again: nothing is copied, it is waited for
	h = look(s, false, told)
	if h.Data != "reduced" || len(h.Doing) != 1 || h.Doing[0].Kind != "wait" || h.Doing[0].Copies != 1 {
		t.Errorf("a node is down: %+v", h)
	}
	has("a node is down", h.Why, "Node n3 is down.")
	has("a node is down", []string{h.Doing[0].Text}, "2m0s after it went down")

	s.Nodes[1].Up = false // the other copy of that segment, too
	h = look(s, false, nil)
	has("the last copy is gone", h.Why, "Writes to volume db wait: too few of its copies can be reached.")
	s.Volumes[1].Head = 0
	has("no head", look(s, false, nil).Why, "Writes to volume db wait: no node is its head.")
	if h.Data != "waiting" {
		t.Errorf("the last copy is gone: %+v", h)
	}

	h = look(ward(), true, nil)
	has("no leader", h.Attention, "Do this.")
	if h.Data != "unknown" || len(h.Why) != 1 {
		t.Errorf("no leader: %+v", h)
	}
}

func TestAPhraseBecomesASentence(t *testing.T) {
	for phrase, want := range map[string]string{"disk /a is full": "Disk /a is full.", "": "", "is it?": "Is it?", "/a is full.": "/a is full.", "ashlar cluster release": "ashlar cluster release."} {
		if got := sentence(phrase); got != want {
			t.Errorf("%q: %q", phrase, got)
		}
	}
}
