// Package boottime is the clock by which leases and the age of commands are judged.
package boottime

import (
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Now is CLOCK_BOOTTIME (clock_gettime(2)), ns: it goes on while the machine is suspended. It is read several times for
// each command, and a system call takes six times as long as the clocks that Linux gives without one (vdso(7)). So it
// follows from these, as long as they say that the machine was not suspended.
func Now() int64 { return system.now() }

var system = clock{quick: quick(), boot: boot}

// quick gives CLOCK_REALTIME, and CLOCK_MONOTONIC since the first reading, ns.
func quick() func() (wall, mono int64) {
	began := time.Now()
	return func() (wall, mono int64) {
		t := time.Now()
		return t.UnixNano(), int64(t.Sub(began))
	}
}

// boot asks the kernel. Its scheduler has nothing to do for a call that cannot wait, so Go's does not hear of it.
func boot() int64 {
	var t unix.Timespec
	if _, _, errno := unix.RawSyscall(unix.SYS_CLOCK_GETTIME, unix.CLOCK_BOOTTIME, uintptr(unsafe.Pointer(&t)), 0); errno != 0 {
		panic("clock_gettime(CLOCK_BOOTTIME): " + errno.Error()) // Linux has it since 2.6.39
	}
	return t.Nano()
}

// clock derives the boot clock. Linux adds the time of a suspension to CLOCK_REALTIME and CLOCK_BOOTTIME at once, and
// not to CLOCK_MONOTONIC (timekeeping_resume). So the boot clock is ahead of CLOCK_MONOTONIC by the same as before as
// long as CLOCK_REALTIME is; where that changed, because the machine was suspended or its time set, the kernel is asked.
type clock struct {
	quick func() (wall, mono int64)
	boot  func() int64
	ahead atomic.Pointer[ahead]
}

// ahead is by how much clocks are ahead of CLOCK_MONOTONIC, ns.
type ahead struct{ wall, boot int64 }

// tolerance is what two readings of wall may differ by although nothing changed: they are not of one instant. Boot is
// never wrong by more than a few times that, for a difference below it is not taken over.
const tolerance = int64(time.Millisecond)

func (c *clock) now() int64 {
	wall, mono := c.quick()
	if a := c.ahead.Load(); a != nil && near(wall-mono, a.wall) {
		return mono + a.boot
	}
	return c.ask()
}

func near(a, b int64) bool { return a-b <= tolerance && b-a <= tolerance }

// ask finds out anew by how much the clocks are ahead. Where something changes meanwhile, or another asks, it asks again, or leaves it
// to the next reading.
func (c *clock) ask() (boot int64) {
	for range 10 {
		old := c.ahead.Load()
		wall, before := c.quick()
		was := wall - before
		boot = c.boot()
		wall, after := c.quick()
		if !near(wall-after, was) || after-before > tolerance {
			continue
		}
		a := &ahead{wall - after, boot - after} // the latter at least; boot - before at most
		if old != nil && a.boot <= old.boot && old.boot <= boot-before {
			a.boot = old.boot // so that the clock never goes back
		}
		if c.ahead.CompareAndSwap(old, a) {
			return after + a.boot
		}
	}
	return boot
}

// beat is when the process of an idle node is woken.
const beat = 50 * time.Millisecond

// Ticker is time.NewTicker, begun at the next multiple of 50 ms that the clock shows. So a process with many tickers whose
// periods are multiples of that is woken once for all that are due.
func Ticker(d time.Duration) *time.Ticker {
	time.Sleep(beat - time.Duration(Now())%beat)
	return time.NewTicker(d)
}
