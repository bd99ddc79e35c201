package pdu

import (
	"encoding/binary"
	"fmt"
)

// Data carries a command's data: H2CData what an R2T asked for, C2HData what the
// host asked for.
type Data struct {
	ToHost    bool // C2HData
	Last      bool
	Success   bool // C2HData: there will be no CapsuleResp, and the command has succeeded
	CommandID uint16
	Tag       uint16 // H2CData: of the R2T
	Offset    uint32 // in the command's data, bytes
	Length    uint32 // bytes
}

func (p *Data) Marshal(f *Frame, b []byte) []byte {
	t := TypeH2CData
	if p.ToHost {
		t = TypeC2HData
	}
	flags := uint8(0)
	if p.Last {
		flags |= flagLast
	}
	if p.Success {
		flags |= flagSuccess
	}
	h := f.put(b, t, flags, p.Length)
	binary.LittleEndian.PutUint16(h[8:], p.CommandID)
	binary.LittleEndian.PutUint16(h[10:], p.Tag)
	binary.LittleEndian.PutUint32(h[12:], p.Offset)
	binary.LittleEndian.PutUint32(h[16:], p.Length)
	return h
}

func (p *Data) Unmarshal(h []byte) {
	*p = Data{
		Type(h[0]) == TypeC2HData, h[1]&flagLast != 0, h[1]&flagSuccess != 0,
		binary.LittleEndian.Uint16(h[8:]), binary.LittleEndian.Uint16(h[10:]),
		binary.LittleEndian.Uint32(h[12:]), binary.LittleEndian.Uint32(h[16:]),
	}
}

func (p *Data) String() string {
	return fmt.Sprintf("Data to host %t CID %d tag %d %d+%d last %t success %t", p.ToHost, p.CommandID, p.Tag, p.Offset, p.Length, p.Last, p.Success)
}

// R2T asks for data.
type R2T struct {
	CommandID uint16
	Tag       uint16
	Offset    uint32 // bytes
	Length    uint32 // bytes
}

func (p *R2T) Marshal(f *Frame, b []byte) []byte {
	h := f.put(b, TypeR2T, 0, 0)
	binary.LittleEndian.PutUint16(h[8:], p.CommandID)
	binary.LittleEndian.PutUint16(h[10:], p.Tag)
	binary.LittleEndian.PutUint32(h[12:], p.Offset)
	binary.LittleEndian.PutUint32(h[16:], p.Length)
	return h
}

func (p *R2T) Unmarshal(h []byte) {
	*p = R2T{
		binary.LittleEndian.Uint16(h[8:]), binary.LittleEndian.Uint16(h[10:]),
		binary.LittleEndian.Uint32(h[12:]), binary.LittleEndian.Uint32(h[16:]),
	}
}

func (p *R2T) String() string {
	return fmt.Sprintf("R2T CID %d tag %d %d+%d", p.CommandID, p.Tag, p.Offset, p.Length)
}
