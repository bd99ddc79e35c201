package pdu

import (
	"encoding/binary"
	"fmt"
)

// CapsuleCmd carries a command, and perhaps its data.
type CapsuleCmd struct {
	Command [64]byte
	Data    uint32 // bytes in the capsule
}

// Marshal writes the header. b has room for MaxHeader bytes, here and below.
func (p *CapsuleCmd) Marshal(f *Frame, b []byte) []byte {
	h := f.put(b, TypeCapsuleCmd, 0, p.Data)
	copy(h[8:], p.Command[:])
	return h
}

// Unmarshal takes a header whose lengths were checked, here and below.
func (p *CapsuleCmd) Unmarshal(h []byte) {
	copy(p.Command[:], h[8:])
	p.Data = dataLength(h)
}

func (p *CapsuleCmd) String() string {
	return fmt.Sprintf("CapsuleCmd %02xh CID %d data %d", p.Command[0], binary.LittleEndian.Uint16(p.Command[2:]), p.Data)
}

// dataLength is how much data the lengths of a header leave room for, 0 where
// they fit no data.
func dataLength(h []byte) uint32 {
	var c Common
	c.Unmarshal(h)
	rest := uint32(c.DataOffset)
	if c.HasDataDigest() {
		rest += DigestSize
	}
	if c.DataOffset == 0 || c.Length < rest {
		return 0
	}
	return c.Length - rest
}

// CapsuleResp carries a completion queue entry (NVMe Base 3.3.3.2).
type CapsuleResp struct {
	Result    uint64 // DW0 and DW1
	SQHead    uint16
	CommandID uint16
	Status    uint16 // without the phase tag
}

func (p *CapsuleResp) Marshal(f *Frame, b []byte) []byte {
	h := f.put(b, TypeCapsuleResp, 0, 0)
	binary.LittleEndian.PutUint64(h[8:], p.Result)
	binary.LittleEndian.PutUint16(h[16:], p.SQHead)
	binary.LittleEndian.PutUint16(h[20:], p.CommandID)
	binary.LittleEndian.PutUint16(h[22:], p.Status<<1)
	return h
}

func (p *CapsuleResp) Unmarshal(h []byte) {
	*p = CapsuleResp{
		binary.LittleEndian.Uint64(h[8:]), binary.LittleEndian.Uint16(h[16:]),
		binary.LittleEndian.Uint16(h[20:]), binary.LittleEndian.Uint16(h[22:]) >> 1,
	}
}

func (p *CapsuleResp) String() string {
	return fmt.Sprintf("CapsuleResp CID %d status %03xh result %xh SQHD %d", p.CommandID, p.Status, p.Result, p.SQHead)
}
