package nvmetcp

import (
	"ashlar/target/nvme"
)

// The Fabrics commands that are a queue's own: they go to no controller, and are
// carried out by the reader.

// owns says whether a command is one of them.
func (c *conn) owns(cmd *nvme.Command) bool {
	if cmd.Opcode() != nvme.Fabrics {
		return false
	}
	switch cmd.FabricsType() {
	case nvme.Connect, nvme.Disconnect, nvme.AuthSend, nvme.AuthReceive:
		return true
	}
	return false
}

// demand is the data that a command needs. Until the host has proven itself, it
// can do nothing but that.
func (c *conn) demand(cmd *command) (nvme.Direction, uint32, nvme.Status) {
	in := &cmd.Command
	if !c.owns(in) {
		if c.auth.required() {
			return nvme.NoData, 0, nvme.AuthenticationRequired
		}
		return c.tenure.controller.Demand(c.queueID, in)
	}
	direction := nvme.FromHost
	switch in.FabricsType() {
	case nvme.Connect:
		return nvme.NoData, 0, nvme.SequenceError | nvme.DoNotRetry
	case nvme.Disconnect:
		return nvme.NoData, 0, nvme.Success
	case nvme.AuthReceive:
		direction = nvme.ToHost
	}
	n, s := nvme.AuthLength(in)
	if n == 0 {
		direction = nvme.NoData
	}
	return direction, n, s
}

// own carries one out.
func (c *conn) own(cmd *command) error {
	if !c.hand(cmd) {
		return nil
	}
	switch cmd.Command.FabricsType() {
	case nvme.Disconnect:
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.queueID == 0 {
			c.answer(cmd, nvme.InvalidQueueType|nvme.DoNotRetry, false)
			return nil
		}
		c.bye = cmd
		c.disconnect()
		return nil
	case nvme.AuthSend:
		return c.authSend(cmd)
	}
	return c.authReceive(cmd)
}

// answer ends a command that went to no controller; mu is held.
func (c *conn) answer(cmd *command, s nvme.Status, last bool) {
	cmd.Status = s
	cmd.state = answering
	c.sender.Enqueue(item{cmd: cmd, last: last})
}

// disconnect answers a Disconnect, as the last, when no other command is left; mu
// is held.
func (c *conn) disconnect() {
	if c.bye == nil || len(c.commands) > 1 {
		return
	}
	cmd := c.bye
	c.bye, c.left = nil, true
	c.answer(cmd, nvme.Success, true)
}

// authentication is the proof of a queue's host.
type authentication struct {
	request  nvme.AuthRequest
	exchange nvme.Authenticator // nil: none is needed
	proven   bool               // once; a host may prove itself anew
}

func (a *authentication) required() bool { return a.exchange != nil && !a.proven }

// authSend takes a message of the host's.
func (c *conn) authSend(cmd *command) error {
	a := &c.auth
	if a.exchange != nil && a.exchange.State() == nvme.Authenticated {
		a.exchange = c.srv.Directory.Authenticator(a.request)
	}
	s := nvme.Success
	var err error
	if a.exchange == nil {
		s = nvme.InvalidField | nvme.DoNotRetry
	} else if err = a.exchange.Send(cmd.Data); err != nil {
		c.srv.Log.Warn("nvme authentication", "host", a.request.HostNQN, "peer", c.nc.RemoteAddr(), "error", err)
		s = nvme.InvalidField | nvme.DoNotRetry
	}
	c.mu.Lock()
	c.answer(cmd, s, err != nil)
	c.mu.Unlock()
	if err != nil {
		return errRefused
	}
	return c.judge()
}

// authReceive gives the host a message of ours.
func (c *conn) authReceive(cmd *command) error {
	s := nvme.InvalidField | nvme.DoNotRetry
	failed := false
	if a := &c.auth; a.exchange != nil {
		if message, err := a.exchange.Receive(); err == nil {
			clear(cmd.Data[copy(cmd.Data, message):])
			s = nvme.Success
		}
		failed = a.exchange.State() == nvme.AuthFailed
	}
	c.mu.Lock()
	c.answer(cmd, s, failed)
	c.mu.Unlock()
	if failed {
		c.srv.Log.Warn("nvme host is not who it says", "host", c.auth.request.HostNQN, "peer", c.nc.RemoteAddr())
		return errRefused
	}
	return c.judge()
}

// judge admits a host that is proven.
func (c *conn) judge() error {
	if a := &c.auth; a.required() && a.exchange.State() == nvme.Authenticated {
		a.proven = true
		c.admitted()
	}
	return nil
}
