package nvmetcp

import (
	"errors"
	"io"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"ashlar/target"
	"ashlar/target/nvmetcp/pdu"
)

const tcpUserTimeout = 10 * time.Second

var (
	errStalled    = errors.New("nvmetcp: this process stood still: buffered bytes may be stale")
	errDataDigest = errors.New("nvmetcp: data digest mismatch")
	errRefused    = errors.New("nvmetcp: protocol violation")
)

// freshness reads a socket and refuses its bytes when this process stood still
// since the connection was accepted.
type freshness struct {
	nc     net.Conn
	watch  *target.StallWatch
	stalls uint64
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
	return n, err
}

func (f *freshness) stale() bool { return f.watch != nil && f.watch.Stalls() != f.stalls }

// incoming is what a connection reads.
type incoming struct{ c *conn }

func (i incoming) Read(b []byte) (int, error) {
	i.c.writeQueued()
	n, err := i.c.fresh.Read(b)
	i.c.mu.Lock()
	i.c.reading = true
	i.c.mu.Unlock()
	return n, err
}

// tune sets a connection's socket options. A host that is gone without a word is
// found in some ten seconds even where it asked for no keep alive.
func tune(nc net.Conn) {
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		return
	}
	tcp.SetNoDelay(true)                                                                                                  //nolint:errcheck // a socket that fails here fails at its first read
	tcp.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 3}) //nolint:errcheck // as above
	control(tcp, func(fd int) {
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(tcpUserTimeout.Milliseconds())) //nolint:errcheck // as above
	})
}

func control(tcp *net.TCPConn, f func(fd int)) {
	raw, err := tcp.SyscallConn()
	if err != nil {
		return
	}
	raw.Control(func(fd uintptr) { f(int(fd)) }) //nolint:errcheck // fails only on a socket that is closed
}

// unacknowledged is how many bytes the host's kernel has not acknowledged.
func unacknowledged(nc net.Conn) (n int) {
	n = 1
	if tcp, ok := nc.(*net.TCPConn); ok {
		control(tcp, func(fd int) {
			if v, err := unix.IoctlGetInt(fd, unix.SIOCOUTQ); err == nil {
				n = v
			}
		})
	}
	return n
}

// readHeader reads a PDU's header and its digest. What is wrong with the header
// comes before what is wrong with its digest.
func (c *conn) readHeader() error {
	if _, err := io.ReadFull(c.in, c.header[:pdu.CommonSize]); err != nil {
		return err
	}
	c.common.Unmarshal(c.header[:])
	layout, fault := c.terms.Check(&c.common, c.opened)
	if fault != nil {
		return c.refuse(fault)
	}
	c.layout = layout
	h := c.header[:c.common.HeaderLength]
	if _, err := io.ReadFull(c.in, h[pdu.CommonSize:]); err != nil {
		return err
	}
	if !c.common.HasHeaderDigest() || c.common.Type == pdu.TypeICReq || c.common.Type == pdu.TypeH2CTermReq {
		return nil
	}
	if _, err := io.ReadFull(c.in, c.tail[:]); err != nil {
		return err
	}
	if d := pdu.Digest(0).Add(h); !d.Matches(c.tail[:]) {
		return c.refuse(digestFault(d))
	}
	return nil
}

// readData reads a PDU's data of n bytes, with its padding and digest: its head
// into b, the rest, if any, into nothing.
func (c *conn) readData(b []byte) error {
	n := c.layout.Data
	if n == 0 {
		return nil
	}
	if _, err := io.ReadFull(c.in, c.scratch[:c.layout.Padding]); err != nil {
		return err
	}
	var d pdu.Digest
	b = b[:min(len(b), n)]
	if _, err := io.ReadFull(c.in, b); err != nil {
		return err
	}
	if c.terms.DataDigest {
		d = d.Add(b)
	}
	for left := n - len(b); left > 0; {
		part := c.scratch[:min(left, len(c.scratch))]
		if _, err := io.ReadFull(c.in, part); err != nil {
			return err
		}
		if c.terms.DataDigest {
			d = d.Add(part)
		}
		left -= len(part)
	}
	if !c.terms.DataDigest || c.common.Type == pdu.TypeH2CTermReq {
		return nil
	}
	if _, err := io.ReadFull(c.in, c.tail[:]); err != nil {
		return err
	}
	if !d.Matches(c.tail[:]) {
		return errDataDigest
	}
	return nil
}
