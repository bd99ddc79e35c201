// Package clusters runs real nodes for tests: processes of the one binary, on
// addresses of their own, with files for disks, led by the command line as a
// person would. It kills, freezes and restarts them.
package clusters

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"ashlar/appliance/api"
)

// HostIQN is the host that tests publish volumes to, besides others.
const HostIQN = "iqn.2026-11.com.example:test"

// Plan says what to build. The zero value of a field stands for the one in parentheses.
type Plan struct {
	Nodes       int                  // (3)
	Witnesses   int                  // how many of them, the last ones, vote and hold no data
	Addresses   func(k int) []string // of node k, from 1 on (127.0.0.k)
	Inside      inside               // the network of node k (this process's own)
	Serve       []string             // what else each node's daemon is told (nothing)
	Folder      string               // where the nodes' folders go: on a real file system (a temporary one)
	SegmentSize string               // (16M)
	DiskSize    string               // (1G, all of it reserved)
}

// inside is a command that runs in the network of node k.
type inside func(k int, name string, args ...string) *exec.Cmd

// Cluster is a cluster of processes on this machine. It ends with its test.
type Cluster struct {
	t     testing.TB
	plan  Plan
	logs  string            // folder
	hosts map[string]string // names by IQN
	Nodes []*Node
}

// Start starts the nodes of a plan and makes no cluster of them yet.
func Start(t testing.TB, plan Plan) *Cluster {
	t.Helper()
	if plan.Nodes == 0 {
		plan.Nodes = 3
	}
	if plan.Addresses == nil {
		plan.Addresses = func(k int) []string { return []string{fmt.Sprintf("127.0.0.%d", k)} }
	}
	if plan.Inside == nil {
		plan.Inside = here
	}
	if plan.SegmentSize == "" {
		plan.SegmentSize = "16M"
	}
	if plan.DiskSize == "" {
		plan.DiskSize = "1G"
	}
	if plan.Folder == "" {
		plan.Folder = ShortTempDir(t)
	}
	c := &Cluster{t: t, plan: plan, logs: ShortTempDir(t), hosts: map[string]string{}}
	t.Cleanup(c.end)
	for k := 1; k <= plan.Nodes; k++ {
		n := &Node{c: c, Number: k, Name: fmt.Sprintf("n%d", k), Dir: filepath.Join(plan.Folder, fmt.Sprintf("n%d", k)), Addresses: plan.Addresses(k)}
		n.Witness = k > plan.Nodes-plan.Witnesses
		c.Nodes = append(c.Nodes, n)
		n.Start()
	}
	return c
}

