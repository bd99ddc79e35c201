package cli

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"ashlar/appliance/api"
)

// newCluster is three nodes in a cluster, all voters, with a disk each.
func newCluster(t *testing.T) []*daemon {
	t.Helper()
	nodes := []*daemon{newDaemon(t, 1), newDaemon(t, 2), newDaemon(t, 3)}
	first := nodes[0]
	first.must("cluster", "create", "prod", "--segment-size", "4M")
	secret := first.must("cluster", "secret")
	for _, n := range nodes[1:] {
		if r := command(secret, "cluster", "join", first.peer, "--secret-file", "-", "--dir", n.dir); r.code != 0 {
			t.Fatal(r.stderr)
		}
	}
	for _, n := range nodes {
		n.must("disk", "add", n.path("disk"), "--size", "64M")
	}
	first.eventually("has three voters", func() bool {
		return strings.Count(first.must("node", "list", "-o", "json"), `"voter": true`) == 3
	})
	return nodes
}

func TestVolumesGrowHeadsMoveAndNodesAreDrained(t *testing.T) {
	t.Parallel()
	nodes := newCluster(t)
	d := nodes[1]
	d.must("volume", "create", "db", "--size", "10M", "--copies", "2")

	d.refuses("volume resize db 8M", "cannot be made smaller")
	d.refuses("volume resize dbb 20M", `did you mean "db"?`)
	d.refuses("volume resize db 50000000", "multiple of 4096")
	if text := d.must("volume", "resize", "db", "20M"); !strings.Contains(text, "has 20 MiB now") {
		t.Error(text)
	}
	v := document[api.VolumeDetail](nodes[2], "volume", "show", "db")
	if v.Size != 20<<20 || v.Segments != 5 || v.State != "healthy" || v.Replicas != 10 {
		t.Errorf("after it grew: %+v", v)
	}

	var with, without string // nodes that have a copy, and that has none
	holders := map[string]bool{}
	for _, s := range v.Placement {
		for _, r := range s.Replicas {
			holders[r.Node] = true
		}
	}
	for _, n := range []string{"node1", "node2", "node3"} {
		if !holders[n] {
			without = n
		} else if n != v.Head {
			with = n
		}
	}
	if text := d.must("node", "drain", v.Head, "--data", "--dry-run"); !strings.Contains(text, "Copies that would be made: 5") ||
		!strings.Contains(text, "The head of volume db would move from node "+v.Head) {
		t.Error(text)
	}
	d.refuses("volume resize db 8M --dry-run", "would be refused", "cannot be made smaller")
	d.must("volume", "move-head", "db", with)
	if now := document[api.Volume](d, "volume", "show", "db"); now.Head != with || now.Epoch != v.Epoch+1 {
		t.Errorf("after its head moved: %+v", now)
	}
	if without != "" {
		d.refuses("volume move-head db "+without, "has no copy")
	}
	d.refuses("volume move-head db node", `did you mean "node`)

	d.must("node", "drain", with)
	if now := document[api.Volume](d, "volume", "show", "db"); now.Head == with {
		t.Errorf("the drained node is the head: %+v", now)
	}
	if n := document[api.Node](d, "node", "show", with); !n.Drained || n.Heads != 0 || n.State != "up" {
		t.Errorf("the drained node: %+v", n)
	}
	if text := d.must("node", "list"); !strings.Contains(text, "up, drained") {
		t.Error(text)
	}
	d.must("node", "undrain", with)
	if n := document[api.Node](d, "node", "show", with); n.Drained {
		t.Errorf("after undrain: %+v", n)
	}
	d.refuses("node drain node9", "there is no node")
}

func TestThePoolTellsHowFullItIs(t *testing.T) {
	t.Parallel()
	nodes := newCluster(t)
	nodes[0].must("volume", "create", "db", "--size", "1G", "--copies", "2")
	p := document[api.Pool](nodes[1], "pool", "status")
	if len(p.Disks) != 3 || len(p.Nodes) != 3 || p.Volumes != 1<<30 || p.Provisioned != 2<<30 || p.Used != 0 || p.Size != p.Free || p.Size > 3*64<<20 || len(p.Warnings) != 0 {
		t.Errorf("the pool: %+v", p)
	}
	if text := nodes[2].must("pool", "status"); !strings.Contains(text, "provisioned  2 GiB") || strings.Contains(text, "warning") {
		t.Error(text)
	}
	nodes[2].end(syscall.SIGKILL)
	nodes[0].eventually("misses a disk", func() bool {
		p := document[api.Pool](nodes[0], "pool", "status")
		return len(p.Warnings) == 1 && strings.Contains(p.Warnings[0], `of node "node3": how full it is is not known`)
	})
}

// TestANodeThatIsToldToStopHandsOverFirst, also the lead, and others know at once.
func TestANodeThatIsToldToStopHandsOverFirst(t *testing.T) {
	t.Parallel()
	nodes := newCluster(t)
	nodes[0].must("volume", "create", "db", "--size", "8M", "--copies", "3")
	nodes[1].must("volume", "move-head", "db", "node1")
	began := time.Now()
	nodes[0].end(syscall.SIGTERM)
	if d := time.Since(began); d > 10*time.Second {
		t.Errorf("it took %v", d)
	}
	if code := nodes[0].process.ProcessState.ExitCode(); code != 0 {
		t.Errorf("status %d; its log:\n%s", code, nodes[0].log.String())
	}
	nodes[1].eventually("leads or follows, and knows that its copies are behind", func() bool {
		v := document[api.Volume](nodes[1], "volume", "show", "db")
		return !document[api.Cluster](nodes[1], "cluster", "status").Stale && v.Head != "node1" && v.State == "degraded" && v.InSync == 4
	})
	nodes[0].start()
	nodes[1].eventually("has all copies again", func() bool { return document[api.Volume](nodes[1], "volume", "show", "db").State == "healthy" })
	sameEvents(t, nodes)
}

// sameEvents: all nodes tell of the same, also one that was away: that a node stopped, and what followed.
func sameEvents(t *testing.T, nodes []*daemon) {
	t.Helper()
	nodes[0].eventually("tells the same as the others", func() bool {
		all := nodes[0].must("events", "--limit", "10000", "-o", "json")
		return all == nodes[1].must("events", "--limit", "10000", "-o", "json") && all == nodes[2].must("events", "--limit", "10000", "-o", "json")
	})
	text := nodes[0].must("events")
	for _, words := range []string{`the head of volume "db" moved from node "node1"`, "about to stop", `node "node1" has stopped, as it was told to`,
		`copies of volume "db" on node "node1" are out of sync`, `node "node1" is up, as incarnation 2`, `copies of volume "db" on node "node1" are in sync`} {
		if !strings.Contains(text, words) {
			t.Errorf("no event says %q:\n%s", words, text)
		}
	}
}
