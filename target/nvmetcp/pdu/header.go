package pdu

import (
	"encoding/binary"
	"fmt"
)

// Type is a PDU's type.
type Type uint8

const (
	TypeICReq       Type = 0x00
	TypeICResp      Type = 0x01
	TypeH2CTermReq  Type = 0x02
	TypeC2HTermReq  Type = 0x03
	TypeCapsuleCmd  Type = 0x04
	TypeCapsuleResp Type = 0x05
	TypeH2CData     Type = 0x06
	TypeC2HData     Type = 0x07
	TypeR2T         Type = 0x09
)

func (t Type) String() string {
	names := [...]string{"ICReq", "ICResp", "H2CTermReq", "C2HTermReq", "CapsuleCmd", "CapsuleResp", "H2CData", "C2HData", "08h", "R2T"}
	if int(t) < len(names) {
		return names[t]
	}
	return fmt.Sprintf("%02xh", uint8(t))
}

const (
	CommonSize = 8   // bytes of what all headers begin with
	MaxHeader  = 128 // bytes of the longest
	// MaxTermReq bounds a termination request with its data, bytes.
	MaxTermReq = 152
)

// lengths are the HLEN of each type.
var lengths = map[Type]uint8{
	TypeICReq: 128, TypeICResp: 128, TypeH2CTermReq: 24, TypeC2HTermReq: 24, TypeCapsuleCmd: 72,
	TypeCapsuleResp: 24, TypeH2CData: 24, TypeC2HData: 24, TypeR2T: 24,
}

// HeaderLength is the HLEN of a type, 0 if there is no such type.
func (t Type) HeaderLength() int { return int(lengths[t]) }

// Flags of the common header.
const (
	flagHeaderDigest = 1 << 0 // HDGSTF
	flagDataDigest   = 1 << 1 // DDGSTF
	flagLast         = 1 << 2 // LAST_PDU
	flagSuccess      = 1 << 3 // SUCCESS
)

// Common is what every header begins with.
type Common struct {
	Type         Type
	Flags        uint8
	HeaderLength uint8  // HLEN
	DataOffset   uint8  // PDO
	Length       uint32 // PLEN
}

func (c *Common) Unmarshal(b []byte) {
	*c = Common{Type(b[0]), b[1], b[2], b[3], binary.LittleEndian.Uint32(b[4:])}
}

// HasHeaderDigest and HasDataDigest tell what comes with the PDU.
func (c *Common) HasHeaderDigest() bool { return c.Flags&flagHeaderDigest != 0 }
func (c *Common) HasDataDigest() bool   { return c.Flags&flagDataDigest != 0 }

// Frame is how a PDU with data is laid out.
type Frame struct {
	HeaderDigest bool
	DataDigest   bool // where there is data
	Alignment    int  // of the data, bytes, a multiple of 4; 0 for none
}

// put writes a common header for a PDU with so many bytes of data, and returns
// the header without its digest.
func (f *Frame) put(b []byte, t Type, flags uint8, data uint32) []byte {
	h := b[:t.HeaderLength()]
	clear(h)
	h[0], h[1], h[2] = byte(t), flags, byte(len(h))
	offset := len(h)
	if f.HeaderDigest {
		h[1] |= flagHeaderDigest
		offset += DigestSize
	}
	length := uint32(offset)
	if data > 0 {
		if f.Alignment > 1 {
			offset = (offset + f.Alignment - 1) / f.Alignment * f.Alignment
		}
		h[3] = byte(offset)
		length = uint32(offset) + data
		if f.DataDigest {
			h[1] |= flagDataDigest
			length += DigestSize
		}
	}
	binary.LittleEndian.PutUint32(h[4:], length)
	return h
}
