package iscsi

import (
	"errors"

	"ashlar/target/iscsi/pdu"
	"ashlar/target/iscsi/session"
)

// errRefused ends a connection after a Reject that is queued already.
var errRefused = errors.New("iscsi: protocol violation")

// read takes PDUs until the connection ends.
func (c *conn) read() error {
	for {
		if err := c.readHeader(); err != nil {
			return err
		}
		c.unsettled.acknowledged(c.header.ExpStatSN())
		if c.header.DataLength() > session.MaxReceive {
			return c.refuse(pdu.RejectProtocolError)
		}
		if err := c.dispatch(); err != nil {
			if errors.Is(err, errDigest) {
				return c.refuse(pdu.RejectDataDigest)
			}
			return err
		}
		c.waitForRoom()
	}
}

// dispatch takes one PDU, whose header was read.
func (c *conn) dispatch() error {
	h := &c.header
	switch op := h.Opcode(); op {
	case pdu.OpSCSICommand:
		return c.scsiCommand(h)
	case pdu.OpDataOut:
		return c.dataOut(h)
	case pdu.OpNopOut:
		return c.nopOut(h)
	case pdu.OpTaskRequest:
		return c.taskRequest(h)
	case pdu.OpTextRequest:
		return c.textRequest(h)
	case pdu.OpLogoutRequest:
		return c.logoutRequest(h)
	case pdu.OpSNACK: // not at ErrorRecoveryLevel 0 (RFC 7143 11.16)
		return c.decline(pdu.RejectSNACK)
	}
	return c.refuse(pdu.RejectNotSupported)
}

// decline rejects the PDU in hand and goes on; its data is thrown away.
func (c *conn) decline(reason pdu.RejectReason) error {
	if err := c.readData(nil, c.header.DataLength()); err != nil {
		return err
	}
	c.reject(reason, false)
	return nil
}

// refuse rejects the PDU in hand and ends the connection.
func (c *conn) refuse(reason pdu.RejectReason) error {
	c.reject(reason, true)
	return errRefused
}

func (c *conn) reject(reason pdu.RejectReason, last bool) {
	c.srv.Log.Info("iscsi reject", "peer", c.nc.RemoteAddr(), "reason", uint8(reason), "header", c.header[:])
	i := item{data: append([]byte(nil), c.header[:]...), usesStatSN: true, last: last}
	(&pdu.Reject{Reason: reason, DataLength: pdu.HeaderSize}).Marshal(&i.header)
	c.mu.Lock()
	c.enqueue(i)
	c.mu.Unlock()
}

// arrive decides on a request by its place in the window. When it is not
// delivered, its data is thrown away. What a delivered request holds of the window is
// taken by begin under the same lock: a response written between the two would
// promise that place to the host a second time.
func (c *conn) arrive(cmdSN uint32, immediate bool, begin func()) (deliver bool, err error) {
	c.mu.Lock()
	arrival := c.window.Arrive(cmdSN, immediate)
	leaving := c.logout != nil
	if begin != nil && arrival == session.Deliver && !leaving {
		begin()
	}
	c.mu.Unlock()
	switch {
	case arrival == session.Gap:
		return false, c.refuse(pdu.RejectProtocolError)
	case leaving:
		return false, c.decline(pdu.RejectWaitingForLogout)
	case arrival == session.Ignore:
		return false, c.readData(nil, c.header.DataLength())
	}
	return true, nil
}

// nopOut echoes a ping; one without a task tag answers ours, or needs none.
func (c *conn) nopOut(h *pdu.Header) error {
	var p pdu.NopOut
	p.Unmarshal(h)
	if p.ITT == pdu.NoTag {
		return c.readData(nil, h.DataLength())
	}
	if deliver, err := c.arrive(p.CmdSN, p.Immediate, nil); !deliver {
		return err
	}
	data := make([]byte, h.DataLength())
	if err := c.readData(data, len(data)); err != nil {
		return err
	}
	data = data[:min(len(data), int(c.params.MaxSend))]
	c.sendData(&pdu.NopIn{ITT: p.ITT, TTT: pdu.NoTag, LUN: p.LUN, DataLength: uint32(len(data))}, data)
	return nil
}
