package nvmetcp

import (
	"errors"
	"slices"

	"ashlar/target/carrier"
	"ashlar/target/nvme"
	"ashlar/target/nvmetcp/pdu"
	"ashlar/target/nvmetcp/queue"
)

// state is how far a command has come.
type state uint8

const (
	free      state = iota
	gathering       // its data, or the memory for that
	executing       // at the controller
	answering       // its answer waits for the writer
)

// command is a command from its capsule to the writing of its answer. It is
// reused: pins keep it and its buffer from that while somebody names them outside
// of the lock.
type command struct {
	nvme.Request
	gather  queue.Gather
	conn    *conn
	done    func(*nvme.Request) // bound once
	state   state
	buf     []byte // of the pool
	want    int    // bytes of the buffer
	toHost  bool
	tag     uint16      // of its R2T
	asked   bool        // there was an R2T
	started bool        // it is known what data it needs
	failed  nvme.Status // what it is answered with once its data is here; 0: it is carried out
	partner *command    // of a fused operation, the other
	second  bool        // of a fused operation
	pins    int
	spent   bool // to be reused when the last pin is gone
}

// begin enters a command into the table; mu is held.
func (c *conn) begin(in *nvme.Command) *command {
	var cmd *command
	if n := len(c.free); n > 0 {
		cmd, c.free = c.free[n-1], c.free[:n-1]
	} else {
		cmd = &command{conn: c}
		cmd.done = cmd.finished
	}
	cmd.Command, cmd.Queue, cmd.Request.Done = *in, c.queueID, cmd.done
	cmd.state = gathering
	c.commands[uint32(in.ID())] = cmd
	return cmd
}

// fuse pairs the two commands of a fused operation, which are adjacent.
func (c *conn) fuse(cmd *command) error {
	first := c.first
	c.first = nil
	switch fuse := cmd.Command.Fuse(); {
	case first != nil && fuse == nvme.FuseSecond && c.queueID != 0:
		if s := c.tenure.controller.FusedDemand(&first.Command, &cmd.Command); s != nvme.Success {
			first.failed, cmd.failed = s, nvme.FailedFused|nvme.DoNotRetry
		} else {
			first.partner, cmd.partner, cmd.second = cmd, first, true
		}
	case fuse == nvme.FuseFirst && c.queueID != 0:
		c.first = cmd
		c.pin(cmd)
		if first != nil {
			first.failed = nvme.MissingFused
		}
	case fuse != nvme.FuseNone:
		cmd.failed = nvme.MissingFused
		if c.queueID == 0 {
			cmd.failed = nvme.InvalidField | nvme.DoNotRetry
		}
		fallthrough
	default:
		if first != nil {
			first.failed = nvme.MissingFused
		}
	}
	if first == nil {
		return nil
	}
	defer c.unpin(first)
	return c.advance(first)
}

// gather finds out what data the command needs and begins to collect it.
func (c *conn) gather(cmd *command) error {
	inCapsule := c.layout.Data
	direction, n, s := c.demand(cmd)
	sgl, bad := queue.ReadSGL((*[64]byte)(&cmd.Command), inCapsule)
	if s == nvme.Success {
		s = dataFault(direction, n, &sgl, bad)
	}
	if inCapsule > c.inCapsule() {
		s = nvme.SGLLengthInvalid | nvme.DoNotRetry
	}
	if cmd.failed != 0 {
		s = cmd.failed
	}
	if s != nvme.Success {
		cmd.failed, n = s, 0
	}
	cmd.want, cmd.toHost, cmd.started = int(n), direction == nvme.ToHost, true
	got := uint32(0)
	if direction == nvme.FromHost && sgl.InCapsule {
		got = n
	}
	if cmd.toHost {
		cmd.gather.Start(0, 0)
	} else {
		cmd.gather.Start(n, got)
	}
	if !c.lend(cmd, got > 0 || c.owns(&cmd.Command)) {
		return nil // it waits; it brought no data
	}
	if err := c.readData(cmd.Data[:got]); err != nil {
		if !errors.Is(err, errDataDigest) {
			return err
		}
		if cmd.failed == 0 {
			cmd.failed = nvme.TransientTransport
		}
	}
	return c.advance(cmd)
}

