package cli

import "testing"

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
