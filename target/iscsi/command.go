package iscsi

import (
	"ashlar/target/carrier"
	"ashlar/target/iscsi/pdu"
	"ashlar/target/iscsi/session"
	"ashlar/target/scsi"
)

// command is a SCSI command from its PDU to the writing of its response. It is
// reused: pins keep it and its buffer from that while somebody names them
// outside of the lock. The reader pins what it works on, since any session's
// reset may drop a command that gathers.
type command struct {
	session.Task
	conn  *conn
	task  scsi.Task
	done  func(*scsi.Task) // bound once
	cdb   [260]byte
	buf   []byte // of the pool
	edtl  uint32
	read  bool
	sense [2 + 252]byte
	pins  int
	// cleared: it was ended from elsewhere while it gathered its data; mu.
	cleared bool
	spent   bool // to be reused when the last pin is gone
}

// scsiCommand takes a command and its immediate data.
func (c *conn) scsiCommand(h *pdu.Header) error {
	var p pdu.SCSICommand
	p.Unmarshal(h)
	ahs, err := pdu.UnmarshalAHS(c.ahs)
	if err != nil || c.target == nil || p.ITT == pdu.NoTag {
		return c.refuse(pdu.RejectProtocolError)
	}
	var cmd *command
	known := false
	deliver, err := c.arrive(p.CmdSN, p.Immediate, func() {
		if known = c.tasks[p.ITT] != nil; known || p.Immediate && c.urgent >= maxUrgent {
			return
		}
		cmd = c.begin(&p, ahs.CDB)
		cmd.pins++
	})
	switch {
	case !deliver:
		return err
	case known:
		return c.refuse(pdu.RejectProtocolError)
	case cmd == nil:
		return c.decline(pdu.RejectTooManyImmediate)
	}
	defer c.unpin(cmd)
	return c.gather(cmd, &p)
}

// begin enters a command into the task table; mu is held.
func (c *conn) begin(p *pdu.SCSICommand, rest []byte) *command {
	var cmd *command
	if n := len(c.free); n > 0 {
		cmd, c.free = c.free[n-1], c.free[:n-1]
	} else {
		cmd = &command{conn: c}
		cmd.done = cmd.finished
	}
	cmd.Task = session.Task{ITT: p.ITT, LUN: p.LUN, CmdSN: p.CmdSN, Immediate: p.Immediate}
	cmd.To(session.Gathering)
	cmd.edtl, cmd.read, cmd.cleared = p.EDTL, false, false
	cmd.task.Nexus, cmd.task.LUN, cmd.task.Done = c.nexus, p.LUN, cmd.done
	n := copy(cmd.cdb[:], p.CDB[:])
	n += copy(cmd.cdb[n:], rest)
	cmd.task.CDB = cmd.cdb[:n]
	c.tasks[p.ITT] = cmd
	if p.Immediate {
		c.urgent++
	} else {
		c.window.Begin()
	}
	return cmd
}

// gather finds out what data the command needs and begins to collect it.
func (c *conn) gather(cmd *command, p *pdu.SCSICommand) error {
	direction, demand := scsi.Demand(cmd.task.CDB, c.target, p.LUN)
	var out, want uint32 // the host's data, and how much of it is needed
	if p.Write {
		out = p.EDTL
		if direction == scsi.DataOut {
			want = uint32(min(demand, uint64(p.EDTL)))
		}
	}
	if direction == scsi.DataOut && !p.Write || direction == scsi.DataIn && !p.Read {
		cmd.edtl = 0 // nothing is moved the CDB's way, and the residual says so
	}
	immediate := p.DataLength
	if fault := cmd.Gather.Start(&c.params, out, want, immediate, p.Final); fault != session.NoFault {
		return c.fault(cmd, fault, int(immediate))
	}
	lend := want
	cmd.task.Limit = out
	if direction == scsi.DataIn {
		cmd.task.Limit = 0
		if cmd.read = p.Read; p.Read {
			cmd.task.Limit = p.EDTL
			lend = uint32(min(demand, carrier.MaxBuffer))
		}
	}
	if !c.lend(cmd, int(lend)) {
		return c.answer(cmd, scsi.StatusTaskSetFull, nil, int(immediate))
	}
	if direction != scsi.DataIn {
		cmd.task.Data = cmd.buf[:want]
	} else {
		cmd.task.Data = cmd.buf[:0]
	}
	if err := c.readData(cmd.buf[:min(immediate, want)], int(immediate)); err != nil {
		return err
	}
	return c.advance(cmd)
}

// lend gives a command a buffer of n bytes, within the session's share. A session
// that has little is never left without by those that have much.
func (c *conn) lend(cmd *command, n int) bool {
	if n == 0 {
		return true
	}
	c.mu.Lock()
	owed := c.memory+n <= carrier.OwnMemory/2 // a buffer is less than twice as large
	c.mu.Unlock()
	b := c.srv.pool.Get(n, owed)
	if b == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.memory+cap(b) > c.srv.SessionMemory {
		c.srv.pool.Put(b, false)
		return false
	}
	c.memory += cap(b)
	cmd.buf = b
	return true
}

// advance asks for more data, or executes a command that has all of it.
func (c *conn) advance(cmd *command) error {
	if cmd.Gather.Complete() {
		return c.execute(cmd)
	}
	for {
		r, ok := cmd.Gather.NextR2T(c.ttt + 1)
		if !ok {
			return nil
		}
		r.TTT = c.newTag()
		r.ITT, r.LUN = cmd.ITT, cmd.LUN
		c.send(&r, false)
	}
}

