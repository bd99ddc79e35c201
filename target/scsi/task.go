package scsi

import "ashlar/target"

// Direction is where a command's data goes.
type Direction uint8

const (
	NoData  Direction = iota
	DataIn            // to the host
	DataOut           // from the host
)

// Task is one SCSI command on one I_T nexus. A carrier fills the first part,
// gets all data-out that Demand asked for, then calls Target.Execute; Done is
// called exactly once.
type Task struct {
	Nexus *Nexus       // the session's, from Target.Login
	LUN   uint64       // 8-byte LUN as on the wire (SAM-5 4.7.7)
	CDB   []byte       // 6 to 260 bytes, valid until Done
	Data  []byte       // data-out: all of it. data-in: len 0, the unit appends or replaces
	Limit uint32       // data-in: the carrier's expected transfer length; no more than that is sent, but Transfer tells the whole
	Stamp target.Stamp // of the last byte of the command or of its data
	Done  func(*Task)

	Status   byte   // SAM-5 status code
	Sense    []byte // fixed or descriptor format sense data with CHECK CONDITION
	Transfer uint64 // bytes that the command moves by its CDB: residuals are computed against it

	Op target.Op // for the unit's use, so that a task is one allocation
}
