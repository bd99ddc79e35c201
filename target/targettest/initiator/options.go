package initiator

import (
	"strconv"

	"ashlar/target/iscsi/pdu"
)

// Options say how to log in. The zero value of a field stands for the one in
// parentheses; lengths are in bytes.
type Options struct {
	Name              string  // initiator name ("iqn.2026-11.com.example:initiator")
	ISID              [6]byte // session id, chosen by the caller (00023d000001)
	HeaderDigest      bool    // ask for CRC32C, and accept nothing else
	DataDigest        bool
	MaxReceive        uint32 // our MaxRecvDataSegmentLength (262144)
	MaxBurst          uint32 // MaxBurstLength offered (16776192)
	FirstBurst        uint32 // FirstBurstLength offered (262144)
	MaxOutstandingR2T uint32 // offered (1)
	InitialR2T        bool   // offer Yes: no unsolicited Data-Out
	NoImmediateData   bool   // offer No
	CHAP              *CHAP  // prove who we are (nil: do not offer to)

	// Async is called for each Async Message but SCSI events, from a goroutine of
	// the session; it must not block. nil: the session fails.
	Async func(pdu.Async)
}

func (o Options) withDefaults() Options {
	if o.Name == "" {
		o.Name = "iqn.2026-11.com.example:initiator"
	}
	if o.ISID == [6]byte{} {
		o.ISID = [6]byte{0x00, 0x02, 0x3d, 0, 0, 1}
	}
	o.MaxReceive = nonZero(o.MaxReceive, 262144)
	o.MaxBurst = nonZero(o.MaxBurst, 16776192)
	o.FirstBurst = nonZero(o.FirstBurst, 262144)
	o.MaxOutstandingR2T = nonZero(o.MaxOutstandingR2T, 1)
	return o
}

func nonZero(v, d uint32) uint32 {
	if v == 0 {
		return d
	}
	return v
}

// identity is the text that the first request of a login begins with.
func (o *Options) identity(target string) []byte {
	b := pdu.AppendText(nil, "InitiatorName", o.Name)
	if target == "" {
		return pdu.AppendText(b, "SessionType", "Discovery")
	}
	b = pdu.AppendText(b, "SessionType", "Normal")
	return pdu.AppendText(b, "TargetName", target)
}

// offers are those of the operational stage.
func (o *Options) offers(target string) []byte {
	var b []byte
	b = pdu.AppendText(b, "HeaderDigest", digestOffer(o.HeaderDigest))
	b = pdu.AppendText(b, "DataDigest", digestOffer(o.DataDigest))
	b = pdu.AppendText(b, "MaxRecvDataSegmentLength", decimal(o.MaxReceive))
	b = pdu.AppendText(b, "ErrorRecoveryLevel", "0")
	b = pdu.AppendText(b, "DefaultTime2Wait", "0")
	b = pdu.AppendText(b, "DefaultTime2Retain", "0")
	if target == "" {
		return b
	}
	b = pdu.AppendText(b, "MaxConnections", "1")
	b = pdu.AppendText(b, "InitialR2T", yesNo(o.InitialR2T))
	b = pdu.AppendText(b, "ImmediateData", yesNo(!o.NoImmediateData))
	b = pdu.AppendText(b, "MaxBurstLength", decimal(o.MaxBurst))
	b = pdu.AppendText(b, "FirstBurstLength", decimal(o.FirstBurst))
	return pdu.AppendText(b, "MaxOutstandingR2T", decimal(o.MaxOutstandingR2T))
}

func digestOffer(on bool) string {
	if on {
		return "CRC32C"
	}
	return "None"
}

func yesNo(b bool) string {
	if b {
		return "Yes"
	}
	return "No"
}

func decimal(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

// Params are what the login agreed on; lengths are in bytes.
type Params struct {
	HeaderDigest, DataDigest  bool
	MaxSend                   uint32 // the target's MaxRecvDataSegmentLength
	MaxBurst, FirstBurst      uint32
	InitialR2T, ImmediateData bool
	MaxOutstandingR2T         uint32
	PortalGroup               string // TargetPortalGroupTag
	Answers                   []pdu.Pair
}

// take reads one answer of the target.
func (p *Params) take(a pdu.Pair) {
	p.Answers = append(p.Answers, a)
	n, _ := strconv.ParseUint(a.Value, 0, 32)
	switch a.Key {
	case "HeaderDigest":
		p.HeaderDigest = a.Value == "CRC32C"
	case "DataDigest":
		p.DataDigest = a.Value == "CRC32C"
	case "MaxRecvDataSegmentLength":
		p.MaxSend = uint32(n)
	case "MaxBurstLength":
		p.MaxBurst = uint32(n)
	case "FirstBurstLength":
		p.FirstBurst = uint32(n)
	case "InitialR2T":
		p.InitialR2T = a.Value == "Yes"
	case "ImmediateData":
		p.ImmediateData = a.Value == "Yes"
	case "MaxOutstandingR2T":
		p.MaxOutstandingR2T = uint32(n)
	case "TargetPortalGroupTag":
		p.PortalGroup = a.Value
	}
}
