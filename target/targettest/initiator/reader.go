package initiator

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"ashlar/target/iscsi/pdu"
)

var errDigest = errors.New("iscsi initiator: digest mismatch")

// read takes PDUs until the session ends.
func (s *Session) read() {
	defer close(s.readEnd)
	for {
		if err := s.readPDU(); err != nil {
			s.mu.Lock()
			s.sender.Idle()
			s.mu.Unlock()
			s.fail(err)
			return
		}
	}
}

func (s *Session) readPDU() error {
	h := &s.header
	if _, err := io.ReadFull(s.in, h[:]); err != nil {
		return err
	}
	if s.Params.HeaderDigest {
		var d [pdu.DigestSize]byte
		if _, err := io.ReadFull(s.in, d[:]); err != nil {
			return err
		}
		if !pdu.Digest(0).Add(h[:]).Matches(d[:]) {
			return errDigest
		}
	}
	n := h.DataLength()
	if h.AHSLength() != 0 || uint32(n) > s.maxReceive {
		return fmt.Errorf("iscsi initiator: PDU of %d bytes of data, %d of additional header", n, h.AHSLength())
	}
	if h.Opcode() == pdu.OpDataIn {
		return s.dataIn(h, n)
	}
	data := make([]byte, n)
	if err := s.readData(data, n); err != nil {
		return err
	}
	return s.dispatch(h, data)
}

// readData reads a data segment of n bytes: its head into b, the rest into nothing.
func (s *Session) readData(b []byte, n int) error {
	if n == 0 {
		return nil
	}
	if _, err := io.ReadFull(s.in, b); err != nil {
		return err
	}
	rest := make([]byte, n-len(b)+pdu.Padding(n))
	if _, err := io.ReadFull(s.in, rest); err != nil {
		return err
	}
	if !s.Params.DataDigest {
		return nil
	}
	var d [pdu.DigestSize]byte
	if _, err := io.ReadFull(s.in, d[:]); err != nil {
		return err
	}
	if !pdu.Digest(0).Add(b).Add(rest).Matches(d[:]) {
		return errDigest
	}
	return nil
}

// advance takes a PDU's sequence numbers; mu is held.
func (s *Session) advance(statSN, expCmdSN, maxCmdSN uint32, usesStatSN bool) {
	if usesStatSN {
		s.expStatSN = statSN + 1
	}
	// Both are ignored when MaxCmdSN is less than ExpCmdSN - 1 (RFC 7143 4.2.2.1).
	if int32(maxCmdSN-expCmdSN) >= -1 && int32(maxCmdSN-s.maxCmdSN) > 0 {
		s.maxCmdSN = maxCmdSN
	}
	s.pump()
}

// dataIn puts data where its command wants it.
func (s *Session) dataIn(h *pdu.Header, n int) error {
	var p pdu.DataIn
	p.Unmarshal(h)
	s.mu.Lock()
	c := s.active[p.ITT]
	s.mu.Unlock()
	if c == nil {
		return s.readData(nil, n)
	}
	if uint64(p.Offset)+uint64(n) > uint64(c.expected()) {
		return fmt.Errorf("iscsi initiator: data-in up to %d, expected %d", uint64(p.Offset)+uint64(n), c.expected())
	}
	from := min(int(p.Offset), len(c.In))
	if err := s.readData(c.In[from:min(from+n, len(c.In))], n); err != nil {
		return err
	}
	c.Received = max(c.Received, p.Offset+uint32(n))
	s.mu.Lock()
	s.advance(p.StatSN, p.ExpCmdSN, p.MaxCmdSN, p.HasStatus)
	if p.HasStatus {
		delete(s.active, p.ITT)
	}
	s.mu.Unlock()
	if p.HasStatus {
		c.Status, c.Overflow, c.Underflow, c.Residual = p.Status, p.Overflow, p.Underflow, p.Residual
		c.Done(c)
	}
	return nil
}

