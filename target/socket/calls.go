//go:build !race

package socket

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

func read(fd uintptr, p []byte) (int, error) {
	n, _, e := unix.RawSyscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	if e != 0 {
		return 0, e
	}
	return int(n), nil
}

func (w *writer) writev(fd uintptr, buffers [][]byte) (int, error) {
	for _, b := range buffers {
		v := unix.Iovec{Base: unsafe.SliceData(b)}
		v.SetLen(len(b))
		w.vector = append(w.vector, v)
	}
	n, _, e := unix.RawSyscall(unix.SYS_WRITEV, fd, uintptr(unsafe.Pointer(unsafe.SliceData(w.vector))), uintptr(len(w.vector)))
	clear(w.vector)
	w.vector = w.vector[:0]
	if e != 0 {
		return 0, e
	}
	return int(n), nil
}
