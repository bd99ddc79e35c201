package target

import (
	"testing"
	"time"
)

func TestAStallIsCountedOnceByWhoeverFindsIt(t *testing.T) {
	now := int64(0)
	w := newStallWatch(func() int64 { return now })
	told := make(chan struct{}, 10)
	w.OnStall(func() { told <- struct{}{} })

	now += int64(600 * time.Millisecond)
	w.beat()
	if got := w.Stalls(); got != 0 {
		t.Fatalf("a tick 0.5 s late: %d stalls", got)
	}
	now += int64(601 * time.Millisecond)
	if got := w.Stalls(); got != 1 { // a reader comes before the tick
		t.Fatalf("reader after 601 ms without a tick: %d stalls", got)
	}
	w.beat()
	now += int64(100 * time.Millisecond)
	w.beat()
	if got := w.Stalls(); got != 1 {
		t.Fatalf("the tick after the reader: %d stalls", got)
	}
	now += int64(time.Hour) // the machine was suspended
	w.beat()
	if got := w.Stalls(); got != 2 {
		t.Fatalf("a tick an hour late: %d stalls", got)
	}
	for range 2 {
		select {
		case <-told:
		case <-time.After(5 * time.Second):
			t.Fatal("listener was not told")
		}
	}
}

func TestClockRunsWithTheKernels(t *testing.T) {
	w := NewStallWatch()
	defer w.Close()
	first := w.tick.Load()
	for deadline := time.Now().Add(10 * time.Second); w.tick.Load() == first; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no tick in 10 s")
		}
	}
}
