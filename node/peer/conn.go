package peer

import (
	"bufio"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ashlar/target/socket"
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
	socket *socket.Socket // nil: the connection is none
	r      io.Reader

	mu      sync.Mutex // TLS itself may write (alerts, key updates) beside our writer
	w       io.Writer
	out     []byte // not given to the kernel yet, at most writeSize
	gathers bool
}

func newBatchConn(tcp net.Conn) *batchConn {
	c := &batchConn{Conn: tcp, socket: socket.Of(tcp), r: tcp, w: tcp}
	if c.socket != nil {
		c.r, c.w = c.socket, c.socket
	}
	return c
}

func (c *batchConn) gather() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gathers, c.out = true, make([]byte, 0, writeSize)
	c.r, c.w = bufio.NewReaderSize(c.r, readSize), deadlineWriter{c.Conn, c.w}
}

func (c *batchConn) Read(p []byte) (int, error) { return c.r.Read(p) }

func (c *batchConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.gathers {
		return c.w.Write(p)
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
	if c.socket == nil {
		return len(c.out) == 0, nil
	}
	n, err := c.socket.WriteNow(c.out) // whatever the deadline of the last flush is
	c.out = c.out[:copy(c.out, c.out[n:])]
	return len(c.out) == 0, err
}

// deadlineWriter gives each write of at most writeSize a time. The kernel ends a
// connection whose peer reads nothing (TCP_USER_TIMEOUT); this ends one whose peer reads hardly anything.
type deadlineWriter struct {
	conn net.Conn
	w    io.Writer
}

func (w deadlineWriter) Write(p []byte) (int, error) {
	w.conn.SetWriteDeadline(time.Now().Add(silenceMax))
	return w.w.Write(p)
}
