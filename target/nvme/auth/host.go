package auth

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"slices"
)

// HostConfig is what a host knows.
type HostConfig struct {
	HostNQN, SubsystemNQN string

	Host       Secret // that we know
	Controller Secret // that the controller has to know; without it, it need not prove itself

	Hashes []Hash  // offered; none: all
	Groups []Group // likewise
}

// ErrController is a controller that has not proven itself.
var ErrController = errors.New("nvme auth: the controller did not prove that it knows its secret")

// Exchange carries a host's messages to a controller: an Authentication Send, and
// an Authentication Receive with room for MessageMax bytes.
type Exchange interface {
	AuthenticationSend([]byte) error
	AuthenticationReceive() ([]byte, error)
}

// Authenticate is the host's side: it proves the host's secret to a controller, and
// has the controller prove its own if there is one. A controller's refusal is a *Failure.
func (c HostConfig) Authenticate(to Exchange, transaction uint16, sequence uint32, random io.Reader) error {
	if len(c.Hashes) == 0 {
		c.Hashes = Hashes
	}
	if len(c.Groups) == 0 {
		c.Groups = Groups
	}
	offer := Negotiate{Transaction: transaction, Protocols: []Protocol{{protocolDHCHAP, c.Hashes, c.Groups}}}
	if err := to.AuthenticationSend(offer.Append(nil)); err != nil {
		return err
	}
	asked, err := fetch[*Challenge](to)
	if err != nil {
		return err
	}
	reply, check, reason, err := c.answer(asked, transaction, sequence, random)
	if err != nil {
		return err
	}
	if reason != 0 {
		return refuse(to, transaction, reason)
	}
	if err := to.AuthenticationSend(reply.Append(nil)); err != nil {
		return err
	}
	granted, err := fetch[*Success1](to)
	if err != nil {
		return err
	}
	if granted.Transaction != transaction || int(granted.Size) != asked.Hash.Size() {
		return refuse(to, transaction, IncorrectPayload)
	}
	if check == nil {
		return nil
	}
	if subtle.ConstantTimeCompare(granted.Response, check) != 1 {
		return errors.Join(ErrController, refuse(to, transaction, Failed))
	}
	done := Success2{transaction}
	return to.AuthenticationSend(done.Append(nil))
}

// answer is the reply to a challenge, and the response that the controller then owes.
func (c HostConfig) answer(m *Challenge, transaction uint16, sequence uint32, random io.Reader) (reply *Reply, check []byte, r Reason, err error) {
	switch {
	case m.Transaction != transaction:
		return nil, nil, IncorrectPayload, nil
	case !slices.Contains(c.Hashes, m.Hash) || len(m.Value) != m.Hash.Size():
		return nil, nil, HashUnusable, nil
	case !slices.Contains(c.Groups, m.Group):
		return nil, nil, GroupUnusable, nil
	}
	dh, err := newExchange(m.Group, random)
	if err != nil {
		return nil, nil, 0, err
	}
	shared, err := dh.shared(m.DH)
	if err != nil {
		return nil, nil, IncorrectPayload, nil
	}
	q := question{m.Hash, transaction, m.Sequence, m.Value, shared}
	reply = &Reply{Transaction: transaction, Response: q.answer(c.Host, roleHost, c.HostNQN, c.SubsystemNQN), DH: dh.public}
	if c.Controller.IsZero() {
		return reply, nil, 0, nil
	}
	reply.Sequence, reply.Challenge = sequence, make([]byte, m.Hash.Size())
	if _, err := io.ReadFull(random, reply.Challenge); err != nil {
		return nil, nil, 0, err
	}
	q.sequence, q.challenge = sequence, reply.Challenge
	return reply, q.answer(c.Controller, roleController, c.SubsystemNQN, c.HostNQN), 0, nil
}

// fetch receives the message that is due, or the controller's refusal.
func fetch[M Message](from Exchange) (due M, err error) {
	b, err := from.AuthenticationReceive()
	if err != nil {
		return due, err
	}
	m, reason := Parse(b)
	if f, ok := m.(*Failure); ok && reason == 0 {
		return due, f
	}
	due, ok := m.(M)
	if !ok || reason != 0 {
		return due, fmt.Errorf("nvme auth: %v where a %T is due", m, due)
	}
	return due, nil
}

// refuse tells the controller why, and gives that as an error.
func refuse(to Exchange, transaction uint16, r Reason) error {
	m := &Failure{FromHost: true, Transaction: transaction, Reason: r}
	return errors.Join(m, to.AuthenticationSend(m.Append(nil)))
}

// Error makes a failure an error of who hears of it.
func (m *Failure) Error() string { return "nvme auth: " + m.String() }