// execute hands a command over to its logical unit. The stamp is taken first
// and the stall looked for after it: a stall before the stamp is seen here, and
// one after it makes the stamp old.
func (c *conn) execute(cmd *command) error {
	cmd.task.Stamp = c.target.Stamp(cmd.LUN)
	if c.fresh.Stale() {
		return carrier.ErrStalled
	}
	c.mu.Lock()
	if cmd.State() != session.Gathering { // the connection ended
		c.mu.Unlock()
		return nil
	}
	if cmd.cleared {
		c.mu.Unlock()
		return c.answer(cmd, scsi.StatusBusy, nil, 0)
	}
	cmd.To(session.Executing)
	c.mu.Unlock()
	c.srv.under.Add(1)
	c.target.Execute(&cmd.task)
	return nil
}

// dataOut takes a PDU of write data.
func (c *conn) dataOut(h *pdu.Header) error {
	var p pdu.DataOut
	p.Unmarshal(h)
	n := h.DataLength()
	c.mu.Lock()
	cmd := c.tasks[p.ITT]
	if cmd == nil || cmd.State() != session.Gathering {
		c.mu.Unlock()
		// What is still on its way for a task that was aborted or refused.
		return c.readData(nil, n)
	}
	cmd.pins++
	c.mu.Unlock()
	defer c.unpin(cmd)
	at := cmd.Gather.Offset()
	kept, fault := cmd.Gather.DataOut(&p)
	if fault != session.NoFault {
		return c.fault(cmd, fault, n)
	}
	if err := c.readData(cmd.part(at, kept), n); err != nil {
		return err
	}
	return c.advance(cmd)
}

func (cmd *command) part(at, n uint32) []byte {
	if n == 0 {
		return nil
	}
	return cmd.buf[at : at+n]
}

var (
	senseUnexpectedData = [18]byte{0: 0x70, 2: 0x0b, 7: 10, 12: 0x0c, 13: 0x0c}
	senseNotEnoughData  = [18]byte{0: 0x70, 2: 0x0b, 7: 10, 12: 0x0c, 13: 0x0d}
	senseDataLost       = [18]byte{0: 0x70, 2: 0x0b, 7: 10, 12: 0x47, 13: 0x05}
)

// fault answers a command whose write data is wrong (RFC 7143 11.4.7.2), or
// ends the connection.
func (c *conn) fault(cmd *command, fault session.Fault, data int) error {
	switch fault {
	case session.Unexpected:
		return c.answer(cmd, scsi.StatusCheckCondition, senseUnexpectedData[:], data)
	case session.NotEnough:
		return c.answer(cmd, scsi.StatusCheckCondition, senseNotEnoughData[:], data)
	case session.Disordered:
		return c.answer(cmd, scsi.StatusCheckCondition, senseDataLost[:], data)
	}
	return c.refuse(pdu.RejectProtocolError)
}

// answer ends a command that did not reach its logical unit, after the data of
// the PDU in hand was thrown away.
func (c *conn) answer(cmd *command, status byte, sense []byte, data int) error {
	if err := c.readData(nil, data); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if cmd.State() != session.Gathering {
		return nil
	}
	cmd.task.Status, cmd.task.Sense, cmd.task.Transfer, cmd.task.Data = status, sense, 0, nil
	cmd.To(session.Answering)
	c.enqueue(item{cmd: cmd})
	return nil
}

// finished is the logical unit's completion.
func (cmd *command) finished(t *scsi.Task) {
	c := cmd.conn
	others := c.srv.under.Add(-1)
	c.mu.Lock()
	if !t.Aborted && !c.closed {
		cmd.To(session.Answering)
		c.sender.Answer(item{cmd: cmd}, others == 0 && len(c.tasks) == 1 && len(t.Data) <= carrier.Alone)
		return
	}
	defer c.mu.Unlock()
	wasClosed := c.remove(cmd)
	c.release(cmd)
	if wasClosed {
		c.tellWindow()
	}
}

// tellWindow says that the window is open again when no response does; mu is held.
func (c *conn) tellWindow() {
	i := item{}
	(&pdu.NopIn{ITT: pdu.NoTag, TTT: pdu.NoTag}).Marshal(&i.header)
	c.enqueue(i)
}

// remove takes a command off the task table; mu is held.
func (c *conn) remove(cmd *command) (windowWasClosed bool) {
	delete(c.tasks, cmd.ITT)
	cmd.To(session.Free)
	if cmd.Immediate {
		c.urgent--
	} else {
		windowWasClosed = c.window.End()
	}
	c.drainedForLogout()
	return windowWasClosed
}

// release makes a removed command free for reuse; mu is held.
func (c *conn) release(cmd *command) {
	if cmd.spent = cmd.pins > 0; cmd.spent {
		return
	}
	if cmd.buf != nil {
		c.memory -= cap(cmd.buf)
		c.srv.pool.Put(cmd.buf, cmd.task.Op.Kept)
		cmd.buf = nil
	}
	if settle := cmd.task.Op.Settle; settle != nil {
		settle(false) // its response was not sent
	}
	cmd.task.Data = nil
	cmd.task.Reset()
	c.free = append(c.free, cmd)
}

// unpin lets a command be reused again.
func (c *conn) unpin(cmd *command) {
	c.mu.Lock()
	if cmd.pins--; cmd.pins == 0 && cmd.spent {
		c.release(cmd)
	}
	c.mu.Unlock()
}
