package iscsi

import (
	"bufio"
	"container/list"
	"net"
	"sync"
	"time"

	"ashlar/target/direct"
	"ashlar/target/iscsi/pdu"
	"ashlar/target/iscsi/session"
	"ashlar/target/scsi"
)

const (
	readAhead   = 64 << 10 // bytes
	maxQueued   = 1024     // answers that wait for the writer before the reader does
	maxEcho     = 1 << 20  // bytes of their data, likewise
	maxManaging = 32       // task management functions under way
	maxUrgent   = 32       // immediate commands alive
	pingTicks   = 5        // ticks of silence before a NOP-In
	logoutTicks = 4        // that a logout waits for its commands
	rejectGrace = time.Second
)

// conn is a connection and, since there is one for each, its session.
type conn struct {
	srv   *Server
	nc    net.Conn
	fresh *freshness
	login *list.Element // in Server.logins

	// Set at login, then constant.
	group  uint16
	target *scsi.Target // nil in a discovery session
	nexus  *scsi.Nexus
	tenure *tenure

	// The reader's own.
	in       *bufio.Reader
	params   session.Params
	header   pdu.Header
	ahs      []byte
	ahsBytes [1020]byte
	tail     [8]byte
	scratch  []byte
	ttt      uint32
	text     textExchange

	writer    writer
	unsettled unsettled
	ended     chan struct{} // closed when the writer has ended

	mu         sync.Mutex
	id         session.Identity
	wake, room sync.Cond // there is something to write; there is room to queue more
	window     session.Window
	sendParams session.Params
	tasks      map[uint32]*command
	free       []*command
	urgent     int // immediate commands alive
	managing   int // task management functions under way
	memory     int // data buffers in use, bytes
	queue      []item
	echo       int  // bytes of queue's own data
	reading    bool // the reader is at work, and writes what is queued before it waits
	writing    bool // somebody has the writer
	left       bool // that is the writing goroutine, to which the reader left the rest of a batch
	full       bool // full feature phase
	closed     bool
	logout     *pdu.LogoutResponse // waits for the commands to end
	logoutWait int                 // ticks
	leaving    bool                // the nexus ends before the logout is answered
	silent     int                 // ticks
	pings      uint32
}

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{
		srv: s, nc: nc, fresh: newFreshness(nc, s.Watch), ended: make(chan struct{}),
		tasks: make(map[uint32]*command),
	}
	c.wake.L, c.room.L = &c.mu, &c.mu
	return c
}

// run is the life of a connection.
func (c *conn) run() {
	tune(c.nc)
	err := c.logIn()
	c.srv.loggedIn(c)
	if err == nil {
		err = c.serve()
	}
	c.end()
	c.srv.forget(c)
	if c.tenure != nil {
		c.srv.Log.Info("iscsi session ended", "initiator", c.id.Initiator, "target", c.id.Target, "peer", c.nc.RemoteAddr(), "reason", err)
		c.srv.leave(c.tenure)
	}
}

// serve is the full feature phase. It returns when the writer has ended too.
func (c *conn) serve() error {
	c.writer.nc, c.writer.direct = c.nc, direct.New(c.nc)
	c.in = bufio.NewReaderSize(incoming{c}, readAhead)
	c.scratch = make([]byte, 8192)
	c.mu.Lock()
	c.full = true
	c.mu.Unlock()
	c.srv.Log.Info("iscsi login", "initiator", c.id.Initiator, "target", c.id.Target, "peer", c.nc.RemoteAddr(), "discovery", c.id.Discovery)
	go c.write()
	err := c.read()
	c.mu.Lock()
	c.wait()
	c.mu.Unlock()
	if err == errRefused {
		// The Reject is the writer's last; give it a moment to go out.
		c.nc.SetWriteDeadline(time.Now().Add(rejectGrace)) //nolint:errcheck // a dead socket ends the writer at once
	} else {
		c.end()
	}
	<-c.ended
	c.unsettled.end()
	return err
}

// end closes the connection and gives back what gathered; tasks at the units
// end by themselves.
func (c *conn) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.closed = true
	c.nc.Close()
	for _, cmd := range c.tasks {
		if cmd.State() == session.Gathering {
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

func (c *conn) setIdentity(id session.Identity) {
	c.mu.Lock()
	c.id = id
	c.mu.Unlock()
}

func (c *conn) targetName() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.id.Target
}

// enqueue hands an item to the writer; mu is held.
func (c *conn) enqueue(i item) {
	if c.closed {
		return
	}
	c.queue = append(c.queue, i)
	c.echo += len(i.data)
	if !c.reading {
		c.wake.Signal()
	}
}

// send hands a message without data to the writer.
func (c *conn) send(m pdu.Message, usesStatSN bool) {
	i := item{usesStatSN: usesStatSN}
	m.Marshal(&i.header)
	c.mu.Lock()
	c.enqueue(i)
	c.mu.Unlock()
}

// sendData hands a message with data, which the caller leaves alone, to the writer.
func (c *conn) sendData(m pdu.Message, data []byte) {
	i := item{usesStatSN: true, data: data}
	m.Marshal(&i.header)
	c.mu.Lock()
	c.enqueue(i)
	c.mu.Unlock()
}

// waitForRoom keeps the reader back while the host does not read its answers.
func (c *conn) waitForRoom() {
	c.mu.Lock()
	for (len(c.queue) > maxQueued || c.echo > maxEcho) && !c.closed {
		c.wait()
		c.room.Wait()
		c.reading = true
	}
	c.mu.Unlock()
}

// newTag is a target transfer tag that no live request has.
func (c *conn) newTag() uint32 {
	c.ttt++
	if c.ttt == pdu.NoTag {
		c.ttt = 0
	}
	return c.ttt
}

// tick runs pingTicks times in each PingInterval: silence is answered with a
// NOP-In, and more silence with the end; a logout is not held up for ever.
func (c *conn) tick() {
	c.mu.Lock()
	if !c.full || c.closed {
		c.mu.Unlock()
		return
	}
	if c.logout != nil {
		if c.logoutWait++; c.logoutWait == logoutTicks {
			c.logout.Response = 3 // cleanup failed for various reasons
			c.finishLogout()
		}
	}
	if c.fresh.heard.Swap(false) {
		c.silent = 0
	} else {
		c.silent++
	}
	silent := c.silent
	if silent == pingTicks || c.unsettled.waits() {
		c.ping()
	}
	c.mu.Unlock()
	if silent >= 2*pingTicks {
		c.srv.Log.Info("iscsi host is silent", "peer", c.nc.RemoteAddr())
		c.reset()
	}
}

// ping asks the host for a sign of life; mu is held.
func (c *conn) ping() {
	c.pings = (c.pings + 1) & 0x7fffffff
	i := item{}
	(&pdu.NopIn{ITT: pdu.NoTag, TTT: c.pings}).Marshal(&i.header)
	c.enqueue(i)
}
