package iscsi

import (
	"bytes"
	"errors"
	"sync"
	"testing"
	"time"

	"ashlar/target"
	"ashlar/target/iscsi/pdu"
	"ashlar/target/iscsi/session"
	"ashlar/target/scsi"
	"ashlar/target/targettest"
	"ashlar/target/targettest/initiator"
)

// stuckFences is a device whose fences can be kept from their end.
type stuckFences struct {
	*targettest.Memory
	mu      sync.Mutex
	holding bool
	held    []func()
}

// put has it take the place of the first target's unit.
func (s *stuckFences) put(c *Config) {
	s.Memory = targettest.NewMemory(targettest.Options{ID: 9})
	unit := scsi.NewTarget(scsi.Config{Name: iqn})
	unit.Add(0, s) //nolint:errcheck // the number is free
	c.Directory.(*Static).Targets[iqn] = unit
}

// hold begins to keep fences, or lets all of them go.
func (s *stuckFences) hold(on bool) {
	s.mu.Lock()
	s.holding = on
	held := s.held
	if !on {
		s.held = nil
	}
	s.mu.Unlock()
	if !on {
		for _, f := range held {
			f()
		}
	}
}

func (s *stuckFences) Fence(scope target.Scope, n target.Nexus, done func(error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	run := func() { s.Memory.Fence(scope, n, done) }
	if s.holding {
		s.held = append(s.held, run)
		return
	}
	go run()
}

func TestReinstatementIsNotAnsweredBeforeItsFence(t *testing.T) {
	stuck := &stuckFences{}
	r := newRig(t, func(c *Config) {
		stuck.put(c)
		c.FenceTimeout = 200 * time.Millisecond
	})
	old := r.host(1, initiator.Options{})
	elsewhere, err := initiator.Dial(r.ctx, r.address, other, initiator.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer elsewhere.Close()
	stuck.Intercept(func(op *target.Op) targettest.Verdict { return targettest.Verdict{Hold: op.Kind == target.Write} })
	zombie := submit(old, &initiator.Command{CDB: initiator.CDB16(0x8a, 0, 1), Out: bytes.Repeat([]byte{'z'}, 512)})
	r.eventually("the write is held", func() bool { return stuck.Held() == 1 })
	stuck.hold(true)
	same := initiator.Options{ISID: [6]byte{0, 2, 0x3d, 0, 0, 1}}
	for range 3 { // as often as the host tries
		began := time.Now()
		if got := r.status(iqn, same); got != session.LoginUnavailable {
			t.Fatalf("login answered %04x while the old session is not fenced", got)
		}
		if took := time.Since(began); took < 200*time.Millisecond || took > 4*time.Second {
			t.Errorf("answered after %v", took)
		}
		if err := elsewhere.Ping(r.ctx, nil); err != nil {
			t.Fatal("a session with another target:", err)
		}
	}
	if r.server.Sessions() != 2 || stuck.Held() != 1 {
		t.Fatalf("%d sessions, %d writes held", r.server.Sessions(), stuck.Held())
	}
	stuck.hold(false)
	young := r.host(1, initiator.Options{})
	if stuck.Held() != 0 {
		t.Error("logged in while the old write is under way")
	}
	if err := r.wait(zombie); err == nil {
		t.Error("the old session's write was acknowledged")
	}
	stuck.Intercept(nil)
	stuck.Release()
	got := make([]byte, 512)
	if err := young.Read(r.ctx, 0, 0, got, 512); err != nil || got[0] != 0 {
		t.Errorf("read %q, %v", got[:1], err)
	}
}

func TestATaskManagementFunctionIsAnsweredInTimeWhateverIsStuck(t *testing.T) {
	stuck := &stuckFences{}
	r := newRig(t, func(c *Config) {
		stuck.put(c)
		c.FenceTimeout = 100 * time.Millisecond
	})
	s := r.host(1, initiator.Options{})
	stuck.Intercept(func(op *target.Op) targettest.Verdict { return targettest.Verdict{Hold: op.Kind == target.Write} })
	write := &initiator.Command{CDB: initiator.CDB16(0x8a, 0, 1), Out: make([]byte, 512)}
	submit(s, write)
	r.eventually("the write is held", func() bool { return stuck.Held() == 1 })
	stuck.hold(true)
	for _, fn := range []session.TaskFunction{session.AbortTask, session.AbortTaskSet, session.ClearTaskSet, session.LogicalUnitReset,
		session.TargetWarmReset, session.TargetColdReset} {
		resp, err := s.Manage(r.ctx, uint8(fn), 0, write.Tag())
		if err != nil || resp != uint8(session.FunctionRejected) {
			t.Errorf("function %d: response %d, %v", fn, resp, err)
		}
	}
	if err := s.Ping(r.ctx, []byte("still here")); err != nil {
		t.Error(err)
	}
	stuck.hold(false)
	s.Forget(write)
}

func TestFunctionsThatAreNotSupported(t *testing.T) {
	r := newRig(t, nil)
	s := r.host(1, initiator.Options{})
	for fn, want := range map[session.TaskFunction]session.TaskResponse{
		session.ClearACA: session.FunctionNotSupported, session.TaskReassign: session.ReassignNotSupported, 0: session.FunctionNotSupported,
		9: session.FunctionNotSupported, 127: session.FunctionNotSupported,
	} {
		if resp, err := s.Manage(r.ctx, uint8(fn), 0, 0); err != nil || resp != uint8(want) {
			t.Errorf("function %d: response %d, %v", fn, resp, err)
		}
	}
}

func TestWarmResetReachesEveryUnitAndSessionAndKeepsThem(t *testing.T) {
	r := newRig(t, nil)
	second := targettest.NewMemory(targettest.Options{ID: 7})
	if err := r.dir.Targets[iqn].Add(1, second); err != nil {
		t.Fatal(err)
	}
	a, b := r.host(1, initiator.Options{}), r.host(2, initiator.Options{})
	const lun1 = 1 << 48
	hold := func(op *target.Op) targettest.Verdict { return targettest.Verdict{Hold: op.Kind == target.Write} }
	for range 2 { // takes LUN 1's unit attention
		b.Do(r.ctx, &initiator.Command{LUN: lun1, CDB: make([]byte, 6)})
	}
	r.device.Intercept(hold)
	second.Intercept(hold)
	writes := []*initiator.Command{
		{CDB: initiator.CDB16(0x8a, 0, 1), Out: bytes.Repeat([]byte{'w'}, 512)},
		{LUN: lun1, CDB: initiator.CDB16(0x8a, 0, 1), Out: bytes.Repeat([]byte{'w'}, 512)},
	}
	for _, w := range writes {
		submit(b, w)
	}
	r.eventually("both writes are held", func() bool { return r.device.Held() == 1 && second.Held() == 1 })
	if resp, err := a.Manage(r.ctx, uint8(session.TargetWarmReset), 0, 0); err != nil || resp != 0 {
		t.Fatalf("response %d, %v", resp, err)
	}
	if r.device.Held()+second.Held() != 0 {
		t.Error("answered while writes are under way")
	}
	for _, w := range writes {
		b.Forget(w)
	}
	for _, lun := range []uint64{0, lun1} {
		var status *initiator.StatusError
		if err := b.Do(r.ctx, &initiator.Command{LUN: lun, CDB: make([]byte, 6)}); !errors.As(err, &status) || status.Key != 6 {
			t.Errorf("LUN %#x: no unit attention for the other session: %v", lun, err)
		}
	}
	if err := a.Ping(r.ctx, nil); err != nil {
		t.Error(err)
	}
}

func TestColdResetEndsEverySessionOfTheTargetAndNoOther(t *testing.T) {
	r := newRig(t, nil)
	told := make(chan pdu.Async, 10)
	a := r.host(1, initiator.Options{Async: func(p pdu.Async) { told <- p }})
	b := r.host(2, initiator.Options{})
	c, err := initiator.Dial(r.ctx, r.address, other, initiator.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r.holdWrites()
	write := submit(b, &initiator.Command{CDB: initiator.CDB16(0x8a, 0, 1), Out: bytes.Repeat([]byte{'w'}, 512)})
	r.eventually("the write is held", func() bool { return r.device.Held() == 1 })
	if resp, err := a.Manage(r.ctx, uint8(session.TargetColdReset), 0, 0); err != nil || resp != uint8(session.FunctionComplete) {
		t.Fatalf("response %d, %v", resp, err)
	}
	if r.device.Held() != 0 {
		t.Error("answered while a write is under way")
	}
	r.eventually("both sessions are over", func() bool { return a.Err() != nil && b.Err() != nil })
	if m := <-told; m.Event != pdu.AsyncDropSession {
		t.Errorf("told %v", &m)
	}
	if err := r.wait(write); err == nil {
		t.Error("the write was acknowledged")
	}
	if err := c.Ping(r.ctx, nil); err != nil {
		t.Error("a session with another target:", err)
	}
	r.device.Intercept(nil)
	again := r.host(1, initiator.Options{})
	got := make([]byte, 512)
	if err := again.Read(r.ctx, 0, 0, got, 512); err != nil || got[0] != 0 {
		t.Errorf("read %q, %v", got[:1], err)
	}
}
