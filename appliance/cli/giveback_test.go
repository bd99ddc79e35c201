package cli

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
)

func TestMemoryIsGivenBackTwiceWhenThereIsLittleToDo(t *testing.T) {
	var l lull
	allocated := uint64(0)
	for i, step := range []struct {
		bytes uint64
		gives bool
	}{{1 << 20, false}, {1 << 30, false}, {2 << 30, false}, {1 << 20, true}, {busyBytes - 1, true}, {0, false}, {1 << 20, false}, {busyBytes, false}, {0, true}, {busyBytes, false}, {0, true}, {0, true}, {0, false}} {
		if allocated += step.bytes; l.look(allocated) != step.gives {
			t.Errorf("step %d: given back: %t", i, !step.gives)
		}
	}
}

// What a node held while it was busy is the kernel's again after two collections, also what pools kept.
func TestWhatIsGivenBackIsTheKernels(t *testing.T) {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/free:bytes"}, {Name: "/memory/classes/heap/unused:bytes"}}
	large := make([][]byte, 256)
	for i := range large {
		large[i] = make([]byte, 1<<20)
	}
	runtime.KeepAlive(large)
	large = nil
	for range giveTimes {
		debug.FreeOSMemory()
	}
	if metrics.Read(sample); sample[0].Value.Uint64() > 64<<20 {
		t.Errorf("%d MiB are free and not the kernel's, %d in parts", sample[0].Value.Uint64()>>20, sample[1].Value.Uint64()>>20)
	}
}
