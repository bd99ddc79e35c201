package nvmetcp

import (
	"bufio"
	"net"
	"sync"
	"time"

	"ashlar/target/carrier"
	"ashlar/target/nvme"
	"ashlar/target/nvmetcp/pdu"
	"ashlar/target/nvmetcp/queue"
)

const (
	readAhead    = 32 << 10 // bytes
	maxQueued    = 512      // answers that wait for the writer before the reader does
	maxOrphans   = 128      // R2Ts whose command was ended before the data came
	refusalGrace = time.Second
)

// conn is a connection and, since there is one for each, its queue.
type conn struct {
	srv   *Server
	nc    net.Conn
	fresh *carrier.Fresh

	// Set by Connect, then constant.
	tenure  *tenure
	queueID uint16

	// The reader's own.
	in      *bufio.Reader
	opened  bool // ICReq was answered
	common  pdu.Common
	layout  queue.Layout
	header  [pdu.MaxHeader]byte
	tail    [pdu.DigestSize]byte
	scratch []byte
	terms   queue.Terms
	first   *command // of a fused operation, whose second is the next command
	auth    authentication

	writer    writer
	unsettled unsettled

	mu       sync.Mutex
	sender   carrier.Sender[item]
	flow     queue.Flow
	commands map[uint32]*command // by CID, in the width whose keys Go has a fast hash for
	waiting  []*command          // for memory, in order
	orphans  map[uint16]uint32   // bytes still to come, by tag
	free     []*command
	tag      uint16
	memory   int // data buffers in use, bytes
	closed   bool
	bye      *command // a Disconnect, which waits for the other commands
	left     bool     // it was answered
	cast     bool     // its controller was disabled, and goes on without it
}

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{
		srv: s, nc: nc, fresh: carrier.NewFresh(nc, s.Watch),
		commands: make(map[uint32]*command),
	}
	c.sender.Open(c, &c.mu)
	c.writer.out = &c.sender.Out
	return c
}

// Net is the connection itself.
func (c *conn) Net() net.Conn { return c.nc }

// Run is the life of a connection. A host that asked for no keep alive may be gone
// without a word.
func (c *conn) Run() {
	carrier.Tune(c.nc)
	carrier.KeepAlive(c.nc)
	c.nc.SetReadDeadline(time.Now().Add(c.srv.LoginTimeout)) //nolint:errcheck // a dead socket ends the reader at once
	c.in = bufio.NewReaderSize(c.sender.Input(c.fresh), readAhead)
	c.scratch = make([]byte, 4096)
	c.sender.Start(c.nc)
	err := c.read()
	c.mu.Lock()
	c.sender.Idle()
	c.mu.Unlock()
	if err == errRefused {
		// The last answer is the writer's; give it a moment to go out.
		c.nc.SetWriteDeadline(time.Now().Add(refusalGrace)) //nolint:errcheck // a dead socket ends the writer at once
	} else {
		c.End()
	}
	<-c.sender.Ended()
	c.unsettled.end()
	c.srv.conns.Forget(c)
	if c.tenure != nil {
		c.srv.leave(c, err)
	}
}

// End closes the connection and gives back what gathered; requests at the
// controller end by themselves.
func (c *conn) End() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.closed = true
	c.nc.Close()
	c.waiting = nil
	for _, cmd := range c.commands {
		if cmd.state == gathering {
			c.remove(cmd)
			c.release(cmd)
		}
	}
	c.sender.Close()
}

// Reset ends the connection at once: what the kernel still holds in either
// direction is lost.
func (c *conn) Reset() {
	carrier.Abort(c.nc)
	c.End()
}

// waitForRoom keeps the reader back while the host does not read its answers.
func (c *conn) waitForRoom() {
	c.sender.WaitForRoom(func(queued int) bool { return queued > maxQueued })
}

// inCapsule is how much data a command may bring with it, bytes.
func (c *conn) inCapsule() int { return nvme.AdminInCapsule }

// refuse ends the connection, and tells the host why.
func (c *conn) refuse(f *queue.Fault) error {
	c.srv.Log.Info("nvmetcp protocol violation", "peer", c.nc.RemoteAddr(), "pdu", c.common.Type, "error", f.Error, "at", f.Info)
	var b [pdu.MaxTermReq]byte
	t := pdu.TermReq{ToHost: true, Error: f.Error, Info: f.Info, Header: c.header[:min(int(c.common.HeaderLength), len(c.header))]}
	c.mu.Lock()
	c.sender.Enqueue(item{header: append([]byte(nil), t.Marshal(b[:])...), last: true})
	c.mu.Unlock()
	return errRefused
}

func digestFault(d pdu.Digest) *queue.Fault {
	return &queue.Fault{Error: pdu.HeaderDigestError, Info: uint32(d)}
}
