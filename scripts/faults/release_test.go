//go:build faults

package faults

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ashlar/appliance/api"
	"ashlar/scripts/internal/clusters"
)

// Two nodes alone: with one lost the other holds what it has and says what to do. Released, it
// goes on with every acknowledged write; the other is refused when it returns, and comes
// back only as a new node with empty disks.
func TestOneOfTwoNodesHoldsUntilItIsReleased(t *testing.T) {
	t.Parallel()
	c := clusters.New(t, clusters.Plan{Nodes: 2, Addresses: neighbourhood()})
	v := c.Publish("v", "16M", 2)
	load := clusters.NewLoad(t, v.IQN, volumeBytes, c.Nodes...)
	load.Start()
	load.AwaitWrites(200, time.Minute)
	lost, left := c.Nodes[0], c.Nodes[1]
	expectRefusal(t, left.Run("cluster", "release"), "leader")
	expectRefusal(t, left.Run("cluster", "reset", "--confirm", "lab"), "without it")
	lost.Kill()
	load.Abandon()

	c.Eventually(20*time.Second, "the one that is left says what to do", func() bool {
		r := left.Run("cluster", "status")
		return strings.Contains(r.Stdout, "ashlar cluster release --accept-loss --confirm lab")
	})
	c.Eventually(20*time.Second, "it has no lease", func() bool { return clusters.Document[api.Status](left, "status").State == "waiting" })
	expectNoAnswer(t, left, v.IQN)
	// It knows as much after a restart, when it has heard from nobody.
	left.Kill()
	left.Start()
	if s := clusters.Document[api.Cluster](left, "cluster", "status"); !s.Stale || s.Name != "lab" || len(s.Volumes) != 1 {
		t.Errorf("after a restart alone: %+v", s)
	}
	plan := clusters.Document[api.Release](left, "cluster", "release")
	if plan.Older || len(plan.Volumes) != 1 || plan.Volumes[0].Lost != 0 || len(plan.Expelled) != 1 || plan.Expelled[0] != lost.Name {
		t.Errorf("the plan: %+v", plan)
	}
	expectRefusal(t, left.Run("cluster", "release", "--accept-loss"), "--confirm")
	expectRefusal(t, left.Run("cluster", "release", "--accept-loss", "--confirm", "prod"), "lab", "prod")
	left.Must("cluster", "release", "--accept-loss", "--confirm", "lab")
	left.AwaitReady()
	load.ExpectAll()
	load.Start()
	load.AwaitWrites(100, time.Minute)
	load.Stop(time.Minute)

	lost.Start()
	c.Eventually(20*time.Second, "the other is told that it is refused", func() bool {
		r := lost.Run("cluster", "status")
		return strings.Contains(r.Stdout+r.Stderr, "formed anew without this node")
	})
	expectNoAnswer(t, lost, v.IQN)
	expectRefusal(t, lost.Run("cluster", "release", "--accept-loss", "--confirm", "lab"), "formed anew without this node")
	expectRefusal(t, lost.Run("cluster", "reset", "--confirm", "prod"), "lab")
	lost.Must("cluster", "reset", "--confirm", "lab")
	secret := filepath.Join(lost.Dir, "new-secret")
	if err := os.WriteFile(secret, []byte(left.Must("cluster", "secret")), 0o600); err != nil {
		t.Fatal(err)
	}
	lost.Must("cluster", "join", left.Addresses[0], "--secret-file", secret)
	expectRefusal(t, lost.Run("disk", "add", lost.Disk()), "not taken", "--force")
	lost.Must("disk", "add", lost.Disk(), "--force")
	c.AwaitInSync("v", 90*time.Second)
	c.Verify("v")
	load.ExpectAll()
}

// Both sides of a pair are released: they are two clusters from then on, and never meet.
func TestBothOfTwoNodesReleasedNeverMeet(t *testing.T) {
	t.Parallel()
	c := clusters.New(t, clusters.Plan{Nodes: 2, Addresses: neighbourhood()})
	v := c.Publish("v", "16M", 2)
	c.KillAll()
	for _, n := range c.Nodes { // offline, the one without the other
		expectRefusal(t, n.Run("cluster", "release", "--accept-loss", "--confirm", "prod"), "lab")
		n.Must("cluster", "release", "--accept-loss", "--confirm", "lab")
		expectRefusal(t, n.Run("cluster", "release", "--accept-loss", "--confirm", "lab"), "already")
	}
	lineages := map[string]bool{}
	for _, n := range c.Nodes {
		n.Start()
		n.AwaitReady()
		lineages[clusters.Document[api.Cluster](n, "cluster", "status").Lineage] = true
		if got := clusters.Document[api.VolumeDetail](n, "volume", "show", "v"); got.Head != n.Name || got.InSync != 1 || got.IQN != v.IQN {
			t.Errorf("on %s: %+v", n.Name, got)
		}
		expectRefusal(t, n.Run("cluster", "release"), "has a leader")
	}
	if len(lineages) != 2 || lineages[""] {
		t.Errorf("lineages: %v", lineages)
	}
	secret := filepath.Join(c.Nodes[0].Dir, "secret-of-the-other")
	if err := os.WriteFile(secret, []byte(c.Nodes[1].Must("cluster", "secret")), 0o600); err != nil {
		t.Fatal(err)
	}
	expectRefusal(t, c.Nodes[0].Run("cluster", "join", c.Nodes[1].Addresses[0], "--secret-file", secret), "already in cluster")
}

// A node of two that is stopped in order gives up its vote, so the other goes on by itself; it may have gone
// on alone, so who left is not released without a word.
func TestOneOfTwoNodesGoesOnWhenTheOtherIsStopped(t *testing.T) {
	t.Parallel()
	c := clusters.New(t, clusters.Plan{Nodes: 2, Addresses: neighbourhood()})
	v := c.Publish("v", "16M", 2)
	load := clusters.NewLoad(t, v.IQN, volumeBytes, c.Nodes...)
	load.Start()
	load.AwaitWrites(50, time.Minute)
	left, stays := c.Nodes[0], c.Nodes[1]
	left.Stop()
	load.AwaitWrites(100, 30*time.Second)
	load.Stop(time.Minute)
	stays.Kill()
	left.Start()
	plan := clusters.Document[api.Release](left, "cluster", "release")
	if !plan.Older {
		t.Errorf("the plan of who left: %+v", plan)
	}
	expectRefusal(t, left.Run("cluster", "release", "--accept-loss", "--confirm", "lab"), "old", "--accept-older")
	stays.Start()
	stays.AwaitReady()
	c.AwaitInSync("v", time.Minute)
	load.ExpectAll()
	c.Verify("v")
}
