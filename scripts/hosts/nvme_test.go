//go:build lab

package hosts

import (
	"encoding/json"
	"fmt"
	"maps"
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

// keepAlive is the guest's, as docs/nvme.md recommends it, which also says what these
// bounds are made of. Where the addresses of its paths move, a silent node's connections
// are reset once it is fenced. Where they do not, only the keep-alive ends them.
const (
	keepAlive           = 3 * time.Second
	nvmePauseMax        = keepAlive + 3*time.Second
	nvmePauseMaxOnTimer = 5*keepAlive/2 + 3*time.Second
	plannedMax          = 300 * time.Millisecond

	// busy is what an emulated host may take longer where others use the machine.
	busy = 4 * time.Second
)

// nvmeBytes at the start of the volume are fio's: a segment's border is among them.
const nvmeBytes = 24 << 20

// over is a guest that uses a volume of a real cluster over NVMe/TCP, both digests on.
type over struct {
	host
	c    *clusters.Cluster
	v    api.Volume
	disk string
}

// addressing is how the guest's paths are addressed.
type addressing bool

const (
	standing addressing = false // by the nodes' own addresses
	moving   addressing = true  // by ones that leave a node which is gone
)

// movingAddress is the one of node k on a fabric.
func movingAddress(f string, k int) string {
	return map[string]string{"a": "10.1.0.2", "b": "10.2.0.2"}[f] + fmt.Sprint(k)
}

// holders are the nodes behind the addresses of the guest's paths.
func (o *over) holders() map[string]string {
	holders := map[string]string{}
	for _, n := range o.c.Nodes {
		r := n.Run("address", "list", "-o", "json")
		var all []api.Address
		if r.Code != 0 || json.Unmarshal([]byte(r.Stdout), &all) != nil {
			continue // it is frozen, or cut off
		}
		for _, a := range all {
			holders[a.Address] = a.Holder
		}
		break
	}
	if len(holders) == 0 {
		for _, n := range o.c.Nodes {
			for _, a := range n.Addresses {
				holders[a] = n.Name
			}
		}
	}
	return holders
}

// startNVMe builds a cluster and connects the guest to all of it.
func startNVMe(t *testing.T, how addressing, copies int) *over {
	t.Helper()
	c := startCluster(t)
	n := c.Nodes[0]
	if how == moving {
		for k, home := range c.Nodes {
			for _, f := range []string{"a", "b"} {
				n.Must("address", "add", movingAddress(f, k+1)+"/24", "--home", home.Name)
			}
		}
		c.Eventually(20*time.Second, "each address is at home", func() bool {
			return !slices.ContainsFunc(clusters.Document[[]api.Address](n, "address", "list"), func(a api.Address) bool { return a.Holder != a.Home })
		})
	}
	n.Must("volume", "create", "v", "--size", fmt.Sprint(volumeBytes), "--copies", fmt.Sprint(copies))
	n.Must("host", "add", "linux", guestIQN, "--nqn", guestNQN)
	n.Must("export", "add", "v", "linux")
	v, _ := c.Show("v")
	o := &over{host: startHost(t, 1), c: c, v: v.Volume}
	at := c.Nodes[1].Addresses[0]
	if how == moving {
		at = movingAddress("a", 2)
	}
	out := o.connect(at, v.NQN)
	var found []string
	for _, line := range strings.Split(out, "\n") {
		if a, ok := strings.CutPrefix(line, "traddr:  "); ok {
			found = append(found, a)
		}
	}
	slices.Sort(found)
	if want := slices.Sorted(maps.Keys(o.holders())); !slices.Equal(found, want) {
		t.Errorf("discovery at one portal lists %v, want %v", found, want)
	}
	o.disk = strings.TrimSpace(o.must("ls /dev/nvme*n*"))
	return o
}

// connect attaches all paths to a subsystem that are told at an address, with options of
// nvme-cli by which the host proves who it is.
func (o *over) connect(at, nqn string, proof ...string) (said string) {
	o.t.Helper()
	return o.script("nvme-connect", "AT="+at, "NQN="+nqn, fmt.Sprintf("PATHS=%d", paths), fmt.Sprintf("KEEPALIVE=%d", keepAlive/time.Second),
		"PROOF="+strings.Join(proof, " "))
}

// expectPaths waits until the paths to the head are optimized, and only they.
func (o *over) expectPaths() {
	o.t.Helper()
	var said string
	var code int
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		head := o.c.Head("v") // asked again: an address may go home meanwhile
		var want []string
		for a, holder := range o.holders() {
			state := " live non-optimized"
			if holder == head.Name {
				state = " live optimized"
			}
			want = append(want, a+state)
		}
		slices.Sort(want)
		said, code = o.try(fmt.Sprintf(`
			NQN=%s
			paths() {
				%s
			}
			paths | sort >/tmp/paths
			cat >/tmp/want <<END
%s
END
			diff /tmp/want /tmp/paths`, o.v.NQN, file(o.t, "nvme-paths"), strings.Join(want, "\n")))
		if code == 0 {
			return
		}
	}
	o.t.Fatalf("not within 30 s: optimized paths to the head and no others:\n%s", said)
}

