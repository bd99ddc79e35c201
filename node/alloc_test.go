//go:build !race

package node

import (
	"runtime"
	"testing"

	"ashlar/target/targettest/initiator"
)

// perCommand is how many allocations, and how many bytes of them, all of this process makes for each of n commands of 4 KiB.
func perCommand(t *testing.T, s *initiator.Session, write bool, n int) (mallocs, bytes float64) {
	t.Helper()
	load := s.Load(write)
	must(t, load(n/4))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	must(t, load(n))
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs-before.Mallocs) / float64(n), float64(after.TotalAlloc-before.TotalAlloc) / float64(n)
}

// From a host's socket to its disks, and back, nothing is allocated for a command: what is left is of records and of batches, of
// the cluster's own clocks, and of crypto/tls, which allocates for each record that it reads. Both nodes, the way between
// them and the host are counted; of three rounds the best, since others have the machine, too. The race detector has pools forget.
func TestCommandsDoNotAllocate(t *testing.T) {
	one, iqn := published(t, false)
	alone, err := login(t, one, "web", iqn)
	must(t, err)
	ready(t, alone)
	host := threePaths(t, newThreeWith(t, 256<<20), 32<<20, 2)[0]
	for _, c := range []struct {
		name  string
		at    *initiator.Session
		write bool
		below float64 // with one more for each command it is not
	}{
		{"a read of the only copy", alone, false, 0.8},
		{"a write of the only copy", alone, true, 0.8},
		{"a read of one of two copies", host, false, 0.8},
		{"a write of two copies", host, true, 1.3},
	} {
		best := c.below
		for round := 0; round < 3 && best >= c.below; round++ {
			mallocs, bytes := perCommand(t, c.at, c.write, 20000)
			t.Logf("%s: %.2f allocations, %.0f bytes", c.name, mallocs, bytes)
			best = min(best, mallocs)
		}
		if best >= c.below {
			t.Errorf("%s takes %.1f allocations or more", c.name, c.below)
		}
	}
}
