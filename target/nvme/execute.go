package nvme

import (
	"encoding/binary"

	"ashlar/target/reserve"
)

// command is what the controller knows of a command.
type command struct {
	name      string
	direction Direction
	size      func(c *Controller, cmd *Command) (uint32, Status) // of its data, bytes
	run       func(r *Request)
	effects   uint32 // as in log page 05h
	discovery bool   // a discovery controller has it too
	// space: it is for one namespace, which must be there. access is what it does
	// there, for those whose operations do not meet the reservations themselves.
	space  bool
	access reserve.Access
	ranged bool // SLBA and NLB are checked
}

// Effects (NVMe Base 5.16.1.6).
const (
	supported     = 1 << 0 // CSUPP
	changesBlocks = 1 << 1 // LBCC
)

func fixed(n uint32) func(*Controller, *Command) (uint32, Status) {
	return func(*Controller, *Command) (uint32, Status) { return n, Success }
}

// lookup is a command of a queue, nil if there is none.
func (c *Controller) lookup(queue uint16, cmd *Command) *command {
	var found *command
	switch {
	case cmd.Opcode() == Fabrics:
		return fabricsCommands[cmd.FabricsType()]
	case queue == 0:
		found = adminCommands[cmd.Opcode()]
	default:
		found = ioCommands[cmd.Opcode()]
	}
	if found == nil || c.subsystem == nil && !found.discovery {
		return nil
	}
	return found
}

// Demand is the data that a command needs, bytes. Unless the status is Success, the
// command fails with it.
func (c *Controller) Demand(queue uint16, cmd *Command) (Direction, uint32, Status) {
	found := c.lookup(queue, cmd)
	if found == nil || found.direction == NoData || found.size == nil {
		return NoData, 0, Success
	}
	n, status := found.size(c, cmd)
	switch {
	case status != Success:
		return NoData, 0, status
	case n > MaxTransfer:
		return NoData, 0, InvalidField | DoNotRetry
	case n == 0:
		return NoData, 0, Success
	}
	return found.direction, n, Success
}

// Execute runs a request whose data has been collected. It never blocks; Done is
// called once, perhaps before Execute returns, or, for an Asynchronous Event
// Request, when there is an event or the controller ends.
func (c *Controller) Execute(r *Request) {
	found, ok := c.begin(r)
	if ok {
		found.run(r)
	}
}

// Fail ends a request that is not to be carried out.
func (c *Controller) Fail(r *Request, s Status) {
	c.enter(r)
	r.finish(s)
}

// begin checks what can be checked of any command. Where it is false the request
// has ended.
//
//  1. the controller has ended
//  2. no such command
//  3. an I/O command before the controller is enabled, or while hosts are sent away
//  4. no such namespace
//  5. the range
//  6. a write to what is read-only
//  7. a reservation, where no operation of the command meets it later
func (c *Controller) begin(r *Request) (*command, bool) {
	if !c.enter(r) {
		r.finish(Interrupted)
		return nil, false
	}
	found := c.lookup(r.Queue, &r.Command)
	switch {
	case found == nil:
		r.fail(InvalidOpcode)
		return nil, false
	case r.Command.Opcode() == Fabrics:
		return found, true
	case r.Queue != 0 && !c.Ready():
		r.finish(SequenceError)
		return nil, false
	case r.Queue != 0 && c.leaving.Load():
		r.finish(AsymmetricInaccessible)
		return nil, false
	}
	if !found.space {
		return found, true
	}
	if r.space = c.subsystem.namespace(r.Command.NSID()); r.space == nil {
		r.fail(InvalidNamespace)
		return nil, false
	}
	if found.ranged && !inRange(r.space, r.Command.SLBA(), uint64(r.Command.Blocks())) {
		r.fail(LBAOutOfRange)
		return nil, false
	}
	if found.effects&changesBlocks != 0 && r.space.device.Info().ReadOnly {
		r.fail(WriteProtected)
		return nil, false
	}
	if found.access != reserve.Always && !r.space.device.Reservations().Allows(c.nexus.Load().Ports(), found.access) {
		r.fail(ReservationConflict)
		return nil, false
	}
	return found, true
}

func inRange(n *namespace, lba, blocks uint64) bool {
	all := n.device.Info().Blocks
	return lba <= all && blocks <= all-lba
}

