package node

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ashlar/node/engine"
)

// TestAVerificationOutlivesItsHeads while hosts write: it finds no difference, leaves nothing out that it does not
// name, and ends; what it mends is nothing, since nothing differs.
func TestAVerificationOutlivesItsHeads(t *testing.T) {
	t.Parallel()
	nodes := newThreeWith(t, 128<<20)
	must(t, nodes[0].AddHost(limit(t), "web", "iqn.2026-11.com.example:web"))
	const segments = 8
	createVolume(t, nodes[0], "v", segments*segmentBytes, 3)
	must(t, nodes[0].Publish(limit(t), "v", "web", false))
	s := steady(t, nodes[0], "web", state(t, nodes[0]).IQN(state(t, nodes[0]).VolumeNamed("v")))

	var stop atomic.Bool
	var writes, moves atomic.Int64
	var tasks sync.WaitGroup
	tasks.Go(func() {
		for n := uint64(0); !stop.Load(); n++ {
			block := n * 37 % (segments * segmentBytes / 4096)
			if s.Write(t.Context(), 0, block*8, known(n), 512) == nil {
				writes.Add(1)
			}
		}
	})
	tasks.Go(func() {
		for i := 0; !stop.Load(); i++ {
			if nodes[i%3].MoveHead(t.Context(), "v", fmt.Sprintf("node%d", i%3+1)) == nil {
				moves.Add(1)
			}
			time.Sleep(300 * time.Millisecond)
		}
	})
	t.Cleanup(func() { // also where the test ends early
		stop.Store(true)
		tasks.Wait()
	})
	whole, during := 0, 0
	for i := 0; i < 4 || writes.Load() < 100; i++ {
		before := moves.Load()
		verify := []func(context.Context, string) (engine.Verification, error){nodes[i%3].Verify, nodes[i%3].Repair}[i%2]
		patient, cancel := context.WithTimeout(t.Context(), 4*timeout) // each head in turn does a piece
		found, err := verify(patient, "v")
		cancel()
		must(t, err)
		if found.Counts.Differing > 0 || len(found.Repaired) > 0 || found.Equal() != (found.Root != nil) || found.Equal() != (len(found.Differences) == 0) {
			t.Fatalf("while the head moves: %+v", found)
		}
		if found.Equal() {
			whole++
		}
		if moves.Load() > before {
			during++
		}
	}
	stop.Store(true)
	tasks.Wait()
	if during == 0 || whole == 0 {
		t.Errorf("the head moved during %d verifications, %d were whole", during, whole)
	}
	found, err := nodes[1].Verify(limit(t), "v")
	must(t, err)
	if !found.Equal() || found.Copies != 3*segments || found.Root == nil {
		t.Errorf("in the end: %+v", found)
	}
	t.Logf("%d moves during %d verifications, %d of them whole, beside %d writes", moves.Load(), during, whole, writes.Load())
}