// dataFault says what is wrong with where a command's data is.
func dataFault(d nvme.Direction, n uint32, sgl *queue.SGL, bad queue.SGLFault) nvme.Status {
	switch {
	case bad == queue.SGLType:
		return nvme.SGLTypeInvalid | nvme.DoNotRetry
	case bad == queue.SGLOffset:
		return nvme.SGLOffsetInvalid | nvme.DoNotRetry
	case bad == queue.SGLLength:
		return nvme.SGLLengthInvalid | nvme.DoNotRetry
	case d == nvme.NoData:
		return nvme.Success
	case sgl.Length < n:
		return nvme.SGLLengthInvalid | nvme.DoNotRetry
	case d == nvme.ToHost && sgl.InCapsule:
		return nvme.SGLTypeInvalid | nvme.DoNotRetry
	}
	return nvme.Success
}

// lend gives a command its buffer, or lets it wait for one behind those that wait
// already. Data that came with the command has it at once: there is little of that.
func (c *conn) lend(cmd *command, now bool) bool {
	if cmd.want == 0 {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !now && (len(c.waiting) > 0 || !c.tryLend(cmd, false)) {
		if !c.closed {
			c.waiting = append(c.waiting, cmd)
		}
		return false
	}
	if now {
		c.tryLend(cmd, true)
	}
	return true
}

// tryLend gives a command its buffer if there is room; mu is held. The first of a
// fused operation has room for the data of both.
func (c *conn) tryLend(cmd *command, now bool) bool {
	n := cmd.want
	if cmd.Command.Fuse() == nvme.FuseFirst {
		n *= 2
	}
	size := carrier.SizeOf(n)
	if !now && c.memory > 0 && c.memory+size > c.srv.ConnectionMemory {
		c.srv.pool.Wanted()
		return false
	}
	b := c.srv.pool.Get(n, now || c.memory+size <= carrier.OwnMemory || c.memory == 0)
	if b == nil {
		return false
	}
	c.memory += cap(b)
	cmd.buf = b
	cmd.Data = b[:cmd.want]
	return true
}

// feed gives memory to the commands that wait for it.
func (c *conn) feed() {
	for {
		c.mu.Lock()
		if len(c.waiting) == 0 || c.closed || !c.tryLend(c.waiting[0], false) {
			c.mu.Unlock()
			return
		}
		cmd := c.waiting[0]
		c.waiting = c.waiting[1:]
		cmd.pins++
		c.mu.Unlock()
		err := c.advance(cmd)
		c.unpin(cmd)
		if err != nil {
			c.Reset()
			return
		}
	}
}

// advance asks for a command's data, or executes a command that has all of it. The
// first of a fused operation waits for the second.
func (c *conn) advance(cmd *command) error {
	if cmd.failed == 0 && cmd.Command.Fuse() == nvme.FuseFirst && cmd.partner == nil {
		return nil
	}
	if cmd.want > 0 && cmd.buf == nil && cmd.failed == 0 {
		return nil // it still waits for memory
	}
	if !cmd.gather.Complete() && cmd.failed == 0 {
		if !cmd.asked {
			c.ask(cmd)
		}
		return nil
	}
	if cmd.gather.Complete() || !cmd.asked {
		return c.execute(cmd)
	}
	return nil
}

// ask sends the R2T for a command's data.
func (c *conn) ask(cmd *command) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if cmd.state != gathering {
		return
	}
	c.tag++
	cmd.asked, cmd.tag = true, c.tag
	r := cmd.gather.Request(c.tag)
	r.CommandID = cmd.Command.ID()
	c.sender.Enqueue(item{r2t: r})
}

// execute hands a command over to its controller. The stamp is taken first and the
// stall looked for after it: a stall before the stamp is seen here, and one after
// it makes the stamp old.
func (c *conn) execute(cmd *command) error {
	if other := cmd.partner; other != nil && cmd.failed == 0 {
		return c.executeFused(cmd, other)
	}
	if cmd.failed != 0 {
		if p := cmd.partner; p != nil {
			c.unfuse(cmd, p)
			if err := c.advance(p); err != nil {
				return err
			}
		}
		if !c.hand(cmd) {
			return nil
		}
		c.tenure.controller.Fail(&cmd.Request, cmd.failed)
		return nil
	}
	if c.owns(&cmd.Command) {
		return c.own(cmd)
	}
	cmd.Stamp = c.tenure.controller.Stamp(cmd.Command.NSID())
	if c.fresh.Stale() {
		return carrier.ErrStalled
	}
	if c.hand(cmd) {
		c.tenure.controller.Execute(&cmd.Request)
	}
	return nil
}

// unfuse fails the other of a fused operation, one of which has failed.
func (c *conn) unfuse(cmd, other *command) {
	cmd.partner, other.partner = nil, nil
	if other.failed == 0 {
		other.failed = nvme.FailedFused
	}
}

