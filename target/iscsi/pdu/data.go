package pdu

import "fmt"

// DataOut carries data to the target (RFC 7143 11.7).
type DataOut struct {
	Final      bool // last of its sequence
	DataLength uint32
	LUN        uint64
	ITT        uint32
	TTT        uint32 // the R2T's, NoTag if unsolicited
	ExpStatSN  uint32
	DataSN     uint32 // from 0 in each sequence
	Offset     uint32 // in the command's data, bytes
}

func (p *DataOut) Marshal(h *Header) {
	h.start(OpDataOut, false, bit(p.Final, 0x80))
	h.setData(p.DataLength)
	h.put64(8, p.LUN)
	h.put32(16, p.ITT)
	h.put32(20, p.TTT)
	h.put32(28, p.ExpStatSN)
	h.put32(36, p.DataSN)
	h.put32(40, p.Offset)
}

func (p *DataOut) Unmarshal(h *Header) {
	*p = DataOut{
		Final: h.flag(1, 0x80), DataLength: h.data(), LUN: h.u64(8), ITT: h.u32(16), TTT: h.u32(20),
		ExpStatSN: h.u32(28), DataSN: h.u32(36), Offset: h.u32(40),
	}
}

func (p *DataOut) String() string {
	return fmt.Sprintf("Data-Out itt=%#x ttt=%#x f=%t datasn=%d offset=%d data=%d lun=%#x expstatsn=%d",
		p.ITT, p.TTT, p.Final, p.DataSN, p.Offset, p.DataLength, p.LUN, p.ExpStatSN)
}

// DataIn carries data to the initiator (RFC 7143 11.7). With S it also ends
// the command, whose status is then GOOD or another without sense data.
type DataIn struct {
	Final, Acknowledge         bool
	Overflow, Underflow        bool // only with HasStatus
	HasStatus                  bool // the S bit
	Status                     uint8
	DataLength                 uint32
	LUN                        uint64
	ITT                        uint32
	TTT                        uint32
	StatSN, ExpCmdSN, MaxCmdSN uint32
	DataSN                     uint32 // from 0 in each command
	Offset                     uint32
	Residual                   uint32
}

func (p *DataIn) Marshal(h *Header) {
	h.start(OpDataIn, false, bit(p.Final, 0x80)|bit(p.Acknowledge, 0x40)|bit(p.Overflow, 4)|
		bit(p.Underflow, 2)|bit(p.HasStatus, 1))
	h[3] = p.Status
	h.setData(p.DataLength)
	h.put64(8, p.LUN)
	h.put32(16, p.ITT)
	h.put32(20, p.TTT)
	h.SetSequence(p.StatSN, p.ExpCmdSN, p.MaxCmdSN)
	h.put32(36, p.DataSN)
	h.put32(40, p.Offset)
	h.put32(44, p.Residual)
}

func (p *DataIn) Unmarshal(h *Header) {
	*p = DataIn{
		Final: h.flag(1, 0x80), Acknowledge: h.flag(1, 0x40), Overflow: h.flag(1, 4), Underflow: h.flag(1, 2),
		HasStatus: h.flag(1, 1), Status: h[3], DataLength: h.data(), LUN: h.u64(8), ITT: h.u32(16), TTT: h.u32(20),
		StatSN: h.u32(24), ExpCmdSN: h.u32(28), MaxCmdSN: h.u32(32),
		DataSN: h.u32(36), Offset: h.u32(40), Residual: h.u32(44),
	}
}

func (p *DataIn) String() string {
	return fmt.Sprintf("Data-In itt=%#x f=%t s=%t status=%#02x datasn=%d offset=%d data=%d o=%t u=%t residual=%d statsn=%d expcmdsn=%d maxcmdsn=%d",
		p.ITT, p.Final, p.HasStatus, p.Status, p.DataSN, p.Offset, p.DataLength, p.Overflow, p.Underflow, p.Residual, p.StatSN, p.ExpCmdSN, p.MaxCmdSN)
}

// R2T asks the initiator for data (RFC 7143 11.8).
type R2T struct {
	LUN                        uint64
	ITT                        uint32
	TTT                        uint32
	StatSN, ExpCmdSN, MaxCmdSN uint32 // StatSN is the next one; an R2T does not use it up
	R2TSN                      uint32 // from 0 in each command
	Offset                     uint32
	Length                     uint32 // desired data transfer length, 1 to MaxBurstLength bytes
}

func (p *R2T) Marshal(h *Header) {
	h.start(OpR2T, false, 0x80)
	h.put64(8, p.LUN)
	h.put32(16, p.ITT)
	h.put32(20, p.TTT)
	h.SetSequence(p.StatSN, p.ExpCmdSN, p.MaxCmdSN)
	h.put32(36, p.R2TSN)
	h.put32(40, p.Offset)
	h.put32(44, p.Length)
}

func (p *R2T) Unmarshal(h *Header) {
	*p = R2T{
		LUN: h.u64(8), ITT: h.u32(16), TTT: h.u32(20), StatSN: h.u32(24), ExpCmdSN: h.u32(28), MaxCmdSN: h.u32(32),
		R2TSN: h.u32(36), Offset: h.u32(40), Length: h.u32(44),
	}
}

func (p *R2T) String() string {
	return fmt.Sprintf("R2T itt=%#x ttt=%#x r2tsn=%d offset=%d length=%d lun=%#x statsn=%d expcmdsn=%d maxcmdsn=%d",
		p.ITT, p.TTT, p.R2TSN, p.Offset, p.Length, p.LUN, p.StatSN, p.ExpCmdSN, p.MaxCmdSN)
}

// SNACK asks for a retransmission (RFC 7143 11.16).
type SNACK struct {
	Type      uint8
	LUN       uint64
	ITT       uint32
	TTT       uint32
	ExpStatSN uint32
	BegRun    uint32
	RunLength uint32
}

func (p *SNACK) Marshal(h *Header) {
	h.start(OpSNACK, false, 0x80|p.Type&0x0f)
	h.put64(8, p.LUN)
	h.put32(16, p.ITT)
	h.put32(20, p.TTT)
	h.put32(28, p.ExpStatSN)
	h.put32(40, p.BegRun)
	h.put32(44, p.RunLength)
}

func (p *SNACK) Unmarshal(h *Header) {
	*p = SNACK{Type: h[1] & 0x0f, LUN: h.u64(8), ITT: h.u32(16), TTT: h.u32(20), ExpStatSN: h.u32(28),
		BegRun: h.u32(40), RunLength: h.u32(44)}
}

func (p *SNACK) String() string {
	return fmt.Sprintf("SNACK itt=%#x type=%d ttt=%#x lun=%#x begrun=%d runlength=%d expstatsn=%d",
		p.ITT, p.Type, p.TTT, p.LUN, p.BegRun, p.RunLength, p.ExpStatSN)
}
