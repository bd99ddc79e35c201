package scsi

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ashlar/target"
	"ashlar/target/targettest"
)

// TestCommandsEventsAndFunctionsAtOnce runs hosts' commands beside resets,
// events and logouts: each task ends once, each function is answered once.
func TestCommandsEventsAndFunctionsAtOnce(t *testing.T) {
	r := newRig(t, twoNodes())
	var turn atomic.Uint32
	r.memory.Intercept(func(*target.Op) targettest.Verdict {
		if turn.Add(1)%3 == 0 {
			return targettest.Verdict{Delay: 20 * time.Microsecond}
		}
		return targettest.Verdict{}
	})
	var group sync.WaitGroup
	for range 3 {
		group.Go(func() { r.host(12) })
	}
	group.Go(func() {
		for i := range 12 {
			r.memory.Resize(capacity + uint64(i))
			r.memory.SetGroups(twoNodes().Groups)
			answered := make(chan struct{})
			r.target.Manage(r.nexus, []TaskFunction{LogicalUnitReset, ClearTaskSet, TargetWarmReset}[i%3], 0, func(TMFResult) { close(answered) })
			<-answered
		}
	})
	group.Wait()
	if r.nexus.first != nil || len(r.target.nexuses) != 1 {
		t.Error("tasks or nexuses are left over")
	}
}

// host logs in, sends commands, aborts some, and logs out in their midst.
func (r *rig) host(logins int) {
	for i := range logins {
		n := r.target.Login(target.Nexus{Host: "racer", Port: 1, Generation: uint64(i)}, "racer")
		ended := make(chan *Task, 16)
		for k := range 16 {
			cdb, out := ranged(0x28, 0, uint64(k), 8), []byte(nil)
			if k%2 == 0 {
				cdb, out = ranged(0x93, 0, 64, 2000), blocksOf(byte(k+1), 1)
			}
			task := r.task(n, 0, cdb, out)
			task.Done = func(t *Task) { ended <- t }
			r.target.Execute(task)
			if k%5 == 0 {
				r.target.Abort(task, func(TMFResult) {})
			}
		}
		drained := make(chan struct{})
		n.Drain(func(TMFResult) { close(drained) })
		<-drained
		if len(ended) != 16 {
			r.Errorf("%d of 16 tasks have ended after the logout", len(ended))
		}
	}
}
