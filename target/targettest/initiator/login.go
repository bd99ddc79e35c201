package initiator

import (
	"errors"
	"fmt"
	"io"

	"ashlar/target/iscsi/pdu"
)

// exchange is a login under way.
type exchange struct {
	rw   io.ReadWriter
	req  pdu.LoginRequest
	resp pdu.LoginResponse
}

// step sends one login request and gives the keys of its response.
func (x *exchange) step(text []byte) ([]pdu.Pair, error) {
	var h pdu.Header
	x.req.DataLength = uint32(len(text))
	x.req.Marshal(&h)
	b := append(append(h[:len(h):len(h)], text...), make([]byte, pdu.Padding(len(text)))...)
	if _, err := x.rw.Write(b); err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(x.rw, h[:]); err != nil {
		return nil, err
	}
	if h.Opcode() != pdu.OpLoginResponse {
		return nil, fmt.Errorf("iscsi initiator: opcode %#x in answer to a login", h.Opcode())
	}
	n := h.DataLength()
	answer := make([]byte, n+pdu.Padding(n))
	if _, err := io.ReadFull(x.rw, answer); err != nil {
		return nil, err
	}
	x.resp.Unmarshal(&h)
	x.req.ExpStatSN = x.resp.StatSN + 1
	pairs, err := pdu.UnmarshalText(answer[:n])
	if err == nil && x.resp.Status != 0 {
		return nil, refusal(x.resp.Status, pairs)
	}
	return pairs, err
}

func refusal(status uint16, pairs []pdu.Pair) error {
	e := &LoginError{Status: status}
	if address := find(pairs, "TargetAddress"); status>>8 == 1 {
		e.Address = address
	}
	return e
}

// find is the value of a key, empty if it is not there.
func find(pairs []pdu.Pair, key string) string {
	for _, p := range pairs {
		if p.Key == key {
			return p.Value
		}
	}
	return ""
}

// login goes from the security stage, if there is something to prove, over the
// operational stage to the full feature phase.
func (s *Session) login(target string, o *Options) error {
	x := &exchange{rw: s.nc}
	x.req = pdu.LoginRequest{Transit: true, CSG: pdu.LoginOperational, NSG: pdu.FullFeature, ISID: o.ISID, CmdSN: 1}
	text := o.identity(target)
	s.Params = Params{MaxSend: 8192, MaxBurst: 262144, FirstBurst: 65536, InitialR2T: true, ImmediateData: true, MaxOutstandingR2T: 1}
	if o.CHAP != nil {
		answers, err := o.CHAP.authenticate(x, text)
		if err != nil {
			return err
		}
		s.Params.takeAll(answers)
		text = nil
	}
	text = append(text, o.offers(target)...)
	for {
		answers, err := x.step(text)
		if err != nil {
			return err
		}
		s.Params.takeAll(answers)
		if x.resp.Transit && x.resp.NSG == pdu.FullFeature {
			break
		}
		text = nil
	}
	s.TSIH, s.cmdSN, s.maxCmdSN, s.expStatSN = x.resp.TSIH, x.resp.ExpCmdSN, x.resp.MaxCmdSN, x.resp.StatSN+1
	if s.Params.HeaderDigest != o.HeaderDigest || s.Params.DataDigest != o.DataDigest {
		return errors.New("iscsi initiator: target refused the digests")
	}
	return nil
}

// takeAll reads the target's answers.
func (p *Params) takeAll(answers []pdu.Pair) {
	for _, a := range answers {
		p.take(a)
	}
}
