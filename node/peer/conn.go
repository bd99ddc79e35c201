package peer

import (
	"bufio"
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

	mu sync.Mutex // TLS itself may write (alerts, key updates) beside our writer
	w  *bufio.Writer
}

func (c *batchConn) gather() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.r = bufio.NewReaderSize(c.Conn, readSize)
	c.w = bufio.NewWriterSize(deadlineWriter{c.Conn}, writeSize)
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
	return c.w.Write(p)
}

func (c *batchConn) flush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.w.Flush()
}

// deadlineWriter gives each write of at most writeSize a time. The kernel ends a
// connection whose peer reads nothing (TCP_USER_TIMEOUT); this ends one whose peer reads hardly anything.
type deadlineWriter struct{ net.Conn }

func (w deadlineWriter) Write(p []byte) (int, error) {
	w.Conn.SetWriteDeadline(time.Now().Add(silenceMax))
	return w.Conn.Write(p)
}
