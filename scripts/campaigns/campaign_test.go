//go:build campaign

package campaigns

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ashlar/appliance/api"
	"ashlar/scripts/internal/clusters"
	"ashlar/scripts/internal/fabric"
	"ashlar/scripts/internal/machines"
	"ashlar/scripts/internal/require"
)

var (
	rounds = flag.Int("campaign.n", 20, "faults, one after the other")
	seed   = flag.Uint64("campaign.seed", 0, "what the faults are drawn from; 0: one that nobody chose")
	only   = flag.String("campaign.only", "", "faults of the kinds whose name has this in it")
)

func TestMain(m *testing.M) {
	clusters.Main(m, func() error { return require.Programs(require.Fabric) }, machines.Prepare)
}

// campaign is a cluster and what is done to it.
type campaign struct {
	*testing.T
	*clusters.Cluster
	machine *machines.Machine
	hosts   *hosts
	random  *rand.Rand
	pauses  map[string][]time.Duration
}

// kind is a fault. What it begins with may take long and is no part of it; do returns what ends it.
type kind struct {
	name     string
	p50, p99 time.Duration // targets; 0: none
	prepare  func(c *campaign)
	do       func(c *campaign) (undo func())
}

// volumes are one whose blocks hosts share, of three copies, and one of two, of whose blocks each has one writer.
var volumes = []string{"h", "v"}

var fabrics = []string{"a", "b"}

var kinds = []kind{
	{"planned head move", 100 * time.Millisecond, 300 * time.Millisecond, nil, func(c *campaign) func() {
		for !c.moveHead(c.heir()) {
		}
		return nil
	}},
	{"drain of the head's node", 0, 0, nil, func(c *campaign) func() {
		head := c.head()
		c.order(head, "node", "drain", head.Name)
		return func() { c.order(head, "node", "undrain", head.Name) }
	}},
	{"head's process killed", 500 * time.Millisecond, 2 * time.Second, (*campaign).leaderElsewhere, func(c *campaign) func() {
		head := c.head()
		head.Kill()
		return head.Start
	}},
	{"another process killed", 1700 * time.Millisecond, 3 * time.Second, nil, func(c *campaign) func() {
		n := c.other(c.head())
		n.Kill()
		return n.Start
	}},
	{"head's node cut off", 2 * time.Second, 4 * time.Second, (*campaign).leaderElsewhere, func(c *campaign) func() {
		return c.cut(c.head())
	}},
	{"raft leader and head cut off", 3 * time.Second, 5 * time.Second, (*campaign).leaderIsHead, func(c *campaign) func() {
		return c.cut(c.head())
	}},
	{"raft leader and head killed", 3 * time.Second, 5 * time.Second, (*campaign).leaderIsHead, func(c *campaign) func() {
		head := c.head()
		head.Kill()
		return head.Start
	}},
	{"another node cut off", 1700 * time.Millisecond, 3 * time.Second, nil, func(c *campaign) func() {
		return c.cut(c.other(c.head()))
	}},
	{"head frozen", 0, 0, nil, func(c *campaign) func() {
		head := c.head()
		head.Freeze()
		time.Sleep(c.from(100*time.Millisecond, 10*time.Second))
		head.Thaw()
		return nil
	}},
	{"another frozen", 0, 0, nil, func(c *campaign) func() {
		n := c.other(c.head())
		n.Freeze()
		time.Sleep(c.from(100*time.Millisecond, 10*time.Second))
		n.Thaw()
		return nil
	}},
	{"one way cut", 0, 0, nil, func(c *campaign) func() {
		from, to := c.head(), c.other(c.head())
		if c.random.IntN(2) == 0 {
			from, to = to, from
		}
		c.must(fabric.CutOneWay(from.Name, to.Name, fabrics))
		time.Sleep(c.from(500*time.Millisecond, 6*time.Second))
		c.must(fabric.HealOneWay(from.Name, to.Name, fabrics))
		return nil
	}},
	{"two nodes parted", 0, 0, nil, func(c *campaign) func() {
		pair := []string{c.head().Name, c.other(c.head()).Name}
		c.must(fabric.Cut(pair, fabrics))
		time.Sleep(c.from(500*time.Millisecond, 6*time.Second))
		c.must(fabric.Heal(pair, fabrics))
		return nil
	}},
	{"a node's links are slow", 0, 0, nil, func(c *campaign) func() {
		n := c.any()
		c.must(fabric.Slow(n.Name, 2+c.random.IntN(20), fabrics))
		time.Sleep(c.from(500*time.Millisecond, 6*time.Second))
		c.must(fabric.HealSlow(n.Name, fabrics))
		return nil
	}},
	{"head's disk hangs", 0, 0, nil, func(c *campaign) func() { return c.ail(c.head(), "hang") }},
	{"another's disk hangs", 0, 0, nil, func(c *campaign) func() { return c.ail(c.other(c.head()), "hang") }},
	{"a disk is slow", 0, 0, nil, func(c *campaign) func() { return c.ail(c.any(), "slow", fmt.Sprint(20+c.random.IntN(80))) }},
	{"a disk fails", 0, 0, nil, func(c *campaign) func() { return c.failDisk("fail") }},
	{"a disk is full", 0, 0, nil, func(c *campaign) func() { return c.failDisk("full") }},
	{"raft leader's store is full", 0, 0, nil, (*campaign).fillLeader},
	{"all killed at once", 0, 0, nil, func(c *campaign) func() {
		c.KillAll()
		for _, n := range c.Nodes {
			n.Start()
		}
		return nil
	}},
}

