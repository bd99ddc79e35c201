// Package pages makes memory for data on its way between hosts, nodes and disks. It begins with a page, so that direct
// I/O takes it as it is, and where much of it is needed for long it lies in huge pages, if the kernel gives them to who asks for them: such
// memory is in one piece for a device, which is then asked once for what it would otherwise be asked for page by page.
package pages

import (
	"runtime"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Size is of a page, bytes: of what direct I/O is aligned to.
const Size = 4 << 10

const (
	long  = 64 << 10 // from here on memory may be cut from slabs
	huge  = 2 << 20
	slabs = 8 << 20
)

// Make is n zero bytes, the collector's like any others.
func Make(n int) []byte {
	b := make([]byte, n) // whole pages of memory mostly begin with one
	if !Aligned(b) {
		b = from(make([]byte, n+Size), n, Size)
	}
	return b
}

var slab struct {
	mu   sync.Mutex
	rest []byte // of the last one
}

// Long is Make of memory that is kept for data, in huge pages if it is of 64 KiB or more. The collector has it back
// together with all that was cut from the same 8 MiB.
func Long(n int) []byte {
	switch {
	case n < long:
		return Make(n)
	case n > slabs:
		return inHuge(n)
	}
	slab.mu.Lock()
	defer slab.mu.Unlock()
	if len(slab.rest) < n {
		slab.rest = inHuge(slabs)
	}
	b := slab.rest[:n:n]
	slab.rest = slab.rest[(n+Size-1)&^(Size-1):]
	return b
}

// inHuge asks for huge pages, which is nothing to rely on, until the collector has the memory back: what
// else the heap uses it for may need a page here and there, and would hold a huge one for each.
func inHuge(n int) []byte {
	b := from(make([]byte, n+huge), n, huge)
	if whole := b[:n&^(huge-1)]; len(whole) > 0 && unix.Madvise(whole, unix.MADV_HUGEPAGE) == nil {
		runtime.AddCleanup(&b[0], small, place{uintptr(unsafe.Pointer(&b[0])), len(whole)})
	}
	return b
}

// place is memory that nothing refers to any more.
type place struct {
	at    uintptr
	bytes int
}

func small(p place) {
	// The heap's memory stays mapped, so that at worst somebody else's long memory loses its advantage.
	_, _, _ = unix.Syscall(unix.SYS_MADVISE, p.at, uintptr(p.bytes), unix.MADV_NOHUGEPAGE)
}

// from is n bytes of memory from the next multiple of a power of two on.
func from(b []byte, n, at int) []byte {
	skip := beyond(b, at)
	return b[skip : skip+n : skip+n]
}

// beyond is how many bytes of memory come before the next multiple of a power of two.
func beyond(b []byte, at int) int {
	return -int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) & (at - 1)
}

// Aligned says whether memory begins with a page.
func Aligned(b []byte) bool { return beyond(b, Size) == 0 }
