package cli

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// inKernel is how many goroutines of a disk wait in the kernel at a time: two that write its journal, one that writes
// back, and one that reads. Each holds one of the processors that Go's runtime has until its monitor takes that away, which it does
// some 100 µs later; on a machine of two, nobody answers hosts meanwhile.
const inKernel = 4

// moreProcessors gives the runtime as many more processors than the machine has, unless the environment says how many.
func moreProcessors() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + inKernel)
	}
}

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