func (c *campaign) must(err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}

func (c *campaign) head() *clusters.Node { return c.Head("h") }

// other is one of the nodes besides one.
func (c *campaign) other(but *clusters.Node) *clusters.Node {
	i := c.random.IntN(len(c.Nodes))
	if c.Nodes[i] == but {
		i = (i + 1) % len(c.Nodes)
	}
	return c.Nodes[i]
}

func (c *campaign) any() *clusters.Node { return c.Nodes[c.random.IntN(len(c.Nodes))] }

// from is a time between two, each order of magnitude as often.
func (c *campaign) from(low, high time.Duration) time.Duration {
	return time.Duration(float64(low) * math.Pow(float64(high)/float64(low), c.random.Float64()))
}

// order has a node carry something out once it can: it may be about to start over.
func (c *campaign) order(n *clusters.Node, args ...string) {
	c.Helper()
	c.Eventually(20*time.Second, n.Name+" carries out "+strings.Join(args, " "), func() bool { return n.Run(args...).Code == 0 })
}

// moveHead has a node with copies in sync be the head. It is false where these are not in sync any more.
func (c *campaign) moveHead(to *clusters.Node) bool {
	c.Helper()
	var can, moved bool
	c.Eventually(20*time.Second, to.Name+" is the head", func() bool {
		can = c.inSync(to)
		moved = can && to.Run("volume", "move-head", "h", to.Name).Code == 0 && c.head() == to
		return moved || !can
	})
	return moved
}

func (c *campaign) leader() (leader *clusters.Node) {
	c.Helper()
	c.Eventually(20*time.Second, "a node leads", func() bool {
		var s api.Status
		r := c.any().Run("status", "-o", "json")
		if r.Code == 0 && json.Unmarshal([]byte(r.Stdout), &s) == nil {
			leader = c.Node(s.Leader)
		}
		return leader != nil && leader.Runs()
	})
	return leader
}

// heir is a node other than the head that could be it.
func (c *campaign) heir() (n *clusters.Node) {
	c.Helper()
	c.Eventually(time.Minute, "another node has a copy in sync", func() bool {
		n = c.other(c.head())
		return c.inSync(n)
	})
	return n
}

// inSync says whether a node has copies in sync of volume h: they may have been left out because they were slow.
func (c *campaign) inSync(n *clusters.Node) bool {
	v, ok := c.Show("h")
	return ok && slices.ContainsFunc(v.Placement, func(s api.Segment) bool {
		return slices.ContainsFunc(s.Replicas, func(r api.Replica) bool { return r.Node == n.Name && r.InSync })
	})
}

func (c *campaign) leaderElsewhere() {
	for c.head() == c.leader() && !c.moveHead(c.heir()) {
	}
}

func (c *campaign) leaderIsHead() {
	for leader := c.leader(); c.head() != leader; leader = c.leader() {
		if c.moveHead(leader) {
			continue
		}
		leader.Kill()
		leader.Start()
		c.whole()
	}
}

func (c *campaign) cut(n *clusters.Node) (heal func()) {
	c.must(fabric.Cut([]string{n.Name}, fabrics))
	return func() { c.must(fabric.Heal([]string{n.Name}, fabrics)) }
}

// ail is for a time.
func (c *campaign) ail(n *clusters.Node, how ...string) func() {
	disk := filepath.Join(n.Name, "disk")
	c.machine.Order(append(how, disk)...)
	time.Sleep(c.from(200*time.Millisecond, 4*time.Second))
	c.machine.Order("well", disk)
	return nil
}

