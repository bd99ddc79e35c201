//go:build lab

package hosts

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ashlar/appliance/api"
	"ashlar/scripts/internal/clusters"
	"ashlar/scripts/internal/fabric"
)

// guestNQN is the NVMe name of guest 1.
const guestNQN = "nqn.2014-08.org.nvmexpress:uuid:00000000-0000-4000-8000-000000000001"

// keepAlive is the guest's, of nvme-connect.sh. It learns of a silent node from that:
// Linux sends one every half of it, and waits for a whole one. The path on which it
// sends again may be one to the same node, where it has to learn the same anew.
const (
	keepAlive    = 5 * time.Second
	nvmePauseMax = 2*(keepAlive/2+keepAlive) + 3*time.Second
)

// over is a guest that uses a volume of a real cluster over NVMe/TCP, both digests on.
type over struct {
	host
	c    *clusters.Cluster
	v    api.Volume
	disk string
}

// startNVMe builds a cluster and connects the guest to all of it.
func startNVMe(t *testing.T) *over {
	t.Helper()
	c := startCluster(t)
	n := c.Nodes[0]
	n.Must("volume", "create", "v", "--size", fmt.Sprint(volumeBytes), "--copies", "2")
	n.Must("host", "add", "linux", guestIQN, "--nqn", guestNQN)
	n.Must("export", "add", "v", "linux")
	v, _ := c.Show("v")
	o := &over{host: startHost(t, 1), c: c, v: v.Volume}
	out := o.script("nvme-connect", "AT=10.1.0.2", "NQN="+v.NQN, fmt.Sprintf("PATHS=%d", paths))
	for _, n := range c.Nodes {
		for _, a := range n.Addresses {
			if !strings.Contains(out, "traddr:  "+a+"\n") {
				t.Errorf("discovery at one portal does not list %s", a)
			}
		}
	}
	o.disk = strings.TrimSpace(o.must("ls /dev/nvme*n*"))
	return o
}

// expectPaths waits until the paths to the head are optimized, and only they.
func (o *over) expectPaths() {
	o.t.Helper()
	head := o.c.Head("v")
	var want []string
	for _, n := range o.c.Nodes {
		for _, a := range n.Addresses {
			state := " live non-optimized"
			if n == head {
				state = " live optimized"
			}
			want = append(want, a+state)
		}
	}
	slices.Sort(want)
	o.await(30*time.Second, "optimized paths to "+head.Name, fmt.Sprintf(`
		NQN=%s
		paths() {
			%s
		}
		paths | sort >/tmp/paths
		cat >/tmp/want <<END
%s
END
		diff /tmp/want /tmp/paths`, o.v.NQN, file(o.t, "nvme-paths"), strings.Join(want, "\n")))
}

