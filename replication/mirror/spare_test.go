package mirror

import (
	"slices"
	"testing"

	"ashlar/replication/wire"
)

// Operations that went as most do are given back once each, whether or not there are ticks. One that waits for a View is in a
// list by which it may come up again, and one whose answer waited for the lease is in another.
func TestOperationsAreGivenBackOnceAndNotWhileAListNamesThem(t *testing.T) {
	s := newStand(t, 1, in(1), in(2))
	beyond := &Op{Kind: wire.OpRead, Offset: 1 << 20, Length: 4096, Stamp: wire.Stamp{Epoch: 1, Token: s.now}, Deadline: s.now + HoldMax}
	s.h.Submit(s.now, beyond)
	s.h.Fence(s.now, &wire.Fence{Scope: wire.FenceHost}, nil)
	s.settle()
	if !beyond.answered || beyond.Status != wire.Aborted {
		t.Fatalf("answered %v: %v under a fence", beyond.answered, beyond.Status)
	}
	s.h.Lease(s.now, s.now)
	late := s.submit(wire.OpWrite, 4096, 4096)
	s.h.abort(func(*Op) bool { return true })
	s.h.Lease(s.now, s.now+1000*Second)
	if !late.answered || late.Status != wire.Aborted {
		t.Fatalf("answered %v: %v without a lease", late.answered, late.Status)
	}
	var all []*Op
	for i := range 400 {
		kind, data := wire.OpRead, 0
		if i%2 > 0 {
			kind, data = wire.OpWrite, 4096
		}
		all = append(all, s.submit(kind, data, 4096))
	}
	if n := len(s.spent); n < 200 {
		t.Errorf("%d of %d operations are given back, without a tick", n, len(all))
	}
	s.pass(100 * Millisecond)
	for _, op := range all {
		i := slices.Index(s.spent, op)
		if i < 0 || slices.Contains(s.spent[i+1:], op) {
			t.Fatalf("an operation of kind %d is given back never, or twice", op.Kind)
		}
	}
	if len(s.spent) != len(all) {
		t.Errorf("%d operations are given back, of %d", len(s.spent), len(all))
	}
}

// A write's own copy is asked again where its node has promised anew meanwhile: of two requests, nobody can tell which one is answered.
func TestWhatWasAskedTwiceIsNotReturned(t *testing.T) {
	s := newStand(t, 1, in(1))
	s.write = func(n wire.NodeID) wire.Status {
		if s.wrote[n] == 1 {
			return wire.Unprepared // its promise is asked for again, and then the write
		}
		return wire.OK
	}
	op := s.submit(wire.OpWrite, 4096, 4096)
	if !op.answered || op.Status != wire.OK || s.wrote[1] != 2 {
		t.Fatalf("answered %v: %v after %d writes", op.answered, op.Status, s.wrote[1])
	}
	if op.Returned() {
		t.Error("its memory is returned")
	}
	if op := s.submit(wire.OpWrite, 4096, 4096); !op.Returned() {
		t.Error("the memory of one that was asked once is not returned")
	}
}
