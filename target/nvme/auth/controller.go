package auth

import (
	"crypto/subtle"
	"errors"
	"io"
	"slices"
)

// Config is what a controller knows of a host.
type Config struct {
	HostNQN, SubsystemNQN string

	Host       Secret // that the host has to know
	Controller Secret // that we know; without it a host that wants us to prove ourselves is refused

	Hashes []Hash  // that we take, by preference; none: all
	Groups []Group // likewise
}

// ErrEnded is an exchange that goes on though the host has been told, or has told
// us, that it failed: the connection is to end.
var ErrEnded = errors.New("nvme auth: the authentication has failed")

// Controller is the controller's side, for one queue.
type Controller struct {
	config   Config
	random   io.Reader
	sequence func() uint32

	step          step
	authenticated bool
	reason        Reason // of the failure that is told next, or was

	transaction uint16
	hash        Hash
	dh          *exchange
	challenge   []byte // C1
	s1          uint32
	group       Group
	proof       []byte // R2, nil if not asked for
}

// step is what comes next in a transaction.
type step uint8

const (
	stepNegotiate step = iota // no transaction: the host begins one
	stepChallenge             // the host fetches our challenge
	stepReply                 // the host replies
	stepSuccess1              // the host fetches our proof
	stepSuccess2              // the host says that it takes it
	stepFailure1              // the host fetches the reason of our refusal
	stepFailed                // nothing: the connection is to end
)

// NewController is the side of a queue whose host has connected. sequence numbers its
// challenges: each number once for a while, and never 0 (8.13.5.3).
func NewController(c Config, random io.Reader, sequence func() uint32) *Controller {
	if len(c.Hashes) == 0 {
		c.Hashes = Hashes
	}
	if len(c.Groups) == 0 {
		c.Groups = Groups
	}
	return &Controller{config: c, random: random, sequence: sequence}
}

// Authenticated tells whether the queue may be used: its host has proven itself, and
// has not failed to do so again.
func (c *Controller) Authenticated() bool { return c.authenticated }

// Failed gives the reason of a failure. Once the host has fetched it, the connection
// is to end.
func (c *Controller) Failed() (Reason, bool) {
	return c.reason, c.step == stepFailure1 || c.step == stepFailed
}

// Pending tells whether a transaction has begun and not ended. The caller bounds how
// long that may be.
func (c *Controller) Pending() bool { return c.step != stepNegotiate && c.step != stepFailed }

// Send takes what the host says with Authentication Send. What follows is fetched
// with Receive, or told by Authenticated and Failed. A Reply in a group
// takes an exponentiation. An error is the end of the connection: the host has given
// up, or there are no random bytes.
func (c *Controller) Send(b []byte) error {
	if c.step == stepFailed {
		return ErrEnded
	}
	m, reason := Parse(b)
	if reason != 0 {
		c.fail(reason)
		return nil
	}
	switch m := m.(type) {
	case *Negotiate:
		// A host may have forgotten a transaction that it began.
		return c.negotiate(m)
	case *Reply:
		c.reply(m)
	case *Success2:
		c.success2(m)
	case *Failure:
		if m.FromHost && c.Pending() && m.Transaction == c.transaction {
			c.end(m.Reason)
			return m
		}
		c.fail(IncorrectMessage)
	default:
		c.fail(IncorrectMessage)
	}
	return nil
}

// Receive is what the host fetches with Authentication Receive. The challenge in a
// group takes an exponentiation. An error is that there is nothing any more, or
// that there are no random bytes.
func (c *Controller) Receive() ([]byte, error) {
	switch c.step {
	case stepChallenge:
		return c.ask()
	case stepSuccess1:
		m := Success1{Transaction: c.transaction, Size: uint8(c.hash.Size()), Response: c.proof}
		if c.proof != nil {
			c.step = stepSuccess2
		} else {
			c.finish()
		}
		return m.Append(nil), nil
	case stepFailed:
		return nil, ErrEnded
	case stepFailure1:
	default:
		c.fail(IncorrectMessage)
	}
	m := Failure{Transaction: c.transaction, Reason: c.reason}
	c.end(c.reason)
	return m.Append(nil), nil
}

