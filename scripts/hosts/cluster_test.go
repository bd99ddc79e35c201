//go:build lab

package hosts

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"ashlar/appliance/api"
	"ashlar/scripts/internal/clusters"
	"ashlar/scripts/internal/fabric"
)

// guestIQN is the name of guest 1.
const guestIQN = "iqn.2026-01.lab.host:1"

const (
	volumeBytes = 48 << 20 // three segments of 16 MiB
	ioBytes     = 12 << 10 // no divisor of a segment: a write lies across each border
	paths       = 6        // three nodes, two fabrics
)

// The guest's timers, from its multipath.conf and iscsid.settings.
const (
	fastIOFail   = 5 * time.Second
	noopInterval = 2 * time.Second
	noopTimeout  = 3 * time.Second
)

// What a pause may last. A host learns of a dead process from a reset; of a
// silent node only from its own NOPs.
const (
	pauseMax       = fastIOFail + 3*time.Second
	silentPauseMax = pauseMax + noopInterval + noopTimeout
)

// linux is a guest that uses a volume of a real cluster through all its paths.
type linux struct {
	host
	c *clusters.Cluster
	v api.Volume
}

// startCluster builds a cluster of three nodes on both fabrics.
func startCluster(t *testing.T) *clusters.Cluster {
	t.Helper()
	for k := 1; k <= 3; k++ {
		if err := fabric.AddNode(k); err != nil {
			t.Fatal(err)
		}
	}
	return clusters.New(t, clusters.Plan{
		Addresses: func(k int) []string { return []string{address("a", k), address("b", k)} },
		Inside:    fabric.Command,
	})
}

// startLinux builds a cluster and logs the guest in everywhere.
func startLinux(t *testing.T) *linux {
	t.Helper()
	c := startCluster(t)
	l := &linux{startHost(t, 1), c, c.Publish("v", fmt.Sprint(volumeBytes), 2, guestIQN)}
	out := l.script("login", "PORTALS=10.1.0.2", "TARGET="+l.v.IQN, fmt.Sprintf("PATHS=%d", paths))
	var want []string
	for k := 1; k <= 3; k++ {
		for _, f := range []string{"a", "b"} {
			want = append(want, fmt.Sprintf("%s:3260,%d %s", address(f, k), k, l.v.IQN))
		}
	}
	discovered := regexp.MustCompile(`(?m)^10\.\S+ iqn\S+$`).FindAllString(out, -1)
	slices.Sort(discovered)
	slices.Sort(want)
	if !slices.Equal(discovered, want) {
		t.Errorf("discovery at one portal lists\n%s\nwant\n%s", strings.Join(discovered, "\n"), strings.Join(want, "\n"))
	}
	return l
}

// expectMap checks the one multipath device: all paths active, those of the head
// optimized, and only they.
func (l *linux) expectMap() {
	l.t.Helper()
	head := l.c.Head("v")
	var want []string
	for _, n := range l.c.Nodes {
		for _, a := range n.Addresses {
			state := " active running 10 active/non-optimized"
			if n == head {
				state = " active running 50 active/optimized"
			}
			want = append(want, a+state)
		}
	}
	slices.Sort(want)
	l.await(60*time.Second, "optimized paths to "+head.Name, fmt.Sprintf(`
		multipath -ll
		[ "$(multipath -ll | grep -c dm-)" = 1 ] || exit 1
		paths() {
			%s
		}
		paths | sort >/tmp/paths
		cat >/tmp/want <<END
%s
END
		diff /tmp/want /tmp/paths`, file(l.t, "paths"), strings.Join(want, "\n")))
}

// faults that a run without an injected one must not know of.
var disturbances = []string{"level=ERROR", "dropped", "taken this incarnation for dead", "is silent", "stall", "iscsi session ended",
	"malformed", "not fenced", "head no more", "msg=failover"}

// expectQuiet fails where a node's log tells of a fence, a lost lease, a stall
// or a session that ended.
func (l *linux) expectQuiet() {
	l.t.Helper()
	for _, n := range l.c.Nodes {
		lines := slices.DeleteFunc(n.LogLines(disturbances...), func(line string) bool {
			return strings.Contains(line, clusters.HostIQN) // which asked whether the volume is served
		})
		if len(lines) > 0 {
			l.t.Errorf("nothing has happened, but the log of %s says:\n%s", n.Name, strings.Join(lines, "\n"))
		}
	}
}