// failDisk fails the next write of a disk, which is the last one that it gets. Another takes its place.
func (c *campaign) failDisk(how string) func() {
	n := c.dispensable()
	disk := filepath.Join(n.Name, "disk")
	failed := len(n.LogLines(diskFailed))
	c.machine.Order(how, disk)
	c.Eventually(20*time.Second, "the disk of "+n.Name+" has failed", func() bool { return len(n.LogLines(diskFailed)) > failed })
	c.machine.Order("well", disk)
	return n.ReplaceDisk
}

// dispensable is a node whose disk has no last copy in sync: others may have been left out because they were slow.
func (c *campaign) dispensable() (n *clusters.Node) {
	c.Eventually(15*time.Minute, "a disk has no last copy", func() bool {
		n = c.any()
		return !slices.ContainsFunc(volumes, func(volume string) bool {
			v, ok := c.Show(volume)
			return !ok || slices.ContainsFunc(v.Placement, func(s api.Segment) bool {
				return !slices.ContainsFunc(s.Replicas, func(r api.Replica) bool { return r.InSync && r.Node != n.Name })
			})
		})
	})
	return n
}

// fillLeader leaves the raft leader no room for what it is ordered next, which ends it. Its successor carries it out.
func (c *campaign) fillLeader() func() {
	n := c.leader()
	store := filepath.Join(n.Name, "raft", "raft.db")
	c.machine.Order("full", store)
	done := make(chan clusters.Result, 1)
	other := c.other(n)
	go func() { done <- other.Run("cluster", "set", "rebuild-after-disk", "1s") }()
	n.AwaitEnd(20 * time.Second)
	c.machine.Order("well", store)
	if r := <-done; r.Code != 0 {
		c.Fatalf("the order that found no room: %+v", r)
	}
	return n.Start
}

const diskFailed = "a disk has failed"

// Faults of all kinds befall three nodes, one after the other. Nothing that was acknowledged
// is lost, each shared block has a history that a single copy could have, and the copies
// are equal in the end.
func TestCampaign(t *testing.T) {
	if *seed == 0 {
		*seed = rand.Uint64N(1_000_000) + 1
	}
	t.Logf("seed %d", *seed)
	c := start(t)
	v, h := c.Publish("v", "48M", 2), c.Publish("h", "48M", 3)
	c.Nodes[0].Must("cluster", "set", "rebuild-after-disk", "1s")
	c.hosts = newHosts(h.IQN, c.Nodes, *seed)
	load := clusters.NewLoad(t, v.IQN, v.Size, c.Nodes...)
	load.Pace = 50 * time.Millisecond
	load.Start()
	began := time.Now()
	for i, k := range c.draw(*rounds) {
		c.befall(i+1, k)
		load.Check()
	}
	c.judge()
	took := time.Since(began)
	load.Stop(time.Minute)
	for _, volume := range volumes {
		c.AwaitInSync(volume, 15*time.Minute) // slow copies are left out for ten minutes at most
		c.Verify(volume)
	}
	load.ExpectAll()
	t.Logf("seed %d: %d faults in %.0f s, %d operations on shared blocks and %d writes to own ones; violations 0\n%s",
		*seed, *rounds, took.Seconds(), c.total(), load.Writes(), c.table())
	c.expectPauses()
}

func start(t *testing.T) *campaign {
	t.Helper()
	c := &campaign{T: t, machine: machines.Start(t), random: rand.New(rand.NewPCG(*seed, 0)), pauses: map[string][]time.Duration{}}
	c.must(fabric.Make())
	for k := 1; k <= 3; k++ {
		c.must(fabric.AddNode(k))
	}
	c.Cluster = clusters.New(t, clusters.Plan{
		Addresses: func(k int) []string { return []string{fmt.Sprintf("10.1.0.%d", k), fmt.Sprintf("10.2.0.%d", k)} },
		Inside:    fabric.Command,
		Folder:    c.machine.Folder,
	})
	return c
}

// draw makes a list of n faults: all kinds in a random order, again and again.
func (c *campaign) draw(n int) (list []kind) {
	for len(list) < n {
		for _, i := range c.random.Perm(len(kinds)) {
			if strings.Contains(kinds[i].name, *only) {
				list = append(list, kinds[i])
			}
		}
		if len(list) == 0 {
			c.Fatalf("no kind of fault has %q in its name", *only)
		}
	}
	return list[:n]
}

