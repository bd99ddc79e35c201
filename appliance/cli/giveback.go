package cli

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// A node gives the kernel back, once it has little to do, what it needed while it had much. Go's runtime does that
// too, but slowly: a node that has just made copies anew would keep a multiple of what it needs for minutes.
const (
	lookEvery = 10 * time.Second
	busyBytes = 64 << 20 // allocated between two looks
	giveTimes = 2        // what is kept for reuse survives one collection
)

// lull finds out when a node has become idle.
type lull struct {
	allocated uint64 // at the last look
	left      int    // collections that are still due
}

// look says whether memory is to be given back now; allocated is how much the process has in its life, bytes.
func (l *lull) look(allocated uint64) bool {
	busy := allocated-l.allocated >= busyBytes
	l.allocated = allocated
	if busy {
		l.left = giveTimes
	}
	if busy || l.left == 0 {
		return false
	}
	l.left--
	return true
}

func giveMemoryBack(ctx context.Context) {
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	for l := new(lull); ; {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if metrics.Read(sample); l.look(sample[0].Value.Uint64()) {
			debug.FreeOSMemory()
		}
	}
}