// fabricsCommands are those of NVMe Base 6. A carrier answers Connect and
// Disconnect, and what proves the host, itself: they are the queue's.
var fabricsCommands = map[uint8]*command{
	PropertySet: {name: "Property Set", run: propertySet},
	PropertyGet: {name: "Property Get", run: propertyGet},
}

const eightBytes = 1 // ATTRIB: the size of a property

func propertyGet(r *Request) {
	value, size := r.controller.property(r.Command.DW(11))
	wide := r.Command[40]&7 == eightBytes
	if size == 0 || wide != (size == 8) || r.Command[40]&7 > eightBytes || r.Queue != 0 {
		r.fail(InvalidField)
		return
	}
	r.Result = value
	r.ok()
}

func propertySet(r *Request) {
	value := binary.LittleEndian.Uint64(r.Command[48:])
	if r.Command[40]&7 != 0 || r.Queue != 0 {
		r.fail(InvalidField)
		return
	}
	switch r.Command.DW(11) {
	case propertyCC:
		r.controller.configure(r, uint32(value))
	default:
		r.fail(InvalidField)
	}
}

// ConnectRequest is the data and the command of a Connect (NVMe Base 6.3).
type ConnectRequest struct {
	Format       uint16 // RECFMT, 0
	Queue        uint16
	Size         uint16 // of the queue, entries
	KeepAlive    uint32 // ms
	NoFlow       bool   // SQ flow control is disabled
	Host         Host
	ControllerID uint16 // of an I/O queue; FFFFh for a new controller
	SubsystemNQN string
}

// IPO and IATTR of a Connect that is refused.
const (
	inData = 1 << 16

	badQueueField = 42
	badSizeField  = 44

	badControllerID = inData | 16
	badSubsystem    = inData | 256
	badHost         = inData | 512
)

// ConnectSize is the length of a Connect's data, bytes.
const ConnectSize = connectSize

// ParseConnect reads a Connect; result tells what is wrong where the status is not
// Success.
func ParseConnect(cmd *Command, data []byte) (q ConnectRequest, s Status, result uint64) {
	q = ConnectRequest{
		Format: binary.LittleEndian.Uint16(cmd[40:]), Queue: binary.LittleEndian.Uint16(cmd[42:]),
		KeepAlive: cmd.DW(12), NoFlow: cmd[46]&4 != 0,
		ControllerID: binary.LittleEndian.Uint16(data[16:]),
	}
	size := binary.LittleEndian.Uint16(cmd[44:])
	copy(q.Host.ID[:], data)
	var subsystem, host bool
	q.SubsystemNQN, subsystem = name(data[256:512])
	q.Host.NQN, host = name(data[512:768])
	switch {
	case q.Format != 0:
		return q, IncompatibleFormat | DoNotRetry, 0
	case size == 0 || size >= maxQueueSize:
		return q, ConnectInvalid | DoNotRetry, badSizeField
	case !subsystem:
		return q, ConnectInvalid | DoNotRetry, badSubsystem
	case !host:
		return q, ConnectInvalid | DoNotRetry, badHost
	case q.Queue == 0 && q.ControllerID != anyController:
		return q, ConnectInvalid | DoNotRetry, badControllerID
	}
	q.Size = size + 1
	return q, Success, 0
}

// Bad fields that only a carrier finds, as the result of a Connect.
const (
	BadQueue      = badQueueField
	BadController = badControllerID
	BadSubsystem  = badSubsystem
	BadHost       = badHost
)

const maxName = 223 // bytes of an NQN

// name is an NQN that a NUL ends.
func name(b []byte) (string, bool) {
	for i, c := range b {
		if c == 0 {
			return string(b[:i]), i > 0 && i <= maxName
		}
	}
	return "", false
}

// AuthRequired is the result of a Connect whose host has to prove itself: ATR
// (NVMe Base 6.3).
const AuthRequired = 1 << 17

// AuthLength is the data of an Authentication Send or Receive, bytes. Its status is
// not Success where the command is not of that protocol.
func AuthLength(cmd *Command) (uint32, Status) {
	n := cmd.DW(11)
	if cmd[43] != securityFabrics || cmd[41] != 1 || cmd[42] != 1 || n > maxAuthMessage {
		return 0, InvalidField | DoNotRetry
	}
	return n, Success
}

const maxAuthMessage = 16 << 10