// befall has a fault come and go, and judges what hosts have seen, where that takes no waiting.
func (c *campaign) befall(i int, k kind) {
	c.Helper()
	if k.prepare != nil {
		k.prepare(c)
	}
	ctx, stop := context.WithCancel(c.Context())
	defer stop()
	tasks := c.hosts.work(ctx)
	c.served("before " + k.name)
	c.hosts.pause()
	begin := time.Now()
	undo := k.do(c)
	c.served(k.name)
	pause := c.hosts.pause()
	if undo != nil {
		undo()
	}
	for _, n := range c.Nodes {
		if !n.Runs() {
			n.Start() // one whose disk hung ends itself
		}
	}
	c.served("after " + k.name)
	stop()
	tasks.Wait()
	c.pauses[k.name] = append(c.pauses[k.name], pause)
	c.whole()
	c.Logf("%3d/%d %-30s pause %5.2f s, whole again after %4.1f s", i, *rounds, k.name, pause.Seconds(), time.Since(begin).Seconds())
	if k.p99 != 0 && pause > k.p99 {
		for _, n := range c.Nodes {
			c.Logf("%s logged meanwhile:\n%s", n.Name, strings.Join(n.LogSince(begin), "\n"))
		}
	}
	if c.hosts.unsettled() == 0 || i%judgeEvery == 0 {
		c.judge()
	}
}

// whole waits until all nodes serve, those that start over after the fault too, and all copies are in sync but
// those that are left out because they were slow.
func (c *campaign) whole() {
	c.Helper()
	for _, n := range c.Nodes {
		n.AwaitReady()
	}
	for _, volume := range volumes {
		c.Eventually(time.Minute, "the copies of volume "+volume+" are in sync", func() bool {
			v, ok := c.Show(volume)
			if !ok || v.Head == "" {
				return false
			}
			head, slow, failed := c.Node(v.Head), map[string]bool{}, map[string]bool{}
			var why []api.Why
			if r := head.Run("why", volume, "-o", "json"); r.Code != 0 || json.Unmarshal([]byte(r.Stdout), &why) != nil {
				return false
			}
			var disks []api.Disk
			if r := head.Run("disk", "list", "-o", "json"); r.Code != 0 || json.Unmarshal([]byte(r.Stdout), &disks) != nil {
				return false
			}
			for _, d := range disks {
				failed[d.ID] = d.State == "failed"
			}
			for _, reason := range why[0].Reasons {
				slow[reason.Node] = slow[reason.Node] || reason.Kind == "demoted-copy"
			}
			for _, p := range v.Placement {
				for _, r := range p.Replicas {
					if !r.InSync && (failed[r.Disk] || !slow[r.Node]) {
						return false
					}
				}
			}
			return true
		})
	}
}

// judgeEvery bounds the histories that porcupine searches, in faults.
const judgeEvery = 10

func (c *campaign) judge() {
	c.Helper()
	if wrong := c.hosts.judge(); len(wrong) > 0 {
		c.Fatalf("seed %d: %d violations: %s", *seed, len(wrong), strings.Join(wrong, "\n"))
	}
}

func (c *campaign) served(when string) {
	c.Helper()
	since := c.hosts.operations()
	c.Eventually(60*time.Second, "all hosts are served: "+when, func() bool { return c.hosts.served(since) })
}

func (c *campaign) total() (n uint64) {
	for _, done := range c.hosts.operations() {
		n += done
	}
	return n
}

// quantile of durations in order.
func quantile(of []time.Duration, q float64) time.Duration {
	return of[int(math.Ceil(q*float64(len(of))))-1]
}

// table of the pauses of each kind, s.
func (c *campaign) table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-30s %5s %7s %7s %7s   %s\n", "FAULT", "TIMES", "P50", "P99", "MOST", "TARGET P50/P99")
	for _, k := range kinds {
		of := slices.Sorted(slices.Values(c.pauses[k.name]))
		if len(of) == 0 {
			continue
		}
		target := ""
		if k.p50 != 0 {
			target = fmt.Sprintf("%.1f / %.1f", k.p50.Seconds(), k.p99.Seconds())
		}
		fmt.Fprintf(&b, "%-30s %5d %7.2f %7.2f %7.2f   %s\n", k.name, len(of), quantile(of, 0.5).Seconds(), quantile(of, 0.99).Seconds(),
			of[len(of)-1].Seconds(), target)
	}
	return b.String()
}

// expectPauses is generous: the machine that tests run on has other things to do.
func (c *campaign) expectPauses() {
	for _, k := range kinds {
		of := slices.Sorted(slices.Values(c.pauses[k.name]))
		if len(of) > 0 && k.p50 != 0 && quantile(of, 0.5) > 5*k.p99 {
			c.Errorf("%s: a pause of %v, which is more than five times %v", k.name, quantile(of, 0.5), k.p99)
		}
	}
}
