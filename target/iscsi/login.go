package iscsi

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"ashlar/target/iscsi/pdu"
	"ashlar/target/iscsi/session"
)

const maxLoginText = 8192 // of one login PDU, bytes (RFC 7143 13.12)

var errLogin = errors.New("iscsi: login refused")

// logIn brings the connection to the full feature phase. It reads no byte
// beyond the login, and takes nothing from the data pool.
func (c *conn) logIn() error {
	if err := c.nc.SetDeadline(time.Now().Add(c.srv.LoginTimeout)); err != nil {
		return err
	}
	l := session.Login{Admit: c.admit}
	text := make([]byte, maxLoginText+4)
	for {
		req, body, err := readLogin(c.fresh, text)
		if err != nil {
			return err
		}
		resp, answer, outcome := c.step(&l, &req, body)
		if outcome == session.LoginDone {
			if outcome = c.open(&l, &resp); outcome == session.LoginFailed {
				answer = nil
			}
		}
		resp.MaxCmdSN = resp.ExpCmdSN + uint32(c.srv.Depth) - 1
		if err := writeLogin(c.nc, &resp, answer); err != nil {
			return err
		}
		switch outcome {
		case session.LoginDone:
			return c.nc.SetDeadline(time.Time{})
		case session.LoginFailed:
			c.logRefusal(&l.Identity, resp.Status)
			return errLogin
		}
	}
}

// logRefusal tells of a wrong secret louder than of what hosts do every day.
func (c *conn) logRefusal(id *session.Identity, status uint16) {
	level := slog.LevelInfo
	if status == uint16(session.LoginAuthentication) {
		level = slog.LevelWarn
	}
	c.srv.Log.Log(context.Background(), level, "iscsi login refused", "initiator", id.Initiator, "target", id.Target,
		"peer", c.nc.RemoteAddr(), "status", fmt.Sprintf("%04x", status))
}

// step decides a login request. Proofs of secrets are limited in number for each
// address while they fail; beyond that none is looked at.
func (c *conn) step(l *session.Login, req *pdu.LoginRequest, text []byte) (pdu.LoginResponse, []byte, session.Outcome) {
	if !l.Challenged() {
		return l.Step(req, text)
	}
	from := guesser(c.nc.RemoteAddr())
	if !c.srv.guesses.take(from) {
		return l.Refuse(req, session.LoginUnavailable)
	}
	resp, answer, outcome := l.Step(req, text)
	if resp.Status != uint16(session.LoginAuthentication) {
		c.srv.guesses.giveBack(from)
	}
	return resp, answer, outcome
}

func readLogin(r io.Reader, text []byte) (req pdu.LoginRequest, body []byte, err error) {
	var h pdu.Header
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return req, nil, err
	}
	n := h.DataLength()
	if h.Opcode() != pdu.OpLoginRequest || h.AHSLength() != 0 || n > maxLoginText {
		return req, nil, errLogin
	}
	if _, err := io.ReadFull(r, text[:n+pdu.Padding(n)]); err != nil {
		return req, nil, err
	}
	req.Unmarshal(&h)
	return req, text[:n], nil
}

func writeLogin(w io.Writer, resp *pdu.LoginResponse, answer []byte) error {
	var h pdu.Header
	resp.DataLength = uint32(len(answer))
	resp.Marshal(&h)
	b := append(h[:len(h):len(h)], answer...)
	_, err := w.Write(append(b, make([]byte, pdu.Padding(len(answer)))...))
	return err
}

// admit decides on an identity from the node's directory. A host gives up on
// "not found", so that is only said by a node that may serve; and it is said of
// what the host may not use, so that nobody learns which targets there are.
func (c *conn) admit(id session.Identity) session.Admission {
	dir := c.srv.Directory
	c.group = dir.PortalGroup(c.nc.LocalAddr())
	a := session.Admission{Group: c.group}
	switch {
	case !dir.Ready():
		a.Status = session.LoginUnavailable
	case id.Discovery && id.TSIH != 0:
		a.Status = session.LoginNoSession
	case !id.Discovery && !dir.Visible(id.Initiator, id.Target):
		a.Status = session.LoginNotFound
	}
	if a.Status != session.LoginSuccess {
		return a
	}
	if !id.Discovery {
		if portal, elsewhere := dir.Redirect(id.Initiator, id.Target, c.nc.LocalAddr()); elsewhere {
			a.Status, a.Redirect = session.LoginMovedTemporarily, addressText(portal)
			return a
		}
	}
	if !id.Discovery && (c.srv.closedTo(id) || dir.Target(id.Initiator, id.Target) == nil) {
		a.Status = session.LoginUnavailable
		return a
	}
	a.Credentials = dir.Credentials(id.Initiator, id.Discovery)
	a.Credentials.Identifier, a.Credentials.Challenge = freshChallenge()
	return a
}

// freshChallenge is an identifier and a challenge that nobody can foresee.
func freshChallenge() (identifier byte, challenge []byte) {
	b := make([]byte, 1+session.ChallengeSize)
	rand.Read(b) // never fails
	return b[0], b[1:]
}

// open begins the session that a finished negotiation agreed on.
func (c *conn) open(l *session.Login, resp *pdu.LoginResponse) session.Outcome {
	status := session.LoginSuccess
	c.setIdentity(l.Identity)
	if l.Identity.Discovery {
		c.srv.mu.Lock()
		resp.TSIH = c.srv.newTSIH()
		c.srv.mu.Unlock()
	} else if c.target = c.srv.Directory.Target(l.Identity.Initiator, l.Identity.Target); c.target == nil {
		status = session.LoginUnavailable
	} else if status = c.srv.enter(c, c.target); status == session.LoginSuccess {
		resp.TSIH = c.tenure.tsih
		c.nexus = c.tenure.nexus
		c.nexus.OnClear(c.clearGathering)
	}
	// The directory may have changed its mind while an old session was fenced.
	if status == session.LoginSuccess && !c.srv.Directory.Ready() {
		status = session.LoginUnavailable
	}
	if status != session.LoginSuccess {
		resp.Status, resp.Transit, resp.NSG, resp.DataLength = uint16(status), false, 0, 0
		return session.LoginFailed
	}
	c.params, c.sendParams = l.Params, l.Params
	c.window = session.NewWindow(l.CmdSN, c.srv.Depth)
	c.writer.statSN = l.StatSN
	return session.LoginDone
}
