package iscsi

import (
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"ashlar/target/targettest/initiator"
)

// cost is what a server with a login behind it weighs.
type cost struct {
	heap       uint64        // bytes alive
	goroutines int           //
	median     time.Duration // of a TEST UNIT READY
}

func (r *rig) cost(s *initiator.Session) (c cost) {
	r.Helper()
	r.eventually("only one session is left", func() bool { return r.server.Sessions() == 1 && len(r.server.conns.All()) == 1 })
	var times []time.Duration
	for range 2000 {
		began := time.Now()
		if err := s.Do(r.ctx, &initiator.Command{CDB: make([]byte, 6)}); err != nil {
			r.Fatal(err)
		}
		times = append(times, time.Since(began))
	}
	slices.Sort(times)
	c.median = times[len(times)/2]
	runtime.GC()
	runtime.GC() // what the first left to finalizers
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	c.heap, c.goroutines = m.HeapAlloc, runtime.NumGoroutine()
	return c
}

// Sessions that come and go, in every way there is, leave nothing behind: 5,000
// logins, or 100,000 with ASHLAR_TEST_LONG.
func TestLoginsLeaveNothingBehind(t *testing.T) {
	logins := 5000
	if os.Getenv("ASHLAR_TEST_LONG") != "" {
		logins = 100000
	}
	r, g := newGuardedRig(t)
	r.ctx = t.Context()
	chap := &initiator.CHAP{User: "web1", Secret: []byte(secret), MutualSecret: []byte(ourSecret)}
	s := r.host(1, initiator.Options{})
	g.secrets(false, both())
	comeAndGo := func(n int) {
		o := initiator.Options{ISID: [6]byte{0, 2, 0x3d, 1, byte(n >> 8), byte(n)}, CHAP: chap, HeaderDigest: n%2 == 0}
		one, err := initiator.Dial(r.ctx, r.address, iqn, o)
		if err != nil {
			t.Fatalf("login %d: %v", n, err)
		}
		switch n % 4 {
		case 0: // is reinstated, then dropped
			two, err := initiator.Dial(r.ctx, r.address, iqn, o)
			if err != nil {
				t.Fatalf("login %d again: %v", n, err)
			}
			one.Close()
			two.Close()
		case 1: // dropped
			one.Close()
		default:
			if err := one.Logout(r.ctx); err != nil {
				t.Fatalf("logout %d: %v", n, err)
			}
		}
	}
	for n := range 500 { // pools and maps reach their size
		comeAndGo(n)
	}
	before := r.cost(s)
	began := time.Now()
	for n := range logins {
		comeAndGo(n)
	}
	took := time.Since(began)
	after := r.cost(s)
	t.Logf("%d logins in %v: heap %d KiB, then %d; %d goroutines, then %d; TEST UNIT READY %v, then %v",
		logins, took, before.heap>>10, after.heap>>10, before.goroutines, after.goroutines, before.median, after.median)
	if after.heap > before.heap+512<<10 {
		t.Errorf("the heap has grown from %d to %d bytes", before.heap, after.heap)
	}
	if after.goroutines > before.goroutines+5 {
		t.Errorf("%d goroutines, then %d", before.goroutines, after.goroutines)
	}
	if after.median > 3*before.median+time.Millisecond {
		t.Errorf("a TEST UNIT READY took %v, then %v", before.median, after.median)
	}
	if n := len(r.server.guesses.due); n > 1 {
		t.Errorf("%d addresses are remembered, and none of them failed", n)
	}
}
