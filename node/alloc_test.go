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

// The front ends and the store allocate nothing for a command. The mirror between them allocates its operations and
// messages, each with all that belongs to it in one piece, and leaves them to the collector: a retry, or an answer that
// comes late, may refer to them when the host has long been answered. Both nodes, the way between them and the host are counted.
func TestWhatACommandAllocatesDoesNotGrow(t *testing.T) {
	one, iqn := published(t, false)
	alone, err := login(t, one, "web", iqn)
	must(t, err)
	ready(t, alone)
	host := threePaths(t, newThreeWith(t, 256<<20), 32<<20, 2)[0]
	for _, c := range []struct {
		name   string
		at     *initiator.Session
		write  bool
		atMost float64 // with the race detector on, which has pools forget
	}{
		{"a read of the only copy", alone, false, 12},
		{"a write of the only copy", alone, true, 20},
		{"a read of one of two copies", host, false, 12},
		{"a write of two copies", host, true, 40},
	} {
		mallocs, bytes := perCommand(t, c.at, c.write, 4000)
		t.Logf("%s: %.1f allocations, %.0f bytes", c.name, mallocs, bytes)
		if mallocs > c.atMost {
			t.Errorf("%s takes %.1f allocations, at most %.0f are expected", c.name, mallocs, c.atMost)
		}
	}
}
