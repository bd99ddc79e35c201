package pdu

import (
	"encoding/binary"
	"fmt"
)

// ICReq asks for a connection.
type ICReq struct {
	Version      uint16 // PFV
	Alignment    uint8  // HPDA: of data to the host, dwords, 0's based
	HeaderDigest bool
	DataDigest   bool
	MaxR2T       uint32 // requests outstanding for a command, 0's based
}

func (p *ICReq) Marshal(b []byte) []byte {
	h := new(Frame).put(b, TypeICReq, 0, 0)
	binary.LittleEndian.PutUint16(h[8:], p.Version)
	h[10] = p.Alignment
	h[11] = digests(p.HeaderDigest, p.DataDigest)
	binary.LittleEndian.PutUint32(h[12:], p.MaxR2T)
	return h
}

func (p *ICReq) Unmarshal(h []byte) {
	*p = ICReq{binary.LittleEndian.Uint16(h[8:]), h[10], h[11]&1 != 0, h[11]&2 != 0, binary.LittleEndian.Uint32(h[12:])}
}

func (p *ICReq) String() string {
	return fmt.Sprintf("ICReq PFV %d HPDA %d HDGST %t DDGST %t MAXR2T %d", p.Version, p.Alignment, p.HeaderDigest, p.DataDigest, p.MaxR2T)
}

// ICResp grants it.
type ICResp struct {
	Version      uint16
	Alignment    uint8 // CPDA: of data to the controller, dwords, 0's based
	HeaderDigest bool
	DataDigest   bool
	MaxData      uint32 // MAXH2CDATA, bytes
}

func (p *ICResp) Marshal(b []byte) []byte {
	h := new(Frame).put(b, TypeICResp, 0, 0)
	binary.LittleEndian.PutUint16(h[8:], p.Version)
	h[10] = p.Alignment
	h[11] = digests(p.HeaderDigest, p.DataDigest)
	binary.LittleEndian.PutUint32(h[12:], p.MaxData)
	return h
}

func (p *ICResp) Unmarshal(h []byte) {
	*p = ICResp{binary.LittleEndian.Uint16(h[8:]), h[10], h[11]&1 != 0, h[11]&2 != 0, binary.LittleEndian.Uint32(h[12:])}
}

func (p *ICResp) String() string {
	return fmt.Sprintf("ICResp PFV %d CPDA %d HDGST %t DDGST %t MAXH2CDATA %d", p.Version, p.Alignment, p.HeaderDigest, p.DataDigest, p.MaxData)
}

func digests(header, data bool) (b byte) {
	if header {
		b |= 1
	}
	if data {
		b |= 2
	}
	return b
}

// FatalError is why a connection is ended (FES).
type FatalError uint16

const (
	InvalidHeader        FatalError = 1
	SequenceError        FatalError = 2
	HeaderDigestError    FatalError = 3
	DataOutOfRange       FatalError = 4
	DataLimitExceeded    FatalError = 5 // R2T limit in the other direction
	UnsupportedParameter FatalError = 6
)

func (f FatalError) String() string {
	names := [...]string{"0", "invalid header", "sequence error", "header digest error", "data out of range", "data limit exceeded", "unsupported parameter"}
	if int(f) < len(names) {
		return names[f]
	}
	return fmt.Sprintf("%d", uint16(f))
}

// TermReq ends a connection, either way: H2CTermReq or C2HTermReq. The header of
// the PDU that was wrong follows as data.
type TermReq struct {
	ToHost bool
	Error  FatalError
	Info   uint32 // FEI: the offset of the field that is wrong, or a digest
	Header []byte // at most 128 bytes
}

// Marshal writes the whole PDU; b has room for MaxTermReq bytes.
func (p *TermReq) Marshal(b []byte) []byte {
	t := TypeH2CTermReq
	if p.ToHost {
		t = TypeC2HTermReq
	}
	h := new(Frame).put(b, t, 0, 0)
	binary.LittleEndian.PutUint16(h[8:], uint16(p.Error))
	binary.LittleEndian.PutUint32(h[10:], p.Info)
	h = append(h, p.Header...)
	binary.LittleEndian.PutUint32(h[4:], uint32(len(h)))
	return h
}

// Unmarshal takes the whole PDU. Header points into it.
func (p *TermReq) Unmarshal(b []byte) {
	*p = TermReq{Type(b[0]) == TypeC2HTermReq, FatalError(binary.LittleEndian.Uint16(b[8:])), binary.LittleEndian.Uint32(b[10:]), nil}
	if len(b) > 24 {
		p.Header = b[24:]
	}
}

func (p *TermReq) String() string {
	return fmt.Sprintf("TermReq to host %t: %v, %xh", p.ToHost, p.Error, p.Info)
}
