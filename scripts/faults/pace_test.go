//go:build faults

package faults

import (
	"fmt"
	"testing"
	"time"

	"ashlar/scripts/internal/clusters"
)

// Copies are made no faster than the ceiling, and, with hosts that ask for all they can get, no slower than the floor.
func TestCopiesAreMadeNoFasterThanTheCeilingAndNoSlowerThanTheFloor(t *testing.T) {
	t.Parallel()
	c := clusters.New(t, clusters.Plan{Addresses: neighbourhood(), SegmentSize: "16M"})
	v := c.Publish("v", "48M", 2)
	n1 := c.Nodes[0]
	data := make([]byte, 1<<20)
	h := newHost(t, n1, v.IQN, clusters.HostIQN, 1)
	h.open(t.Context())
	for at := 0; at < 48<<20; at += len(data) {
		fillPiece(data, at+1)
		if err := h.session.Write(t.Context(), 0, uint64(at/512), data, 512); err != nil {
			t.Fatal(err)
		}
	}
	// drain moves a node's copies and tells how many MiB went, and how long that took.
	drain := func(name string) (mib int, took time.Duration) {
		mib = 16 * copiesOn(n1, name)
		n1.Must("node", "drain", name, "--data")
		begun := time.Now()
		awaitEmpty(t, c, n1, name)
		took = time.Since(begun)
		n1.Must("node", "undrain", name)
		c.AwaitInSync("v", time.Minute)
		return mib, took
	}
	set := func(floor, ceiling int) {
		n1.Must("cluster", "set", "rebuild-floor", "1M")
		n1.Must("cluster", "set", "rebuild-ceiling", fmt.Sprint(ceiling, "M"))
		n1.Must("cluster", "set", "rebuild-floor", fmt.Sprint(floor, "M"))
	}
	set(1, 4)
	mib, took := drain("n2")
	if least := time.Duration(mib) * time.Second / 4 * 9 / 10; mib == 0 || took < least {
		t.Errorf("%d MiB at 4 MiB/s at most took %v", mib, took)
	}
	t.Logf("a ceiling of 4 MiB/s: %d MiB in %v", mib, took)

	set(8, 8)
	load := clusters.NewLoad(t, v.IQN, 48<<20, c.Nodes...)
	load.Start()
	load.AwaitWrites(100, time.Minute)
	mib, took = drain("n3")
	load.Stop(time.Minute)
	if most := time.Duration(mib)*time.Second/8*3 + 5*time.Second; mib == 0 || took > most {
		t.Errorf("%d MiB at 8 MiB/s at least took %v, beside hosts", mib, took)
	}
	t.Logf("a floor of 8 MiB/s, beside hosts: %d MiB in %v; the longest write took %v", mib, took, load.Longest())
	c.Verify("v")
}
