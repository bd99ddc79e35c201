package pdu

import "fmt"

// Stage is a login stage (RFC 7143 11.12.3).
type Stage uint8

const (
	SecurityNegotiation Stage = 0
	LoginOperational    Stage = 1
	FullFeature         Stage = 3
)

func (s Stage) String() string {
	return [...]string{"SecurityNegotiation", "LoginOperationalNegotiation", "reserved", "FullFeaturePhase"}[s&3]
}

// LoginRequest is one step of a login (RFC 7143 11.12); its data segment is text.
type LoginRequest struct {
	Transit    bool // wants to go on to NSG
	Continue   bool // the text goes on in the next request
	CSG, NSG   Stage
	VersionMax uint8
	VersionMin uint8
	DataLength uint32
	ISID       [6]byte
	TSIH       uint16
	ITT        uint32
	CID        uint16
	CmdSN      uint32
	ExpStatSN  uint32
}

func stages(transit, cont bool, csg, nsg Stage) byte {
	return bit(transit, 0x80) | bit(cont, 0x40) | byte(csg&3)<<2 | byte(nsg&3)
}

func (p *LoginRequest) Marshal(h *Header) {
	h.start(OpLoginRequest, true, stages(p.Transit, p.Continue, p.CSG, p.NSG))
	h[2], h[3] = p.VersionMax, p.VersionMin
	h.setData(p.DataLength)
	copy(h[8:], p.ISID[:])
	h.put16(14, p.TSIH)
	h.put32(16, p.ITT)
	h.put16(20, p.CID)
	h.put32(24, p.CmdSN)
	h.put32(28, p.ExpStatSN)
}

func (p *LoginRequest) Unmarshal(h *Header) {
	*p = LoginRequest{
		Transit: h.flag(1, 0x80), Continue: h.flag(1, 0x40), CSG: Stage(h[1] >> 2 & 3), NSG: Stage(h[1] & 3),
		VersionMax: h[2], VersionMin: h[3], DataLength: h.data(), ISID: [6]byte(h[8:14]), TSIH: h.u16(14),
		ITT: h.u32(16), CID: h.u16(20), CmdSN: h.u32(24), ExpStatSN: h.u32(28),
	}
}

func (p *LoginRequest) String() string {
	return fmt.Sprintf("Login Request itt=%#x t=%t c=%t csg=%v nsg=%v version=%d-%d isid=%x tsih=%d cid=%d cmdsn=%d expstatsn=%d data=%d",
		p.ITT, p.Transit, p.Continue, p.CSG, p.NSG, p.VersionMin, p.VersionMax, p.ISID, p.TSIH, p.CID, p.CmdSN, p.ExpStatSN, p.DataLength)
}

// LoginResponse answers a LoginRequest (RFC 7143 11.13); its data segment is text.
type LoginResponse struct {
	Transit                    bool
	Continue                   bool
	CSG, NSG                   Stage
	VersionMax                 uint8
	VersionActive              uint8
	DataLength                 uint32
	ISID                       [6]byte
	TSIH                       uint16
	ITT                        uint32
	StatSN, ExpCmdSN, MaxCmdSN uint32
	Status                     uint16 // class in the high byte, detail in the low one
}

func (p *LoginResponse) Marshal(h *Header) {
	h.start(OpLoginResponse, false, stages(p.Transit, p.Continue, p.CSG, p.NSG))
	h[2], h[3] = p.VersionMax, p.VersionActive
	h.setData(p.DataLength)
	copy(h[8:], p.ISID[:])
	h.put16(14, p.TSIH)
	h.put32(16, p.ITT)
	h.SetSequence(p.StatSN, p.ExpCmdSN, p.MaxCmdSN)
	h.put16(36, p.Status)
}

func (p *LoginResponse) Unmarshal(h *Header) {
	*p = LoginResponse{
		Transit: h.flag(1, 0x80), Continue: h.flag(1, 0x40), CSG: Stage(h[1] >> 2 & 3), NSG: Stage(h[1] & 3),
		VersionMax: h[2], VersionActive: h[3], DataLength: h.data(), ISID: [6]byte(h[8:14]), TSIH: h.u16(14),
		ITT: h.u32(16), StatSN: h.u32(24), ExpCmdSN: h.u32(28), MaxCmdSN: h.u32(32), Status: h.u16(36),
	}
}

func (p *LoginResponse) String() string {
	return fmt.Sprintf("Login Response itt=%#x t=%t c=%t csg=%v nsg=%v version=%d/%d isid=%x tsih=%d status=%04x statsn=%d expcmdsn=%d maxcmdsn=%d data=%d",
		p.ITT, p.Transit, p.Continue, p.CSG, p.NSG, p.VersionActive, p.VersionMax, p.ISID, p.TSIH, p.Status, p.StatSN, p.ExpCmdSN, p.MaxCmdSN, p.DataLength)
}

// LogoutRequest closes a session or a connection (RFC 7143 11.14).
type LogoutRequest struct {
	Immediate bool
	Reason    uint8 // 0 close the session, 1 close the connection, 2 remove it for recovery
	ITT       uint32
	CID       uint16
	CmdSN     uint32
	ExpStatSN uint32
}

func (p *LogoutRequest) Marshal(h *Header) {
	h.start(OpLogoutRequest, p.Immediate, 0x80|p.Reason&0x7f)
	h.put32(16, p.ITT)
	h.put16(20, p.CID)
	h.put32(24, p.CmdSN)
	h.put32(28, p.ExpStatSN)
}

func (p *LogoutRequest) Unmarshal(h *Header) {
	*p = LogoutRequest{Immediate: h.Immediate(), Reason: h[1] & 0x7f, ITT: h.u32(16), CID: h.u16(20), CmdSN: h.u32(24), ExpStatSN: h.u32(28)}
}

func (p *LogoutRequest) String() string {
	return fmt.Sprintf("Logout Request itt=%#x reason=%d cid=%d i=%t cmdsn=%d expstatsn=%d",
		p.ITT, p.Reason, p.CID, p.Immediate, p.CmdSN, p.ExpStatSN)
}

// LogoutResponse answers a LogoutRequest (RFC 7143 11.15).
type LogoutResponse struct {
	Response                   uint8 // 0 closed, 1 CID not found, 2 recovery not supported, 3 cleanup failed
	ITT                        uint32
	StatSN, ExpCmdSN, MaxCmdSN uint32
	Time2Wait, Time2Retain     uint16 // seconds
}

func (p *LogoutResponse) Marshal(h *Header) {
	h.start(OpLogoutResponse, false, 0x80)
	h[2] = p.Response
	h.put32(16, p.ITT)
	h.SetSequence(p.StatSN, p.ExpCmdSN, p.MaxCmdSN)
	h.put16(40, p.Time2Wait)
	h.put16(42, p.Time2Retain)
}

func (p *LogoutResponse) Unmarshal(h *Header) {
	*p = LogoutResponse{Response: h[2], ITT: h.u32(16), StatSN: h.u32(24), ExpCmdSN: h.u32(28), MaxCmdSN: h.u32(32),
		Time2Wait: h.u16(40), Time2Retain: h.u16(42)}
}

func (p *LogoutResponse) String() string {
	return fmt.Sprintf("Logout Response itt=%#x response=%d time2wait=%d time2retain=%d statsn=%d expcmdsn=%d maxcmdsn=%d",
		p.ITT, p.Response, p.Time2Wait, p.Time2Retain, p.StatSN, p.ExpCmdSN, p.MaxCmdSN)
}
