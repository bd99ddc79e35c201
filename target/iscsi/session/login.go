package session

import (
	"slices"
	"strconv"
	"strings"

	"ashlar/target/iscsi/pdu"
)

const (
	loginText  = 8192 // no side may send more in one login PDU (RFC 7143 13.12)
	loginSteps = 32
	maxName    = 223 // of an iSCSI name, bytes (RFC 7143 4.2.7.1)
)

// Identity is who logs in to what.
type Identity struct {
	Initiator string // in lower case
	Target    string // likewise; empty in a discovery session
	Discovery bool
	ISID      [6]byte
	TSIH      uint16 // 0: a new session
	CID       uint16
}

// Admission is what the node decides of an identity.
type Admission struct {
	Status      LoginStatus
	Group       uint16      // the target's portal group tag
	Redirect    string      // with a status LoginMoved...: the portal to go to, "ip:port" (RFC 7143 13.8)
	Credentials Credentials // what the initiator has to prove
}

// Login is the negotiation on one connection up to its full feature phase.
type Login struct {
	// Admit tells whether the identity may log in here; it is called once,
	// when the identity is known.
	Admit func(Identity) Admission

	Identity Identity
	Params   Params
	CmdSN    uint32 // the first command's
	StatSN   uint32 // the next response's

	stage    pdu.Stage
	started  bool
	known    bool // the identity is known and admitted
	declared bool // our MaxRecvDataSegmentLength was sent
	itt      uint32
	steps    int
	pending  []byte   // text of requests with the C bit
	seen     []string // keys offered so far
	auth     security
	redirect string
}

// Outcome is what a login step leads to.
type Outcome uint8

const (
	LoginGoesOn Outcome = iota
	LoginFailed         // after the response the connection is to be closed
	LoginDone           // the response opens the full feature phase, once its TSIH is filled in
)

// Step takes a request and its text and returns the response and its text, at
// most 8192 bytes. The response lacks MaxCmdSN and, when done, TSIH and StatSN.
func (l *Login) Step(req *pdu.LoginRequest, text []byte) (pdu.LoginResponse, []byte, Outcome) {
	resp := pdu.LoginResponse{
		CSG: req.CSG, NSG: req.NSG, ISID: req.ISID, TSIH: req.TSIH, ITT: req.ITT, ExpCmdSN: req.CmdSN,
	}
	answer, status := l.step(req, text)
	if status == LoginSuccess && len(answer) > loginText {
		answer, status = nil, LoginInitiatorError
	}
	resp.StatSN = l.StatSN
	l.StatSN++
	if status != LoginSuccess {
		resp.Status = uint16(status)
		resp.NSG = 0
		return resp, l.farewell(status), LoginFailed
	}
	if resp.Transit = req.Transit && l.auth.mayLeave(req.CSG); !resp.Transit {
		resp.NSG = 0
		return resp, answer, LoginGoesOn
	}
	l.stage = req.NSG
	if req.NSG != pdu.FullFeature {
		return resp, answer, LoginGoesOn
	}
	l.Params.FirstBurst = min(l.Params.FirstBurst, l.Params.MaxBurst)
	l.CmdSN = req.CmdSN
	return resp, answer, LoginDone
}

// Refuse answers a request with a refusal from outside of the negotiation.
func (l *Login) Refuse(req *pdu.LoginRequest, status LoginStatus) (pdu.LoginResponse, []byte, Outcome) {
	l.StatSN++
	return pdu.LoginResponse{
		CSG: req.CSG, ISID: req.ISID, TSIH: req.TSIH, ITT: req.ITT, ExpCmdSN: req.CmdSN, StatSN: l.StatSN - 1, Status: uint16(status),
	}, nil, LoginFailed
}

// farewell is the text of a refusal: where to go instead.
func (l *Login) farewell(status LoginStatus) []byte {
	if status != LoginMovedTemporarily && status != LoginMovedPermanently {
		return nil
	}
	return pdu.AppendText(nil, "TargetAddress", l.redirect)
}

// Challenged tells whether the next request has to hold the initiator's proof.
func (l *Login) Challenged() bool { return l.auth.state == challenged }

