package scsi

import (
	"encoding/binary"

	"ashlar/target"
)

// SCSI status codes (SAM-5 5.3.1).
const (
	StatusGood                = 0x00
	StatusCheckCondition      = 0x02
	StatusConditionMet        = 0x04
	StatusBusy                = 0x08
	StatusReservationConflict = 0x18
	StatusTaskSetFull         = 0x28
)

// Sense keys (SPC-4 4.5.6).
const (
	keyNoSense        = 0x0
	keyNotReady       = 0x2
	keyMediumError    = 0x3
	keyIllegalRequest = 0x5
	keyUnitAttention  = 0x6
	keyDataProtect    = 0x7
	keyCopyAborted    = 0xA
	keyMiscompare     = 0xE
)

// sense is one report of why a command ended: a sense key, an additional sense
// code with its qualifier (ASC in the high byte), and what goes with them.
type sense struct {
	key  byte
	code uint16

	information uint64 // VALID and INFORMATION, when informed
	informed    bool

	pointer uint16 // FIELD POINTER (SPC-4 4.5.2.4.2): the first byte in error, when pointed
	pointed bool
	inCDB   bool // the pointer counts bytes of the CDB, not of the parameter list

	specific  uint32 // COMMAND-SPECIFIC INFORMATION, when specified
	specified bool
}

// senseRoom is as much as any sense data takes, bytes.
const senseRoom = 40

var (
	noSense                 = sense{key: keyNoSense}
	writeError              = sense{key: keyMediumError, code: 0x0C00}
	unrecoveredReadError    = sense{key: keyMediumError, code: 0x1100}
	parameterListLength     = sense{key: keyIllegalRequest, code: 0x1A00}
	invalidOpcode           = sense{key: keyIllegalRequest, code: 0x2000}
	lbaOutOfRange           = sense{key: keyIllegalRequest, code: 0x2100}
	pathUnavailable         = sense{key: keyNotReady, code: 0x040C}
	noLogicalUnit           = sense{key: keyIllegalRequest, code: 0x2500}
	invalidField            = sense{key: keyIllegalRequest, code: 0x2400}
	invalidParameter        = sense{key: keyIllegalRequest, code: 0x2600}
	invalidRelease          = sense{key: keyIllegalRequest, code: 0x2604}
	noRegistrationResources = sense{key: keyIllegalRequest, code: 0x5504}
	noSavedPages            = sense{key: keyIllegalRequest, code: 0x3900}
	invalidUnitField        = sense{key: keyIllegalRequest, code: 0x0E03}
	thirdPartyFailure       = sense{key: keyCopyAborted, code: 0x0D01}
	unreachableTarget       = sense{key: keyCopyAborted, code: 0x0D02}
	noSuchTarget            = sense{key: keyCopyAborted, code: 0x0804}
	wrongTargetType         = sense{key: keyCopyAborted, code: 0x0D03}
	copyOutOfRange          = sense{key: keyCopyAborted, code: 0x0000}
	inexactSegment          = sense{key: keyCopyAborted, code: 0x260A}
	operationInProgress     = sense{key: keyIllegalRequest, code: 0x0016}
	tooManyTargets          = sense{key: keyIllegalRequest, code: 0x2606}
	unsupportedTarget       = sense{key: keyIllegalRequest, code: 0x2607}
	tooManySegments         = sense{key: keyIllegalRequest, code: 0x2608}
	unsupportedSegment      = sense{key: keyIllegalRequest, code: 0x2609}
	writeProtected          = sense{key: keyDataProtect, code: 0x2700}
	spaceAllocation         = sense{key: keyDataProtect, code: 0x2707}
	miscompare              = sense{key: keyMiscompare, code: 0x1D00}
)

// badField is INVALID FIELD IN CDB that points at a byte of the CDB.
func badField(at int) sense {
	s := invalidField
	s.pointer, s.pointed, s.inCDB = uint16(at), true, true
	return s
}

// badParameter is INVALID FIELD IN PARAMETER LIST that points at a byte of it.
func badParameter(at int) sense {
	s := invalidParameter
	s.pointer, s.pointed = uint16(at), true
	return s
}

// miscompareAt is a miscompare with the byte offset of the first difference in
// the data-out buffer (SBC-3 5.2).
func miscompareAt(offset uint64) sense {
	s := miscompare
	s.information, s.informed = offset, true
	return s
}

// put encodes s as current sense data into b, which holds senseRoom bytes, and
// returns the part in use.
func (s sense) put(b []byte, descriptors bool) []byte {
	clear(b)
	if descriptors {
		return s.putDescriptors(b)
	}
	return s.putFixed(b)
}

// putFixed makes fixed format sense data, 18 bytes (SPC-4 4.5.3). INFORMATION
// has 32 bits there: what does not fit is left out, and VALID is zero.
func (s sense) putFixed(b []byte) []byte {
	b[0] = 0x70
	b[2] = s.key
	b[7] = 10
	binary.BigEndian.PutUint16(b[12:], s.code)
	if s.informed && s.information <= 0xFFFFFFFF {
		b[0] |= 0x80
		binary.BigEndian.PutUint32(b[3:], uint32(s.information))
	}
	if s.specified {
		binary.BigEndian.PutUint32(b[8:], s.specific)
	}
	if s.pointed {
		s.putPointer(b[15:])
	}
	return b[:18]
}

// putDescriptors makes descriptor format sense data (SPC-4 4.5.2).
func (s sense) putDescriptors(b []byte) []byte {
	b[0] = 0x72
	b[1] = s.key
	binary.BigEndian.PutUint16(b[2:], s.code)
	n := 8
	if s.informed {
		b[n], b[n+1], b[n+2] = 0x00, 0x0A, 0x80
		binary.BigEndian.PutUint64(b[n+4:], s.information)
		n += 12
	}
	if s.specified {
		b[n], b[n+1] = 0x01, 0x0A
		binary.BigEndian.PutUint64(b[n+4:], uint64(s.specific))
		n += 12
	}
	if s.pointed {
		b[n], b[n+1] = 0x02, 0x06
		s.putPointer(b[n+4:])
		n += 8
	}
	b[7] = byte(n - 8)
	return b[:n]
}

// putPointer makes the three bytes of SENSE KEY SPECIFIC with SKSV.
func (s sense) putPointer(b []byte) {
	b[0] = 0x80
	if s.inCDB {
		b[0] |= 0x40
	}
	binary.BigEndian.PutUint16(b[1:], s.pointer)
}

// outcome is how a Device's status is told to a host.
type outcome struct {
	status byte
	sense  sense
}

// outcomes is indexed by target.Status. Aborted is told here only to a task
// that nobody asked to abort (a fence for a sibling, or for a host of another
// node): nothing of it was done, so the host may send it again.
var outcomes = [...]outcome{
	target.OK:          {status: StatusGood},
	target.Busy:        {status: StatusBusy},
	target.Full:        {status: StatusTaskSetFull},
	target.Aborted:     {status: StatusBusy},
	target.OutOfRange:  {StatusCheckCondition, lbaOutOfRange},
	target.Miscompare:  {StatusCheckCondition, miscompare},
	target.NoSpace:     {StatusCheckCondition, spaceAllocation},
	target.MediumError: {StatusCheckCondition, unrecoveredReadError},
	target.Protected:   {StatusCheckCondition, writeProtected},
	target.Gone:        {StatusCheckCondition, noLogicalUnit},
	target.Conflict:    {status: StatusReservationConflict},
	target.CacheLost:   {StatusCheckCondition, writeError},
}
