package scsi

import (
	"errors"
	"testing"

	"ashlar/target"
	"ashlar/target/targettest"
)

// held is a rig whose device holds every operation, and what was done.
type held struct {
	*rig
	ended map[*Task]int
}

func newHeld(t *testing.T) *held {
	h := &held{rig: newRig(t, twoNodes()), ended: make(map[*Task]int)}
	h.memory.Intercept(func(*target.Op) targettest.Verdict { return targettest.Verdict{Hold: true} })
	return h
}

// begin executes a task that is held.
func (h *held) begin(n *Nexus, cdb, out []byte) *Task {
	t := h.task(n, 0, cdb, out)
	t.Done = func(*Task) { h.ended[t]++ }
	h.target.Execute(t)
	if h.ended[t] != 0 {
		h.Fatalf("% x was not held", cdb)
	}
	return t
}

func (h *held) write(n *Nexus) *Task { return h.begin(n, ranged(0x2A, 0, 0, 1), blocksOf(1, 1)) }

// manage carries out a function that must be answered at once.
func (h *held) manage(n *Nexus, fn TaskFunction, want TMFResult) {
	h.Helper()
	answers := 0
	h.target.Manage(n, fn, 0, func(got TMFResult) {
		answers++
		if got != want {
			h.Errorf("function %d: %d, want %d", fn, got, want)
		}
	})
	if answers != 1 {
		h.Errorf("function %d was answered %d times", fn, answers)
	}
}

func (h *held) want(t *Task, ended int, aborted bool) {
	h.Helper()
	if h.ended[t] != ended || t.Aborted != aborted {
		h.Errorf("task ended %d times, aborted %v; want %d, %v", h.ended[t], t.Aborted, ended, aborted)
	}
}

func TestAnAbortedTaskEndsWithoutAResponse(t *testing.T) {
	h := newHeld(t)
	task, sibling, other := h.write(h.nexus), h.write(h.nexus), h.write(h.login("b"))
	answers := 0
	h.target.Abort(task, func(r TMFResult) {
		answers++
		if r != FunctionComplete || h.ended[task] != 1 {
			t.Errorf("answered %d before the task's end (%d)", r, h.ended[task])
		}
	})
	h.want(task, 1, true)
	h.want(sibling, 1, false)
	if sibling.Status != StatusBusy {
		t.Errorf("sibling: %s, want busy", verdict(sibling))
	}
	h.want(other, 0, false)
	h.target.Abort(task, func(r TMFResult) {
		answers++
		if r != TaskDoesNotExist {
			t.Errorf("second abort: %d", r)
		}
	})
	if answers != 2 {
		t.Errorf("%d answers", answers)
	}
}

func TestAbortTaskSetLeavesOtherHostsAlone(t *testing.T) {
	h := newHeld(t)
	b := h.login("b")
	mine, also, other := h.write(h.nexus), h.write(h.nexus), h.write(b)
	h.manage(h.nexus, AbortTaskSet, FunctionComplete)
	h.want(mine, 1, true)
	h.want(also, 1, true)
	h.want(other, 0, false)
	h.wantReady(b, 0)
}

func TestClearTaskSetTellsThoseWhoLostCommands(t *testing.T) {
	h := newHeld(t)
	b, c := h.login("b"), h.login("c")
	mine, other := h.write(h.nexus), h.write(b)
	h.manage(h.nexus, ClearTaskSet, FunctionComplete)
	h.want(mine, 1, true)
	h.want(other, 1, true)
	h.wantReady(h.nexus, 0)
	h.wantReady(b, 0, "02 6/2f00")
	h.wantReady(c, 0)
}

// TestClearTaskSetReachesEveryNode, and is no reset there.
func TestClearTaskSetReachesEveryNode(t *testing.T) {
	h := newHeld(t)
	there := NewTarget(Config{Name: targetName})
	if err := there.Add(0, h.memory.Through(2)); err != nil {
		t.Fatal(err)
	}
	remote := &held{rig: &rig{T: t, target: there, memory: h.memory}, ended: h.ended}
	b, c, gathers := remote.login("b"), remote.login("c"), remote.login("d")
	gathers.OnClear(func(match func(uint64) bool) int {
		if !match(0) || match(1) {
			t.Error("another unit is meant")
		}
		return 1
	})
	far := remote.write(b)
	h.manage(h.nexus, ClearTaskSet, FunctionComplete)
	h.want(far, 1, false)
	if far.Status != StatusBusy {
		t.Errorf("task of another node: %s", verdict(far))
	}
	h.wantReady(h.nexus, 0)
	remote.wantReady(b, 0, "02 6/2f00")
	remote.wantReady(c, 0)
	remote.wantReady(gathers, 0, "02 6/2f00")
}

