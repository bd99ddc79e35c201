package targettest

import (
	"testing"
	"testing/synctest"
	"time"

	"ashlar/target"
)

func TestMemoryIsADevice(t *testing.T) {
	t.Run("512", func(t *testing.T) {
		Suite(t, func() target.Device { return NewMemory(Options{}) })
	})
	t.Run("4096", func(t *testing.T) {
		Suite(t, func() target.Device { return NewMemory(Options{BlockSize: 4096}) })
	})
	t.Run("delayed", func(t *testing.T) {
		Suite(t, func() target.Device {
			m := NewMemory(Options{})
			m.Intercept(func(*target.Op) Verdict { return Verdict{Delay: 50 * time.Microsecond} })
			return m
		})
	})
}

// collect submits an operation and returns where its status will be.
func collect(m *Memory, kind target.Kind, from target.Nexus) *[]target.Status {
	got := new([]target.Status)
	m.Submit(&target.Op{Kind: kind, Blocks: 1, Data: make([]byte, 512), Nexus: from, Done: func(o *target.Op) { *got = append(*got, o.Status) }})
	return got
}

func TestAFenceAbortsWhatIsHeldAndNothingElse(t *testing.T) {
	m := NewMemory(Options{})
	m.Intercept(func(*target.Op) Verdict { return Verdict{Hold: true} })
	old := target.Nexus{Host: "a", Port: 1, Generation: 3}
	mine := collect(m, target.Write, old)
	later := collect(m, target.Write, target.Nexus{Host: "a", Port: 1, Generation: 4})
	other := collect(m, target.Write, target.Nexus{Host: "b", Port: 1, Generation: 1})
	fenced := 0
	m.Fence(target.FenceNexus, old, func(error) { fenced++ })
	if fenced != 1 || len(*mine) != 1 || (*mine)[0] != target.Aborted {
		t.Fatalf("fenced %d times, fenced operation %v", fenced, *mine)
	}
	if m.Held() != 2 || len(*later)+len(*other) != 0 {
		t.Fatalf("%d held; later %v, other %v", m.Held(), *later, *other)
	}
	m.Release()
	if len(*later) != 1 || (*later)[0] != target.OK || len(*other) != 1 || (*other)[0] != target.OK {
		t.Fatalf("released: later %v, other %v", *later, *other)
	}
}

func TestADelayedOperationIsCarriedOutLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(Options{})
		m.Intercept(func(o *target.Op) Verdict { return Verdict{Delay: time.Second} })
		began := time.Now()
		done := make(chan target.Status, 2)
		m.Submit(&target.Op{Kind: target.Read, Blocks: 1, Data: make([]byte, 512), Done: func(o *target.Op) { done <- o.Status }})
		if got := <-done; got != target.OK || time.Since(began) != time.Second {
			t.Fatalf("%v after %v", got, time.Since(began))
		}
		synctest.Wait()
		if len(done) != 0 {
			t.Fatal("done twice")
		}
	})
}

func TestAnInjectedStatusDoesNothingElse(t *testing.T) {
	m := NewMemory(Options{})
	m.Intercept(func(o *target.Op) Verdict {
		if o.Kind == target.Write {
			return Verdict{Status: target.MediumError}
		}
		return Verdict{}
	})
	if got := collect(m, target.Write, target.Nexus{}); (*got)[0] != target.MediumError {
		t.Fatalf("write: %v", *got)
	}
	if len(m.slabs) != 0 {
		t.Fatal("a failed write took effect")
	}
}

func TestEventsReachEveryNodesListener(t *testing.T) {
	m := NewMemory(Options{Groups: []target.PortGroup{{ID: 1}, {ID: 2, State: target.NonOptimized}}})
	other := m.Through(2)
	var here, there []target.Event
	cancel := m.Watch(func(e target.Event) { here = append(here, e) })
	other.Watch(func(e target.Event) { there = append(there, e) })
	m.Resize(100)
	cancel()
	other.Fence(target.FenceUnit, target.Nexus{}, func(error) {})
	m.Remove()
	if len(here) != 1 || here[0] != target.Resized {
		t.Fatalf("cancelled listener: %v", here)
	}
	if len(there) != 3 || there[1] != target.UnitReset || there[2] != target.Removed {
		t.Fatalf("listener: %v", there)
	}
	if got := collect(m, target.Read, target.Nexus{}); (*got)[0] != target.Gone {
		t.Fatalf("after removal: %v", *got)
	}
}
