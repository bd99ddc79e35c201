package scsi

import (
	"math/bits"

	"ashlar/target"
	"ashlar/target/reserve"
)

// chain is where a command of several operations has got to.
type chain struct {
	lba     uint64 // the next piece
	left    uint64 // blocks from there on
	kind    target.Kind
	pattern []byte   // WRITE SAME, VERIFY with BYTCHK 3: the block repeated to fill one piece
	extents []extent // UNMAP: the block descriptors not yet begun
	tries   int      // ORWRITE: left for the current step
}

// extent is a run of logical blocks.
type extent struct{ lba, blocks uint64 }

// Execute runs a task whose data-out has been collected. It never blocks;
// task.Done is called once, perhaps before Execute returns.
//
//  1. the nexus takes the task, or has been logged out
//  2. no such logical unit
//  3. a pending unit attention
//  4. unknown command
//  5. a reservation, where no operation of the command meets it later
//  6. CDB fields that can not be, write protection
//  7. the handler
func (t *Target) Execute(task *Task) {
	task.Status, task.Sense, task.Transfer, task.Aborted = StatusGood, nil, 0, false
	task.unit = t.unit(task.LUN)
	task.command = lookup(task.CDB)
	if !task.Nexus.enter(task) {
		task.Aborted = true
		task.Done(task)
		return
	}
	c, u := task.command, task.unit
	if u == nil && !answersWithoutUnit(c, task.LUN) {
		task.check(noLogicalUnit)
		return
	}
	if task.Nexus.withdrawn.Load() && (c == nil || !c.anywhere && !c.offPath) {
		task.check(pathUnavailable)
		return
	}
	if u != nil && (c == nil || !c.anywhere) {
		if a, ok := task.Nexus.takeAttention(u); ok {
			task.check(a.sense())
			return
		}
	}
	if c == nil {
		task.check(unknown(task.CDB))
		return
	}
	if u != nil {
		if c.reserved != reserve.Always && !u.device.Reservations().Allows(task.Nexus.id.Ports(), c.reserved) {
			task.end(StatusReservationConflict)
			return
		}
		task.info = u.device.Info()
	}
	if s := c.validate(task); s != noSense {
		task.check(s)
		return
	}
	if c.counted {
		task.began, task.counted = u.statistics.begin(), true
	}
	if c.checks {
		task.Nexus.checked.Store(clock())
	}
	c.run(task)
}

// unknown is why there is no such command: no such code, or one whose service
// actions do not include this.
func unknown(cdb []byte) sense {
	if len(cdb) > 1 && actions[cdb[0]] != nil {
		return badField(1)
	}
	return invalidOpcode
}

// answersWithoutUnit says whether a command needs no logical unit: some answer
// for absent ones too, and the well known unit of REPORT LUNS is always ready.
func answersWithoutUnit(c *command, lun uint64) bool {
	return c != nil && (c.anywhere || lun == reportLUNsUnit && c.code() == 0x00)
}

// validate checks what the table knows of a command's fields, and reads its
// range.
func (c *command) validate(t *Task) sense {
	cdb := t.CDB
	if len(cdb) < len(c.usage) {
		return invalidField
	}
	if control := len(c.usage) - 1; cdb[control]&0x04 != 0 {
		return badField(control) // NACA, and NORMACA is zero
	}
	if cdb[1]&c.refuse != 0 {
		return badField(1)
	}
	if c.access == writes && (t.info.ReadOnly || t.modes.writeProtect) {
		return writeProtected
	}
	if c.span == nil {
		return noSense
	}
	t.lba, t.blocks = c.span(cdb)
	if c.limit != nil && t.blocks > c.limit(t.blockSize()) {
		return badField(c.lengthAt)
	}
	if t.lba > t.info.Blocks || t.blocks > t.info.Blocks-t.lba {
		return lbaOutOfRange
	}
	return noSense
}

// blockSize is the unit's logical block, bytes.
func (t *Task) blockSize() uint64 { return uint64(t.info.BlockSize) }

// finish ends a task. All ends come through here.
func (t *Task) finish() {
	waiters := t.Nexus.leave(t)
	if t.counted {
		t.unit.statistics.end(t)
	}
	if t.copy != nil {
		t.leaveCopy()
	}
	t.unit, t.command, t.then, t.chain, t.counted = nil, nil, nil, chain{}, false
	t.Done(t)
	for _, w := range waiters {
		w.release()
	}
}

