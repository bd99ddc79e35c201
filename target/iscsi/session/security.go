package session

import (
	"slices"
	"strconv"
	"strings"

	"ashlar/target/iscsi/pdu"
)

// security is the SecurityNegotiation stage (RFC 7143 12 and 12.1.3): it takes
// the keys of that stage, says when the stage may be left, and when a login
// that skips or fails it is refused. The methods are CHAP for who has a secret,
// and None for who has none.
//
//	initiator                        target
//	AuthMethod=CHAP,None        ->
//	                            <-   AuthMethod=CHAP
//	CHAP_A=5,7                  ->
//	                            <-   CHAP_A=7 CHAP_I=.. CHAP_C=..
//	CHAP_N=.. CHAP_R=..         ->
//	    and CHAP_I, CHAP_C for mutual authentication
//	                            <-   CHAP_N=.. CHAP_R=.. if asked for
type security struct {
	credentials Credentials
	state       securityState
	algorithm   Algorithm
	refused     bool
}

type securityState uint8

const (
	undecided  securityState = iota // no AuthMethod yet
	chapChosen                      // CHAP_A is next
	challenged                      // CHAP_N and CHAP_R are next
	proven                          // the stage may be left
)

func (s *security) required() bool { return len(s.credentials.Secret) > 0 }

// chapKeys are those of one request.
type chapKeys struct{ algorithms, name, response, identifier, challenge *string }

// split takes the keys of this stage out of a request's.
func (s *security) split(pairs []pdu.Pair) (method *string, chap chapKeys, any bool) {
	for i := range pairs {
		value := &pairs[i].Value
		switch pairs[i].Key {
		case "AuthMethod":
			method = value
		case "CHAP_A":
			chap.algorithms = value
		case "CHAP_N":
			chap.name = value
		case "CHAP_R":
			chap.response = value
		case "CHAP_I":
			chap.identifier = value
		case "CHAP_C":
			chap.challenge = value
		default:
			continue
		}
		any = true
	}
	return method, chap, any
}

// securityKeys are those of this stage.
var securityKeys = []string{"AuthMethod", "CHAP_A", "CHAP_N", "CHAP_R", "CHAP_I", "CHAP_C"}

func isSecurityKey(key string) bool { return slices.Contains(securityKeys, key) }

// take decides the keys of one request and appends the answers. What does not
// belong where it came refuses the login.
func (s *security) take(pairs []pdu.Pair, answer []byte) []byte {
	method, chap, any := s.split(pairs)
	if !any || s.refused {
		return answer
	}
	if method != nil {
		if s.state != undecided {
			s.refused = true
			return answer
		}
		answer = s.takeMethod(*method, answer)
	}
	if chap == (chapKeys{}) {
		return answer
	}
	switch {
	case s.state == chapChosen && chap.algorithms != nil && chap == chapKeys{algorithms: chap.algorithms}:
		return s.takeAlgorithms(*chap.algorithms, answer)
	case s.state == challenged && chap.algorithms == nil && chap.name != nil && chap.response != nil &&
		(chap.identifier == nil) == (chap.challenge == nil):
		return s.takeResponse(chap, answer)
	}
	s.refused = true
	return answer
}

func (s *security) takeMethod(list string, answer []byte) []byte {
	want := "None"
	if s.required() {
		want = "CHAP"
	}
	if !slices.Contains(strings.Split(list, ","), want) || s.required() && !s.credentials.sound() {
		s.refused = true
		return answer
	}
	s.state = proven
	if s.required() {
		s.state = chapChosen
	}
	return pdu.AppendText(answer, "AuthMethod", want)
}

func (s *security) takeAlgorithms(list string, answer []byte) []byte {
	a, ok := Choose(list)
	if !ok {
		s.refused = true
		return answer
	}
	s.algorithm, s.state = a, challenged
	answer = pdu.AppendText(answer, "CHAP_A", strconv.Itoa(int(a)))
	answer = pdu.AppendText(answer, "CHAP_I", strconv.Itoa(int(s.credentials.Identifier)))
	return pdu.AppendText(answer, "CHAP_C", EncodeBinary(s.credentials.Challenge, false))
}

// takeResponse checks the initiator's proof first, and only then gives ours:
// who does not know the secret learns nothing of the other one.
func (s *security) takeResponse(chap chapKeys, answer []byte) []byte {
	c := &s.credentials
	want := s.algorithm.Response(c.Identifier, c.Secret, c.Challenge)
	got, err := DecodeBinary(*chap.response, len(want))
	if err != nil || !equal(got, want) || !c.knows(*chap.name) {
		s.refused = true
		return answer
	}
	if chap.challenge == nil {
		s.state = proven
		return answer
	}
	identifier, ok := number(*chap.identifier)
	challenge, err := DecodeBinary(*chap.challenge, maxChallenge)
	// Our own challenge in return would have us answer for the initiator.
	if !ok || identifier > 255 || err != nil || len(challenge) == 0 || equal(challenge, c.Challenge) || len(c.MutualSecret) == 0 {
		s.refused = true
		return answer
	}
	s.state = proven
	ours := s.algorithm.Response(byte(identifier), c.MutualSecret, challenge)
	answer = pdu.AppendText(answer, "CHAP_N", c.MutualUser)
	return pdu.AppendText(answer, "CHAP_R", EncodeBinary(ours, IsBase64(*chap.challenge)))
}

// mayLeave tells whether the stage may be left when the initiator asks for it.
func (s *security) mayLeave(from pdu.Stage) bool {
	return from != pdu.SecurityNegotiation || s.state == proven || s.state == undecided && !s.required()
}

// status refuses a login whose security failed, or that tries to do without.
func (s *security) status(req *pdu.LoginRequest) LoginStatus {
	skips := req.CSG != pdu.SecurityNegotiation || req.Transit && s.state == undecided
	if s.refused || s.required() && s.state != proven && skips {
		return LoginAuthentication
	}
	return LoginSuccess
}