// executeFused hands over both commands of a fused operation once both have their data.
func (c *conn) executeFused(cmd, other *command) error {
	if other.failed != 0 || !other.started || !other.gather.Complete() || other.want > 0 && other.buf == nil {
		return nil
	}
	first, second := cmd, other
	if cmd.second {
		first, second = other, cmd
	}
	first.Stamp = c.tenure.controller.Stamp(first.Command.NSID())
	if c.fresh.Stale() {
		return carrier.ErrStalled
	}
	c.mu.Lock()
	both := first.state == gathering && second.state == gathering
	if both {
		first.state, second.state = executing, executing
		c.count(2)
	}
	c.mu.Unlock()
	if both {
		c.tenure.controller.ExecuteFused(&first.Request, &second.Request)
	}
	return nil
}

// hand takes a command to the controller, unless the connection has ended.
func (c *conn) hand(cmd *command) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if cmd.state != gathering {
		return false
	}
	cmd.state = executing
	c.count(1)
	return true
}

// count counts commands that are at a controller; those of admin queues may stay there for good. It gives how many there are.
func (c *conn) count(n int32) int32 {
	if c.queueID == 0 {
		return 0
	}
	return c.srv.under.Add(n)
}

// hostData takes a PDU of data that an R2T asked for.
func (c *conn) hostData() error {
	var p pdu.Data
	p.Unmarshal(c.header[:c.common.HeaderLength])
	c.mu.Lock()
	cmd := c.commands[uint32(p.CommandID)]
	if cmd == nil || cmd.state != gathering || !cmd.asked || cmd.tag != p.Tag {
		left, known := c.orphans[p.Tag]
		if known {
			if left -= min(left, p.Length); left == 0 || p.Last {
				delete(c.orphans, p.Tag)
			} else {
				c.orphans[p.Tag] = left
			}
		}
		c.mu.Unlock()
		if !known {
			return c.refuse(&queue.Fault{Error: pdu.InvalidHeader, Info: 8})
		}
		if err := c.readData(nil); err != nil && !errors.Is(err, errDataDigest) {
			return err
		}
		return nil
	}
	cmd.pins++
	c.mu.Unlock()
	defer c.unpin(cmd)
	at := cmd.gather.Offset()
	if fault := cmd.gather.Data(&p, c.layout.Data); fault != nil {
		return c.refuse(fault)
	}
	if err := c.readData(cmd.buf[at : at+p.Length]); err != nil {
		if !errors.Is(err, errDataDigest) {
			return err
		}
		cmd.failed = nvme.TransientTransport
	}
	if !cmd.gather.Complete() {
		return nil
	}
	return c.advance(cmd)
}

// finished is the controller's completion.
func (cmd *command) finished(*nvme.Request) {
	c := cmd.conn
	others := c.count(-1)
	c.mu.Lock()
	if !c.closed {
		cmd.state = answering
		c.sender.Answer(item{cmd: cmd}, others == 0 && len(c.commands) == 1 && len(cmd.Data) <= carrier.Alone)
		return
	}
	defer c.mu.Unlock()
	c.remove(cmd)
	c.release(cmd)
}

// remove takes a command off the table; mu is held.
func (c *conn) remove(cmd *command) {
	delete(c.commands, uint32(cmd.Command.ID()))
	cmd.state = free
	if len(c.waiting) > 0 {
		c.waiting = slices.DeleteFunc(c.waiting, func(o *command) bool { return o == cmd })
	}
	c.disconnect()
}

// release makes a removed command free for reuse; mu is held.
func (c *conn) release(cmd *command) {
	if cmd.spent = cmd.pins > 0; cmd.spent {
		return
	}
	if cmd.buf != nil {
		c.memory -= cap(cmd.buf)
		c.srv.pool.Put(cmd.buf, cmd.Op.Kept)
	}
	if settle := cmd.Op.Settle; settle != nil {
		settle(false) // its answer was not sent
	}
	extents := cmd.Op.Extents[:0]
	*cmd = command{conn: c, done: cmd.done}
	cmd.Op.Extents = extents
	c.free = append(c.free, cmd)
}

func (c *conn) pin(cmd *command) {
	c.mu.Lock()
	cmd.pins++
	c.mu.Unlock()
}

// unpin lets a command be reused again.
func (c *conn) unpin(cmd *command) {
	c.mu.Lock()
	if cmd.pins--; cmd.pins == 0 && cmd.spent {
		c.release(cmd)
	}
	c.mu.Unlock()
}
