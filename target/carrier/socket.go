package carrier

import (
	"net"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// socket is written to as far as it takes the bytes at once.
type socket struct {
	raw     syscall.RawConn
	attempt func(fd uintptr) bool // bound once
	vector  []unix.Iovec
	n       int
	err     error
}

// socketOf is nil for a connection that is no socket.
func socketOf(nc net.Conn) *socket {
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	d := &socket{raw: raw}
	d.attempt = d.try
	return d
}

// writev returns how many bytes were written: fewer than all, or none, where the
// socket's buffer is full.
func (d *socket) writev(buffers [][]byte) (int, error) {
	for _, b := range buffers {
		v := unix.Iovec{Base: unsafe.SliceData(b)}
		v.SetLen(len(b))
		d.vector = append(d.vector, v)
	}
	err := d.raw.Write(d.attempt)
	clear(d.vector) // it keeps nobody's buffers
	d.vector = d.vector[:0]
	if err != nil {
		return 0, err
	}
	return d.n, d.err
}

// try is one attempt. It returns true: nobody is to wait for the socket.
func (d *socket) try(fd uintptr) bool {
	for {
		n, _, e := unix.Syscall(unix.SYS_WRITEV, fd, uintptr(unsafe.Pointer(unsafe.SliceData(d.vector))), uintptr(len(d.vector)))
		switch e {
		case 0:
			d.n, d.err = int(n), nil
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			d.n, d.err = 0, nil
		default:
			d.n, d.err = 0, e
		}
		return true
	}
}
