//go:build faults

package faults

import (
	"os"
	"strings"
	"testing"
	"time"

	"ashlar/appliance/api"
	"ashlar/scripts/internal/clusters"
)

// copiesOn counts what the cluster says is on a node's disks.
func copiesOn(at *clusters.Node, name string) (n int) {
	for _, d := range clusters.Document[[]api.Disk](at, "disk", "list") {
		if d.Node == name {
			n += d.Replicas
		}
	}
	return n
}

// refused wants an order to be refused with a sentence that has some words.
func refused(t *testing.T, n *clusters.Node, words string, order ...string) {
	t.Helper()
	if r := n.Run(order...); r.Code == 0 || !strings.Contains(r.Stderr, words) {
		t.Errorf("ashlar %s: status %d, %s; want %q", strings.Join(order, " "), r.Code, r.Stderr, words)
	}
}

// awaitEmpty waits until a node's disks hold nothing, while no segment of the volume has fewer copies
// in sync than it should.
func awaitEmpty(t *testing.T, c *clusters.Cluster, at *clusters.Node, name string) {
	t.Helper()
	c.Eventually(time.Minute, "no copies are on "+name, func() bool {
		if v := clusters.Document[api.VolumeDetail](at, "volume", "show", "v"); v.InSync != v.Replicas {
			t.Errorf("%d of %d copies are in sync while some move", v.InSync, v.Replicas)
			return true
		}
		return copiesOn(at, name) == 0
	})
}

// A disk is drained while hosts write, taken out, and put in again; then its node is drained of all data,
// stopped, and taken out.
func TestDisksAndNodesAreDrainedAndTakenOutUnderLoad(t *testing.T) {
	t.Parallel()
	c := clusters.New(t, clusters.Plan{Addresses: neighbourhood()})
	v := c.Publish("v", "96M", 2)
	load := clusters.NewLoad(t, v.IQN, 96<<20, c.Nodes...)
	load.Start()
	load.AwaitWrites(300, time.Minute)
	n1, n2, n3 := c.Nodes[0], c.Nodes[1], c.Nodes[2]

	if copiesOn(n1, "n2") == 0 {
		t.Fatal("nothing is on the disk of n2")
	}
	refused(t, n1, "still has copies", "disk", "remove", "n2:"+n2.Disk())
	n1.Must("disk", "drain", "n2:"+n2.Disk())
	awaitEmpty(t, c, n1, "n2")
	if text := n1.Must("cluster", "status"); !strings.Contains(text, "of node n2 is drained") {
		t.Error(text)
	}
	load.AwaitWrites(100, time.Minute)
	n2.Must("disk", "remove", n2.Disk())
	c.Eventually(10*time.Second, "n2 lets go of the disk", func() bool { return len(n2.LogLines("a disk was removed")) > 0 })
	if err := os.Remove(n2.Disk()); err != nil {
		t.Fatal(err)
	}
	n2.Must("disk", "add", n2.Disk(), "--size", "1G")

	refused(t, n1, "is up", "node", "remove", "n3")
	n1.Must("node", "drain", "n3", "--data")
	awaitEmpty(t, c, n1, "n3")
	n3.Stop()
	n1.Must("node", "remove", "n3")
	refused(t, n1, "there is no node", "node", "show", "n3")
	c.AwaitVoters(n1, 2)
	load.AwaitWrites(100, time.Minute)
	load.Stop(time.Minute)
	c.AwaitInSync("v", time.Minute)
	load.ExpectAll()
	c.Verify("v")
}