// finish ends fio, compares the copies and logs out.
func (l *linux) finish(pause time.Duration) {
	l.t.Helper()
	r := l.stopFio()
	if r.errors != 0 || r.reads != r.writes || r.passes == 0 || r.writes != r.passes*volumeBytes/ioBytes {
		l.t.Errorf("not every block was written and read back once a pass: %+v", r)
	}
	if r.pause > pause {
		l.t.Errorf("a pause of %v, want at most %v", r.pause, pause)
	}
	l.t.Logf("longest pause %v (at most %v), longest I/O %v; fast_io_fail_tmo %v, NOP every %v with a timeout of %v",
		r.pause, pause, r.slowest, fastIOFail, noopInterval, noopTimeout)
	l.c.AwaitInSync("v", 60*time.Second)
	l.c.Verify("v")
	l.script("logout")
}

func TestHostSeesOneDiskWithAPathThroughEachPortal(t *testing.T) {
	l := startLinux(t)
	l.expectMap()
	l.script("files")
	l.startFio()
	l.awaitIO(2000, 60*time.Second)
	l.stopFio()
	l.expectQuiet()
	l.c.Verify("v")
	l.script("logout")
}

func TestHostOutlivesTheHeadsDeathAgainAndAgain(t *testing.T) {
	rounds := 3
	if os.Getenv("ASHLAR_TEST_LONG") != "" {
		rounds = 10
	}
	l := startLinux(t)
	l.startFio()
	for round := range rounds {
		l.awaitIO(500, 60*time.Second)
		before, _ := l.c.Show("v")
		head := l.c.Head("v")
		head.Kill()
		after := l.c.AwaitTakeover("v", before.Volume, 30*time.Second)
		pause := l.awaitIO(200, 60*time.Second)
		head.Start()
		resync := l.c.AwaitInSync("v", 60*time.Second)
		l.t.Logf("round %d: %s killed, %s is the head, 200 more I/Os %.1f s later, in sync %.1f s after the restart",
			round+1, head.Name, after.Head, pause.Seconds(), resync.Seconds())
		l.awaitPaths(paths, 0)
	}
	l.expectMap()
	l.finish(pauseMax)
}

func TestHostOutlivesANodeThatIsCutOff(t *testing.T) {
	l := startLinux(t)
	l.startFio()
	l.awaitIO(500, 60*time.Second)
	before, _ := l.c.Show("v")
	name := []string{before.Head}
	both := []string{"a", "b"}
	if err := fabric.Cut(name, both); err != nil {
		t.Fatal(err)
	}
	l.fault(before.Volume, func() {
		if err := fabric.Heal(name, both); err != nil {
			t.Fatal(err)
		}
	})
}

func TestHostOutlivesANodeThatFreezes(t *testing.T) {
	l := startLinux(t)
	l.startFio()
	l.awaitIO(500, 60*time.Second)
	before, _ := l.c.Show("v")
	head := l.c.Head("v")
	head.Freeze()
	l.fault(before.Volume, head.Thaw)
}

// fault waits out a silence of the head of 20 s, while the host goes on with
// another, ends it, and waits until all is as before.
func (l *linux) fault(before api.Volume, heal func()) {
	l.t.Helper()
	const lasts = 20 * time.Second
	over := time.Now().Add(lasts)
	after := l.c.AwaitTakeover("v", before, lasts)
	l.t.Logf("%s is silent, %s is the head, 200 more I/Os %.1f s later", before.Head, after.Head, l.awaitIO(200, 60*time.Second).Seconds())
	time.Sleep(time.Until(over))
	heal()
	l.t.Logf("in sync %.1f s after the end of the silence", l.c.AwaitInSync("v", 60*time.Second).Seconds())
	l.awaitPaths(paths, 0)
	l.expectMap()
	l.finish(silentPauseMax)
}

func (l *linux) startFio() {
	l.t.Helper()
	l.script("fio-start", fmt.Sprintf("BYTES=%d", volumeBytes), fmt.Sprintf("BLOCK=%d", ioBytes))
}
