//go:build lab

package hosts

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"ashlar/scripts/internal/clusters"
	"ashlar/scripts/internal/fabric"
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

// filesBytes at the start of the disk hold a file system; fio has the rest.
const filesBytes = 24 << 20

var bothFabrics = []string{"a", "b"}

// failover is one way for a volume to lose its head, and to have all its nodes
// again.
type failover struct {
	name   string
	pause  time.Duration // the longest between two completions
	begin  func(l *linux, head *clusters.Node)
	silent time.Duration // how long the node is gone at least
	end    func(l *linux, head *clusters.Node)
}

var failovers = []failover{
	{name: "the head's process is killed", pause: pauseMax,
		begin: func(_ *linux, head *clusters.Node) { head.Kill() },
		end:   func(_ *linux, head *clusters.Node) { head.Start() }},
	{name: "the head's node is cut off", pause: silentPauseMax, silent: 15 * time.Second,
		begin: func(l *linux, head *clusters.Node) { l.check(fabric.Cut([]string{head.Name}, bothFabrics)) },
		end:   func(l *linux, head *clusters.Node) { l.check(fabric.Heal([]string{head.Name}, bothFabrics)) }},
	{name: "the head freezes", pause: silentPauseMax, silent: 15 * time.Second,
		begin: func(_ *linux, head *clusters.Node) { head.Freeze() },
		end:   func(_ *linux, head *clusters.Node) { head.Thaw() }},
	{name: "the head is moved", pause: pauseMax,
		begin: func(l *linux, head *clusters.Node) { head.Must("volume", "move-head", "v", l.other(head).Name) },
		end:   func(*linux, *clusters.Node) {}},
	{name: "the head's process is told to stop", pause: pauseMax,
		begin: func(_ *linux, head *clusters.Node) { head.Stop() },
		end:   func(_ *linux, head *clusters.Node) { head.Start() }},
}

// The host has a file system and raw blocks on the volume, and writes to both
// while its head goes away.
func TestHostOutlivesFailovers(t *testing.T) {
	rounds := 3
	if os.Getenv("ASHLAR_TEST_LONG") != "" {
		rounds = 50
	}
	l := startLinux(t)
	l.must(fmt.Sprintf("mkfs.ext4 -q -F /dev/mapper/mpatha %dk", filesBytes>>10))
	pauses := map[string][]time.Duration{}
	for round := range rounds {
		f := failovers[round%len(failovers)]
		l.survives(f, pauses)
		if l.t.Failed() {
			l.t.Fatalf("in round %d: %s", round+1, f.name)
		}
	}
	for _, f := range failovers {
		if all := pauses[f.name]; len(all) > 0 {
			slices.Sort(all)
			l.t.Logf("%s, %d times: median pause %v, longest %v (at most %v; fast_io_fail_tmo %v, NOP every %v with a timeout of %v)",
				f.name, len(all), all[len(all)/2], all[len(all)-1], f.pause, fastIOFail, noopInterval, noopTimeout)
		}
	}
	l.c.Verify("v")
	l.script("logout")
}

// survives has a fault happen to the head once I/O flows, waits until all is as
// before, and looks at what the host wrote.
func (l *linux) survives(f failover, pauses map[string][]time.Duration) {
	l.t.Helper()
	l.script("files-start", "DISK=/dev/mapper/mpatha")
	l.must("rm -rf /tmp/fio")
	l.script("fio-start", fmt.Sprintf("OFFSET=%d", filesBytes), fmt.Sprintf("BYTES=%d", rawBytes), fmt.Sprintf("BLOCK=%d", ioBytes))
	l.awaitIO(500, 60*time.Second)
	before, _ := l.c.Show("v")
	head := l.c.Head("v")
	over := time.Now().Add(f.silent)
	f.begin(l, head)
	after := l.c.AwaitTakeover("v", before.Volume, 30*time.Second)
	l.t.Logf("%s: was %s, is %s, 200 more I/Os %.1f s later", f.name, head.Name, after.Head, l.awaitIO(200, 60*time.Second).Seconds())
	time.Sleep(time.Until(over))
	f.end(l, head)
	l.t.Logf("in sync %.1f s after the end of the fault", l.c.AwaitInSync("v", 60*time.Second).Seconds())
	l.awaitPaths(paths, 0)
	l.expectMap()
	l.script("files-check", "DISK=/dev/mapper/mpatha")
	r := l.stopFio()
	if r.errors != 0 || r.reads != r.writes || r.passes == 0 || r.writes != r.passes*rawBytes/ioBytes {
		l.t.Errorf("not every block was written and read back once a pass: %+v", r)
	}
	if r.pause > f.pause {
		l.t.Errorf("%s: a pause of %v, want at most %v", f.name, r.pause, f.pause)
	}
	pauses[f.name] = append(pauses[f.name], r.pause)
}

// other is a node with a copy of the volume that is not the one named.
func (l *linux) other(than *clusters.Node) *clusters.Node {
	l.t.Helper()
	v, _ := l.c.Show("v")
	for _, s := range v.Placement {
		for _, r := range s.Replicas {
			if r.Node != than.Name {
				return l.c.Node(r.Node)
			}
		}
	}
	l.t.Fatalf("no copy of v but on %s", than.Name)
	return nil
}

func (l *linux) check(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}
