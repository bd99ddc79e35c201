package iscsi

import (
	"encoding/binary"

	"ashlar/target/carrier"
	"ashlar/target/iscsi/pdu"
	"ashlar/target/iscsi/session"
	"ashlar/target/scsi"
)

// item is something to send: the response of a command, or one prepared PDU.
type item struct {
	cmd        *command
	header     pdu.Header // without its sequence numbers
	data       []byte
	usesStatSN bool // it is a response, which the initiator acknowledges
	last       bool // the connection is closed after it
}

// slot holds the bytes round the data segment of a PDU under way.
type slot struct {
	head [pdu.HeaderSize + pdu.DigestSize]byte
	tail [3 + pdu.DigestSize]byte // padding and digest
}

const slots = 128 // PDUs in one writev at most

// writer turns items into PDUs. It belongs to whoever writes.
type writer struct {
	statSN   uint32
	exp, max uint32 // ExpCmdSN and MaxCmdSN when the batch began
	params   session.Params
	slot     [slots]slot
	used     int
	out      *carrier.Output
}

// little is how many bytes of data the reader writes at once.
const little = 256 << 10

// Little says whether what is queued fits into one vector and is soon written; mu
// is held.
func (c *conn) Little(queue []item) bool {
	pdus, bytes := 0, 0
	for i := range queue {
		n := len(queue[i].data)
		if cmd := queue[i].cmd; cmd != nil {
			n = len(cmd.task.Data)
			if !cmd.read {
				n = 0
			}
			pdus += n/int(c.sendParams.MaxSend) + n/int(c.sendParams.MaxBurst) + 1
		}
		pdus++
		bytes += n
	}
	return pdus <= slots && bytes <= little
}

// settleLater takes note of a response that somebody waits to hear of. It is the
// next that uses a StatSN: only a command's last PDU does.
func (c *conn) settleLater(cmd *command) {
	if cmd == nil || cmd.task.Op.Settle == nil {
		return
	}
	c.unsettled.add(c.writer.statSN, cmd.task.Op.Settle)
	cmd.task.Op.Settle = nil
}

// Take has a command whose response is taken give back its place in the window,
// which the same batch then tells. mu is held.
func (c *conn) Take(batch []item) {
	w := &c.writer
	c.echo = 0
	for i := range batch {
		if cmd := batch[i].cmd; cmd != nil {
			c.remove(cmd)
		}
	}
	w.exp, w.max, w.params = c.window.ExpCmdSN(), c.window.MaxCmdSN(), c.sendParams
	w.used = 0
}

// Sent gives the commands of a batch back. mu is held.
func (c *conn) Sent(batch []item) {
	for i := range batch {
		if cmd := batch[i].cmd; cmd != nil {
			c.release(cmd)
		}
	}
}

// Put puts an item's PDUs into the vector.
func (c *conn) Put(i *item) (last bool) {
	c.settleLater(i.cmd)
	if i.cmd != nil {
		c.writer.addResponse(i.cmd)
		return false
	}
	c.writer.put(&i.header, i.data, i.usesStatSN)
	return i.last
}

// addResponse puts a command's data and its status. Status GOOD goes with the
// last of the data (RFC 7143 11.7.3).
func (w *writer) addResponse(cmd *command) {
	t := &cmd.task
	var h pdu.Header
	over, under, residual := session.Residual(cmd.edtl, t.Transfer)
	sent := uint32(0)
	if cmd.read && len(t.Data) > 0 {
		data := t.Data[:min(len(t.Data), int(cmd.edtl))]
		cut := session.NewCut(&w.params, uint32(len(data)))
		for p, ok := cut.Next(); ok; p, ok = cut.Next() {
			in := pdu.DataIn{Final: p.Final, DataLength: p.Length, ITT: cmd.ITT, TTT: pdu.NoTag, DataSN: p.DataSN, Offset: p.Offset}
			status := p.Last && t.Status == scsi.StatusGood
			if status {
				in.HasStatus, in.Overflow, in.Underflow, in.Residual = true, over, under, residual
			}
			in.Marshal(&h)
			w.put(&h, data[p.Offset:p.Offset+p.Length], status)
			if status {
				return
			}
		}
		sent = cut.Sent()
	}
	resp := pdu.SCSIResponse{
		Status: t.Status, ITT: cmd.ITT, Overflow: over, Underflow: under, Residual: residual,
		ExpDataSN: sent + cmd.Gather.R2Ts(),
	}
	var sense []byte
	if len(t.Sense) > 0 {
		binary.BigEndian.PutUint16(cmd.sense[:], uint16(len(t.Sense)))
		sense = cmd.sense[:2+copy(cmd.sense[2:], t.Sense)]
		resp.DataLength = uint32(len(sense))
	}
	resp.Marshal(&h)
	w.put(&h, sense, true)
}

// put adds one PDU; a full vector is written first.
func (w *writer) put(h *pdu.Header, data []byte, usesStatSN bool) {
	if w.used == slots {
		w.out.Flush()
		w.used = 0
	}
	s := &w.slot[w.used]
	w.used++
	statSN := w.statSN
	if usesStatSN {
		w.statSN++
	} else if h.Opcode() == pdu.OpDataIn {
		statSN = 0 // reserved without status
	}
	h.SetSequence(statSN, w.exp, w.max)
	head := s.head[:copy(s.head[:], h[:])]
	if w.params.HeaderDigest {
		d := pdu.Digest(0).Add(head) // not of h, which would then escape to the heap
		head = s.head[:]
		d.Put(head[pdu.HeaderSize:])
	}
	w.out.Add(head)
	if len(data) == 0 {
		return
	}
	tail := s.tail[:pdu.Padding(len(data))]
	clear(tail)
	if w.params.DataDigest {
		d := pdu.Digest(0).Add(data).Add(tail)
		tail = s.tail[:len(tail)+pdu.DigestSize]
		d.Put(tail[len(tail)-pdu.DigestSize:])
	}
	w.out.Add(data)
	if len(tail) > 0 {
		w.out.Add(tail)
	}
}
