package iscsi

import (
	"bufio"
	"net"
	"sync"
	"time"

	"ashlar/target/carrier"
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
	fresh *carrier.Fresh

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

	mu         sync.Mutex
	id         session.Identity
	sender     carrier.Sender[item]
	window     session.Window
	sendParams session.Params
	tasks      map[uint32]*command
	free       []*command
	urgent     int  // immediate commands alive
	managing   int  // task management functions under way
	memory     int  // data buffers in use, bytes
	echo       int  // bytes of data that are queued, but for commands'
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
		srv: s, nc: nc, fresh: carrier.NewFresh(nc, s.Watch),
		tasks: make(map[uint32]*command),
	}
	c.sender.Open(c, &c.mu)
	c.writer.out = &c.sender.Out
	return c
}

// Net is the connection itself.
func (c *conn) Net() net.Conn { return c.nc }

// Run is the life of a connection.
func (c *conn) Run() {
	carrier.Tune(c.nc)
	err := c.logIn()
	c.srv.conns.LoggedIn(c)
	if err == nil {
		err = c.serve()
	}
	c.End()
	c.srv.conns.Forget(c)
	if c.tenure != nil {
		c.srv.Log.Info("iscsi session ended", "initiator", c.id.Initiator, "target", c.id.Target, "peer", c.nc.RemoteAddr(), "reason", err)
		c.srv.leave(c.tenure)
	}
}

// serve is the full feature phase. It returns when the writer has ended too.
func (c *conn) serve() error {
	c.in = bufio.NewReaderSize(c.sender.Input(c.fresh), readAhead)
	c.scratch = make([]byte, 8192)
	c.mu.Lock()
	c.full = true
	c.mu.Unlock()
	c.srv.Log.Info("iscsi login", "initiator", c.id.Initiator, "target", c.id.Target, "peer", c.nc.RemoteAddr(), "discovery", c.id.Discovery)
	c.sender.Start(c.nc)
	err := c.read()
	c.mu.Lock()
	c.sender.Idle()
	c.mu.Unlock()
	if err == errRefused {
		// The Reject is the writer's last; give it a moment to go out.
		c.nc.SetWriteDeadline(time.Now().Add(rejectGrace)) //nolint:errcheck // a dead socket ends the writer at once
	} else {
		c.End()
	}
	<-c.sender.Ended()
	c.unsettled.end()
	return err
}

// End closes the connection and gives back what gathered; tasks at the units
// end by themselves.
func (c *conn) End() {
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
	c.sender.Close()
}

// Reset ends the connection at once: what the kernel still holds in either
// direction is lost.
func (c *conn) Reset() {
	carrier.Abort(c.nc)
	c.End()
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
	c.echo += len(i.data)
	c.sender.Enqueue(i)
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
	c.sender.WaitForRoom(func(queued int) bool { return queued > maxQueued || c.echo > maxEcho })
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
	if c.fresh.Heard() {
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
		c.Reset()
	}
}

// ping asks the host for a sign of life; mu is held.
func (c *conn) ping() {
	c.pings = (c.pings + 1) & 0x7fffffff
	i := item{}
	(&pdu.NopIn{ITT: pdu.NoTag, TTT: c.pings}).Marshal(&i.header)
	c.enqueue(i)
}
