package iscsi

import (
	"sync"
	"time"

	"ashlar/target/iscsi/pdu"
	"ashlar/target/iscsi/session"
	"ashlar/target/scsi"
)

// results are the unit's answers in iSCSI's terms.
var results = [...]session.TaskResponse{
	scsi.FunctionComplete:     session.FunctionComplete,
	scsi.TaskDoesNotExist:     session.TaskDoesNotExist,
	scsi.IncorrectLUN:         session.LUNDoesNotExist,
	scsi.FunctionNotSupported: session.FunctionNotSupported,
	scsi.FunctionRejected:     session.FunctionRejected,
}

// functions are the ones that the unit carries out.
var functions = map[session.TaskFunction]scsi.TaskFunction{
	session.AbortTaskSet:     scsi.AbortTaskSet,
	session.ClearTaskSet:     scsi.ClearTaskSet,
	session.LogicalUnitReset: scsi.LogicalUnitReset,
	session.TargetWarmReset:  scsi.TargetWarmReset,
	session.TargetColdReset:  scsi.TargetColdReset,
}

// taskRequest takes a task management function.
func (c *conn) taskRequest(h *pdu.Header) error {
	var p pdu.TaskRequest
	p.Unmarshal(h)
	if c.target == nil || h.DataLength() != 0 {
		return c.refuse(pdu.RejectProtocolError)
	}
	if deliver, err := c.arrive(p.CmdSN, p.Immediate, nil); !deliver {
		return err
	}
	c.mu.Lock()
	if c.managing >= maxManaging {
		c.mu.Unlock()
		return c.decline(pdu.RejectTooManyImmediate)
	}
	c.managing++
	c.mu.Unlock()
	switch fn := session.TaskFunction(p.Function); fn {
	case session.AbortTask:
		c.abortTask(&p)
	case session.TaskReassign:
		c.managed(p.ITT, session.ReassignNotSupported)
	default:
		c.manage(fn, &p)
	}
	return nil
}

// managed answers a function.
func (c *conn) managed(itt uint32, r session.TaskResponse) {
	i := item{usesStatSN: true}
	(&pdu.TaskResponse{ITT: itt, Response: uint8(r)}).Marshal(&i.header)
	c.mu.Lock()
	c.managing--
	c.enqueue(i)
	c.mu.Unlock()
}

// abortTask is ABORT TASK. A task whose response is queued already does not
// exist: the answer goes after that response.
func (c *conn) abortTask(p *pdu.TaskRequest) {
	itt := p.ITT
	c.mu.Lock()
	cmd := c.tasks[p.RefTag]
	if cmd == nil || cmd.State() == session.Answering || cmd.LUN != p.LUN {
		c.mu.Unlock()
		c.managed(itt, session.TaskDoesNotExist)
		return
	}
	if cmd.State() == session.Gathering {
		c.remove(cmd)
		c.release(cmd)
		c.mu.Unlock()
		c.managed(itt, session.FunctionComplete)
		return
	}
	cmd.pins++
	c.mu.Unlock()
	c.target.Abort(&cmd.task, c.inTime(func(r scsi.TMFResult) { c.managed(itt, results[r]) }))
	c.unpin(cmd)
}

// manage is every other function. Tasks that still gather their data are not
// known to the unit, so they are dropped here, on every connection concerned.
func (c *conn) manage(fn session.TaskFunction, p *pdu.TaskRequest) {
	itt := p.ITT
	unitFunction, known := functions[fn]
	if !known {
		c.managed(itt, session.FunctionNotSupported)
		return
	}
	whole := fn == session.TargetWarmReset || fn == session.TargetColdReset
	for _, o := range c.srv.conns.All() {
		if o == c || fn != session.AbortTaskSet && o.shares(c.target) {
			o.dropGathering(func(lun uint64) bool { return whole || lun == p.LUN })
		}
	}
	c.target.Manage(c.nexus, unitFunction, p.LUN, c.inTime(func(r scsi.TMFResult) {
		c.managed(itt, results[r])
		if fn == session.TargetColdReset && r == scsi.FunctionComplete {
			c.coldReset()
		}
	}))
}

