package iscsi

import (
	"context"
	"errors"
	"testing"
	"time"

	"ashlar/target/iscsi/pdu"
	"ashlar/target/iscsi/session"
	"ashlar/target/targettest/initiator"
)

// obedient is a host that logs out when it is asked to. It tells of the messages.
func (r *rig) obedient(n byte, iqn string) (*initiator.Session, <-chan pdu.Async) {
	r.Helper()
	told := make(chan pdu.Async, 10)
	var s *initiator.Session
	ready := make(chan struct{})
	s, err := initiator.Dial(r.ctx, r.address, iqn, initiator.Options{ISID: [6]byte{0, 2, 0x3d, 0, 0, n}, Async: func(a pdu.Async) {
		told <- a
		if a.Event == pdu.AsyncRequestLogout {
			go func() {
				<-ready
				s.Logout(r.ctx)
			}()
		}
	}})
	if err != nil {
		r.Fatal(err)
	}
	close(ready)
	r.Cleanup(s.Close)
	r.settle(s)
	return s, told
}

func TestDrainAsksHostsToLogOut(t *testing.T) {
	r := newRig(t, nil)
	one, told := r.obedient(1, iqn)
	two, toldTwo := r.obedient(2, other)
	if err := r.server.Drain(r.ctx, Scope{Target: iqn}, 7*time.Second); err != nil {
		t.Fatal(err)
	}
	if a := <-told; a.Event != pdu.AsyncRequestLogout || a.Parameter != [3]uint16{0, 0, 7} {
		t.Errorf("told %v", &a)
	}
	r.eventually("the first session is over", func() bool { return one.Err() != nil })
	if n := r.server.Sessions(); n != 1 || len(toldTwo) != 0 || two.Err() != nil {
		t.Errorf("%d sessions, the other's host was told %d messages, %v", n, len(toldTwo), two.Err())
	}
	if got := r.status(iqn, initiator.Options{}); got != session.LoginUnavailable {
		t.Errorf("a login while it is drained: %04x", got)
	}
	if got := r.status(other, initiator.Options{}); got != session.LoginSuccess {
		t.Errorf("a login elsewhere: %04x", got)
	}
	r.server.Resume(Scope{Target: iqn})
	r.host(1, initiator.Options{})
}

func TestDrainLetsCommandsUnderWayEnd(t *testing.T) {
	r := newRig(t, nil)
	s, told := r.obedient(1, iqn)
	r.holdWrites()
	write := submit(s, &initiator.Command{CDB: initiator.CDB16(0x8a, 0, 1), Out: make([]byte, 512)})
	r.eventually("the write is held", func() bool { return r.device.Held() == 1 })
	drained := make(chan error, 1)
	go func() { drained <- r.server.Drain(r.ctx, Scope{}, patient) }()
	<-told
	select {
	case err := <-drained:
		t.Fatal("drained with a write under way:", err)
	case <-time.After(10 * time.Millisecond):
	}
	r.device.Intercept(nil)
	r.device.Release()
	if err := r.wait(write); err != nil {
		t.Error("the write:", err)
	}
	if err := r.wait(drained); err != nil {
		t.Error(err)
	}
	// Who discovers is told where to go, also here.
	if got := r.status("", initiator.Options{}); got != session.LoginSuccess {
		t.Errorf("discovery: %04x", got)
	}
}

func TestDrainOfOneSession(t *testing.T) {
	r := newRig(t, nil)
	one, _ := r.obedient(1, iqn)
	two, told := r.obedient(2, iqn)
	if err := r.server.Drain(r.ctx, Scope{TSIH: one.TSIH}, patient); err != nil {
		t.Fatal(err)
	}
	if err := two.Ping(r.ctx, nil); err != nil || len(told) != 0 {
		t.Errorf("the other session: %v, told %d messages", err, len(told))
	}
	r.obedient(1, iqn) // may come back at once
}

func TestAHostThatDoesNotLogOutIsDismissed(t *testing.T) {
	r := newRig(t, nil)
	deaf := r.dial() // reads, and does nothing
	deaf.login(1)
	mute := r.dial() // does not even read, so that the target's writer is stuck
	mute.login(2)
	for n := range uint32(64) {
		mute.put(&pdu.SCSICommand{Final: true, Read: true, ITT: n + 1, EDTL: 1 << 20, CmdSN: n + 1, CDB: [16]byte(initiator.CDB16(0x88, 0, 2048))}, nil)
	}
	defiant := r.host(3, initiator.Options{Async: func(pdu.Async) {}})
	r.holdWrites()
	write := submit(defiant, &initiator.Command{CDB: initiator.CDB16(0x8a, 0, 1), Out: make([]byte, 512)})
	r.eventually("the write is held", func() bool { return r.device.Held() == 1 })
	began := time.Now()
	if err := r.server.Drain(r.ctx, Scope{Initiator: "iqn.raw"}, 50*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
	for _, want := range []pdu.AsyncEvent{pdu.AsyncRequestLogout, pdu.AsyncDropConnection} {
		h, _ := deaf.get()
		var a pdu.Async
		a.Unmarshal(&h)
		if h.Opcode() != pdu.OpAsync || a.Event != want {
			t.Fatalf("opcode %#x, %v, want event %d", h.Opcode(), &a, want)
		}
	}
	deaf.ends()
	if defiant.Err() != nil || r.device.Held() != 1 {
		t.Fatal("the drain reached another initiator:", defiant.Err())
	}
	if err := r.server.Drain(r.ctx, Scope{}, 50*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if r.device.Held() != 0 {
		t.Error("drained, and a write of a drained session is still under way")
	}
	if err := r.wait(write); err == nil {
		t.Error("the write was acknowledged")
	}
}

func TestDrainSaysWhenThereIsNoProof(t *testing.T) {
	stuck := &stuckFences{}
	r := newRig(t, func(c *Config) { stuck.put(c) })
	r.host(1, initiator.Options{Async: func(pdu.Async) {}})
	stuck.hold(true)
	ctx, cancel := context.WithTimeout(r.ctx, 100*time.Millisecond)
	defer cancel()
	if err := r.server.Drain(ctx, Scope{}, 10*time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("drained: %v", err)
	}
	stuck.hold(false)
	if err := r.server.Drain(r.ctx, Scope{}, patient); err != nil {
		t.Error(err)
	}
}
