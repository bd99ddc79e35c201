package session

import (
	"strings"

	"ashlar/target/iscsi/pdu"
)

// Ask is what a text request of the full feature phase wants.
type Ask struct {
	SendTargets bool
	Name        string // one target; empty: all that the session may see
}

// maxText bounds the text of one request of the full feature phase, bytes.
const maxText = 8192

// Text decides a whole text request. It is not ok if the request is to be
// rejected: an unknown key, a value that means nothing, or an offer that may
// not change in the full feature phase (RFC 7143 13).
func Text(text []byte, p *Params, id *Identity) (ask Ask, ok bool) {
	if len(text) > maxText {
		return Ask{}, false
	}
	pairs, err := pdu.UnmarshalText(text)
	if err != nil || len(pairs) == 0 {
		return Ask{}, false
	}
	for _, pair := range pairs {
		switch pair.Key {
		case "SendTargets":
			if ask, ok = sendTargets(pair.Value, id); !ok {
				return Ask{}, false
			}
		case "MaxRecvDataSegmentLength":
			if find(pair.Key).answer(p, pair.Value, id.Discovery) == reject {
				return Ask{}, false
			}
		default:
			return Ask{}, false
		}
	}
	return ask, true
}

// sendTargets decides the value of SendTargets (RFC 7143 appendix C). All in a
// normal session is answered with that session's target alone.
func sendTargets(value string, id *Identity) (Ask, bool) {
	switch {
	case value == "All":
		return Ask{SendTargets: true, Name: id.Target}, true
	case value == "":
		return Ask{SendTargets: true, Name: id.Target}, !id.Discovery
	case !id.Discovery:
		return Ask{SendTargets: true, Name: value}, value == id.Target
	}
	named := strings.HasPrefix(value, "iqn.") || strings.HasPrefix(value, "eui.") || strings.HasPrefix(value, "naa.")
	return Ask{SendTargets: true, Name: value}, named
}