// fail has the host told why, when it asks next.
func (c *Controller) fail(r Reason) {
	c.step, c.reason, c.authenticated = stepFailure1, r, false
	c.forget()
}

// end is that of the connection.
func (c *Controller) end(r Reason) {
	c.step, c.reason, c.authenticated = stepFailed, r, false
	c.forget()
}

func (c *Controller) finish() {
	c.step, c.authenticated = stepNegotiate, true
	c.forget()
}

func (c *Controller) forget() { c.dh, c.challenge, c.proof = nil, nil, nil }

func (c *Controller) negotiate(m *Negotiate) error {
	c.forget()
	c.transaction = m.Transaction
	if m.Concat != 0 {
		c.fail(ConcatMismatch)
		return nil
	}
	i := slices.IndexFunc(m.Protocols, func(p Protocol) bool { return p.ID == protocolDHCHAP })
	if i < 0 {
		c.fail(ProtocolUnusable)
		return nil
	}
	offer := m.Protocols[i]
	hash, ok := choose(c.config.Hashes, offer.Hashes)
	if !ok {
		c.fail(HashUnusable)
		return nil
	}
	group, ok := choose(c.config.Groups, offer.Groups)
	if !ok {
		c.fail(GroupUnusable)
		return nil
	}
	challenge := make([]byte, hash.Size())
	if _, err := io.ReadFull(c.random, challenge); err != nil {
		return err
	}
	c.hash, c.group, c.challenge, c.s1 = hash, group, challenge, c.sequence()
	c.step = stepChallenge
	return nil
}

// choose is the first of ours that is offered.
func choose[T comparable](ours, offered []T) (chosen T, ok bool) {
	for _, x := range ours {
		if slices.Contains(offered, x) {
			return x, true
		}
	}
	return chosen, false
}

// ask is our challenge.
func (c *Controller) ask() ([]byte, error) {
	var err error
	if c.dh, err = newExchange(c.group, c.random); err != nil {
		return nil, err
	}
	c.step = stepReply
	m := Challenge{Transaction: c.transaction, Hash: c.hash, Group: c.group, Sequence: c.s1, Value: c.challenge, DH: c.dh.public}
	return m.Append(nil), nil
}

func (c *Controller) reply(m *Reply) {
	switch {
	case c.step != stepReply:
		c.fail(IncorrectMessage)
		return
	case m.Transaction != c.transaction, len(m.Response) != c.hash.Size(), m.Challenge != nil && m.Sequence == 0:
		c.fail(IncorrectPayload)
		return
	}
	shared, err := c.dh.shared(m.DH)
	if err != nil {
		c.fail(IncorrectPayload)
		return
	}
	q := question{c.hash, c.transaction, c.s1, c.challenge, shared}
	// Our own challenge that comes back is nobody's.
	if c.config.Host.IsZero() || m.Challenge != nil && (c.config.Controller.IsZero() || subtle.ConstantTimeCompare(m.Challenge, c.challenge) == 1) ||
		subtle.ConstantTimeCompare(m.Response, q.answer(c.config.Host, roleHost, c.config.HostNQN, c.config.SubsystemNQN)) != 1 {
		c.fail(Failed)
		return
	}
	if m.Challenge != nil {
		q.sequence, q.challenge = m.Sequence, m.Challenge
		c.proof = q.answer(c.config.Controller, roleController, c.config.SubsystemNQN, c.config.HostNQN)
	}
	c.step = stepSuccess1
}

func (c *Controller) success2(m *Success2) {
	switch {
	case m.Transaction != c.transaction:
		c.fail(IncorrectPayload)
	case c.step == stepSuccess2:
		c.finish()
	case c.step == stepNegotiate && c.authenticated:
		// The host has not asked for our proof, and says so nevertheless.
	default:
		c.fail(IncorrectMessage)
	}
}
