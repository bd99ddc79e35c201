package nvme

import (
	"testing"

	"ashlar/target"
	"ashlar/target/targettest"
)

// busyRig answers every operation Busy.
func busyRig(t *testing.T) *rig {
	t.Helper()
	r := newRig(t, targettest.Options{})
	r.device.Intercept(func(*target.Op) targettest.Verdict { return targettest.Verdict{Status: target.Busy} })
	return r
}

func (r *rig) startWrite() <-chan *Request {
	r.Helper()
	return r.start(r.Controller, 1, ranged(Write, 0, 1, 0), blocks(1, 1))
}

func TestAHostIsToldToComeBackAtTheSecondTick(t *testing.T) {
	r := busyRig(t)
	first := r.startWrite()
	r.Tick(0)
	second := r.startWrite()
	if len(first) != 0 {
		t.Error("answered at the first tick")
	}
	r.Tick(0)
	if q := r.wait(first); q.Status != InternalPathError|retryLater {
		t.Errorf("status %v", q.Status)
	}
	if len(second) != 0 {
		t.Error("what came later is answered, too")
	}
	r.Tick(0)
	r.wait(second)
}

// Neither an abort nor the end of the controller waits for ticks.
func TestWhatIsRefusedEndsWithItsController(t *testing.T) {
	r := busyRig(t)
	q := &Request{Command: ranged(Write, 0, 1, 0), Queue: 1, Data: blocks(1, 1), Stamp: r.Stamp(1), Done: func(*Request) {}}
	ended := false
	q.Done = func(*Request) { ended = true }
	r.Execute(q)
	stopped := false
	r.Stop(q, 1, func() { stopped = ended })
	if !stopped || q.Status != InternalPathError|retryLater {
		t.Errorf("stopped %t, ended %t, status %v", stopped, ended, q.Status)
	}
	left := r.startWrite()
	r.Tick(0)
	right := r.startWrite()
	drained := make(chan error, 1)
	r.Drain(func(err error) { drained <- err })
	r.wait(left)
	r.wait(right)
	if err := <-drained; err != nil {
		t.Error(err)
	}
	if q := r.wait(r.startWrite()); q.Status != Interrupted {
		t.Errorf("after the end: %v", q.Status)
	}
}
