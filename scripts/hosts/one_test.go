//go:build lab

package hosts

import (
	"fmt"
	"testing"
	"time"

	"ashlar/appliance/api"
	"ashlar/scripts/internal/clusters"
)

// one is a Linux host at the cluster's own target, with a path through the node
// of its volume's head and one through another, while its volumes change.
type one struct {
	host
	c         *clusters.Cluster
	near, far *clusters.Node
	target    string
}

// Of the volume "db", before and after it is resized, and of "log".
const (
	smallBytes  = 256 << 20
	largeBytes  = 320 << 20
	secondBytes = 64 << 20
)

// startOne makes volume "db", LUN 1 of host "linux", which is guest 1. It is not
// logged in.
func startOne(t *testing.T) *one {
	t.Helper()
	c := startCluster(t)
	first := c.Nodes[0]
	first.Must("host", "add", "linux", guestIQN)
	first.Must("volume", "create", "db", "--size", fmt.Sprint(smallBytes), "--copies", "2")
	first.Must("export", "add", "db", "linux", "--lun", "1")
	o := &one{host: startHost(t, 1), c: c, near: c.Head("db"), far: c.NotHead("db")}
	o.target = clusters.Document[[]api.Export](first, "export", "list")[0].IQN
	return o
}

// in is the host for a subtest.
func (o *one) in(t *testing.T) *one {
	p := *o
	p.t = t
	return &p
}

func TestHostWhileItsVolumesChange(t *testing.T) {
	o := startOne(t)
	for _, rule := range []struct {
		name string
		test func(o *one)
	}{
		{"a stranger sees nothing", (*one).stranger},
		{"CHAP, one-way and mutual, with each algorithm", (*one).chap},
		{"verified I/O with digests", (*one).digests},
		{"a volume grows", (*one).grow},
		{"a second volume is mapped", (*one).mapSecond},
		{"what is unmapped reads as zeros", (*one).provisioning},
		{"the target copies between volumes", (*one).copyFar},
		{"it is taken back", (*one).unmapSecond},
		{"fstrim gives space back", (*one).trim},
	} {
		if !t.Run(rule.name, func(t *testing.T) { rule.test(o.in(t)) }) {
			return // the others build on it
		}
	}
	o.c.Verify("db")
}

// digests logs the host in for good: through two nodes, with mutual CHAP and
// with digests over headers and data.
func (o *one) digests() {
	for _, n := range []*clusters.Node{o.near, o.far} {
		o.mustLogin(o.at(n, append(mutual("lab", chapMutual), "node.conn[0].iscsi.HeaderDigest=CRC32C", "node.conn[0].iscsi.DataDigest=CRC32C")...))
	}
	o.awaitPaths(2, 0)
	o.must("udevadm settle && [ -b /dev/mapper/mpatha ]")
	if out := o.must("cd /sys/class/iscsi_connection && cat */header_digest */data_digest"); out != "1\n1\n1\n1\n" {
		o.t.Fatalf("no digests on some connection: %q", out)
	}
	o.script("fio-start", fmt.Sprintf("BYTES=%d", quickBytes))
	o.awaitIO(200, 30*time.Second)
	o.expectVerified()
}

// expectVerified lets fio end, which must have read back all it wrote.
func (o *one) expectVerified() {
	o.t.Helper()
	if r := o.stopFio(); r.errors != 0 || r.passes == 0 || r.reads != r.writes {
		o.t.Errorf("not every block was written and read back once a pass: %+v", r)
	}
	o.must("rm -rf /tmp/fio")
}