func TestHostUsesVolumesOverNVMe(t *testing.T) {
	o := startNVMe(t)
	o.expectPaths()
	o.script("nvme-facts", "DISK="+o.disk, fmt.Sprintf("NSID=%d", o.v.NSID), "NQN="+o.v.NQN, fmt.Sprintf("BYTES=%d", volumeBytes))

	// A volume grows under the host.
	n := o.c.Nodes[2]
	n.Must("volume", "resize", "v", fmt.Sprint(2*volumeBytes))
	o.await(10*time.Second, "larger disk", fmt.Sprintf(`[ "$(blockdev --getsize64 %s)" = %d ]`, o.disk, 2*volumeBytes))

	// In the cluster's subsystem, volumes come and go.
	n.Must("volume", "create", "w", "--size", "16M", "--copies", "2")
	n.Must("volume", "create", "x", "--size", "16M", "--copies", "2")
	n.Must("export", "add", "w", "linux", "--lun", "4")
	cluster := o.v.NQN[:strings.LastIndex(o.v.NQN, ".")]
	o.script("nvme-connect", "AT=10.2.0.3", "NQN="+cluster, fmt.Sprintf("PATHS=%d", paths))
	disks := func(want int) {
		o.t.Helper()
		o.await(10*time.Second, fmt.Sprintf("%d disks", want), fmt.Sprintf(`ls /dev/nvme*n*; [ "$(ls /dev/nvme*n* | wc -l)" = %d ]`, want))
	}
	disks(2)
	n.Must("export", "add", "x", "linux", "--lun", "5")
	disks(3)
	o.must(`for d in /dev/nvme*n*; do dd if=/dev/urandom of=$d bs=64K count=16 oflag=direct 2>&1; done`)
	n.Must("export", "delete", "w", "linux")
	disks(2)
	// Linux goes on to ask for a subsystem that it may not use any more, until it is told not to.
	n.Must("export", "delete", "v", "linux")
	o.must("nvme disconnect -n " + o.v.NQN)
	disks(1)

	// A kernel that cannot prove who it is, and should, is refused.
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(strings.TrimSpace(o.must("nvme gen-dhchap-key -m 1 -n "+guestNQN))+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	n.Must("host", "dhchap", "linux", "--secret-file", secret)
	if out, code := o.try("nvme discover -t tcp -a 10.1.0.1 -s 8009"); code == 0 {
		t.Errorf("a host discovers without its secret: %s", out)
	}
	n.Must("host", "dhchap", "linux", "--off")
	o.must("nvme disconnect-all && ! ls /dev/nvme*n* 2>/dev/null")
}

func TestHostOutlivesFailuresOverNVMe(t *testing.T) {
	rounds := 1
	if os.Getenv("ASHLAR_TEST_LONG") != "" {
		rounds = 30
	}
	o := startNVMe(t)
	o.script("fio-start", fmt.Sprintf("BYTES=%d", volumeBytes), fmt.Sprintf("BLOCK=%d", ioBytes), "DISK="+o.disk)
	for round := range rounds {
		for _, failure := range failuresNVMe {
			o.awaitIO(300, 60*time.Second)
			before, _ := o.c.Show("v")
			began := time.Now()
			end := failure.begin(o, before.Volume)
			after := o.c.AwaitTakeover("v", before.Volume, 30*time.Second)
			o.awaitIO(200, 60*time.Second)
			paused := time.Since(began)
			end()
			o.c.AwaitInSync("v", 60*time.Second)
			o.expectPaths()
			o.t.Logf("round %d: %s of %s, %s is the head, 200 more I/Os after %.1f s, all as before after %.1f s",
				round+1, failure.name, before.Head, after.Head, paused.Seconds(), time.Since(began).Seconds())
		}
	}
	r := o.stopFio()
	if r.errors != 0 || r.reads != r.writes || r.passes == 0 || r.writes != r.passes*volumeBytes/ioBytes {
		t.Errorf("not every block was written and read back once a pass: %+v", r)
	}
	if r.pause > nvmePauseMax {
		t.Errorf("a pause of %v, want at most %v", r.pause, nvmePauseMax)
	}
	t.Logf("longest pause %v (at most %v), longest I/O %v; keep-alive %v", r.pause, nvmePauseMax, r.slowest, keepAlive)
	o.c.Verify("v")
	o.must("nvme disconnect-all")
}

// failuresNVMe begin something at the head of the volume; what they return ends it.
var failuresNVMe = []struct {
	name  string
	begin func(o *over, v api.Volume) (end func())
}{
	{"death", func(o *over, v api.Volume) func() {
		head := o.c.Head("v")
		head.Kill()
		return head.Start
	}},
	{"freeze", func(o *over, v api.Volume) func() {
		head := o.c.Head("v")
		head.Freeze()
		return head.Thaw
	}},
	{"cut", func(o *over, v api.Volume) func() {
		name, both := []string{v.Head}, []string{"a", "b"}
		if err := fabric.Cut(name, both); err != nil {
			o.t.Fatal(err)
		}
		return func() {
			if err := fabric.Heal(name, both); err != nil {
				o.t.Fatal(err)
			}
		}
	}},
	{"planned move", func(o *over, v api.Volume) func() {
		now, _ := o.c.Show("v")
		for _, r := range now.Placement[0].Replicas {
			if r.InSync && r.Node != v.Head {
				o.c.Nodes[0].Must("volume", "move-head", "v", r.Node)
			}
		}
		return func() {}
	}},
}
