// Package pages makes memory for data on its way between hosts, nodes and disks. It begins with a page, so that direct
// I/O takes it as it is, and where it is long it lies in huge pages if the kernel gives them to who asks for them: such memory is in one
// piece for a device, which is then asked once for what it would otherwise be asked for page by page.
package pages

import (
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Size is of a page, bytes: of what direct I/O is aligned to.
const Size = 4 << 10

const (
	long  = 64 << 10 // from here on memory is cut from slabs
	huge  = 2 << 20
	slabs = 8 << 20
)

var slab struct {
	mu   sync.Mutex
	rest []byte // of the last one
}

// Make is n zero bytes. They are the collector's like any others; of what is cut from one slab, of 8 MiB,
// all of it when the last piece is.
func Make(n int) []byte {
	if n < long {
		return aligned(n, Size)
	}
	if n > slabs {
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

// inHuge asks for huge pages, which is nothing to rely on.
func inHuge(n int) []byte {
	b := aligned(n, huge)
	if whole := b[:n&^(huge-1)]; len(whole) > 0 {
		_ = unix.Madvise(whole, unix.MADV_HUGEPAGE)
	}
	return b
}

// aligned is n bytes that begin at a multiple of a power of two.
func aligned(n, at int) []byte {
	b := make([]byte, n) // whole pages of memory mostly begin with one
	if skip := beyond(b, at); skip > 0 {
		b = make([]byte, n+at)
		skip = beyond(b, at)
		return b[skip : skip+n : skip+n]
	}
	return b
}

// beyond is how many bytes of memory come before the next multiple of a power of two.
func beyond(b []byte, at int) int {
	return -int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) & (at - 1)
}

// Aligned says whether memory begins with a page.
func Aligned(b []byte) bool { return beyond(b, Size) == 0 }
