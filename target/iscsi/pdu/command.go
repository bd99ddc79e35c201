package pdu

import "fmt"

// SCSICommand carries a CDB (RFC 7143 11.3).
type SCSICommand struct {
	Immediate  bool
	Final      bool // no unsolicited Data-Out follows
	Read       bool
	Write      bool
	Attribute  uint8 // task attribute, 3 bits
	AHSWords   uint8
	DataLength uint32 // immediate data, bytes
	LUN        uint64
	ITT        uint32
	EDTL       uint32 // expected data transfer length, bytes
	CmdSN      uint32
	ExpStatSN  uint32
	CDB        [16]byte
}

func (p *SCSICommand) Marshal(h *Header) {
	h.start(OpSCSICommand, p.Immediate,
		bit(p.Final, 0x80)|bit(p.Read, 0x40)|bit(p.Write, 0x20)|p.Attribute&7)
	h[4] = p.AHSWords
	h.setData(p.DataLength)
	h.put64(8, p.LUN)
	h.put32(16, p.ITT)
	h.put32(20, p.EDTL)
	h.put32(24, p.CmdSN)
	h.put32(28, p.ExpStatSN)
	copy(h[32:], p.CDB[:])
}

func (p *SCSICommand) Unmarshal(h *Header) {
	*p = SCSICommand{
		Immediate: h.Immediate(), Final: h.flag(1, 0x80), Read: h.flag(1, 0x40), Write: h.flag(1, 0x20),
		Attribute: h[1] & 7, AHSWords: h[4], DataLength: h.data(), LUN: h.u64(8), ITT: h.u32(16),
		EDTL: h.u32(20), CmdSN: h.u32(24), ExpStatSN: h.u32(28), CDB: [16]byte(h[32:48]),
	}
}

func (p *SCSICommand) String() string {
	return fmt.Sprintf("SCSI Command itt=%#x lun=%#x cdb=%x edtl=%d r=%t w=%t f=%t i=%t attr=%d cmdsn=%d expstatsn=%d data=%d ahs=%d",
		p.ITT, p.LUN, p.CDB, p.EDTL, p.Read, p.Write, p.Final, p.Immediate, p.Attribute, p.CmdSN, p.ExpStatSN, p.DataLength, p.AHSWords)
}

// SCSIResponse ends a SCSI command (RFC 7143 11.4). Its data segment is a
// 2-byte SenseLength and the sense data.
type SCSIResponse struct {
	BidiOverflow, BidiUnderflow bool
	Overflow, Underflow         bool
	Response                    uint8 // 0 command completed at target, 1 target failure
	Status                      uint8 // SAM-5 status code
	DataLength                  uint32
	ITT                         uint32
	SNACKTag                    uint32
	StatSN, ExpCmdSN, MaxCmdSN  uint32
	ExpDataSN                   uint32 // Data-In and R2T PDUs sent for the command
	BidiResidual                uint32
	Residual                    uint32 // bytes
}

func (p *SCSIResponse) Marshal(h *Header) {
	h.start(OpSCSIResponse, false, 0x80|bit(p.BidiOverflow, 0x10)|bit(p.BidiUnderflow, 8)|
		bit(p.Overflow, 4)|bit(p.Underflow, 2))
	h[2], h[3] = p.Response, p.Status
	h.setData(p.DataLength)
	h.put32(16, p.ITT)
	h.put32(20, p.SNACKTag)
	h.SetSequence(p.StatSN, p.ExpCmdSN, p.MaxCmdSN)
	h.put32(36, p.ExpDataSN)
	h.put32(40, p.BidiResidual)
	h.put32(44, p.Residual)
}

func (p *SCSIResponse) Unmarshal(h *Header) {
	*p = SCSIResponse{
		BidiOverflow: h.flag(1, 0x10), BidiUnderflow: h.flag(1, 8), Overflow: h.flag(1, 4), Underflow: h.flag(1, 2),
		Response: h[2], Status: h[3], DataLength: h.data(), ITT: h.u32(16), SNACKTag: h.u32(20),
		StatSN: h.u32(24), ExpCmdSN: h.u32(28), MaxCmdSN: h.u32(32),
		ExpDataSN: h.u32(36), BidiResidual: h.u32(40), Residual: h.u32(44),
	}
}

func (p *SCSIResponse) String() string {
	return fmt.Sprintf("SCSI Response itt=%#x response=%d status=%#02x o=%t u=%t residual=%d statsn=%d expcmdsn=%d maxcmdsn=%d expdatasn=%d data=%d",
		p.ITT, p.Response, p.Status, p.Overflow, p.Underflow, p.Residual, p.StatSN, p.ExpCmdSN, p.MaxCmdSN, p.ExpDataSN, p.DataLength)
}

// TaskRequest asks for a task management function (RFC 7143 11.5).
type TaskRequest struct {
	Immediate bool
	Function  uint8 // 1 ABORT TASK ... 8 TASK REASSIGN
	LUN       uint64
	ITT       uint32
	RefTag    uint32 // the task to abort
	CmdSN     uint32
	ExpStatSN uint32
	RefCmdSN  uint32
	ExpDataSN uint32
}

func (p *TaskRequest) Marshal(h *Header) {
	h.start(OpTaskRequest, p.Immediate, 0x80|p.Function&0x7f)
	h.put64(8, p.LUN)
	h.put32(16, p.ITT)
	h.put32(20, p.RefTag)
	h.put32(24, p.CmdSN)
	h.put32(28, p.ExpStatSN)
	h.put32(32, p.RefCmdSN)
	h.put32(36, p.ExpDataSN)
}

func (p *TaskRequest) Unmarshal(h *Header) {
	*p = TaskRequest{
		Immediate: h.Immediate(), Function: h[1] & 0x7f, LUN: h.u64(8), ITT: h.u32(16), RefTag: h.u32(20),
		CmdSN: h.u32(24), ExpStatSN: h.u32(28), RefCmdSN: h.u32(32), ExpDataSN: h.u32(36),
	}
}

func (p *TaskRequest) String() string {
	return fmt.Sprintf("Task Management Request itt=%#x function=%d lun=%#x reftag=%#x refcmdsn=%d i=%t cmdsn=%d expstatsn=%d expdatasn=%d",
		p.ITT, p.Function, p.LUN, p.RefTag, p.RefCmdSN, p.Immediate, p.CmdSN, p.ExpStatSN, p.ExpDataSN)
}

// TaskResponse answers a TaskRequest (RFC 7143 11.6).
type TaskResponse struct {
	Response                   uint8 // 0 function complete, 1 task does not exist, 2 LUN does not exist, 5 not supported, 255 rejected
	ITT                        uint32
	StatSN, ExpCmdSN, MaxCmdSN uint32
}

func (p *TaskResponse) Marshal(h *Header) {
	h.start(OpTaskResponse, false, 0x80)
	h[2] = p.Response
	h.put32(16, p.ITT)
	h.SetSequence(p.StatSN, p.ExpCmdSN, p.MaxCmdSN)
}

func (p *TaskResponse) Unmarshal(h *Header) {
	*p = TaskResponse{Response: h[2], ITT: h.u32(16), StatSN: h.u32(24), ExpCmdSN: h.u32(28), MaxCmdSN: h.u32(32)}
}

func (p *TaskResponse) String() string {
	return fmt.Sprintf("Task Management Response itt=%#x response=%d statsn=%d expcmdsn=%d maxcmdsn=%d",
		p.ITT, p.Response, p.StatSN, p.ExpCmdSN, p.MaxCmdSN)
}