// dispatch takes any other PDU.
func (s *Session) dispatch(h *pdu.Header, data []byte) error {
	switch h.Opcode() {
	case pdu.OpSCSIResponse:
		return s.response(h, data)
	case pdu.OpR2T:
		return s.r2t(h)
	case pdu.OpNopIn:
		return s.nopIn(h, data)
	case pdu.OpTaskResponse, pdu.OpTextResponse, pdu.OpLogoutResponse:
		s.answer(h, data)
		return nil
	case pdu.OpReject:
		var p pdu.Reject
		p.Unmarshal(h)
		return fmt.Errorf("iscsi initiator: %v of %x", &p, data)
	case pdu.OpAsync:
		var p pdu.Async
		p.Unmarshal(h)
		return s.asyncMessage(&p)
	}
	return fmt.Errorf("iscsi initiator: opcode %#x from the target", h.Opcode())
}

func (s *Session) response(h *pdu.Header, data []byte) error {
	var p pdu.SCSIResponse
	p.Unmarshal(h)
	s.mu.Lock()
	s.advance(p.StatSN, p.ExpCmdSN, p.MaxCmdSN, true)
	c := s.active[p.ITT]
	delete(s.active, p.ITT)
	s.mu.Unlock()
	if c == nil || p.Response != 0 {
		return strange(p)
	}
	c.Status, c.Overflow, c.Underflow, c.Residual = p.Status, p.Overflow, p.Underflow, p.Residual
	if len(data) >= 2 {
		c.Sense = data[2:min(len(data), 2+int(binary.BigEndian.Uint16(data)))]
	}
	c.Done(c)
	return nil
}

// strange takes a copy, so that the responses of good commands stay off the heap.
func strange(p pdu.SCSIResponse) error {
	return fmt.Errorf("iscsi initiator: %v, which is of no command or no status", &p)
}

func (s *Session) r2t(h *pdu.Header) error {
	var p pdu.R2T
	p.Unmarshal(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance(p.StatSN, p.ExpCmdSN, p.MaxCmdSN, false)
	c := s.active[p.ITT]
	if c == nil { // aborted meanwhile
		return nil
	}
	if p.Length == 0 || uint64(p.Offset)+uint64(p.Length) > uint64(len(c.Out)) || p.Length > s.Params.MaxBurst {
		return fmt.Errorf("iscsi initiator: %v for %d bytes", &p, len(c.Out))
	}
	s.sendOut(c, p.TTT, p.Offset, p.Offset+p.Length)
	return nil
}

// nopIn answers the target's ping, or takes its answer to ours.
func (s *Session) nopIn(h *pdu.Header, data []byte) error {
	var p pdu.NopIn
	p.Unmarshal(h)
	if p.ITT != pdu.NoTag {
		s.answer(h, data)
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance(p.StatSN, p.ExpCmdSN, p.MaxCmdSN, false)
	if p.TTT != pdu.NoTag {
		var out pdu.Header
		(&pdu.NopOut{Immediate: true, ITT: pdu.NoTag, TTT: p.TTT, LUN: p.LUN, CmdSN: s.cmdSN, ExpStatSN: s.expStatSN}).Marshal(&out)
		s.enqueue(&out, nil)
	}
	return nil
}

// answer gives a reply to whoever waits for it.
func (s *Session) answer(h *pdu.Header, data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance(binary.BigEndian.Uint32(h[24:]), binary.BigEndian.Uint32(h[28:]), binary.BigEndian.Uint32(h[32:]), true)
	if call := s.calls[h.TaskTag()]; call != nil {
		delete(s.calls, h.TaskTag())
		call <- reply{*h, data}
	}
}

// asyncMessage hands the target's own message on.
func (s *Session) asyncMessage(p *pdu.Async) error {
	s.mu.Lock()
	s.advance(p.StatSN, p.ExpCmdSN, p.MaxCmdSN, true)
	s.mu.Unlock()
	switch {
	case p.Event == pdu.AsyncSCSI:
	case s.async == nil:
		return fmt.Errorf("iscsi initiator: %v", p)
	default:
		s.async(*p)
	}
	return nil
}
