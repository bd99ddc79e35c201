//go:build power

package power

import (
	"os"
	"testing"
	"time"

	"ashlar/scripts/internal/clusters"
	"ashlar/scripts/internal/machines"
)

const volumeBytes = 48 << 20

// All nodes lose their power under load: everything acknowledged is there. First
// nothing that was not synced survives, then one or the other block of it.
func TestAllNodesLoseTheirPowerAtOnce(t *testing.T) {
	m := machines.Start(t)
	c := clusters.New(t, clusters.Plan{Folder: m.Folder})
	v := c.Publish("v", "48M", 2)
	rounds := 3
	if os.Getenv("ASHLAR_TEST_LONG") != "" {
		rounds = 10
	}
	load := clusters.NewLoad(t, v.IQN, volumeBytes, c.Nodes...)
	for round := range rounds {
		load.Start()
		load.AwaitWrites(300, time.Minute)
		var seed []int
		if round > 0 {
			seed = []int{round}
		}
		c.KillAll()
		load.Abandon()
		blocks, names := m.Cut(seed...)
		for _, n := range c.Nodes {
			n.Start()
		}
		took := c.AwaitInSync("v", time.Minute)
		load.ExpectAll()
		c.Verify("v")
		t.Logf("round %d: %d writes so far, %d blocks and %d names lost, in sync %.1f s after the power is back",
			round+1, load.Writes(), blocks, names, took.Seconds())
	}
}

// The same on disks that lie about what they have synced must fail: else the
// test above shows nothing.
func TestThePowerCutWouldShowWhatIsNotSynced(t *testing.T) {
	m := machines.Start(t)
	c := clusters.New(t, clusters.Plan{Folder: m.Folder})
	v := c.Publish("v", "48M", 2)
	load := clusters.NewLoad(t, v.IQN, volumeBytes, c.Nodes...)
	m.Lie()
	load.Start()
	load.AwaitWrites(300, time.Minute)
	c.KillAll()
	load.Abandon()
	m.Cut()
	for _, n := range c.Nodes {
		n.Start()
	}
	c.AwaitInSync("v", time.Minute)
	problems := load.CheckAll()
	if len(problems) == 0 {
		t.Fatal("300 acknowledged writes that no disk ever had are there")
	}
	t.Logf("%d blocks are lost, as they should be: %s", len(problems), problems[0])
}
