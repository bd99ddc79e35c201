//go:build faults

package faults

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ashlar/appliance/api"
	"ashlar/scripts/internal/clusters"
)

// loseAllButTheDisk leaves of a node, which has ended, what is on its disk.
func loseAllButTheDisk(t *testing.T, n *clusters.Node) {
	t.Helper()
	all, err := os.ReadDir(n.Dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		if path := filepath.Join(n.Dir, e.Name()); path != n.Disk() {
			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// inspected has a node's disk tell of itself into a file, as for another node.
func inspected(t *testing.T, n *clusters.Node) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), n.Name+".json")
	if err := os.WriteFile(path, []byte(n.Must("disk", "inspect", n.Disk(), "-o", "json")), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// labelled is after what time the labels of all disks have followed the state.
const labelled = 3 * time.Second

// comeBack has nodes join a cluster that was adopted.
func comeBack(t *testing.T, first *clusters.Node, nodes ...*clusters.Node) {
	t.Helper()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(first.Must("cluster", "secret")), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		n.Must("cluster", "join", first.Addresses[0], "--secret-file", secret)
		n.AwaitReady()
	}
}

// All nodes die while hosts write, and nothing is left but their disks. The cluster that is adopted from these has every acknowledged
// write, the same names, equal copies, and the reservations that hosts made; a host that had a secret is locked out.
func TestAClusterOfWhichOnlyTheDisksAreLeftIsAdopted(t *testing.T) {
	t.Parallel()
	c := clusters.New(t, clusters.Plan{Addresses: neighbourhood(), DiskSize: "256M"})
	v, r := c.Publish("v", "16M", 2), c.Publish("r", "16M", 3, secondIQN)
	holder := newHost(t, c.Nodes[0], r.IQN, clusters.HostIQN, 1)
	holder.must(t, reserveOut(prRegister, 0, 0, 0xa1, true))
	holder.must(t, reserveOut(prReserve, typeWriteExclusive, 0xa1, 0, false))
	holder.must(t, span{0, 64}.write(7))
	first, others := c.Nodes[0], c.Nodes[1:]
	first.Must("host", "add", "safe", "iqn.2026-11.com.example:safe")
	secret := filepath.Join(t.TempDir(), "chap")
	if err := os.WriteFile(secret, []byte("twelve bytes!"), 0o600); err != nil {
		t.Fatal(err)
	}
	first.Must("host", "chap", "safe", "--secret-file", secret)
	load := clusters.NewLoad(t, v.IQN, volumeBytes, c.Nodes...)
	load.Start()
	load.AwaitWrites(300, time.Minute)
	expectRefusal(t, first.Run("cluster", "adopt", first.Disk()), "already in cluster")
	time.Sleep(labelled)
	c.KillAll()
	load.Abandon()

	loseAllButTheDisk(t, c.Nodes[0])
	loseAllButTheDisk(t, c.Nodes[1])
	if err := os.RemoveAll(filepath.Join(c.Nodes[2].Dir, "raft")); err != nil { // who it is, it still knows
		t.Fatal(err)
	}
	second, third := inspected(t, c.Nodes[1]), inspected(t, c.Nodes[2])
	first.Start()
	expectRefusal(t, first.Run("cluster", "adopt"), "PATH", "missing")
	expectRefusal(t, first.Run("cluster", "adopt", c.Nodes[1].Disk()), `node "n2"`)
	expectRefusal(t, first.Run("cluster", "adopt", first.Disk(), "--from", secret), "no report")
	expectRefusal(t, first.Run("cluster", "adopt", first.Disk(), "--confirm", "lab"), "--accept-loss")
	all := []string{"cluster", "adopt", first.Disk(), "--from", second, "--from", third}
	plan := clusters.Document[api.Adoption](first, all...)
	if plan.Loses || plan.Node != "n1" || len(plan.Awaited) != 2 || len(plan.Volumes) != 2 || len(plan.Locked) != 1 {
		t.Errorf("the plan: %+v", plan)
	}
	if text := first.Must(all...); !strings.Contains(text, "--confirm lab") || !strings.Contains(text, "whole") {
		t.Errorf("the plan says\n%s", text)
	}
	expectRefusal(t, first.Run(append(all, "--confirm", "prod")...), "lab")

	c.Nodes[2].Start() // it listens, and nobody can tell what it knows
	expectRefusal(t, first.Run(append(all, "--confirm", "lab")...), "n3", "reset")
	expectRefusal(t, c.Nodes[2].Run("cluster", "reset", "--confirm", "prod"), "lab")
	c.Nodes[2].Must("cluster", "reset", "--confirm", "lab")
	first.Must(append(all, "--confirm", "lab")...)
	first.AwaitReady()
	c.Nodes[1].Start()
	comeBack(t, first, others...)
	c.AwaitInSync("v", 90*time.Second)
	c.AwaitInSync("r", 90*time.Second)
	load.ExpectAll()
	c.Verify("v")
	c.Verify("r")
	again := newHost(t, c.Nodes[1], r.IQN, clusters.HostIQN, 1)
	if got := reserveIn(t, again); got.holder != 0xa1 || got.kind != typeWriteExclusive {
		t.Errorf("reservations after the adoption: %v", got)
	}
	expectConflict(t, newHost(t, c.Nodes[2], r.IQN, secondIQN, 1), span{0, 1}.write(1))
	for _, h := range clusters.Document[[]api.Host](first, "host", "list") {
		if (h.Name == "safe") != (h.CHAP == "lost") {
			t.Errorf("host %+v", h)
		}
	}
	load.Start()
	load.AwaitWrites(100, time.Minute)
	load.Stop(time.Minute)
	load.ExpectAll()
}

// The disk of a node that was put back from an image, or was away, is not what the cluster is formed of, whichever node
// adopts; and a disk's copy is not taken for another disk.
func TestAStaleDiskIsNotWhatAClusterIsFormedOf(t *testing.T) {
	t.Parallel()
	c := clusters.New(t, clusters.Plan{Addresses: neighbourhood(), DiskSize: "256M"})
	v := c.Publish("v", "16M", 3)
	load := clusters.NewLoad(t, v.IQN, volumeBytes, c.Nodes...)
	load.Start()
	load.AwaitWrites(100, time.Minute)
	stale := c.Nodes[0]
	stale.Kill()
	image := filepath.Join(stale.Dir, "..", "image")
	copyFile(t, stale.Disk(), image)
	load.AwaitWrites(100, time.Minute)
	stale.Start()
	stale.AwaitReady()
	c.AwaitInSync("v", 90*time.Second)
	load.AwaitWrites(100, time.Minute)
	time.Sleep(labelled)
	c.KillAll()
	load.Abandon()
	for _, n := range c.Nodes {
		loseAllButTheDisk(t, n)
	}
	second, third := inspected(t, c.Nodes[1]), inspected(t, c.Nodes[2])
	stale.Start()
	expectRefusal(t, stale.Run("cluster", "adopt", stale.Disk(), image, "--confirm", "lab", "--accept-loss"), "copy of the other")
	copyFile(t, image, stale.Disk())
	all := []string{"cluster", "adopt", stale.Disk(), "--from", second, "--from", third}
	plan := clusters.Document[api.Adoption](stale, all...)
	diverged := 0
	for _, d := range plan.Disks {
		if d.Node == stale.Name && d.Fate == "diverged" {
			diverged++
		}
	}
	if diverged != 1 || !plan.Loses {
		t.Errorf("the plan: %+v", plan)
	}
	expectRefusal(t, stale.Run(append(all, "--confirm", "lab")...), "--accept-loss")
	stale.Must(append(all, "--confirm", "lab", "--accept-loss")...)
	for _, n := range c.Nodes[1:] {
		n.Start()
	}
	comeBack(t, stale, c.Nodes[1:]...)
	c.Eventually(time.Minute, "the other two go on", func() bool {
		v, ok := c.Show("v")
		return ok && v.InSync == 2 && v.Head != "" && v.Head != stale.Name
	})
	load.ExpectAll()
	c.Verify("v")
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	r, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	w, err := os.Create(to)
	if err == nil {
		_, err = io.Copy(w, r)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}
