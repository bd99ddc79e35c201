package nvmetcp

import (
	"context"
	"sync"
	"time"

	"ashlar/target/nvme"
)

const fenceRetry = time.Second

// controllerKey is a controller in its subsystem.
type controllerKey struct {
	nqn string
	id  uint16
}

// tenure is a controller's hold on its identifier. It lasts longer than its
// connections: until nothing that the host sent through it can take effect.
type tenure struct {
	srv        *Server
	key        controllerKey
	controller *nvme.Controller
	gone       chan struct{} // closed when the controller is fenced

	// Under Server.mu.
	queues map[uint16]*conn
	live   int  // connections that have not ended
	over   bool // no queue may be added
}

// connect makes a connection the queue that its host asks for.
func (s *Server) connect(c *conn, q *nvme.ConnectRequest) (nvme.Status, uint64) {
	d := s.Directory
	switch {
	case !d.Ready():
		return nvme.ControllerBusy, 0
	case q.SubsystemNQN != nvme.DiscoveryNQN && !d.Visible(q.Host, q.SubsystemNQN):
		return nvme.InvalidHost | nvme.DoNotRetry, 0
	}
	a := nvme.AuthRequest{HostNQN: q.Host.NQN, SubsystemNQN: q.SubsystemNQN, QueueID: q.Queue}
	var status nvme.Status
	var result uint64
	if q.Queue == 0 {
		status, result = s.newController(c, q)
	} else {
		status, result = s.newQueue(c, q)
	}
	if status != nvme.Success {
		return status, result
	}
	a.ControllerID = c.tenure.key.id
	c.auth = authentication{request: a, exchange: d.Authenticator(a)}
	return nvme.Success, uint64(c.tenure.key.id)
}

// newController makes a controller with its admin queue.
func (s *Server) newController(c *conn, q *nvme.ConnectRequest) (nvme.Status, uint64) {
	p := nvme.Params{
		NQN: q.SubsystemNQN, Host: q.Host, KeepAlive: q.KeepAlive, Queues: uint16(s.Queues),
		Port: s.Directory.PortGroup(c.nc.LocalAddr()), Generation: s.Generation,
		Discovery: func() nvme.Discovery { return s.Directory.Discovery(q.Host) },
	}
	if q.SubsystemNQN != nvme.DiscoveryNQN {
		if p.Subsystem = s.Directory.Subsystem(q.Host, q.SubsystemNQN); p.Subsystem == nil {
			return nvme.ControllerBusy, 0
		}
	}
	first, last := s.Directory.ControllerIDs()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns.Closed() || s.isClosedTo(q.Host.NQN, q.SubsystemNQN) {
		return nvme.ControllerBusy, 0
	}
	id, ok := s.newID(q.SubsystemNQN, first, last)
	if !ok {
		s.Log.Warn("nvme controller identifiers are all in use", "subsystem", q.SubsystemNQN)
		return nvme.ControllerBusy, 0
	}
	t := &tenure{srv: s, key: controllerKey{q.SubsystemNQN, id}, gone: make(chan struct{}), queues: map[uint16]*conn{0: c}, live: 1}
	p.ID, p.Carrier = id, t
	t.controller = nvme.NewController(p)
	s.controllers[t.key] = t
	c.tenure = t
	s.Log.Info("nvme connect", "host", q.Host.NQN, "subsystem", q.SubsystemNQN, "controller", id, "peer", c.nc.RemoteAddr())
	return nvme.Success, 0
}

// newID is a controller identifier that is not in use, the longest unused first;
// mu is held.
func (s *Server) newID(nqn string, first, last uint16) (uint16, bool) {
	id := s.lastID[nqn]
	for range int(last) - int(first) + 1 {
		if id++; id < first || id > last {
			id = first
		}
		if s.controllers[controllerKey{nqn, id}] == nil {
			s.lastID[nqn] = id
			return id, true
		}
	}
	return 0, false
}

// newQueue adds an I/O queue to a controller of the same host.
func (s *Server) newQueue(c *conn, q *nvme.ConnectRequest) (nvme.Status, uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.controllers[controllerKey{q.SubsystemNQN, q.ControllerID}]
	switch {
	case t == nil || t.controller.Host() != q.Host:
		return nvme.ConnectInvalid | nvme.DoNotRetry, nvme.BadController
	case t.over:
		return nvme.ControllerBusy, 0
	case q.SubsystemNQN == nvme.DiscoveryNQN:
		return nvme.InvalidQueueType | nvme.DoNotRetry, 0
	case int(q.Queue) > s.Queues || t.queues[q.Queue] != nil:
		return nvme.ConnectInvalid | nvme.DoNotRetry, nvme.BadQueue
	case !t.controller.Ready():
		return nvme.ConnectInvalid | nvme.DoNotRetry, nvme.BadController
	}
	t.queues[q.Queue] = c
	t.live++
	c.tenure, c.queueID = t, q.Queue
	return nvme.Success, 0
}

