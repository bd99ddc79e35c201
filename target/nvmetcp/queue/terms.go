package queue

import (
	"encoding/binary"

	"ashlar/target/nvmetcp/pdu"
)

// MaxData is the most that the host puts into one H2CData, bytes.
const MaxData = 1 << 20

const maxAlignment = 31 // of HPDA, dwords, 0's based

// Terms are what a connection was opened with.
type Terms struct {
	HeaderDigest bool
	DataDigest   bool
	Alignment    int // of data to the host, bytes
}

// Fault is what a host did wrong that ends its connection.
type Fault struct {
	Error pdu.FatalError
	Info  uint32 // the offset of the field in the header, bytes
}

// Open answers a request for a connection. It takes any HPDA, and grants the
// digests that were asked for, no other (Linux refuses anything else).
func Open(r *pdu.ICReq) (pdu.ICResp, Terms, *Fault) {
	if r.Version != 0 {
		return pdu.ICResp{}, Terms{}, &Fault{pdu.UnsupportedParameter, 8}
	}
	if r.Alignment > maxAlignment {
		return pdu.ICResp{}, Terms{}, &Fault{pdu.InvalidHeader, 10}
	}
	return pdu.ICResp{HeaderDigest: r.HeaderDigest, DataDigest: r.DataDigest, MaxData: MaxData},
		Terms{r.HeaderDigest, r.DataDigest, 4 * (int(r.Alignment) + 1)}, nil
}

// Layout is how the rest of a PDU is read.
type Layout struct {
	Padding int // between the header, or its digest, and the data
	Data    int // bytes
}

// Check says how a PDU from the host is laid out. opened is whether the
// connection is.
func (t *Terms) Check(c *pdu.Common, opened bool) (Layout, *Fault) {
	switch c.Type {
	case pdu.TypeICReq:
		if opened {
			return Layout{}, &Fault{pdu.SequenceError, 0}
		}
	case pdu.TypeCapsuleCmd, pdu.TypeH2CData, pdu.TypeH2CTermReq:
		if !opened {
			return Layout{}, &Fault{pdu.SequenceError, 0}
		}
	default:
		return Layout{}, &Fault{pdu.InvalidHeader, 0}
	}
	if int(c.HeaderLength) != c.Type.HeaderLength() {
		return Layout{}, &Fault{pdu.InvalidHeader, 2}
	}
	switch c.Type {
	case pdu.TypeICReq:
		if c.Length != uint32(c.HeaderLength) {
			return Layout{}, &Fault{pdu.InvalidHeader, 4}
		}
		return Layout{}, nil
	case pdu.TypeH2CTermReq:
		if c.Length < uint32(c.HeaderLength) || c.Length > pdu.MaxTermReq {
			return Layout{}, &Fault{pdu.InvalidHeader, 4}
		}
		return Layout{Data: int(c.Length) - int(c.HeaderLength)}, nil
	}
	return t.lay(c)
}

// lay is the layout of a PDU that may have digests and data.
func (t *Terms) lay(c *pdu.Common) (Layout, *Fault) {
	bare := uint32(c.HeaderLength)
	if c.HasHeaderDigest() != t.HeaderDigest {
		return Layout{}, &Fault{pdu.InvalidHeader, 1}
	}
	if t.HeaderDigest {
		bare += pdu.DigestSize
	}
	if c.Length == bare {
		// No data. Where that is an error, the command says so.
		if c.Type == pdu.TypeH2CData {
			return Layout{}, &Fault{pdu.InvalidHeader, 4}
		}
		return Layout{}, nil
	}
	if c.HasDataDigest() != t.DataDigest {
		return Layout{}, &Fault{pdu.InvalidHeader, 1}
	}
	if uint32(c.DataOffset) < bare || c.DataOffset%4 != 0 {
		return Layout{}, &Fault{pdu.InvalidHeader, 3}
	}
	rest := uint32(c.DataOffset)
	if t.DataDigest {
		rest += pdu.DigestSize
	}
	if c.Length <= rest || c.Length-rest > MaxData {
		return Layout{}, &Fault{pdu.InvalidHeader, 4}
	}
	return Layout{Padding: int(uint32(c.DataOffset) - bare), Data: int(c.Length - rest)}, nil
}

// SGL is where a command's data is (NVMe Base 4.3.2, one descriptor in the command).
type SGL struct {
	InCapsule bool
	Length    uint32
}

const (
	sglOffset    = 0x01 // data block, offset: in the capsule
	sglTransport = 0x5A // transport SGL data block, transport specific
)

// SGLFault is what is wrong with a descriptor.
type SGLFault uint8

const (
	NoSGLFault SGLFault = iota
	SGLType
	SGLOffset // of data in the capsule, which starts at its beginning
	SGLLength
)

// ReadSGL reads the descriptor of a command; inCapsule is how much data its
// capsule brought. A command without data has a descriptor of length 0.
func ReadSGL(command *[64]byte, inCapsule int) (SGL, SGLFault) {
	d := command[24:40]
	s := SGL{Length: binary.LittleEndian.Uint32(d[8:])}
	switch d[15] {
	case sglOffset:
		switch {
		case binary.LittleEndian.Uint64(d) != 0:
			return SGL{}, SGLOffset
		case uint64(s.Length) != uint64(inCapsule):
			return SGL{}, SGLLength
		}
		s.InCapsule = true
	case sglTransport:
		if inCapsule != 0 {
			return SGL{}, SGLType
		}
	default:
		if s.Length != 0 || inCapsule != 0 || d[15] != 0 {
			return SGL{}, SGLType
		}
	}
	return s, NoSGLFault
}