// ShortTempDir is a folder whose names leave room for a socket's.
func ShortTempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ashlar-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// New starts nodes and makes them one cluster, with a disk each and all of them voters.
func New(t testing.TB, plan Plan) *Cluster {
	t.Helper()
	c := Start(t, plan)
	first := c.Nodes[0]
	first.Must("cluster", "create", "lab", "--segment-size", c.plan.SegmentSize)
	secret := filepath.Join(c.plan.Folder, "secret")
	if err := os.WriteFile(secret, []byte(first.Must("cluster", "secret")), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, n := range c.Nodes[1:] {
		join := []string{"cluster", "join", first.Addresses[0], "--secret-file", secret}
		if n.Witness {
			join = append(join, "--witness")
		}
		n.Must(join...)
	}
	// As many of them as can outvote a dead one.
	c.Eventually(30*time.Second, "all nodes vote", func() bool {
		voters := 0
		for _, n := range Document[[]api.Node](first, "node", "list") {
			if n.Voter {
				voters++
			}
		}
		return voters == len(c.Nodes)
	})
	// On a busy machine one may have been taken for dead before it voted.
	for _, n := range c.Nodes {
		n.AwaitReady()
	}
	for _, n := range c.Data() {
		n.Must("disk", "add", n.Disk(), "--size", c.plan.DiskSize)
	}
	return c
}

// Data are the nodes that are no witnesses.
func (c *Cluster) Data() []*Node { return c.Nodes[:len(c.Nodes)-c.plan.Witnesses] }

// Publish makes a volume, exports it to HostIQN and the other initiators named, and
// waits until each node has heard of it.
func (c *Cluster) Publish(name, size string, copies int, iqns ...string) api.Volume {
	c.t.Helper()
	return c.publish(name, []string{"--size", size, "--copies", strconv.Itoa(copies)}, iqns)
}

// PublishCached is Publish of a volume with a write cache.
func (c *Cluster) PublishCached(name, size string, copies int, iqns ...string) api.Volume {
	c.t.Helper()
	return c.publish(name, []string{"--size", size, "--copies", strconv.Itoa(copies), "--write-cache", "on"}, iqns)
}

func (c *Cluster) publish(name string, options, iqns []string) api.Volume {
	c.t.Helper()
	first := c.Nodes[0]
	first.Must(append([]string{"volume", "create", name}, options...)...)
	for i, iqn := range append([]string{HostIQN}, iqns...) {
		if c.hosts[iqn] == "" {
			c.hosts[iqn] = fmt.Sprintf("%s-host%d", name, i)
			first.Must("host", "add", c.hosts[iqn], iqn)
		}
		first.Must("export", "add", name, c.hosts[iqn])
	}
	v := Document[api.VolumeDetail](first, "volume", "show", name).Volume
	for _, n := range c.Data() {
		c.Eventually(10*time.Second, n.Name+" serves volume "+name, func() bool { return n.serves(v.IQN) })
	}
	return v
}

// Host is what the cluster calls the host with an IQN that a volume was published to.
func (c *Cluster) Host(iqn string) string { return c.hosts[iqn] }

// Show is the newest that any node which answers knows of a volume; ok is false
// where none answers.
func (c *Cluster) Show(volume string) (v api.VolumeDetail, ok bool) {
	for _, n := range c.Nodes {
		seen, answered := n.show(volume)
		if answered && (!ok || seen.Epoch > v.Epoch || seen.Epoch == v.Epoch && seen.InSync > v.InSync) {
			v, ok = seen, true
		}
	}
	return v, ok
}

// show is what a node knows of a volume; ok is false where it does not answer.
func (n *Node) show(volume string) (v api.VolumeDetail, ok bool) {
	r := n.Run("volume", "show", volume, "-o", "json")
	ok = r.Code == 0 && json.Unmarshal([]byte(r.Stdout), &v) == nil
	return v, ok
}

// Head is the node that orders a volume's writes, once there is one that runs.
func (c *Cluster) Head(volume string) *Node {
	c.t.Helper()
	var head *Node
	c.Eventually(30*time.Second, "volume "+volume+" has a head", func() bool {
		v, ok := c.Show(volume)
		head = c.Node(v.Head)
		return ok && head != nil && head.Runs()
	})
	return head
}

// NotHead is another node than the head.
func (c *Cluster) NotHead(volume string) *Node {
	c.t.Helper()
	head := c.Head(volume)
	for _, n := range c.Nodes {
		if n != head {
			return n
		}
	}
	return nil
}

// Node is the node of a name, nil if there is none.
func (c *Cluster) Node(name string) *Node {
	for _, n := range c.Nodes {
		if n.Name == name {
			return n
		}
	}
	return nil
}

// AwaitInSync waits until a volume is whole: every copy in sync, and a head. All
// nodes that answer must say so, because one that has just come back may tell of
// the time before it went.
func (c *Cluster) AwaitInSync(volume string, timeout time.Duration) time.Duration {
	c.t.Helper()
	begin := time.Now()
	c.Eventually(timeout, "every copy of volume "+volume+" is in sync", func() bool {
		seen := 0
		for _, n := range c.Nodes {
			v, ok := n.show(volume)
			if ok && (v.State != "healthy" || v.Head == "") {
				return false
			}
			if ok {
				seen++
			}
		}
		return seen > 0
	})
	return time.Since(begin)
}

// AwaitTakeover waits until another node than the one named is the head, in a later epoch.
func (c *Cluster) AwaitTakeover(volume string, from api.Volume, timeout time.Duration) api.VolumeDetail {
	c.t.Helper()
	var v api.VolumeDetail
	c.Eventually(timeout, "a node takes over volume "+volume, func() (ok bool) {
		v, ok = c.Show(volume)
		return ok && v.Epoch > from.Epoch && v.Head != "" && v.Head != from.Head
	})
	return v
}

// Verify compares all copies of a volume, block by block.
func (c *Cluster) Verify(volume string) {
	c.t.Helper()
	v := Document[api.Verification](c.NotHead(volume), "volume", "verify", volume)
	if v.Blocks == 0 || len(v.Differences) != 0 {
		c.t.Fatalf("the copies of volume %s: %d blocks compared, differences: %q", volume, v.Blocks, v.Differences)
	}
	c.t.Logf("volume %s: %d copies of segments are equal, %d blocks compared", volume, v.Copies, v.Blocks)
}

// Eventually fails the test where something does not come true in time.
func (c *Cluster) Eventually(timeout time.Duration, what string, ask func() bool) {
	c.t.Helper()
	for deadline := time.Now().Add(timeout); !ask(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			c.t.Fatalf("not within %v: %s", timeout, what)
		}
	}
}

// KillAll ends all processes within a moment.
func (c *Cluster) KillAll() {
	c.t.Helper()
	for _, n := range c.Nodes {
		n.signal(syscall.SIGKILL)
	}
	for _, n := range c.Nodes {
		<-n.ended
	}
}

// end kills what still runs, and shows the logs of a test that failed.
func (c *Cluster) end() {
	for _, n := range c.Nodes {
		n.kill()
		if c.t.Failed() {
			c.t.Logf("the end of the log of %s:\n%s", n.Name, tail(n.Log(), 20000))
		}
	}
}

func tail(text string, most int) string {
	if len(text) <= most {
		return text
	}
	text = text[len(text)-most:]
	return text[strings.IndexByte(text, '\n')+1:]
}
