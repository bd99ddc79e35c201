//go:build faults

package faults

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ashlar/appliance/api"
	"ashlar/scripts/internal/clusters"
)

// diskOf is what the cluster says of a node's disk.
func diskOf(n *clusters.Node, at *clusters.Node) (d api.DiskDetail) {
	for _, x := range clusters.Document[[]api.Disk](at, "disk", "list") {
		if x.Node == n.Name && x.Path == n.Disk() {
			return clusters.Document[api.DiskDetail](at, "disk", "show", x.ID)
		}
	}
	return d
}

// An image of a disk from before it was opened last is put back under a node that is down: nothing of it is
// used, people are told, its copies are made anew elsewhere, and the disk is taken again when it is overwritten.
func TestAnOldImageOfADiskThatIsPutBackIsRefused(t *testing.T) {
	t.Parallel()
	c := clusters.New(t, clusters.Plan{Addresses: neighbourhood(), DiskSize: "256M"})
	c.Nodes[0].Must("cluster", "set", "rebuild-after-disk", "1s")
	v := c.Publish("v", "16M", 2)
	load := clusters.NewLoad(t, v.IQN, volumeBytes, c.Nodes...)
	load.Start()
	load.AwaitWrites(100, time.Minute)
	stale, other := c.Head("v"), c.NotHead("v")
	stale.Kill()
	image := filepath.Join(t.TempDir(), "image")
	copyFile(t, stale.Disk(), image)
	stale.Start()
	stale.AwaitReady()
	c.AwaitInSync("v", time.Minute)
	load.AwaitWrites(100, time.Minute)
	stale.Stop()
	copyFile(t, image, stale.Disk())
	load.AwaitWrites(50, time.Minute)
	stale.Start()
	stale.AwaitReady()

	c.Eventually(20*time.Second, "the disk is known to be an old copy", func() bool { return diskOf(stale, other).State == "outdated" })
	attention := clusters.Document[api.Cluster](other, "cluster", "status").Attention
	if !slices.ContainsFunc(attention, func(s string) bool {
		return strings.Contains(s, stale.Disk()) && strings.Contains(s, "an old copy") && strings.Contains(s, "ashlar disk remove")
	}) {
		t.Errorf("attention: %q", attention)
	}
	if len(stale.LogLines("it is an old copy of the disk")) == 0 {
		t.Error("the node's log does not say so")
	}
	c.AwaitInSync("v", time.Minute)
	placed, _ := c.Show("v")
	for _, g := range placed.Placement {
		for _, r := range g.Replicas {
			if r.Node == stale.Name {
				t.Errorf("segment %d has a copy on the old disk", g.Segment)
			}
		}
	}
	stale.Must("disk", "remove", diskOf(stale, other).ID)
	expectRefusal(t, stale.Run("disk", "add", stale.Disk()), "--force")
	stale.Must("disk", "add", stale.Disk(), "--force")
	if d := diskOf(stale, other); d.State != "ok" {
		t.Errorf("overwritten, it is %q", d.State)
	}
	load.AwaitWrites(50, time.Minute)
	load.Stop(time.Minute)
	load.ExpectAll()
	c.Verify("v")
}

// An image that was taken while the disk was open carries all that the disk is known by. It is put back while all nodes are
// down, so that its copies stay in their sets: what they lack is written there before its node serves a block.
func TestAnImageOfAnOpenDiskThatIsPutBackIsMadeEqualBeforeItServes(t *testing.T) {
	t.Parallel()
	c := clusters.New(t, clusters.Plan{Addresses: neighbourhood(), DiskSize: "256M"})
	v := c.Publish("v", "16M", 3)
	load := clusters.NewLoad(t, v.IQN, volumeBytes, c.Nodes...)
	load.Start()
	load.AwaitWrites(200, time.Minute)
	load.Stop(time.Minute)
	stale := c.Head("v")
	image := filepath.Join(t.TempDir(), "image")
	copyFile(t, stale.Disk(), image)
	load.Start()
	load.AwaitWrites(300, time.Minute)
	load.Stop(time.Minute)
	c.KillAll()
	copyFile(t, image, stale.Disk())
	stale.Start()
	for _, n := range c.Nodes {
		if n != stale {
			n.Start()
		}
	}
	c.AwaitInSync("v", time.Minute)
	if d := diskOf(stale, stale); d.State != "ok" {
		t.Errorf("its disk is %q", d.State)
	}
	stale.Must("volume", "move-head", "v", stale.Name)
	load.ExpectAll()
	c.Verify("v")
}
