//go:build faults

package faults

import (
	"testing"
	"time"

	"ashlar/scripts/internal/clusters"
)

// A volume grows while hosts write to it, and its head is killed at once: what was
// there is there, and what is new takes writes over a second kill.
func TestAVolumeThatGrewOutlivesItsHeads(t *testing.T) {
	c := clusters.New(t, clusters.Plan{})
	const before, after = 40 << 20, 96 << 20 // segments have 16 MiB: the last one was not whole
	v := c.Publish("v", "40M", 2)
	load := clusters.NewLoad(t, v.IQN, before, c.Nodes...)
	load.Start()
	load.AwaitWrites(200, time.Minute)
	c.NotHead("v").Must("volume", "resize", "v", "96M")
	killHead(c, "v")
	load.AwaitWrites(200, time.Minute)
	load.Stop(time.Minute)
	load.ExpectAll()
	restart(c)
	c.AwaitInSync("v", time.Minute)
	grown, _ := c.Show("v")
	if grown.Size != after || grown.Segments != 6 || grown.InSync != 12 {
		t.Fatalf("the volume is %+v", grown)
	}

	load.Grow(after)
	load.ExpectAll()
	load.Start()
	load.AwaitWrites(200, time.Minute)
	killHead(c, "v")
	load.AwaitWrites(400, time.Minute)
	load.Stop(time.Minute)
	restart(c)
	c.AwaitInSync("v", time.Minute)
	load.ExpectAll()
	c.Verify("v")
}

func killHead(c *clusters.Cluster, volume string) {
	head := c.Head(volume)
	from, _ := c.Show(volume)
	head.Kill()
	c.AwaitTakeover(volume, from.Volume, 30*time.Second)
}

func restart(c *clusters.Cluster) {
	for _, n := range c.Nodes {
		if !n.Runs() {
			n.Start()
			n.AwaitReady()
		}
	}
}
