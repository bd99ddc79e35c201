// Package socket reads and writes TCP connections by system calls that never wait, and of which Go's scheduler does not
// hear. A call that it hears of while nothing else runs wakes the runtime's monitor (sysmon), which then looks around every
// 20 µs until nothing runs again: between idle nodes these are most switches of threads.
// What has to wait does so with the runtime's poller, and under the connection's deadlines.
//
// A host's commands are read as net.Conn does all the same: the monitor, while it looks around, keeps a virtual processor
// awake, which answers a lone command sooner.
package socket

import (
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Socket is a TCP connection's. One goroutine may read, and one may write.
type Socket struct {
	raw syscall.RawConn
	reader
	writer
}

// Of is nil for what is no TCP connection.
func Of(nc net.Conn) *Socket {
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	s := &Socket{raw: raw}
	s.mayRead, s.mayWrite = s.reader.try, s.writer.try
	s.write = func(fd uintptr) { s.writer.try(fd) }
	return s
}

// Read is net.Conn's.
func (s *Socket) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	s.into = p[:min(len(p), atOnce)]
	err := s.raw.Read(s.mayRead)
	s.into = nil
	switch {
	case err != nil:
		return 0, err
	case s.readErr != nil:
		return 0, os.NewSyscallError("read", s.readErr)
	case s.got == 0:
		return 0, io.EOF
	}
	return s.got, nil
}

// atOnce is how many bytes one call copies at most, while its processor does nothing else.
const atOnce = 256 << 10

type reader struct {
	mayRead func(fd uintptr) bool // try, bound once
	into    []byte
	got     int
	readErr error
}

// try returns false where there is nothing to read yet.
func (r *reader) try(fd uintptr) bool {
	for {
		switch r.got, r.readErr = read(fd, r.into); r.readErr {
		case unix.EINTR:
		case unix.EAGAIN:
			return false
		default:
			return true
		}
	}
}

// Write is net.Conn's. A call copies as much as there is room for, while its processor does nothing else: p is no longer than some 100 KiB.
func (s *Socket) Write(p []byte) (int, error) {
	s.begin(p)
	return s.end(s.raw.Write(s.mayWrite))
}

// WriteNow writes as much as there is room for, whatever the deadline is, and returns how many bytes that was.
func (s *Socket) WriteNow(buffers ...[]byte) (int, error) {
	s.begin(buffers...)
	return s.end(s.raw.Control(s.write))
}

type writer struct {
	mayWrite func(fd uintptr) bool // try, bound once
	write    func(fd uintptr)      // likewise
	all      [][]byte
	left     [][]byte     // of them
	vector   []unix.Iovec // memory of writev's
	sent     int
	writeErr error
}

// try returns false where there is no room for all that is left.
func (w *writer) try(fd uintptr) bool {
	for len(w.left) > 0 {
		n, err := w.writev(fd, w.left[:min(len(w.left), vectorMax)])
		switch err {
		case nil:
			w.advance(n)
		case unix.EINTR:
		case unix.EAGAIN:
			return false
		default:
			w.writeErr = err
			return true
		}
	}
	return true
}

// vectorMax is how many buffers writev(2) takes (IOV_MAX).
const vectorMax = 1024

func (w *writer) advance(n int) {
	w.sent += n
	for len(w.left) > 0 && n >= len(w.left[0]) {
		n -= len(w.left[0])
		w.left = w.left[1:]
	}
	if len(w.left) > 0 {
		w.left[0] = w.left[0][n:]
	}
}

func (w *writer) begin(buffers ...[]byte) {
	w.all = append(w.all, buffers...)
	w.left, w.sent, w.writeErr = w.all, 0, nil
}

// end keeps no buffer.
func (w *writer) end(err error) (int, error) {
	clear(w.all)
	w.all, w.left = w.all[:0], nil
	if err == nil && w.writeErr != nil {
		err = os.NewSyscallError("writev", w.writeErr)
	}
	return w.sent, err
}
