package peer

import (
	"bufio"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	silenceMax   = 3 * time.Second // of a peer's kernel that owes us an acknowledgement
	connectMax   = 1 * time.Second
	handshakeMax = 2 * time.Second
	readSize     = 64 << 10
	writeSize    = 256 << 10
)

func setOptions(_, _ string, c syscall.RawConn) (err error) {
	control := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(silenceMax.Milliseconds()))
	})
	if control != nil {
		return control
	}
	return err
}

// keepAlive finds the end of an idle connection in about the time of TCP_USER_TIMEOUT.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 3}

func listenConfig() *net.ListenConfig {
	return &net.ListenConfig{Control: setOptions, KeepAliveConfig: keepAlive}
}

func tcpDialer(source *net.TCPAddr) *net.Dialer {
	d := &net.Dialer{Timeout: connectMax, KeepAliveConfig: keepAlive, Control: setOptions}
	if source != nil { // not an interface that holds a nil pointer
		d.LocalAddr = source
		d.Control = func(network, address string, c syscall.RawConn) (err error) {
			// The port is chosen with the destination known, so ports do not run
			// out: the four-tuple has to be unique, not the source.
			control := c.Control(func(fd uintptr) {
				err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
			})
			if control != nil || err != nil {
				return control
			}
			return setOptions(network, address, c)
		}
	}
	return d
}

// batchConn lies between TLS and TCP. Once gather was called, TLS records are
// collected, and go out in large writes, at the latest with flush.
type batchConn struct {
	net.Conn
	r *bufio.Reader

	mu      sync.Mutex // TLS itself may write (alerts, key updates) beside our writer
	w       io.Writer  // nil: nothing is gathered
	out     []byte     // not given to the kernel yet, at most writeSize
	raw     syscall.RawConn
	attempt func(fd uintptr) // bound once
	n       int              // that it wrote
	err     error            // that it met
}

func (c *batchConn) gather() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.r = bufio.NewReaderSize(c.Conn, readSize)
	c.w, c.out = deadlineWriter{c.Conn}, make([]byte, 0, writeSize)
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		c.raw, _ = tcp.SyscallConn() // nil: only flush writes
		c.attempt = c.try
	}
}

func (c *batchConn) Read(p []byte) (int, error) {
	if c.r == nil {
		return c.Conn.Read(p)
	}
	return c.r.Read(p)
}

func (c *batchConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.w == nil {
		return c.Conn.Write(p)
	}
	if len(c.out)+len(p) > writeSize {
		if err := c.writeOut(); err != nil {
			return 0, err
		}
	}
	c.out = append(c.out, p...)
	return len(p), nil
}

func (c *batchConn) writeOut() error {
	if len(c.out) == 0 {
		return nil
	}
	_, err := c.w.Write(c.out)
	c.out = c.out[:0]
	return err
}

// flush waits until the kernel has all.
func (c *batchConn) flush() (all bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return true, c.writeOut()
}

// flushNow gives the kernel what it has room for.
func (c *batchConn) flushNow() (all bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.raw == nil {
		return len(c.out) == 0, nil
	}
	if err := c.raw.Control(c.attempt); err != nil { // not raw.Write, which minds the deadline of the last flush
		return false, err
	}
	c.out = c.out[:copy(c.out, c.out[c.n:])]
	return len(c.out) == 0, c.err
}

func (c *batchConn) try(fd uintptr) {
	c.n, c.err = 0, nil
	for len(c.out) > 0 {
		n, err := unix.Write(int(fd), c.out)
		switch err {
		case nil:
			c.n = n
		case unix.EINTR:
			continue
		case unix.EAGAIN:
		default:
			c.err = err
		}
		return
	}
}

// deadlineWriter gives each write of at most writeSize a time. The kernel ends a
// connection whose peer reads nothing (TCP_USER_TIMEOUT); this ends one whose peer reads hardly anything.
type deadlineWriter struct{ net.Conn }

func (w deadlineWriter) Write(p []byte) (int, error) {
	w.Conn.SetWriteDeadline(time.Now().Add(silenceMax))
	return w.Conn.Write(p)
}
