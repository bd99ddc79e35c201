package session

import (
	"slices"
	"strings"

	"ashlar/target/iscsi/pdu"
)

// security is the SecurityNegotiation stage (RFC 7143 12): it takes the keys
// of that stage, says when the stage may be left, and when a login that skips
// or fails it is refused. The one method is None.
type security struct {
	refused bool // the initiator's list has no method of ours
}

// answer decides one key, if it is one of this stage.
func (s *security) answer(p pdu.Pair) (value string, mine bool) {
	if p.Key != "AuthMethod" {
		return "", false
	}
	if !slices.Contains(strings.Split(p.Value, ","), "None") {
		s.refused = true
		return reject, true
	}
	return "None", true
}

// mayLeave tells whether the stage may be left when the initiator asks for it.
func (s *security) mayLeave(pdu.Stage) bool { return !s.refused }

// status refuses a login whose security failed.
func (s *security) status(*pdu.LoginRequest) LoginStatus {
	if s.refused {
		return LoginAuthentication
	}
	return LoginSuccess
}
