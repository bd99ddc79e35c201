// Package boottime is the clock by which leases and the age of commands are judged.
package boottime

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Now is CLOCK_BOOTTIME (clock_gettime(2)), ns: it goes on while the machine is suspended. It is read several times for
// each command, so the scheduler, which has nothing to do for a call that cannot wait, does not hear of it.
func Now() int64 {
	var t unix.Timespec
	if _, _, errno := unix.RawSyscall(unix.SYS_CLOCK_GETTIME, unix.CLOCK_BOOTTIME, uintptr(unsafe.Pointer(&t)), 0); errno != 0 {
		panic("clock_gettime(CLOCK_BOOTTIME): " + errno.Error()) // Linux has it since 2.6.39
	}
	return t.Nano()
}

// beat is when the process of an idle node is woken.
const beat = 50 * time.Millisecond

// Ticker is time.NewTicker, begun at the next multiple of 50 ms that the clock shows. So a process with many tickers whose
// periods are multiples of that is woken once for all that are due.
func Ticker(d time.Duration) *time.Ticker {
	time.Sleep(beat - time.Duration(Now())%beat)
	return time.NewTicker(d)
}