func TestHostUsesVolumesOverNVMe(t *testing.T) {
	o := startNVMe(t, standing, 2)
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
	o.connect("10.2.0.3", cluster)
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

	// A kernel that cannot prove who it is, and should, is refused; discovery asks for no proof.
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(strings.TrimSpace(o.must("nvme gen-dhchap-key -m 1 -n "+guestNQN))+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	n.Must("host", "dhchap", "linux", "--secret-file", secret)
	o.must("nvme discover -t tcp -a 10.1.0.1 -s 8009")
	if out, code := o.try("nvme connect -t tcp -a 10.1.0.1 -s 4420 -n " + cluster); code == 0 {
		t.Errorf("a host connects without its secret: %s", out)
	}
	n.Must("host", "dhchap", "linux", "--off")
	o.must("nvme disconnect-all && ! ls /dev/nvme*n* 2>/dev/null")
}

func TestHostOutlivesFailuresOverNVMe(t *testing.T) {
	rounds := 2
	if os.Getenv("ASHLAR_TEST_LONG") != "" {
		rounds = 30
	}
	o := startNVMe(t, moving, 2)
	o.startFio()
	for round := range rounds {
		for _, failure := range failuresNVMe {
			o.fails(round, failure)
		}
	}
	o.finish(nvmePauseMax)
}

// Three moves of the head are all that happens. How long I/O stands is told, and bounded with
// much room: on an emulated machine it is mostly the host's own doing.
func TestLongHostBarelyNoticesPlannedMovesOverNVMe(t *testing.T) {
	o := startNVMe(t, standing, 2)
	o.startFio()
	for round := range 3 {
		for _, failure := range failuresNVMe {
			if failure.name == "planned move" {
				o.fails(round, failure)
			}
		}
	}
	o.finish(plannedMax)
}

// Without addresses that move, a silent node's paths end by the host's timers.
func TestLongHostOutlivesASilentNodeOverNVMeByItsKeepAlive(t *testing.T) {
	o := startNVMe(t, standing, 2)
	o.startFio()
	for _, failure := range failuresNVMe {
		if failure.name == "cut" {
			o.fails(0, failure)
		}
	}
	o.finish(nvmePauseMaxOnTimer)
}

// A volume without any copy makes its host wait, and fails nothing, for longer than
// Linux would repeat a command that is only to be tried again: five times.
func TestLongHostWaitsOverNVMeWhileAVolumeHasNoCopy(t *testing.T) {
	const lasts = 70 * time.Second
	o := startNVMe(t, standing, 1)
	o.startFio()
	o.awaitIO(300, 60*time.Second)
	head := o.c.Head("v")
	head.Kill()
	time.Sleep(lasts)
	head.Start()
	o.awaitIO(200, 60*time.Second)
	r := o.stopFio()
	if r.errors != 0 || r.reads != r.writes || r.passes == 0 || r.writes != r.passes*nvmeBytes/ioBytes {
		t.Errorf("not every block was written and read back once a pass: %+v", r)
	}
	if r.pause < lasts {
		t.Errorf("a pause of %v only: there was a copy", r.pause)
	}
	t.Logf("longest pause %v, longest I/O %v", r.pause, r.slowest)
}

func (o *over) startFio() {
	o.t.Helper()
	o.script("fio-start", fmt.Sprintf("BYTES=%d", nvmeBytes), fmt.Sprintf("BLOCK=%d", ioBytes), "DISK="+o.disk)
}

// fails has the head fail, and waits until all is as before.
func (o *over) fails(round int, failure failureNVMe) {
	o.t.Helper()
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

// finish ends fio and compares the copies.
func (o *over) finish(pauseMax time.Duration) {
	o.t.Helper()
	r := o.stopFio()
	if r.errors != 0 || r.reads != r.writes || r.passes == 0 || r.writes != r.passes*nvmeBytes/ioBytes {
		o.t.Errorf("not every block was written and read back once a pass: %+v", r)
	}
	if r.pause > pauseMax+busy {
		o.t.Errorf("a pause of %v, want at most %v, and %v on a busy machine", r.pause, pauseMax, busy)
	}
	o.t.Logf("longest pause %v (aimed at: %v), longest I/O %v; keep-alive %v", r.pause, pauseMax, r.slowest, keepAlive)
	o.c.Verify("v")
	o.must("nvme disconnect-all")
}

type failureNVMe struct {
	name  string
	begin func(o *over, v api.Volume) (end func())
}

// failuresNVMe begin something at the head of the volume; what they return ends it.
var failuresNVMe = []failureNVMe{
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
