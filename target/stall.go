package target

import (
	"sync"
	"sync/atomic"
	"time"

	"ashlar/target/boottime"
)

const (
	stallTick  = 100 * time.Millisecond
	stallLimit = 500 * time.Millisecond
)

// StallWatch tells whether this process stood still (stopped, starved, its
// machine suspended) for so long that bytes which wait in its socket buffers
// may be older than a host's patience: the host may have retried them on
// another path since. A front end asks it after each read from a socket,
// before it touches the bytes, and on a stall drops the connection.
//
// A tick is due every 100 ms of CLOCK_BOOTTIME, which goes on in a suspended
// machine; one that comes more than 0.5 s late is a stall. Back-pressure and a
// silent host are none.
type StallWatch struct {
	clock  func() int64  // ns
	tick   atomic.Int64  // time of the last tick
	stalls atomic.Uint64 // seen so far
	stop   chan struct{}

	mu        sync.Mutex
	listeners []func()
}

// NewStallWatch starts a watch; Close ends it.
func NewStallWatch() *StallWatch {
	w := newStallWatch(boottime.Now)
	go w.run()
	return w
}

// NewStallWatchOn is a watch on another clock (ns) and without ticks of its own,
// for tests: time that the clock jumps over is a stall.
func NewStallWatchOn(clock func() int64) *StallWatch { return newStallWatch(clock) }

func newStallWatch(clock func() int64) *StallWatch {
	w := &StallWatch{clock: clock, stop: make(chan struct{})}
	w.tick.Store(clock())
	return w
}

func (w *StallWatch) run() {
	ticker := boottime.Ticker(stallTick)
	defer ticker.Stop()
	for {
		select {
		case <-w.stop:
			return
		case <-ticker.C:
			w.beat()
		}
	}
}

// beat takes a tick.
func (w *StallWatch) beat() {
	w.check()
	w.tick.Store(w.clock())
}

// check counts a stall once, however many goroutines find it.
func (w *StallWatch) check() {
	last := w.tick.Load()
	now := w.clock()
	if now-last <= int64(stallTick+stallLimit) || !w.tick.CompareAndSwap(last, now) {
		return
	}
	w.stalls.Add(1)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, listener := range w.listeners {
		go listener()
	}
}

// Stalls is the number of stalls seen so far. A connection keeps the number of
// when it was accepted: bytes read while it is still the same are fresh.
func (w *StallWatch) Stalls() uint64 {
	w.check()
	return w.stalls.Load()
}

// OnStall registers a listener, called from a goroutine of its own after each stall.
func (w *StallWatch) OnStall(listener func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.listeners = append(w.listeners, listener)
}

// Close ends the watch.
func (w *StallWatch) Close() { close(w.stop) }