// inTime has a function that a unit does not finish answered as rejected: a host
// that gets no answer at all goes on to ever harder resets.
func (c *conn) inTime(answer func(scsi.TMFResult)) func(scsi.TMFResult) {
	var once sync.Once
	late := time.AfterFunc(c.srv.FenceTimeout, func() { once.Do(func() { answer(scsi.FunctionRejected) }) })
	return func(r scsi.TMFResult) {
		late.Stop()
		once.Do(func() { answer(r) })
	}
}

// shares tells whether the connection's session is with the target.
func (c *conn) shares(t *scsi.Target) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.full && c.target == t
}

// dropGathering drops the tasks of some logical units that wait for data.
func (c *conn) dropGathering(match func(lun uint64) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	reopened := false
	for _, cmd := range c.tasks {
		if cmd.State() == session.Gathering && match(cmd.LUN) {
			reopened = c.remove(cmd) || reopened
			c.release(cmd)
		}
	}
	if reopened {
		c.tellWindow()
	}
}

// clearGathering keeps the tasks of some logical units that wait for data from these
// units, because their end was asked for through another node or target: each is
// answered BUSY when its data is there. It returns how many there are.
func (c *conn) clearGathering(match func(lun uint64) bool) (cleared int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, cmd := range c.tasks {
		if cmd.State() == session.Gathering && match(cmd.LUN) {
			cmd.cleared = true
			cleared++
		}
	}
	return cleared
}

// coldReset ends every session of the target: the others at once, this one
// after its answer (RFC 7143 11.5.1).
func (c *conn) coldReset() {
	c.mu.Lock()
	i := item{last: true, usesStatSN: true}
	(&pdu.Async{Event: pdu.AsyncDropSession}).Marshal(&i.header)
	c.enqueue(i)
	c.mu.Unlock()
	for _, o := range c.srv.conns.All() {
		if o != c && o.shares(c.target) {
			o.Reset()
		}
	}
}

// logoutRequest takes a logout. It is answered when the commands before it
// have been; meanwhile only their data is taken.
func (c *conn) logoutRequest(h *pdu.Header) error {
	var p pdu.LogoutRequest
	p.Unmarshal(h)
	if h.DataLength() != 0 || p.Reason > 2 {
		return c.refuse(pdu.RejectProtocolError)
	}
	if deliver, err := c.arrive(p.CmdSN, p.Immediate, nil); !deliver {
		return err
	}
	resp := pdu.LogoutResponse{ITT: p.ITT, Time2Wait: uint16(c.params.Time2Wait)}
	switch {
	case p.Reason == 2:
		resp.Response = 2 // recovery is not supported at ErrorRecoveryLevel 0
	case p.Reason == 1 && p.CID != c.id.CID:
		resp.Response = 1
	}
	if resp.Response != 0 {
		c.send(&resp, true)
		return nil
	}
	c.mu.Lock()
	c.logout = &resp
	c.drainedForLogout()
	c.mu.Unlock()
	return nil
}

// drainedForLogout ends the nexus when no command is left, and answers the logout
// when nothing of the nexus is: a RESERVE(6) of it no longer stands in another
// host's way. mu is held.
func (c *conn) drainedForLogout() {
	if c.logout == nil || len(c.tasks) > 0 || c.leaving {
		return
	}
	c.leaving = true
	if c.nexus == nil {
		c.finishLogout()
		return
	}
	go c.nexus.Drain(func(r scsi.TMFResult) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if r != scsi.FunctionComplete {
			c.logout.Response = 3 // cleanup failed for various reasons
		}
		c.finishLogout()
	})
}

// finishLogout queues the logout's response, once, as the last; mu is held. The
// response of a command that was just removed is in the batch before it.
func (c *conn) finishLogout() {
	if c.logout.ITT == pdu.NoTag {
		return
	}
	i := item{usesStatSN: true, last: true}
	c.logout.Marshal(&i.header)
	c.logout.ITT = pdu.NoTag
	c.enqueue(i)
}
