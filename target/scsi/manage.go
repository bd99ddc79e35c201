package scsi

import (
	"sync/atomic"

	"ashlar/target"
	"ashlar/target/reserve"
)

// TaskFunction is a task management function (SAM-5 7.1) other than ABORT TASK.
type TaskFunction uint8

const (
	AbortTaskSet     TaskFunction = iota // this nexus's tasks on the unit
	ClearTaskSet                         // all nexuses' tasks on the unit
	LogicalUnitReset                     // the same, and the unit's modes go back to their defaults
	TargetWarmReset                      // a reset of every unit of the target
	TargetColdReset                      // the same; the carrier then ends the sessions
	NexusReset                           // this nexus's tasks on every unit
)

// TMFResult is the service response of a task management function.
type TMFResult uint8

const (
	FunctionComplete     TMFResult = iota // proven: nothing of it will take effect later
	TaskDoesNotExist                      // it had already ended
	IncorrectLUN                          // no such logical unit
	FunctionNotSupported                  // unknown function
	FunctionRejected                      // the proof could not be had in time
)

// wait collects what a management function waits for: its fences and the ends
// of the tasks that it aborts. It answers once: when all has come, or at the
// first fence that fails.
type wait struct {
	left     atomic.Int32
	answered atomic.Bool
	done     func(TMFResult)
}

func newWait(done func(TMFResult)) *wait {
	w := &wait{done: done}
	w.left.Store(1)
	return w
}

// release takes off one of what is waited for.
func (w *wait) release() {
	if w.left.Add(-1) == 0 {
		w.answer(FunctionComplete)
	}
}

func (w *wait) answer(r TMFResult) {
	if w.answered.CompareAndSwap(false, true) {
		w.done(r)
	}
}

// fence fences one device; after runs before the answer, whatever the result.
func (w *wait) fence(d target.Device, scope target.Scope, id target.Nexus, after func()) {
	w.left.Add(1)
	d.Fence(scope, id, func(err error) {
		if after != nil {
			after()
		}
		if err != nil {
			w.answer(FunctionRejected)
		}
		w.release()
	})
}

// abortTasks marks the tasks of n that match, and makes w wait for their ends.
// A marked task sends no further operation, and its end gets no response. The
// places of copies among them are then to be fenced like their unit: a copy tells
// its places before it looks for the mark, so it has told them or sends nothing.
func (n *Nexus) abortTasks(w *wait, match func(*Task) bool) (aborted int, places []*place) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for t := n.first; t != nil; t = t.next {
		if !match(t) {
			continue
		}
		t.aborting.Store(true)
		t.waiters = append(t.waiters, w)
		w.left.Add(1)
		aborted++
		if p := t.places.Load(); p != nil {
			places = append(places, *p...)
		}
	}
	return aborted, places
}

// fencePlaces fences the places of copies.
func (w *wait) fencePlaces(places []*place) {
	for _, p := range places {
		w.fence(p.unit.device, target.FenceNexus, p.nexus, nil)
	}
}

// Abort is ABORT TASK. done is called once, after the task's Done if it was
// still under way. The task must be the carrier's current use of that Task.
func (t *Target) Abort(task *Task, done func(TMFResult)) {
	w := newWait(done)
	n := task.Nexus
	aborted, places := n.abortTasks(w, func(o *Task) bool { return o == task })
	if aborted == 0 {
		w.answer(TaskDoesNotExist)
		return
	}
	// The scope of a fence is a nexus at the least: siblings that it catches
	// before they were sequenced are answered BUSY, and the host sends them again.
	if u := t.unit(task.LUN); u != nil {
		w.fence(u.device, target.FenceNexus, n.id, nil)
	}
	w.fencePlaces(places)
	w.release()
}

// Manage carries out a task management function for n. done is called once,
// with FunctionComplete only when nothing of the aborted tasks can take effect
// any more.
func (t *Target) Manage(n *Nexus, fn TaskFunction, lun uint64, done func(TMFResult)) {
	w := newWait(done)
	switch fn {
	case AbortTaskSet, ClearTaskSet, LogicalUnitReset:
		u := t.unit(lun)
		if u == nil {
			w.answer(IncorrectLUN)
			return
		}
		t.manageUnit(n, fn, u, w)
	case TargetWarmReset, TargetColdReset:
		for _, u := range *t.units.Load() {
			t.manageUnit(n, LogicalUnitReset, u, w)
		}
	case NexusReset:
		n.abortAll(w)
	default:
		w.answer(FunctionNotSupported)
		return
	}
	w.release()
}

func (t *Target) manageUnit(n *Nexus, fn TaskFunction, u *unit, w *wait) {
	onUnit := func(o *Task) bool { return o.unit == u }
	if fn == AbortTaskSet {
		_, places := n.abortTasks(w, onUnit)
		w.fence(u.device, target.FenceNexus, n.id, nil)
		w.fencePlaces(places)
		return
	}
	var places []*place
	t.mu.Lock()
	for o := range t.nexuses {
		aborted, also := o.abortTasks(w, onUnit)
		if aborted > 0 && o != n && fn == ClearTaskSet {
			o.raise(u, commandsCleared)
		}
		places = append(places, also...)
	}
	t.mu.Unlock()
	w.fencePlaces(places)
	u.resets.Add(1)
	scope := target.FenceUnit
	if fn == ClearTaskSet {
		scope = target.FenceTasks
	}
	w.fence(u.device, scope, n.id, func() {
		u.resets.Add(-1)
		if fn == LogicalUnitReset {
			t.resetNexuses(u)
			w.releaseUnit(u, reserve.Request{Kind: reserve.UnitReset, Nexus: n.id.Ports()}, n.id)
		}
	})
}

// abortAll aborts every task of n, fences n on every unit and releases what it
// has by RESERVE(6).
func (n *Nexus) abortAll(w *wait) {
	_, places := n.abortTasks(w, func(*Task) bool { return true })
	w.fencePlaces(places)
	for _, u := range *n.target.units.Load() {
		w.fence(u.device, target.FenceNexus, n.id, func() {
			if s := u.device.Reservations(); s != nil && s.Unit != nil && s.Unit.Nexus == n.id.Ports() {
				w.releaseUnit(u, reserve.Request{Kind: reserve.NexusLost, Nexus: n.id.Ports(), Session: n.id.Generation}, n.id)
			}
		})
	}
}

// releaseUnit has a device end a RESERVE(6).
func (w *wait) releaseUnit(u *unit, r reserve.Request, id target.Nexus) {
	if s := u.device.Reservations(); s == nil || s.Unit == nil {
		return
	}
	w.left.Add(1)
	u.device.Submit(&target.Op{Kind: target.Reserve, Request: &r, Nexus: id, Stamp: u.device.Stamp(), Done: func(o *target.Op) {
		if o.Status != target.OK && o.Status != target.Gone {
			w.answer(FunctionRejected)
		}
		w.release()
	}})
}

// Logout ends the nexus. Tasks under way are aborted; what its host sent can
// still take effect until Drain says otherwise.
func (n *Nexus) Logout() { n.Drain(func(TMFResult) {}) }

// Drain ends the nexus as Logout does, and calls done once when nothing of it
// can take effect any more (FunctionComplete) or when that could not be proven
// (FunctionRejected). A session that reinstates another answers its login after
// that.
func (n *Nexus) Drain(done func(TMFResult)) {
	n.mu.Lock()
	n.gone = true
	n.mu.Unlock()
	n.target.mu.Lock()
	delete(n.target.nexuses, n)
	n.target.mu.Unlock()
	w := newWait(done)
	n.abortAll(w)
	w.release()
}
