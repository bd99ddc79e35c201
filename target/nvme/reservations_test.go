package nvme

import (
	"testing"

	"ashlar/target"
	"ashlar/target/reserve"
	"ashlar/target/targettest"
)

func keys(current, next uint64) []byte {
	b := make([]byte, 16)
	le.PutUint64(b, current)
	le.PutUint64(b[8:], next)
	return b
}

const ptpl = setPTPL << 30

func register(action uint32) Command { return command64(ReservationRegister, 1, action) }
func acquire(action, kind uint32) Command {
	return command64(ReservationAcquire, 1, action|kind<<8)
}
func releases(action, kind uint32) Command {
	return command64(ReservationRelease, 1, action|kind<<8)
}

func (r *rig) as(c *Controller) *rig {
	return &rig{TB: r.TB, device: r.device, subsystem: r.subsystem, Controller: c}
}

// may checks what a host may do now.
func (r *rig) may(reads, writes bool) {
	r.Helper()
	for _, c := range []struct {
		cmd     Command
		data    []byte
		allowed bool
	}{
		{ranged(Read, 0, 1, 0), nil, reads}, {ranged(Compare, 0, 1, 0), make([]byte, 512), reads}, {ranged(Verify, 0, 1, 0), nil, reads},
		{ranged(Write, 0, 1, 0), make([]byte, 512), writes}, {ranged(WriteZeroes, 0, 1, 0), nil, writes}, {command64(Flush, 1), nil, writes},
		{command64(DatasetManagement, 1, 0, 1<<2), make([]byte, 16), writes}, {command64(Copy, 1, 8), make([]byte, 32), writes},
	} {
		want := Success
		if !c.allowed {
			want = ReservationConflict | DoNotRetry
		}
		if s, _ := r.do(r.Controller, 1, c.cmd, c.data); s != want {
			r.Fatalf("%02xh: %v, want %v", c.cmd[0], s, want)
		}
	}
}

func TestReservationTypesForbidWhatTheySay(t *testing.T) {
	r := newRig(t, targettest.Options{})
	member, stranger := r.as(r.host(2, 8)), r.as(r.host(3, 9))
	for kind, c := range map[uint32]struct{ memberReads, memberWrites, reads bool }{
		1: {true, false, true}, 2: {false, false, false}, 3: {true, true, true}, 4: {true, true, false}, 5: {true, true, true}, 6: {true, true, false},
	} {
		r.good(1, register(0), keys(0, 0xA))
		member.good(1, register(0), keys(0, 0xB))
		stranger.bad(ReservationConflict|DoNotRetry, 1, acquire(0, kind), keys(0xC, 0))
		r.good(1, acquire(0, kind), keys(0xA, 0))
		r.may(true, true)
		member.may(c.memberReads, c.memberWrites)
		stranger.may(c.reads, false)
		stranger.bad(ReservationConflict|DoNotRetry, 1, releases(1, 0), keys(0xA, 0))
		r.bad(InvalidField|DoNotRetry, 1, releases(0, kind%6+1), keys(0xA, 0))
		r.good(1, releases(0, kind), keys(0xA, 0))
		stranger.may(true, true)
		r.good(1, releases(1, 0), keys(0xA, 0))
		if s := r.device.Reservations(); len(s.Registrants) != 0 {
			t.Fatalf("registrants after a clear: %v", s.Registrants)
		}
	}
}

// A host has one registration, whatever controller it comes through.
func TestARegistrationIsTheHostsThroughEveryController(t *testing.T) {
	r := newRig(t, targettest.Options{})
	again := r.as(r.host(1, 20))
	r.good(1, register(0|ptpl), keys(0, 0xA))
	again.good(1, register(0|ptpl), keys(0, 0xA)) // the same key again
	again.bad(ReservationConflict|DoNotRetry, 1, register(0), keys(0, 0xB))
	again.good(1, acquire(0, 1), keys(0xA, 0))
	r.may(true, true)
	again.may(true, true)
	if s := r.device.Reservations(); len(s.Registrants) != 1 || !s.APTPL || s.Registrants[0].Port != 0 {
		t.Fatalf("%+v", s)
	}
	if r.good(0, command64(GetFeatures, 1, featureResvPersist), nil).Result != 1 {
		t.Error("reservation persistence is not told")
	}
	r.good(0, command64(SetFeatures, 1, featureResvPersist, 1), nil)
	r.bad(FeatureNotChangeable|DoNotRetry, 0, command64(SetFeatures, 1, featureResvPersist, 0), nil)
	r.device.LosePower()
	r.as(r.host(2, 21)).may(true, false)
	r.good(1, register(2), keys(0xA, 0xF))
	r.bad(ReservationConflict|DoNotRetry, 1, register(2), keys(0xA, 0xF))
	r.good(1, register(2|ignoreKey), keys(0, 0xA))
	r.bad(InvalidField|DoNotRetry, 1, register(2), keys(0xA, 0))
	r.bad(InvalidField|DoNotRetry, 1, register(3), keys(0xA, 1))
	r.bad(ReservationConflict|DoNotRetry, 1, register(1), keys(0xB, 0))
	r.good(1, register(1), keys(0xA, 0))
	r.bad(ReservationConflict|DoNotRetry, 1, register(1), keys(0xA, 0))
	r.bad(ReservationConflict|DoNotRetry, 1, register(1|ignoreKey), keys(0, 0))
	r.as(r.host(2, 22)).may(true, true)
}

