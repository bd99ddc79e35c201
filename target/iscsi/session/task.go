package session

import "fmt"

// State is where a task is.
type State uint8

const (
	Free      State = iota // no task
	Gathering              // waits for its data
	Executing              // handed to the logical unit
	Answering              // its response is queued: it can no longer be aborted
)

func (s State) String() string {
	return [...]string{"free", "gathering", "executing", "answering"}[s]
}

// edges are the legal changes of state.
var edges = [...][4]bool{
	Free:      {Gathering: true},
	Gathering: {Free: true, Executing: true, Answering: true},
	Executing: {Free: true, Answering: true},
	Answering: {Free: true},
}

// Task is the session's view of a SCSI command.
type Task struct {
	ITT       uint32
	LUN       uint64
	CmdSN     uint32
	Immediate bool // outside of the command window
	Gather    Gather
	state     State
}

// State tells where the task is.
func (t *Task) State() State { return t.state }

// To changes the state.
func (t *Task) To(next State) {
	if !edges[t.state][next] {
		panic(fmt.Sprintf("iscsi: task %#x goes from %v to %v", t.ITT, t.state, next))
	}
	t.state = next
}

// TaskFunction is a task management function (RFC 7143 11.5.1).
type TaskFunction uint8

const (
	AbortTask        TaskFunction = 1
	AbortTaskSet     TaskFunction = 2
	ClearACA         TaskFunction = 3
	ClearTaskSet     TaskFunction = 4
	LogicalUnitReset TaskFunction = 5
	TargetWarmReset  TaskFunction = 6
	TargetColdReset  TaskFunction = 7
	TaskReassign     TaskFunction = 8
)

// TaskResponse is a task management function's response (RFC 7143 11.6.1).
type TaskResponse uint8

const (
	FunctionComplete     TaskResponse = 0
	TaskDoesNotExist     TaskResponse = 1
	LUNDoesNotExist      TaskResponse = 2
	ReassignNotSupported TaskResponse = 4
	FunctionNotSupported TaskResponse = 5
	FunctionRejected     TaskResponse = 255
)