func TestALogicalUnitResetReachesEveryNexusOnEveryNode(t *testing.T) {
	for _, fn := range []TaskFunction{LogicalUnitReset, TargetWarmReset, TargetColdReset} {
		h := newHeld(t)
		b := h.login("b")
		list := h.control(func(p []byte) { p[2] |= dSense })
		h.good(selectSix(list), list)
		there := NewTarget(Config{Name: targetName})
		if err := there.Add(0, h.memory.Through(2)); err != nil {
			t.Fatal(err)
		}
		remote := &held{rig: &rig{T: t, target: there, memory: h.memory}, ended: h.ended}
		c := remote.login("c")
		mine, other, far := h.write(h.nexus), h.write(b), remote.write(c)
		h.manage(h.nexus, fn, FunctionComplete)
		h.want(mine, 1, true)
		h.want(other, 1, true)
		h.want(far, 1, false)
		if far.Status != StatusBusy {
			t.Errorf("task of another node: %s", verdict(far))
		}
		h.wantReady(h.nexus, 0, "02 6/2903")
		h.wantReady(b, 0, "02 6/2903")
		remote.wantReady(c, 0, "02 6/2903")
		h.expect("02 5/2100", ranged(0x28, 0, capacity, 1), nil) // D_SENSE is back to zero
	}
}

func TestLogoutEndsEveryTaskAndLetsNoneIn(t *testing.T) {
	h := newHeld(t)
	task, other := h.write(h.nexus), h.write(h.login("b"))
	answers := 0
	h.nexus.Drain(func(r TMFResult) {
		answers++
		if r != FunctionComplete || h.ended[task] != 1 {
			t.Errorf("answered %d, task ended %d times", r, h.ended[task])
		}
	})
	h.want(task, 1, true)
	h.want(other, 0, false)
	late := h.run(h.task(h.nexus, 0, make([]byte, 6), nil))
	if answers != 1 || !late.Aborted {
		t.Errorf("%d answers; a task after the logout: aborted %v", answers, late.Aborted)
	}
	h.memory.Resize(5) // the nexus is told nothing any more
}

// TestAnAbortedChainSendsNothingMore aborts WRITE SAME between two of its
// writes.
func TestAnAbortedChainSendsNothingMore(t *testing.T) {
	h := newHeld(t)
	task := h.begin(h.nexus, ranged(0x93, 0, 0, 4096), blocksOf(1, 1))
	h.memory.Release() // the first piece; the second is held
	h.manage(h.nexus, AbortTaskSet, FunctionComplete)
	h.want(task, 1, true)
	if h.memory.Held() != 0 {
		t.Error("a piece is still under way")
	}
	h.memory.Intercept(nil)
	piece := patternPieceBytes / 512
	if h.block(uint64(piece - 1))[0] != 1 || h.block(uint64(piece))[0] != 0 {
		t.Error("not the first piece, and it alone, was written")
	}
}

// unfenceable is a device that can not prove a fence.
type unfenceable struct{ *targettest.Memory }

func (unfenceable) Fence(_ target.Scope, _ target.Nexus, done func(error)) {
	done(errors.New("no proof"))
}

func TestAFunctionWithoutProofIsRejected(t *testing.T) {
	m := targettest.NewMemory(targettest.Options{})
	h := &held{rig: &rig{T: t, memory: m, target: NewTarget(Config{})}, ended: make(map[*Task]int)}
	if err := h.target.Add(0, unfenceable{m}); err != nil {
		t.Fatal(err)
	}
	h.nexus = h.login("a")
	m.Intercept(func(*target.Op) targettest.Verdict { return targettest.Verdict{Hold: true} })
	task := h.write(h.nexus)
	for _, fn := range []TaskFunction{AbortTaskSet, ClearTaskSet, LogicalUnitReset, TargetWarmReset, NexusReset} {
		h.manage(h.nexus, fn, FunctionRejected)
	}
	h.want(task, 0, false)
	m.Release()
	h.want(task, 1, true)
}

func TestAFunctionOnAnAbsentUnit(t *testing.T) {
	h := newHeld(t)
	h.target.Remove(0, func(TMFResult) {})
	for _, fn := range []TaskFunction{AbortTaskSet, ClearTaskSet, LogicalUnitReset} {
		h.manage(h.nexus, fn, IncorrectLUN)
	}
	h.manage(h.nexus, TargetWarmReset, FunctionComplete)
	h.manage(h.nexus, 99, FunctionNotSupported)
}

// TestAUnitThatIsUnmappedTakesNothingAnyMore: its tasks end, and none of them is
// carried out when its removal is done.
func TestAUnitThatIsUnmappedTakesNothingAnyMore(t *testing.T) {
	h := newHeld(t)
	b := h.login("b")
	mine, other := h.write(h.nexus), h.write(b)
	done := make(chan TMFResult, 1)
	h.target.Remove(0, func(r TMFResult) { done <- r })
	if r := <-done; r != FunctionComplete {
		t.Errorf("removed with %d", r)
	}
	for _, task := range []*Task{mine, other} {
		h.want(task, 1, false)
		if task.Status != StatusBusy {
			t.Errorf("a task: %s", verdict(task))
		}
	}
	if n := h.memory.Held(); n != 0 {
		t.Errorf("%d writes are still held", n)
	}
}
