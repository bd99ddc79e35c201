package initiator

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"ashlar/target/iscsi/pdu"
	"ashlar/target/iscsi/session"
)

// CHAP is how to prove who we are, and to have the target prove itself
// (RFC 7143 12.1.3).
type CHAP struct {
	User   string
	Secret []byte

	MutualUser   string // that the target has to give; empty: any
	MutualSecret []byte // that the target has to know; empty: it need not prove itself

	Algorithms []session.Algorithm // offered, in this order (all, the strongest first)
	Base64     bool                // write binary values so, not in hexadecimal
}

// ErrTarget is a login that failed because the target did not prove itself.
var ErrTarget = errors.New("iscsi initiator: the target did not prove that it knows its secret")

// authenticate goes through the security stage and gives the target's answers.
func (c *CHAP) authenticate(x *exchange, identity []byte) (all []pdu.Pair, err error) {
	x.req.Transit, x.req.CSG, x.req.NSG = false, pdu.SecurityNegotiation, pdu.SecurityNegotiation
	all, err = x.step(pdu.AppendText(identity, "AuthMethod", "CHAP,None"))
	if err != nil {
		return nil, err
	}
	x.req.Transit, x.req.NSG = true, pdu.LoginOperational
	if find(all, "AuthMethod") == "None" {
		if len(c.MutualSecret) > 0 {
			return nil, ErrTarget
		}
		_, err := x.step(nil)
		x.req.CSG, x.req.NSG = pdu.LoginOperational, pdu.FullFeature
		return all, err
	}
	asked, err := x.step(pdu.AppendText(nil, "CHAP_A", c.offer()))
	if err != nil {
		return nil, err
	}
	proof, check, err := c.prove(asked)
	if err != nil {
		return nil, err
	}
	answer, err := x.step(proof)
	if err == nil {
		err = check(answer)
	}
	if err == nil && !x.resp.Transit {
		err = errors.New("iscsi initiator: the target does not leave the security stage")
	}
	x.req.CSG, x.req.NSG = pdu.LoginOperational, pdu.FullFeature
	return all, err
}

func (c *CHAP) algorithms() []session.Algorithm {
	if len(c.Algorithms) == 0 {
		return session.Algorithms
	}
	return c.Algorithms
}

func (c *CHAP) offer() string {
	var list []string
	for _, a := range c.algorithms() {
		list = append(list, strconv.Itoa(int(a)))
	}
	return strings.Join(list, ",")
}

// prove answers the target's challenge, and poses ours if the target is to prove
// itself: check holds its answer against that.
func (c *CHAP) prove(asked []pdu.Pair) (text []byte, check func([]pdu.Pair) error, err error) {
	n, err := strconv.ParseUint(find(asked, "CHAP_A"), 10, 8)
	algorithm := session.Algorithm(n)
	if err != nil || !bytes.Contains([]byte(","+c.offer()+","), []byte(","+strconv.Itoa(int(n))+",")) {
		return nil, nil, fmt.Errorf("iscsi initiator: the target chose CHAP_A=%s of %s", find(asked, "CHAP_A"), c.offer())
	}
	identifier, err := strconv.ParseUint(find(asked, "CHAP_I"), 0, 8)
	if err != nil {
		return nil, nil, err
	}
	challenge, err := session.DecodeBinary(find(asked, "CHAP_C"), 1024)
	if err != nil {
		return nil, nil, err
	}
	text = pdu.AppendText(nil, "CHAP_N", c.User)
	text = pdu.AppendText(text, "CHAP_R", session.EncodeBinary(algorithm.Response(byte(identifier), c.Secret, challenge), c.Base64))
	if len(c.MutualSecret) == 0 {
		return text, func([]pdu.Pair) error { return nil }, nil
	}
	ours := make([]byte, 1+session.ChallengeSize)
	rand.Read(ours)
	text = pdu.AppendText(text, "CHAP_I", strconv.Itoa(int(ours[0])))
	text = pdu.AppendText(text, "CHAP_C", session.EncodeBinary(ours[1:], c.Base64))
	return text, func(answer []pdu.Pair) error {
		want := algorithm.Response(ours[0], c.MutualSecret, ours[1:])
		got, err := session.DecodeBinary(find(answer, "CHAP_R"), len(want))
		if err != nil || !bytes.Equal(got, want) || c.MutualUser != "" && find(answer, "CHAP_N") != c.MutualUser {
			return ErrTarget
		}
		return nil
	}, nil
}