func (l *Login) step(req *pdu.LoginRequest, text []byte) ([]byte, LoginStatus) {
	if status := l.check(req); status != LoginSuccess {
		return nil, status
	}
	if len(l.pending)+len(text) > 2*loginText {
		return nil, LoginInitiatorError
	}
	l.pending = append(l.pending, text...)
	if req.Continue {
		return nil, LoginSuccess
	}
	pairs, err := pdu.UnmarshalText(l.pending)
	l.pending = l.pending[:0]
	if err != nil {
		return nil, LoginInitiatorError
	}
	var answer []byte
	if !l.known {
		var status LoginStatus
		if answer, status = l.identify(pairs); status != LoginSuccess {
			return nil, status
		}
	}
	return l.negotiate(req, pairs, answer)
}

// check holds a request's header against those before it (RFC 7143 6.3).
func (l *Login) check(req *pdu.LoginRequest) LoginStatus {
	if !l.started {
		l.started = true
		l.Params = Defaults()
		l.stage, l.itt = req.CSG, req.ITT
		l.StatSN = req.ExpStatSN
		l.Identity.ISID, l.Identity.TSIH, l.Identity.CID = req.ISID, req.TSIH, req.CID
	}
	l.steps++
	switch {
	case req.VersionMin > 0:
		return LoginVersion
	case l.steps > loginSteps, req.ITT != l.itt, req.CSG != l.stage, req.CSG > pdu.LoginOperational,
		req.Transit && (req.Continue || req.NSG <= req.CSG || req.NSG == 2):
		return LoginInitiatorError
	case req.ISID != l.Identity.ISID, req.TSIH != l.Identity.TSIH, req.CID != l.Identity.CID:
		return LoginInitiatorError
	}
	return LoginSuccess
}

// identify takes the keys that the first request must hold and asks for admission.
func (l *Login) identify(pairs []pdu.Pair) ([]byte, LoginStatus) {
	for _, p := range pairs {
		switch p.Key {
		case "InitiatorName":
			l.Identity.Initiator = strings.ToLower(p.Value) // as names are compared (RFC 3722)
		case "TargetName":
			l.Identity.Target = strings.ToLower(p.Value)
		case "SessionType":
			if p.Value != "Discovery" && p.Value != "Normal" {
				return nil, LoginSessionType
			}
			l.Identity.Discovery = p.Value == "Discovery"
		}
	}
	if l.Identity.Discovery {
		l.Identity.Target = ""
	}
	if !validName(l.Identity.Initiator) || !l.Identity.Discovery && !validName(l.Identity.Target) {
		return nil, LoginMissingParameter
	}
	a := l.Admit(l.Identity)
	l.known, l.redirect, l.auth.credentials = true, a.Redirect, a.Credentials
	if a.Status != LoginSuccess || l.Identity.Discovery {
		return nil, a.Status
	}
	return pdu.AppendText(nil, "TargetPortalGroupTag", strconv.Itoa(int(a.Group))), LoginSuccess
}

func validName(s string) bool {
	return s != "" && len(s) <= maxName && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f || r == ',' })
}

// negotiate answers the offers of one request.
func (l *Login) negotiate(req *pdu.LoginRequest, pairs []pdu.Pair, answer []byte) ([]byte, LoginStatus) {
	for _, p := range pairs {
		// Nothing is offered twice in a login (RFC 7143 6.3).
		if slices.Contains(l.seen, p.Key) {
			return nil, LoginInitiatorError
		}
		l.seen = append(l.seen, p.Key)
		switch p.Key {
		case "InitiatorName", "TargetName", "SessionType":
			continue
		}
		if isSecurityKey(p.Key) {
			if req.CSG != pdu.SecurityNegotiation {
				return nil, LoginInitiatorError
			}
			continue
		}
		k := find(p.Key)
		if k == nil {
			answer = pdu.AppendText(answer, p.Key, notUnderstood)
		} else if value := k.answer(&l.Params, p.Value, l.Identity.Discovery); value != "" {
			answer = pdu.AppendText(answer, p.Key, value)
		}
	}
	answer = l.auth.take(pairs, answer)
	if status := l.auth.status(req); status != LoginSuccess {
		return nil, status
	}
	if !l.declared && (req.CSG == pdu.LoginOperational || req.Transit && req.NSG == pdu.FullFeature) {
		l.declared = true
		l.Params.MaxReceive = MaxReceive
		answer = pdu.AppendText(answer, "MaxRecvDataSegmentLength", strconv.Itoa(MaxReceive))
	}
	return answer, LoginSuccess
}
