package iscsi

import (
	"errors"
	"io"
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"ashlar/target"
	"ashlar/target/iscsi/pdu"
)

const tcpUserTimeout = 10 * time.Second

var (
	errStalled = errors.New("iscsi: this process stood still: buffered bytes may be stale")
	errDigest  = errors.New("iscsi: digest mismatch")
)

// freshness reads a socket and refuses its bytes when this process stood
// still since the connection was accepted.
type freshness struct {
	nc     net.Conn
	watch  *target.StallWatch
	stalls uint64
	heard  atomic.Bool // something was read since the last tick
}

func newFreshness(nc net.Conn, w *target.StallWatch) *freshness {
	f := &freshness{nc: nc, watch: w}
	if w != nil {
		f.stalls = w.Stalls()
	}
	return f
}

func (f *freshness) Read(b []byte) (int, error) {
	n, err := f.nc.Read(b)
	if f.stale() {
		return 0, errStalled
	}
	f.heard.Store(true)
	return n, err
}

func (f *freshness) stale() bool { return f.watch != nil && f.watch.Stalls() != f.stalls }

// incoming is what a connection reads, once it is logged in.
type incoming struct{ c *conn }

func (i incoming) Read(b []byte) (int, error) {
	i.c.writeQueued()
	n, err := i.c.fresh.Read(b)
	i.c.mu.Lock()
	i.c.reading = true
	i.c.mu.Unlock()
	return n, err
}

// tune sets a connection's socket options.
func tune(nc net.Conn) {
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		return
	}
	tcp.SetNoDelay(true) //nolint:errcheck // a socket that fails here fails at its first read
	raw, err := tcp.SyscallConn()
	if err != nil {
		return
	}
	raw.Control(func(fd uintptr) { //nolint:errcheck // as above
		unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(tcpUserTimeout.Milliseconds())) //nolint:errcheck // as above
	})
}

// readTail reads a data segment's padding and digest, and compares it with d.
func (c *conn) readTail(n int, d pdu.Digest) error {
	tail := c.tail[:pdu.Padding(n)]
	if _, err := io.ReadFull(c.in, tail); err != nil {
		return err
	}
	if !c.params.DataDigest {
		return nil
	}
	d = d.Add(tail)
	if _, err := io.ReadFull(c.in, c.tail[:pdu.DigestSize]); err != nil {
		return err
	}
	if !d.Matches(c.tail[:]) {
		return errDigest
	}
	return nil
}

// readData reads a data segment of n bytes: its head into b, the rest, if any,
// into nothing.
func (c *conn) readData(b []byte, n int) error {
	if n == 0 {
		return nil
	}
	var d pdu.Digest
	if _, err := io.ReadFull(c.in, b); err != nil {
		return err
	}
	if c.params.DataDigest {
		d = d.Add(b)
	}
	for left := n - len(b); left > 0; {
		part := c.scratch[:min(left, len(c.scratch))]
		if _, err := io.ReadFull(c.in, part); err != nil {
			return err
		}
		if c.params.DataDigest {
			d = d.Add(part)
		}
		left -= len(part)
	}
	return c.readTail(n, d)
}

// readHeader reads a basic header, its additional segments and its digest.
func (c *conn) readHeader() error {
	if _, err := io.ReadFull(c.in, c.header[:]); err != nil {
		return err
	}
	c.ahs = c.ahsBytes[:c.header.AHSLength()]
	if _, err := io.ReadFull(c.in, c.ahs); err != nil {
		return err
	}
	if !c.params.HeaderDigest {
		return nil
	}
	if _, err := io.ReadFull(c.in, c.tail[:pdu.DigestSize]); err != nil {
		return err
	}
	if !pdu.Digest(0).Add(c.header[:]).Add(c.ahs).Matches(c.tail[:]) {
		return errDigest
	}
	return nil
}
