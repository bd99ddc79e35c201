package nvmetcp

import (
	"errors"
	"fmt"
	"time"

	"ashlar/target/nvme"
	"ashlar/target/nvmetcp/pdu"
	"ashlar/target/nvmetcp/queue"
)

// read takes PDUs until the connection ends.
func (c *conn) read() error {
	for {
		if err := c.readHeader(); err != nil {
			return err
		}
		if err := c.dispatch(); err != nil {
			return err
		}
		c.unsettled.heard()
		c.waitForRoom()
	}
}

// dispatch takes one PDU, whose header was read.
func (c *conn) dispatch() error {
	switch c.common.Type {
	case pdu.TypeICReq:
		return c.open()
	case pdu.TypeCapsuleCmd:
		return c.capsule()
	case pdu.TypeH2CData:
		return c.hostData()
	}
	var t pdu.TermReq
	t.Unmarshal(c.header[:c.common.HeaderLength])
	return fmt.Errorf("nvmetcp: the host ended the connection: %v", t.Error)
}

// open answers the request for a connection.
func (c *conn) open() error {
	var q pdu.ICReq
	q.Unmarshal(c.header[:])
	resp, terms, fault := queue.Open(&q)
	if fault != nil {
		return c.refuse(fault)
	}
	c.opened, c.terms = true, terms
	var b [pdu.MaxHeader]byte
	c.mu.Lock()
	c.sender.Enqueue(item{header: append([]byte(nil), resp.Marshal(b[:])...), terms: &terms})
	c.mu.Unlock()
	return nil
}

// capsule takes a command and the data that comes with it.
func (c *conn) capsule() error {
	var p pdu.CapsuleCmd
	p.Unmarshal(c.header[:c.common.HeaderLength])
	in := nvme.Command(p.Command)
	if c.tenure == nil {
		return c.connect(&in)
	}
	c.tenure.controller.Heard()
	c.mu.Lock()
	c.flow.Take()
	known := c.commands[uint32(in.ID())] != nil
	full := !c.flow.Room(len(c.commands))
	var cmd *command
	if !known && !full {
		cmd = c.begin(&in)
		cmd.pins++
	}
	c.mu.Unlock()
	switch {
	case full:
		return c.refuse(&queue.Fault{Error: pdu.SequenceError})
	case known:
		if err := c.readData(nil); err != nil && !errors.Is(err, errDataDigest) {
			return err
		}
		c.respond(in.ID(), nvme.CommandIDConflict|nvme.DoNotRetry, 0)
		return nil
	}
	defer c.unpin(cmd)
	if err := c.fuse(cmd); err != nil {
		return err
	}
	return c.gather(cmd)
}

// connect takes the first command of a connection, which makes it a queue.
func (c *conn) connect(in *nvme.Command) error {
	if in.Opcode() != nvme.Fabrics || in.FabricsType() != nvme.Connect {
		return c.refuse(&queue.Fault{Error: pdu.SequenceError, Info: 8})
	}
	data := make([]byte, nvme.ConnectSize)
	sgl, bad := queue.ReadSGL((*[64]byte)(in), c.layout.Data)
	if err := c.readData(data); err != nil {
		if !errors.Is(err, errDataDigest) {
			return err
		}
		return c.turnAway(in, nvme.TransientTransport, 0)
	}
	if bad != queue.NoSGLFault || !sgl.InCapsule || sgl.Length != nvme.ConnectSize {
		return c.turnAway(in, nvme.SGLLengthInvalid|nvme.DoNotRetry, 0)
	}
	q, status, result := nvme.ParseConnect(in, data)
	if status == nvme.Success {
		// The queue's depth is known before its first answer.
		c.mu.Lock()
		c.flow = queue.NewFlow(q.Size, q.NoFlow)
		c.flow.Take()
		c.mu.Unlock()
		status, result = c.srv.connect(c, &q)
	}
	if status != nvme.Success {
		return c.turnAway(in, status, result)
	}
	if !c.auth.required() {
		c.admitted()
	} else {
		result |= nvme.AuthRequired
	}
	c.respond(in.ID(), nvme.Success, result)
	return nil
}

// admitted ends the time in which a host has to get a queue.
func (c *conn) admitted() {
	c.srv.conns.LoggedIn(c)
	c.nc.SetReadDeadline(time.Time{}) //nolint:errcheck // a dead socket ends the reader at once
}

// turnAway answers a Connect that failed, and ends the connection.
func (c *conn) turnAway(in *nvme.Command, s nvme.Status, result uint64) error {
	c.srv.Log.Info("nvme connect refused", "peer", c.nc.RemoteAddr(), "status", s, "result", result)
	c.mu.Lock()
	c.sender.Enqueue(item{response: pdu.CapsuleResp{CommandID: in.ID(), Status: uint16(s), Result: result}, last: true})
	c.mu.Unlock()
	return errRefused
}

// respond answers a command that has no place in the table, or no longer.
func (c *conn) respond(id uint16, s nvme.Status, result uint64) {
	c.mu.Lock()
	c.sender.Enqueue(item{response: pdu.CapsuleResp{CommandID: id, Status: uint16(s), Result: result}})
	c.mu.Unlock()
}