// good ends a task that did what it was asked.
func (t *Task) good() {
	t.Status = StatusGood
	t.finish()
}

// nothing ends a task that reads or writes no block. No operation of it meets
// the reservations, so they are asked here.
func (t *Task) nothing() {
	access := reserve.Reads
	if t.command.access == writes {
		access = reserve.Writes
	}
	if !t.unit.device.Reservations().Allows(t.Nexus.id.Ports(), access) {
		t.end(StatusReservationConflict)
		return
	}
	t.good()
}

// check ends a task with CHECK CONDITION.
func (t *Task) check(s sense) {
	t.Status = StatusCheckCondition
	t.Sense = s.put(t.senseBytes[:], t.modes.descriptorSense)
	t.Transfer = 0
	if t.command == nil || t.command.direction != DataOut {
		t.Data = t.Data[:0]
	}
	t.finish()
}

// fail ends a task as its operation did.
func (t *Task) fail() {
	o := outcomes[t.Op.Status]
	switch {
	case t.Op.Status == target.Miscompare:
		t.check(miscompareAt(t.miscompareOffset()))
	case o.status == StatusCheckCondition:
		t.check(o.sense)
	default:
		t.end(o.status)
	}
}

// end ends a task with a status that says all.
func (t *Task) end(status byte) {
	t.Status = status
	t.Transfer = 0
	if t.command.direction != DataOut {
		t.Data = t.Data[:0]
	}
	t.finish()
}

// reply ends a task whose data-in is a parameter list that the allocation
// length cuts off (SPC-4 4.2.5.6).
func (t *Task) reply(list []byte, allocation uint64) {
	n := min(uint64(len(list)), allocation)
	t.Transfer = n
	t.Data = append(t.Data[:0], list[:min(n, uint64(t.Limit))]...)
	t.good()
}

// submit sends the task's next operation; then runs when it has ended OK. A
// task that is being aborted sends nothing more.
func (t *Task) submit(kind target.Kind, lba, blocks uint64, data []byte, then func(*Task)) {
	t.submitTo(t.unit.device, t.Nexus.id, t.Stamp, kind, lba, blocks, data, then)
}

// lend is submit of the command's own range with the transport's memory, which is the device's where the operation ends Kept.
func (t *Task) lend(kind target.Kind, blocks uint64, then func(*Task)) {
	t.Op.Lends = true
	t.submit(kind, t.lba, blocks, t.Data[:blocks*t.blockSize()], then)
}

// submitTo sends it to a device that may be another unit's, as a nexus that may
// be another of the host's.
func (t *Task) submitTo(d target.Device, as target.Nexus, stamp target.Stamp, kind target.Kind, lba, blocks uint64, data []byte, then func(*Task)) {
	if t.aborting.Load() {
		t.finish()
		return
	}
	if t.cut.Load() {
		t.end(StatusBusy)
		return
	}
	o := &t.Op
	o.Kind, o.LBA, o.Blocks, o.Data = kind, lba, uint32(blocks), data
	o.FUA = t.command.fua && t.CDB[1]&0x08 != 0
	o.Nexus, o.Stamp = as, stamp
	o.Status, o.Offset, o.Kept = target.OK, 0, false
	if o.Settle != nil {
		o.Settle(true) // the command has heard its operation's answer, and goes on
		o.Settle = nil
	}
	o.Owner, o.Done = t, opDone
	t.then = then
	d.Submit(o)
}

// opDone is every operation's completion.
func opDone(o *target.Op) {
	t := o.Owner.(*Task)
	o.Owner, o.Lends = nil, false
	if o.Status != target.OK {
		if !t.orAgain() && !t.copyFailed() {
			t.fail()
		}
		return
	}
	t.then(t)
}

// grow returns b with length n, in b's own memory when it has the room.
func grow(b []byte, n uint64) []byte {
	if uint64(cap(b)) >= n {
		return b[:n]
	}
	return make([]byte, n)
}

// ratio is n/d rounded up.
func ratio(n, d uint64) uint64 { return (n + d - 1) / d }

// log2 of a power of two.
func log2(n uint32) int { return bits.Len32(n) - 1 }
