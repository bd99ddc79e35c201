package pdu

import (
	"encoding/binary"
	"fmt"
)

// HeaderSize is the size of a basic header segment, bytes.
const HeaderSize = 48

// NoTag is the reserved task tag (RFC 7143 11.2.1.8).
const NoTag = 0xffffffff

// MaxSegment is the largest data segment that DataSegmentLength can state, bytes.
const MaxSegment = 1<<24 - 1

// Header is a basic header segment.
//
//	 0  .I opcode | flags | opcode-specific
//	 4  TotalAHSLength | DataSegmentLength (3)
//	 8  LUN or opcode-specific (8)
//	16  Initiator Task Tag
//	20  opcode-specific (28)
type Header [HeaderSize]byte

// Opcode is a PDU's kind (RFC 7143 11.2.1.2).
type Opcode uint8

const (
	OpNopOut         Opcode = 0x00
	OpSCSICommand    Opcode = 0x01
	OpTaskRequest    Opcode = 0x02
	OpLoginRequest   Opcode = 0x03
	OpTextRequest    Opcode = 0x04
	OpDataOut        Opcode = 0x05
	OpLogoutRequest  Opcode = 0x06
	OpSNACK          Opcode = 0x10
	OpNopIn          Opcode = 0x20
	OpSCSIResponse   Opcode = 0x21
	OpTaskResponse   Opcode = 0x22
	OpLoginResponse  Opcode = 0x23
	OpTextResponse   Opcode = 0x24
	OpDataIn         Opcode = 0x25
	OpLogoutResponse Opcode = 0x26
	OpR2T            Opcode = 0x31
	OpAsync          Opcode = 0x32
	OpReject         Opcode = 0x3f
)

// Opcode tells the kind of the PDU.
func (h *Header) Opcode() Opcode { return Opcode(h[0] & 0x3f) }

// Immediate tells whether the I bit is set: deliver at once, outside of the command window.
func (h *Header) Immediate() bool { return h[0]&0x40 != 0 }

// AHSLength is the length of the additional header segments, 0 to 1020 bytes.
func (h *Header) AHSLength() int { return int(h[4]) * 4 }

// DataLength is the data segment's length without padding, bytes.
func (h *Header) DataLength() int { return int(h.data()) }

// SetDataLength states the data segment's length without padding, at most MaxSegment bytes.
func (h *Header) SetDataLength(n int) { h.setData(uint32(n)) }

// TaskTag is the Initiator Task Tag.
func (h *Header) TaskTag() uint32 { return h.u32(16) }

// ExpStatSN is the next status that the initiator expects: it has all before. It
// is at the same place in all of an initiator's PDUs.
func (h *Header) ExpStatSN() uint32 { return h.u32(28) }

// SetSequence states a target PDU's StatSN, ExpCmdSN and MaxCmdSN, which are
// at the same place in all of them.
func (h *Header) SetSequence(statSN, expCmdSN, maxCmdSN uint32) {
	h.put32(24, statSN)
	h.put32(28, expCmdSN)
	h.put32(32, maxCmdSN)
}

// Padding is the number of zeros that fill a segment of n bytes up to a word.
func Padding(n int) int { return -n & 3 }

func (h *Header) start(op Opcode, immediate bool, flags byte) {
	*h = Header{}
	h[0] = byte(op)
	if immediate {
		h[0] |= 0x40
	}
	h[1] = flags
}

func (h *Header) data() uint32 {
	return uint32(h[5])<<16 | uint32(h[6])<<8 | uint32(h[7])
}

func (h *Header) setData(n uint32) {
	h[5], h[6], h[7] = byte(n>>16), byte(n>>8), byte(n)
}

func (h *Header) u16(at int) uint16        { return binary.BigEndian.Uint16(h[at:]) }
func (h *Header) u32(at int) uint32        { return binary.BigEndian.Uint32(h[at:]) }
func (h *Header) u64(at int) uint64        { return binary.BigEndian.Uint64(h[at:]) }
func (h *Header) put16(at int, v uint16)   { binary.BigEndian.PutUint16(h[at:], v) }
func (h *Header) put32(at int, v uint32)   { binary.BigEndian.PutUint32(h[at:], v) }
func (h *Header) put64(at int, v uint64)   { binary.BigEndian.PutUint64(h[at:], v) }
func (h *Header) flag(at int, b byte) bool { return h[at]&b != 0 }

func bit(set bool, b byte) byte {
	if set {
		return b
	}
	return 0
}

// Message is any PDU's basic header.
type Message interface {
	fmt.Stringer
	Marshal(h *Header)
	Unmarshal(h *Header)
}

// New returns an empty message of the kind, nil if there is no such opcode.
func New(op Opcode) Message {
	switch op {
	case OpNopOut:
		return new(NopOut)
	case OpSCSICommand:
		return new(SCSICommand)
	case OpTaskRequest:
		return new(TaskRequest)
	case OpLoginRequest:
		return new(LoginRequest)
	case OpTextRequest:
		return new(TextRequest)
	case OpDataOut:
		return new(DataOut)
	case OpLogoutRequest:
		return new(LogoutRequest)
	case OpSNACK:
		return new(SNACK)
	}
	return newFromTarget(op)
}

func newFromTarget(op Opcode) Message {
	switch op {
	case OpNopIn:
		return new(NopIn)
	case OpSCSIResponse:
		return new(SCSIResponse)
	case OpTaskResponse:
		return new(TaskResponse)
	case OpLoginResponse:
		return new(LoginResponse)
	case OpTextResponse:
		return new(TextResponse)
	case OpDataIn:
		return new(DataIn)
	case OpLogoutResponse:
		return new(LogoutResponse)
	case OpR2T:
		return new(R2T)
	case OpAsync:
		return new(Async)
	case OpReject:
		return new(Reject)
	}
	return nil
}
