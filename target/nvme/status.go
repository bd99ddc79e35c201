package nvme

import (
	"fmt"

	"ashlar/target"
)

// Status is how a command ended: SC in bits 7:0, SCT in 10:8, CRD in 12:11, DNR
// in 14, as in bits 15:1 of a completion queue entry's status field.
type Status uint16

// DoNotRetry says that the same command will fail again.
const DoNotRetry Status = 0x4000

// retryLater says to wait for CRDT1 first.
const retryLater Status = 1 << 11

// Code is the status without what tells a host how to go on.
func (s Status) Code() Status { return s & 0x7FF }

const (
	Success                Status = 0x000
	InvalidOpcode          Status = 0x001
	InvalidField           Status = 0x002
	CommandIDConflict      Status = 0x003
	InternalError          Status = 0x006
	AbortRequested         Status = 0x007
	FailedFused            Status = 0x009
	MissingFused           Status = 0x00A
	InvalidNamespace       Status = 0x00B
	SequenceError          Status = 0x00C
	InvalidSGLDescriptor   Status = 0x00D
	SGLLengthInvalid       Status = 0x00F
	SGLTypeInvalid         Status = 0x011
	SGLOffsetInvalid       Status = 0x016
	HostIDInconsistent     Status = 0x018
	KeepAliveExpired       Status = 0x019
	KeepAliveInvalid       Status = 0x01A
	WriteProtected         Status = 0x020
	Interrupted            Status = 0x021
	TransientTransport     Status = 0x022
	LBAOutOfRange          Status = 0x080
	CapacityExceeded       Status = 0x081
	ReservationConflict    Status = 0x083
	AbortLimit             Status = 0x103
	AsyncEventLimit        Status = 0x105
	InvalidLogPage         Status = 0x109
	FeatureNotSaveable     Status = 0x10D
	FeatureNotChangeable   Status = 0x10E
	InvalidControllerID    Status = 0x11F
	ResetLimit             Status = 0x141
	IncompatibleFormat     Status = 0x180
	ControllerBusy         Status = 0x181
	ConnectInvalid         Status = 0x182
	InvalidHost            Status = 0x184
	InvalidQueueType       Status = 0x185
	CommandSizeLimit       Status = 0x183 // Copy: of the I/O command set
	AuthenticationRequired Status = 0x191
	WriteFault             Status = 0x280
	UnrecoveredRead        Status = 0x281
	CompareFailure         Status = 0x285
	InternalPathError      Status = 0x300
	AsymmetricInaccessible Status = 0x302
)

func (s Status) String() string {
	dnr := ""
	if s&DoNotRetry != 0 {
		dnr = " DNR"
	}
	return fmt.Sprintf("%03xh%s", uint16(s.Code()), dnr)
}

// outcomes are a Device's answers in NVMe's terms. What may pass has no DNR: a host
// then tries again, here or through another path. What may last (Busy and Full) is a
// path error, since a multipath host gives up the other kinds after a few tries (Linux:
// five), and keeps a command with a path error as long as any path is alive.
var outcomes = [...]Status{
	target.OK:          Success,
	target.Busy:        InternalPathError | retryLater,
	target.Full:        InternalPathError | retryLater,
	target.Aborted:     Interrupted,
	target.OutOfRange:  LBAOutOfRange | DoNotRetry,
	target.Miscompare:  CompareFailure | DoNotRetry,
	target.NoSpace:     CapacityExceeded | DoNotRetry,
	target.MediumError: UnrecoveredRead | DoNotRetry,
	target.Protected:   WriteProtected | DoNotRetry,
	target.Gone:        InvalidNamespace | DoNotRetry,
	target.Conflict:    ReservationConflict | DoNotRetry,
	target.CacheLost:   WriteFault | DoNotRetry,
}
