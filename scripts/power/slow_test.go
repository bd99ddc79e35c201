//go:build power

package power

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"ashlar/appliance/api"
	"ashlar/scripts/internal/clusters"
	"ashlar/scripts/internal/machines"
)

func in(neighbourhood int) func(k int) []string {
	return func(k int) []string { return []string{fmt.Sprintf("127.0.%d.%d", neighbourhood, k)} }
}

// holder is a node with a copy of a volume that is not its head.
func holder(t *testing.T, c *clusters.Cluster, volume string) *clusters.Node {
	t.Helper()
	v, _ := c.Show(volume)
	for _, r := range v.Placement[0].Replicas {
		if r.Node != v.Head {
			return c.Node(r.Node)
		}
	}
	t.Fatalf("volume %s has no second copy: %+v", volume, v)
	return nil
}

func why(n *clusters.Node, volume string) api.Why {
	return clusters.Document[[]api.Why](n, "why", volume)[0]
}

func tells(w api.Why, kind, node string) bool {
	for _, r := range w.Reasons {
		if r.Kind == kind && r.Node == node {
			return true
		}
	}
	return false
}

// A copy's disk takes 300 ms for each write. The hosts feel it, ashlar why names
// it, and within half a minute the copy is left out and writes are as fast as before.
// When the disk is well the copy comes back, and has all that was written.
func TestACopyOnASlowDiskIsLeftOutUntilItIsWell(t *testing.T) {
	t.Parallel()
	m := machines.Start(t)
	c := clusters.New(t, clusters.Plan{Folder: m.Folder, Addresses: in(31)})
	v := c.Publish("v", "16M", 2)
	load := clusters.NewLoad(t, v.IQN, 16<<20, c.Nodes...)
	load.Start()
	load.AwaitWrites(300, time.Minute)
	slow, head := holder(t, c, "v"), c.Head("v")
	name := filepath.Join(slow.Name, "disk")

	begin := time.Now()
	m.Order("slow", "300", name)
	c.Eventually(15*time.Second, "ashlar why names the slow disk", func() bool { return tells(why(head, "v"), "slow-disk", slow.Name) })
	named := time.Since(begin)
	c.Eventually(40*time.Second, "the slow copy is left out", func() bool { return tells(why(head, "v"), "demoted-copy", slow.Name) })
	out := time.Since(begin)
	load.AwaitWrites(20, 10*time.Second) // those that waited for it
	load.Longest()
	from := load.Writes()
	time.Sleep(3 * time.Second)
	t.Logf("named after %v, left out after %v; then %d writes in 3 s, the longest %v", named.Round(time.Second), out.Round(time.Second), load.Writes()-from, load.Longest())
	if n := load.Writes() - from; n < 150 { // 8 writers that wait 300 ms each time do 80
		t.Errorf("%d writes in 3 s: they still wait for the slow copy", n)
	}
	if s, _ := c.Show("v"); s.Head != head.Name || s.State != "degraded" {
		t.Errorf("the volume is %s, its head %s", s.State, s.Head)
	}

	m.Order("well", name)
	took := c.AwaitInSync("v", time.Minute)
	load.Stop(time.Minute)
	load.ExpectAll()
	c.Verify("v")
	t.Logf("in sync %v after the disk was well", took.Round(time.Second))
}

// A disk with a copy answers nothing for 20 s, that of the head or another one.
// Hosts go on without it in a few seconds, and it comes back with all that was written.
func TestADiskThatHangsCostsOnlyItsCopy(t *testing.T) {
	t.Parallel()
	for i, whose := range []string{"the head's", "another copy's"} {
		t.Run(whose, func(t *testing.T) {
			t.Parallel()
			m := machines.Start(t)
			c := clusters.New(t, clusters.Plan{Folder: m.Folder, Addresses: in(34 + i)})
			v := c.Publish("v", "16M", 2)
			load := clusters.NewLoad(t, v.IQN, 16<<20, c.Nodes...)
			load.Start()
			load.AwaitWrites(300, time.Minute)
			hung := c.Head("v")
			if i == 1 {
				hung = holder(t, c, "v")
			}
			load.Longest()
			name := filepath.Join(hung.Name, "disk")
			m.Order("hang", name)
			over := time.Now().Add(20 * time.Second)
			load.AwaitWrites(100, 19*time.Second)
			longest := load.Longest()
			t.Logf("longest write %v", longest)
			if longest > 10*time.Second {
				t.Errorf("a write took %v", longest)
			}
			time.Sleep(time.Until(over))
			m.Order("well", name)
			took := c.AwaitInSync("v", time.Minute)
			load.Stop(time.Minute)
			load.ExpectAll()
			c.Verify("v")
			t.Logf("in sync %v after the disk was well", took.Round(time.Second))
		})
	}
}

// Raft's store hangs or fails under the leader: its node ends by itself, another
// leads, and orders are carried out again.
func TestANodeWhoseRaftStoreHangsOrFailsEnds(t *testing.T) {
	t.Parallel()
	for i, trouble := range []string{"hang", "fail"} {
		t.Run(trouble, func(t *testing.T) {
			m := machines.Start(t)
			c := clusters.New(t, clusters.Plan{Folder: m.Folder, Addresses: in(32 + i)})
			leader := c.Node(clusters.Document[api.Cluster](c.Nodes[0], "cluster", "status").Leader)
			var other *clusters.Node
			for _, n := range c.Nodes {
				if n != leader {
					other = n
				}
			}
			name := filepath.Join(leader.Name, "raft", "raft.db")
			m.Order(trouble, name)
			begin := time.Now()
			ordered := make(chan clusters.Result, 1)
			go func() { ordered <- other.Run("volume", "create", "v", "--size", "16M", "--copies", "2") }()
			c.Eventually(20*time.Second, "another node leads", func() bool {
				l := clusters.Document[api.Cluster](other, "cluster", "status").Leader
				return l != leader.Name && l != ""
			})
			elected := time.Since(begin)
			if elected > 7*time.Second {
				t.Errorf("nobody else led for %v", elected)
			}
			if r := <-ordered; r.Code != 0 {
				t.Errorf("the order that met the trouble: %+v", r)
			}
			c.Eventually(10*time.Second, "the node says why it ends", func() bool {
				return len(leader.LogLines("raft log", "raft term", "raft vote")) > 0
			})
			m.Order("well", name) // a process whose write hangs stays in the kernel until then
			c.Eventually(10*time.Second, "the node has ended", func() bool { return !leader.Runs() })
			t.Logf("another led after %v: %s", elected.Round(100*time.Millisecond), leader.LogLines("raft log", "raft term", "raft vote")[0])
			leader.Start()
			leader.AwaitReady()
		})
	}
}
