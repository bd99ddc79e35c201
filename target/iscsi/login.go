package iscsi

import (
	"errors"
	"io"
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
		resp, answer, outcome := l.Step(&req, body)
		if outcome == session.LoginDone {
			outcome = c.open(&l, &resp)
		}
		resp.MaxCmdSN = resp.ExpCmdSN + uint32(c.srv.Depth) - 1
		if resp.Status != 0 {
			answer = nil
		}
		if err := writeLogin(c.nc, &resp, answer); err != nil {
			return err
		}
		switch outcome {
		case session.LoginDone:
			return c.nc.SetDeadline(time.Time{})
		case session.LoginFailed:
			c.srv.Log.Info("iscsi login refused", "initiator", l.Identity.Initiator, "target", l.Identity.Target,
				"peer", c.nc.RemoteAddr(), "status", resp.Status)
			return errLogin
		}
	}
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

// admit decides on an identity from the node's directory.
func (c *conn) admit(id session.Identity) (session.LoginStatus, uint16) {
	dir := c.srv.Directory
	if !dir.Ready() {
		return session.LoginUnavailable, 0
	}
	c.group = dir.PortalGroup(c.nc.LocalAddr())
	if id.Discovery {
		if id.TSIH != 0 {
			return session.LoginNoSession, 0
		}
		return session.LoginSuccess, c.group
	}
	if dir.Target(id.Initiator, id.Target) == nil {
		return session.LoginNotFound, 0
	}
	if !dir.Visible(id.Initiator, id.Target) {
		return session.LoginForbidden, 0
	}
	return session.LoginSuccess, c.group
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
		status = session.LoginNotFound
	} else if status = c.srv.enter(c, c.target); status == session.LoginSuccess {
		resp.TSIH = c.tenure.tsih
		c.nexus = c.tenure.nexus
	}
	// The directory may have changed its mind while an old session was fenced.
	if status == session.LoginSuccess && !c.srv.Directory.Ready() {
		status = session.LoginUnavailable
	}
	if status != session.LoginSuccess {
		resp.Status, resp.Transit, resp.NSG = uint16(status), false, 0
		return session.LoginFailed
	}
	c.params, c.sendParams = l.Params, l.Params
	c.window = session.NewWindow(l.CmdSN, c.srv.Depth)
	c.writer.statSN = l.StatSN
	return session.LoginDone
}
