package nvmetcp

import (
	"bufio"
	"container/list"
	"net"
	"sync"
	"time"

	"ashlar/target/direct"
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
	fresh *freshness
	login *list.Element // in Server.logins

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
	ended     chan struct{} // closed when the writer has ended

	mu         sync.Mutex
	wake, room sync.Cond // there is something to write; there is room to queue more
	flow       queue.Flow
	commands   map[uint16]*command // by CID
	waiting    []*command          // for memory, in order
	orphans    map[uint16]uint32   // bytes still to come, by tag
	free       []*command
	tag        uint16
	memory     int // data buffers in use, bytes
	queue      []item
	reading    bool // the reader is at work, and writes what is queued before it waits
	writing    bool // somebody has the writer
	rest       bool // that is the writing goroutine, to which the reader left the rest of a batch
	closed     bool
	bye        *command // a Disconnect, which waits for the other commands
	left       bool     // it was answered
	cast       bool     // its controller was disabled, and goes on without it
}

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{
		srv: s, nc: nc, fresh: newFreshness(nc, s.Watch), ended: make(chan struct{}),
		commands: make(map[uint16]*command),
	}
	c.wake.L, c.room.L = &c.mu, &c.mu
	return c
}

// run is the life of a connection.
func (c *conn) run() {
	tune(c.nc)
	c.nc.SetReadDeadline(time.Now().Add(c.srv.LoginTimeout)) //nolint:errcheck // a dead socket ends the reader at once
	c.writer.nc, c.writer.direct = c.nc, direct.New(c.nc)
	c.in = bufio.NewReaderSize(incoming{c}, readAhead)
	c.scratch = make([]byte, 4096)
	go c.write()
	err := c.read()
	c.mu.Lock()
	c.wait()
	c.mu.Unlock()
	if err == errRefused {
		// The last answer is the writer's; give it a moment to go out.
		c.nc.SetWriteDeadline(time.Now().Add(refusalGrace)) //nolint:errcheck // a dead socket ends the writer at once
	} else {
		c.end()
	}
	<-c.ended
	c.unsettled.end()
	c.srv.forget(c)
	if c.tenure != nil {
		c.srv.leave(c, err)
	}
}

// end closes the connection and gives back what gathered; requests at the
// controller end by themselves.
func (c *conn) end() {
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
	c.wake.Broadcast()
	c.room.Broadcast()
}

// reset ends the connection at once: what the kernel still holds in either
// direction is lost.
func (c *conn) reset() {
	if tcp, ok := c.nc.(*net.TCPConn); ok {
		tcp.SetLinger(0) //nolint:errcheck // fails only on a socket that is closed already
	}
	c.end()
}

// enqueue hands an item to the writer; mu is held.
func (c *conn) enqueue(i item) {
	if c.closed {
		return
	}
	c.queue = append(c.queue, i)
	if !c.reading {
		c.wake.Signal()
	}
}

// waitForRoom keeps the reader back while the host does not read its answers.
func (c *conn) waitForRoom() {
	c.mu.Lock()
	for len(c.queue) > maxQueued && !c.closed {
		c.wait()
		c.room.Wait()
		c.reading = true
	}
	c.mu.Unlock()
}

// inCapsule is how much data a command may bring with it, bytes.
func (c *conn) inCapsule() int { return nvme.AdminInCapsule }

// refuse ends the connection, and tells the host why.
func (c *conn) refuse(f *queue.Fault) error {
	c.srv.Log.Info("nvmetcp protocol violation", "peer", c.nc.RemoteAddr(), "pdu", c.common.Type, "error", f.Error, "at", f.Info)
	var b [pdu.MaxTermReq]byte
	t := pdu.TermReq{ToHost: true, Error: f.Error, Info: f.Info, Header: c.header[:min(int(c.common.HeaderLength), len(c.header))]}
	c.mu.Lock()
	c.enqueue(item{header: append([]byte(nil), t.Marshal(b[:])...), last: true})
	c.mu.Unlock()
	return errRefused
}

func digestFault(d pdu.Digest) *queue.Fault {
	return &queue.Fault{Error: pdu.HeaderDigestError, Info: uint32(d)}
}