// reset ends the controller's connections.
func (t *tenure) reset() {
	for _, c := range t.connections(true) {
		c.Reset()
	}
}

// connections are those of the controller; over ends its growth.
func (t *tenure) connections(over bool) (all []*conn) {
	t.srv.mu.Lock()
	defer t.srv.mu.Unlock()
	t.over = t.over || over
	for _, c := range t.queues {
		all = append(all, c)
	}
	return all
}

// leave is the end of a connection. A controller that loses one of its queues ends
// with all of them (NVMe TCP Transport 3.1), unless its host took leave of it.
func (s *Server) leave(c *conn, why error) {
	t := c.tenure
	c.mu.Lock()
	left := c.left || c.cast
	c.mu.Unlock()
	if !left {
		t.reset()
	}
	s.mu.Lock()
	if t.queues[c.queueID] == c {
		delete(t.queues, c.queueID)
	}
	t.live--
	last := t.live == 0 && t.over
	s.mu.Unlock()
	if last {
		s.Log.Info("nvme controller ended", "host", t.controller.Host().NQN, "subsystem", t.key.nqn, "controller", t.key.id, "reason", why)
		s.drain(t)
	}
}

// drain ends a tenure once its controller is fenced. A fence that could not be
// proven is tried again: until then the identifier is nobody's.
func (s *Server) drain(t *tenure) {
	t.controller.Drain(func(err error) {
		if err != nil {
			s.Log.Warn("nvme controller is not fenced yet", "subsystem", t.key.nqn, "controller", t.key.id, "error", err)
			time.AfterFunc(fenceRetry, func() { s.drain(t) })
			return
		}
		s.mu.Lock()
		delete(s.controllers, t.key)
		s.forgetID(t.key.nqn)
		s.mu.Unlock()
		close(t.gone)
	})
}

// lastIDsKept bounds the subsystems whose last identifier is remembered.
const lastIDsKept = 4096

// forgetID keeps lastID from growing without end; mu is held.
func (s *Server) forgetID(nqn string) {
	if len(s.lastID) > lastIDsKept {
		delete(s.lastID, nqn)
	}
}

// AbortCommand implements nvme.Carrier.
func (t *tenure) AbortCommand(id, command uint16, done func(ended bool)) {
	t.srv.mu.Lock()
	c := t.queues[id]
	t.srv.mu.Unlock()
	if c == nil {
		done(false)
		return
	}
	c.abort(command, done)
}

// CloseQueues implements nvme.Carrier. The host may connect queues of the same numbers as
// soon as it hears of it.
func (t *tenure) CloseQueues() {
	t.srv.mu.Lock()
	var closed []*conn
	for id, c := range t.queues {
		if id != 0 {
			closed = append(closed, c)
			delete(t.queues, id)
		}
	}
	t.srv.mu.Unlock()
	for _, c := range closed {
		c.mu.Lock()
		c.cast = true
		c.mu.Unlock()
		c.Reset()
	}
}

// ResetController implements nvme.Carrier.
func (t *tenure) ResetController(i nvme.Instance, done func(error)) {
	s := t.srv
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), s.FenceTimeout)
		defer cancel()
		first, last := s.Directory.ControllerIDs()
		if i.ID >= first && i.ID <= last {
			done(s.ResetController(ctx, t.key.nqn, i))
			return
		}
		done(s.Directory.ResetController(ctx, t.key.nqn, i))
	}()
}

// abort ends a command of this queue.
func (c *conn) abort(id uint16, done func(ended bool)) {
	c.mu.Lock()
	cmd := c.commands[uint32(id)]
	switch {
	case cmd == nil || cmd.state == answering || cmd.second || cmd.state == gathering && cmd.Command.Fuse() != nvme.FuseNone:
		c.mu.Unlock()
		done(false)
	case cmd.state == gathering:
		if cmd.asked {
			if len(c.orphans) >= maxOrphans {
				c.mu.Unlock()
				done(false)
				return
			}
			if c.orphans == nil {
				c.orphans = make(map[uint16]uint32)
			}
			c.orphans[cmd.tag] = uint32(cmd.want)
		}
		cmd.state = executing
		c.mu.Unlock()
		c.tenure.controller.Fail(&cmd.Request, nvme.AbortRequested)
		done(true)
	default:
		cmd.pins++
		c.mu.Unlock()
		if c.tenure.controller.AbortEvent(&cmd.Request) {
			c.unpin(cmd)
			done(true)
			return
		}
		var once sync.Once
		late := time.AfterFunc(c.srv.FenceTimeout, func() { once.Do(func() { done(false) }) })
		c.tenure.controller.Stop(&cmd.Request, cmd.Command.NSID(), func() {
			late.Stop()
			c.unpin(cmd)
			once.Do(func() { done(true) })
		})
	}
}
