//go:build lab

package hosts

import (
	"fmt"
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
	rawBytes    = 12 << 20 // what fio has of it behind a file system: a border, too
	paths       = 6        // three nodes, two fabrics
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
			return strings.Contains(line, clusters.HostIQN) || // which asked whether the volume is served
				strings.Contains(line, "Suffrage:Nonvoter") && strings.Contains(line, "connection refused") // a node that is joining, and does not listen yet
		})
		if len(lines) > 0 {
			l.t.Errorf("nothing has happened, but the log of %s says:\n%s", n.Name, strings.Join(lines, "\n"))
		}
	}
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

func (l *linux) startFio() {
	l.t.Helper()
	l.script("fio-start", fmt.Sprintf("BYTES=%d", volumeBytes), fmt.Sprintf("BLOCK=%d", ioBytes))
}
