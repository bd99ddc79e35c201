package pdu

import "fmt"

// NopOut is the initiator's ping, or its answer to a NopIn (RFC 7143 11.18).
type NopOut struct {
	Immediate  bool
	DataLength uint32
	LUN        uint64
	ITT        uint32 // NoTag: no answer wanted
	TTT        uint32 // the NopIn's that it answers, else NoTag
	CmdSN      uint32
	ExpStatSN  uint32
}

func (p *NopOut) Marshal(h *Header) {
	h.start(OpNopOut, p.Immediate, 0x80)
	h.setData(p.DataLength)
	h.put64(8, p.LUN)
	h.put32(16, p.ITT)
	h.put32(20, p.TTT)
	h.put32(24, p.CmdSN)
	h.put32(28, p.ExpStatSN)
}

func (p *NopOut) Unmarshal(h *Header) {
	*p = NopOut{Immediate: h.Immediate(), DataLength: h.data(), LUN: h.u64(8), ITT: h.u32(16), TTT: h.u32(20), CmdSN: h.u32(24), ExpStatSN: h.u32(28)}
}

func (p *NopOut) String() string {
	return fmt.Sprintf("NOP-Out itt=%#x ttt=%#x lun=%#x i=%t cmdsn=%d expstatsn=%d data=%d",
		p.ITT, p.TTT, p.LUN, p.Immediate, p.CmdSN, p.ExpStatSN, p.DataLength)
}

// NopIn is the target's ping, its answer to a NopOut, or news of the window (RFC 7143 11.19).
type NopIn struct {
	DataLength                 uint32
	LUN                        uint64
	ITT                        uint32 // the NopOut's that it answers, else NoTag
	TTT                        uint32 // NoTag: no answer wanted
	StatSN, ExpCmdSN, MaxCmdSN uint32 // StatSN is used up only by an answer
}

func (p *NopIn) Marshal(h *Header) {
	h.start(OpNopIn, false, 0x80)
	h.setData(p.DataLength)
	h.put64(8, p.LUN)
	h.put32(16, p.ITT)
	h.put32(20, p.TTT)
	h.SetSequence(p.StatSN, p.ExpCmdSN, p.MaxCmdSN)
}

func (p *NopIn) Unmarshal(h *Header) {
	*p = NopIn{DataLength: h.data(), LUN: h.u64(8), ITT: h.u32(16), TTT: h.u32(20), StatSN: h.u32(24), ExpCmdSN: h.u32(28), MaxCmdSN: h.u32(32)}
}

func (p *NopIn) String() string {
	return fmt.Sprintf("NOP-In itt=%#x ttt=%#x lun=%#x statsn=%d expcmdsn=%d maxcmdsn=%d data=%d",
		p.ITT, p.TTT, p.LUN, p.StatSN, p.ExpCmdSN, p.MaxCmdSN, p.DataLength)
}

// TextRequest carries keys in the full feature phase (RFC 7143 11.10).
type TextRequest struct {
	Immediate  bool
	Final      bool
	Continue   bool
	DataLength uint32
	LUN        uint64
	ITT        uint32
	TTT        uint32 // NoTag starts an exchange
	CmdSN      uint32
	ExpStatSN  uint32
}

func (p *TextRequest) Marshal(h *Header) {
	h.start(OpTextRequest, p.Immediate, bit(p.Final, 0x80)|bit(p.Continue, 0x40))
	h.setData(p.DataLength)
	h.put64(8, p.LUN)
	h.put32(16, p.ITT)
	h.put32(20, p.TTT)
	h.put32(24, p.CmdSN)
	h.put32(28, p.ExpStatSN)
}

func (p *TextRequest) Unmarshal(h *Header) {
	*p = TextRequest{Immediate: h.Immediate(), Final: h.flag(1, 0x80), Continue: h.flag(1, 0x40), DataLength: h.data(),
		LUN: h.u64(8), ITT: h.u32(16), TTT: h.u32(20), CmdSN: h.u32(24), ExpStatSN: h.u32(28)}
}

func (p *TextRequest) String() string {
	return fmt.Sprintf("Text Request itt=%#x ttt=%#x f=%t c=%t i=%t lun=%#x cmdsn=%d expstatsn=%d data=%d",
		p.ITT, p.TTT, p.Final, p.Continue, p.Immediate, p.LUN, p.CmdSN, p.ExpStatSN, p.DataLength)
}

// TextResponse answers a TextRequest (RFC 7143 11.11).
type TextResponse struct {
	Final                      bool
	Continue                   bool
	DataLength                 uint32
	LUN                        uint64
	ITT                        uint32
	TTT                        uint32 // NoTag with Final
	StatSN, ExpCmdSN, MaxCmdSN uint32
}

