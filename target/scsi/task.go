package scsi

import (
	"sync/atomic"

	"ashlar/target"
)

// Direction is where a command's data goes.
type Direction uint8

const (
	NoData  Direction = iota
	DataIn            // to the host
	DataOut           // from the host
)

// Task is one SCSI command on one I_T nexus. A carrier fills the first part,
// gets all data-out that Demand asked for, then calls Target.Execute; Done is
// called exactly once, from any goroutine, and must not block. After it the
// task is the carrier's again, who may Reset and reuse it, and so is the memory that Data had
// at first, but where Op is Kept.
type Task struct {
	Nexus *Nexus       // the session's, from Target.Login
	LUN   uint64       // 8-byte LUN as on the wire (SAM-5 4.7.7)
	CDB   []byte       // 6 to 260 bytes, valid until Done
	Data  []byte       // data-out: all of it. data-in: len 0, the unit uses its capacity or replaces it
	Limit uint32       // the carrier's expected data transfer length, bytes, either way: no more data-in than that is sent, but Transfer tells the whole
	Stamp target.Stamp // of the last byte of the command or of its data
	Done  func(*Task)

	Status   byte   // SAM-5 status code
	Sense    []byte // fixed or descriptor format sense data with CHECK CONDITION
	Transfer uint64 // bytes that the command moves by its CDB: residuals are computed against it
	Aborted  bool   // task management ended it: the carrier sends no response

	// Op is for the unit's use, so that a task is one allocation. Its Settle, where
	// it is set after Done, is for the carrier to call: when the host has acknowledged
	// the response, or when it never will.
	Op target.Op

	unit    *unit
	command *command
	info    target.Info // of the unit's device, when the command began
	lba     uint64      // the CDB's range
	blocks  uint64
	modes   modes // of the nexus, when the command began
	began   int64 // when the command began, if statistics count it
	counted bool

	chain      chain
	copy       *copyTask       // of EXTENDED COPY
	then       func(*Task)     // after Op ended OK
	senseBytes [senseRoom]byte // backs Sense

	aborting atomic.Bool              // set once, under Nexus.mu; a chain sends no further Op
	cut      atomic.Bool              // its unit was reset or cleared: it sends no further Op, and ends with BUSY
	places   atomic.Pointer[[]*place] // where a copy reads and writes; set before it does
	waiters  []*wait                  // management functions that wait for the end; under Nexus.mu
	entered  bool                     // in Nexus.first's list, by previous and next; under Nexus.mu
	previous *Task
	next     *Task
}

// Reset makes a finished task ready for another command. It keeps the
// capacity of Data.
func (t *Task) Reset() {
	data := t.Data[:0]
	extents := t.Op.Extents[:0]
	*t = Task{Data: data}
	t.Op.Extents = extents
}