// A node dies for good and another takes its place: data, copies, votes and reservations are as before.
// Should the dead one start again, it takes part in nothing, says what to do, and joins when it was wiped.
func TestADeadNodeIsReplaced(t *testing.T) {
	t.Parallel()
	c := clusters.New(t, clusters.Plan{Addresses: neighbourhood()})
	v := c.Publish("v", "96M", 2)
	n1, n3 := c.Nodes[0], c.Nodes[2]
	n1.Must("cluster", "set", "rebuild-after-node", "1h") // nothing is to happen by itself
	reserved := c.Publish("w", "16M", 2, secondIQN)
	h := newHost(t, n1, reserved.IQN, clusters.HostIQN, 1)
	h.must(t, reserveOut(prRegister, 0, 0, 0xa1, true))
	h.must(t, reserveOut(prReserve, typeWriteExclusive, 0xa1, 0, false))
	before := reserveIn(t, h)
	load := clusters.NewLoad(t, v.IQN, 96<<20, c.Nodes...)
	load.Start()
	load.AwaitWrites(300, time.Minute)
	if copiesOn(n1, "n3") == 0 {
		t.Fatal("the node that is to die holds nothing")
	}
	n3.Kill()
	load.AwaitWrites(100, time.Minute)

	n4 := c.Join(n1)
	refused(t, n1, "still has copies", "node", "remove", "n3")
	n1.Must("node", "remove", "n3", "--dead")
	c.AwaitInSync("v", time.Minute)
	c.AwaitInSync("w", time.Minute)
	load.AwaitWrites(100, time.Minute)
	load.Stop(time.Minute)
	load.ExpectAll()
	c.Verify("v")
	c.AwaitVoters(n1, 3)
	if copiesOn(n1, "n4") == 0 || copiesOn(n1, "n3") != 0 {
		t.Errorf("%d copies are on n4, %d on n3", copiesOn(n1, "n4"), copiesOn(n1, "n3"))
	}
	stranger := newHost(t, n4, reserved.IQN, secondIQN, 2)
	if after := reserveIn(t, stranger); after.String() != before.String() {
		t.Errorf("reservations are %v; before: %v", after, before)
	}
	expectConflict(t, stranger, span{0, 1}.write(1))

	n3.Start()
	load.Start()
	load.AwaitWrites(200, time.Minute)
	load.Stop(time.Minute)
	load.ExpectAll()
	if s := clusters.Document[api.Status](n3, "status"); s.State == "ready" {
		t.Errorf("the removed node serves: %+v", s)
	}
	refused(t, n1, "there is no node", "node", "show", "n3")

	c.Eventually(time.Minute, "it says what to do", func() bool {
		text := n3.Must("status")
		return strings.Contains(text, "was removed from cluster") && strings.Contains(text, "ashlar cluster reset --confirm lab") && len(n3.LogLines("this node is refused")) > 0
	})
	n3.Must("cluster", "reset", "--confirm", "lab")
	comeBack(t, n1, n3)
	refused(t, n3, "--force", "disk", "add", n3.Disk())
	n3.Must("disk", "add", n3.Disk(), "--force")
	n3.Must("volume", "create", "x", "--size", "16M", "--copies", "3")
	c.AwaitInSync("x", time.Minute)
}

// A node is started under another address: the others learn of it from the node itself, and
// hosts go on with those that they know.
func TestANodeChangesItsAddress(t *testing.T) {
	t.Parallel()
	before, after := neighbourhood(), neighbourhood()
	c := clusters.New(t, clusters.Plan{Addresses: before})
	v := c.Publish("v", "48M", 2)
	load := clusters.NewLoad(t, v.IQN, 48<<20, c.Nodes[:2]...)
	load.Start()
	load.AwaitWrites(200, time.Minute)
	n3 := c.Nodes[2]
	for round, addresses := range []func(int) []string{after, before} {
		n3.Stop()
		n3.Addresses = addresses(3)
		n3.Start()
		n3.AwaitReady()
		c.AwaitInSync("v", time.Minute)
		want := addresses(3)[0] + ":7480"
		c.Eventually(10*time.Second, "all know where n3 is", func() bool {
			for _, n := range c.Nodes {
				if clusters.Document[api.Node](n, "node", "show", "n3").Peer != want {
					return false
				}
			}
			return true
		})
		load.AwaitWrites(100, time.Minute)
		n3.Must("volume", "create", []string{"x", "y"}[round], "--size", "16M", "--copies", "3") // it takes part again
	}
	load.Stop(time.Minute)
	load.ExpectAll()
	c.Verify("v")
}