func TestWhoIsPreemptedIsToldAndForbidden(t *testing.T) {
	r := newRig(t, targettest.Options{})
	loser := r.as(r.host(2, 8))
	loser.good(1, register(0), keys(0, 0xB))
	loser.good(1, acquire(0, 1), keys(0xB, 0))
	r.good(1, register(0), keys(0, 0xA))
	event := loser.start(loser.Controller, 0, command64(AsyncEventRequest, 0), nil)
	r.device.Intercept(func(op *target.Op) targettest.Verdict { return targettest.Verdict{Hold: op.Kind == target.Write} })
	held := loser.start(loser.Controller, 1, ranged(Write, 0, 1, 0), blocks(7, 1))
	r.good(1, acquire(2, 2), keys(0xA, 0xB)) // preempt and abort
	if q := loser.wait(held); q.Status != Interrupted {
		t.Errorf("the write ended with %v", q.Status)
	}
	r.device.Intercept(nil)
	r.see(0, make([]byte, 512))
	loser.may(false, false)
	if q := loser.wait(event); q.Result != eventResults[reservationEvent] {
		t.Errorf("event %xh", q.Result)
	}
	page := loser.good(0, log(logReservations, 64), nil).Data
	if le.Uint64(page) != 1 || page[8] != registrationPreempted || page[9] != 0 || le.Uint32(page[12:]) != 1 {
		t.Errorf("log % x", page[:16])
	}
	if page = loser.good(0, log(logReservations, 64), nil).Data; le.Uint64(page) != 0 {
		t.Errorf("the log is not empty: % x", page[:16])
	}
	// Whoever masks the notification is not told.
	loser.good(0, command64(SetFeatures, allNamespaces, featureResvMask, maskedEverything), nil)
	if got := loser.good(0, command64(GetFeatures, 1, featureResvMask), nil).Result; got != maskedEverything {
		t.Errorf("mask %xh", got)
	}
	loser.good(1, register(0), keys(0, 0xB))
	r.good(1, acquire(1, 2), keys(0xA, 0xB))
	if page = loser.good(0, log(logReservations, 64), nil).Data; le.Uint64(page) != 0 {
		t.Errorf("a masked notification: % x", page[:16])
	}
}

func TestEachNotificationIsAPage(t *testing.T) {
	r := newRig(t, targettest.Options{})
	other := r.as(r.host(2, 8))
	r.good(1, register(0), keys(0, 0xA))
	other.good(1, register(0), keys(0, 0xB))
	r.good(1, acquire(0, 3), keys(0xA, 0))
	r.good(1, releases(0, 3), keys(0xA, 0)) // reservation released
	r.good(1, releases(1, 0), keys(0xA, 0)) // clear: reservation preempted
	event := other.start(other.Controller, 0, command64(AsyncEventRequest, 0), nil)
	other.wait(event)
	again := other.start(other.Controller, 0, command64(AsyncEventRequest, 0), nil)
	page := other.good(0, log(logReservations, 64), nil).Data
	if page[8] != reservationReleased || page[9] != 1 {
		t.Errorf("first % x", page[:16])
	}
	other.wait(again) // there is another page
	if page = other.good(0, log(logReservations, 64), nil).Data; page[8] != reservationPreempted || page[9] != 0 {
		t.Errorf("second % x", page[:16])
	}
}

// SCSI's hosts and NVMe's meet in the same reservations.
func TestSCSIAndNVMeReservationsForbidEachOther(t *testing.T) {
	r := newRig(t, targettest.Options{})
	scsi := target.Nexus{Host: "iqn.2026-11.com.example:h,i,0x000000000001", Port: 1, Generation: 1}
	op := func(o target.Op) *target.Op {
		done := make(chan *target.Op, 1)
		o.Nexus, o.Done = scsi, func(o *target.Op) { done <- o }
		r.device.Submit(&o)
		return <-done
	}
	ask := func(q reserve.Request) reserve.Status {
		q.Nexus = scsi.Ports()
		return op(target.Op{Kind: target.Reserve, Request: &q}).Reserved.Status
	}
	r.good(1, register(0), keys(0, 0xA))
	r.good(1, acquire(0, 2), keys(0xA, 0))
	if s := op(target.Op{Kind: target.Read, Blocks: 1, Data: make([]byte, 512)}).Status; s != target.Conflict {
		t.Errorf("SCSI read: %v", s)
	}
	if s := ask(reserve.Request{Kind: reserve.Register, Service: 0xD}); s != reserve.Good {
		t.Fatal(s)
	}
	if s := ask(reserve.Request{Kind: reserve.Preempt, Key: 0xD, Service: 0xA, Type: reserve.ExclusiveAccess}); s != reserve.Good {
		t.Fatal(s)
	}
	r.may(false, false)
	report := command64(ReservationReport, 1, 64, 1)
	page := r.good(1, report, nil).Data
	if page[4] != 2 || le.Uint16(page[5:]) != 1 || le.Uint64(page[64+8:]) != 0xD || page[64+2] != 1 {
		t.Errorf("report % x", page[:96])
	}
	r.bad(HostIDInconsistent|DoNotRetry, 1, command64(ReservationReport, 1, 64, 0), nil)
	// RESERVE(6) is respected as well.
	if s := ask(reserve.Request{Kind: reserve.Clear, Key: 0xD}); s != reserve.Good {
		t.Fatal(s)
	}
	if s := ask(reserve.Request{Kind: reserve.ReserveUnit, Session: 1}); s != reserve.Good {
		t.Fatal(s)
	}
	r.may(false, false)
	r.bad(ReservationConflict|DoNotRetry, 1, register(0), keys(0, 0xA))
}