func (p *TextResponse) Marshal(h *Header) {
	h.start(OpTextResponse, false, bit(p.Final, 0x80)|bit(p.Continue, 0x40))
	h.setData(p.DataLength)
	h.put64(8, p.LUN)
	h.put32(16, p.ITT)
	h.put32(20, p.TTT)
	h.SetSequence(p.StatSN, p.ExpCmdSN, p.MaxCmdSN)
}

func (p *TextResponse) Unmarshal(h *Header) {
	*p = TextResponse{Final: h.flag(1, 0x80), Continue: h.flag(1, 0x40), DataLength: h.data(), LUN: h.u64(8), ITT: h.u32(16),
		TTT: h.u32(20), StatSN: h.u32(24), ExpCmdSN: h.u32(28), MaxCmdSN: h.u32(32)}
}

func (p *TextResponse) String() string {
	return fmt.Sprintf("Text Response itt=%#x ttt=%#x f=%t c=%t lun=%#x statsn=%d expcmdsn=%d maxcmdsn=%d data=%d",
		p.ITT, p.TTT, p.Final, p.Continue, p.LUN, p.StatSN, p.ExpCmdSN, p.MaxCmdSN, p.DataLength)
}

// AsyncEvent is what an Async tells (RFC 7143 11.9.1).
type AsyncEvent uint8

const (
	AsyncSCSI           AsyncEvent = 0
	AsyncRequestLogout  AsyncEvent = 1
	AsyncDropConnection AsyncEvent = 2
	AsyncDropSession    AsyncEvent = 3
	AsyncNegotiate      AsyncEvent = 4
)

// Async is the target's own message (RFC 7143 11.9).
type Async struct {
	DataLength                 uint32
	LUN                        uint64
	StatSN, ExpCmdSN, MaxCmdSN uint32
	Event                      AsyncEvent
	VendorCode                 uint8
	Parameter                  [3]uint16
}

func (p *Async) Marshal(h *Header) {
	h.start(OpAsync, false, 0x80)
	h.setData(p.DataLength)
	h.put64(8, p.LUN)
	h.put32(16, NoTag)
	h.SetSequence(p.StatSN, p.ExpCmdSN, p.MaxCmdSN)
	h[36], h[37] = byte(p.Event), p.VendorCode
	for i, v := range p.Parameter {
		h.put16(38+2*i, v)
	}
}

func (p *Async) Unmarshal(h *Header) {
	*p = Async{DataLength: h.data(), LUN: h.u64(8), StatSN: h.u32(24), ExpCmdSN: h.u32(28), MaxCmdSN: h.u32(32),
		Event: AsyncEvent(h[36]), VendorCode: h[37], Parameter: [3]uint16{h.u16(38), h.u16(40), h.u16(42)}}
}

func (p *Async) String() string {
	return fmt.Sprintf("Async Message event=%d vendor=%d parameters=%v lun=%#x statsn=%d expcmdsn=%d maxcmdsn=%d data=%d",
		p.Event, p.VendorCode, p.Parameter, p.LUN, p.StatSN, p.ExpCmdSN, p.MaxCmdSN, p.DataLength)
}

// RejectReason is why a PDU was refused (RFC 7143 11.17.1).
type RejectReason uint8

const (
	RejectDataDigest       RejectReason = 0x02
	RejectSNACK            RejectReason = 0x03
	RejectProtocolError    RejectReason = 0x04
	RejectNotSupported     RejectReason = 0x05
	RejectTooManyImmediate RejectReason = 0x06
	RejectInvalidField     RejectReason = 0x09
	RejectLongOperation    RejectReason = 0x0a
	RejectWaitingForLogout RejectReason = 0x0c
)

// Reject refuses a PDU, whose header is its data segment (RFC 7143 11.17).
type Reject struct {
	Reason                     RejectReason
	DataLength                 uint32
	StatSN, ExpCmdSN, MaxCmdSN uint32
	DataSN                     uint32
}

func (p *Reject) Marshal(h *Header) {
	h.start(OpReject, false, 0x80)
	h[2] = byte(p.Reason)
	h.setData(p.DataLength)
	h.put32(16, NoTag)
	h.SetSequence(p.StatSN, p.ExpCmdSN, p.MaxCmdSN)
	h.put32(36, p.DataSN)
}

func (p *Reject) Unmarshal(h *Header) {
	*p = Reject{Reason: RejectReason(h[2]), DataLength: h.data(), StatSN: h.u32(24), ExpCmdSN: h.u32(28), MaxCmdSN: h.u32(32), DataSN: h.u32(36)}
}

func (p *Reject) String() string {
	return fmt.Sprintf("Reject reason=%#02x statsn=%d expcmdsn=%d maxcmdsn=%d datasn=%d data=%d",
		uint8(p.Reason), p.StatSN, p.ExpCmdSN, p.MaxCmdSN, p.DataSN, p.DataLength)
}
