package iscsi

import (
	"encoding/binary"
	"net"

	"ashlar/target/direct"
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

// writer turns items into PDUs. It belongs to whoever has set conn.writing.
type writer struct {
	statSN     uint32
	exp, max   uint32 // ExpCmdSN and MaxCmdSN when the batch began
	params     session.Params
	batch      []item
	slot       [slots]slot
	used       int
	vector     [][]byte
	unwritten  net.Buffers
	nc         net.Conn
	direct     *direct.Socket // nil where the connection is no socket
	err        error
	closeAfter bool
}

// write sends what is queued and left to it, batch by batch, until the connection ends.
func (c *conn) write() {
	defer close(c.ended)
	defer c.abandon()
	w := &c.writer
	for {
		halfway, ok := c.takeBatch()
		if !ok {
			return
		}
		if !halfway {
			c.addBatch()
		}
		w.flush()
		c.recycleBatch()
		if w.err != nil || w.closeAfter {
			c.end()
			return
		}
	}
}

func (c *conn) addBatch() {
	w := &c.writer
	for i := range w.batch {
		c.settleLater(w.batch[i].cmd)
		w.add(&w.batch[i])
	}
	w.unwritten = w.vector
}

// writeQueued is called by the reader before it waits for more. What came together
// is answered together, and nobody has to be woken for it. The reader never waits
// for a host that does not read: then, and where much is to be written, the
// writing goroutine does.
func (c *conn) writeQueued() {
	w := &c.writer
	c.mu.Lock()
	for len(c.queue) > 0 && !c.closed && !c.writing && c.isLittle() {
		c.take()
		c.mu.Unlock()
		c.addBatch()
		all := w.flushNow()
		if all {
			c.recycleBatch()
			if w.err != nil || w.closeAfter {
				c.end()
			}
		}
		c.mu.Lock()
		c.left = !all
	}
	c.wait()
	c.mu.Unlock()
}

// wait says that the reader writes nothing for now; mu is held.
func (c *conn) wait() {
	c.reading = false
	if c.left || len(c.queue) > 0 {
		c.wake.Signal()
	}
}

// little is how many bytes of data the reader writes at once.
const little = 256 << 10

// isLittle says whether what is queued fits into one vector and is soon written; mu
// is held.
func (c *conn) isLittle() bool {
	if c.writer.direct == nil {
		return false
	}
	pdus, bytes := 0, 0
	for i := range c.queue {
		n := len(c.queue[i].data)
		if cmd := c.queue[i].cmd; cmd != nil {
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

// takeBatch waits until there is something for the writing goroutine: what is
// queued while the reader waits, or a batch that the reader has written in part.
func (c *conn) takeBatch() (halfway, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.closed && !c.left && (len(c.queue) == 0 || c.reading) {
		c.wake.Wait()
	}
	switch {
	case c.left:
		c.left = false
		return true, true
	case c.closed:
		return false, false
	}
	c.take()
	return false, true
}

// take takes all of the queue. A command whose response is taken gives back its
// place in the window, which the same batch then tells. mu is held.
func (c *conn) take() {
	w := &c.writer
	c.writing = true
	w.batch, c.queue, c.echo = c.queue, w.batch[:0], 0
	for i := range w.batch {
		if cmd := w.batch[i].cmd; cmd != nil {
			c.remove(cmd)
		}
	}
	w.exp, w.max, w.params = c.window.ExpCmdSN(), c.window.MaxCmdSN(), c.sendParams
	c.room.Signal()
}

// abandon gives back the commands whose responses will not be sent.
func (c *conn) abandon() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, i := range c.queue {
		if i.cmd != nil {
			c.remove(i.cmd)
			c.release(i.cmd)
		}
	}
	c.queue = nil
}

// recycleBatch gives back the commands and forgets the data of a batch.
func (c *conn) recycleBatch() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.writer.batch {
		if cmd := c.writer.batch[i].cmd; cmd != nil {
			c.release(cmd)
		}
	}
	clear(c.writer.batch)
	c.writing = false
}

// add puts an item's PDUs into the vector.
func (w *writer) add(i *item) {
	if i.cmd != nil {
		w.addResponse(i.cmd)
		return
	}
	w.put(&i.header, i.data, i.usesStatSN)
	w.closeAfter = w.closeAfter || i.last
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
		w.unwritten = w.vector
		w.flush()
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
	w.vector = append(w.vector, head)
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
	w.vector = append(w.vector, data)
	if len(tail) > 0 {
		w.vector = append(w.vector, tail)
	}
}

// flush writes the rest of the vector. After an error it does nothing more.
func (w *writer) flush() {
	if w.err == nil {
		_, w.err = w.unwritten.WriteTo(w.nc)
	}
	w.written()
}

// flushNow writes as much of the vector as the socket takes, and says whether that
// was all.
func (w *writer) flushNow() bool {
	n, err := w.direct.Writev(w.vector)
	if w.err = err; err == nil {
		for len(w.unwritten) > 0 && n >= len(w.unwritten[0]) {
			n -= len(w.unwritten[0])
			w.unwritten = w.unwritten[1:]
		}
		if len(w.unwritten) > 0 {
			w.unwritten[0] = w.unwritten[0][n:]
			return false
		}
	}
	w.written()
	return true
}

func (w *writer) written() {
	clear(w.vector)
	w.vector, w.unwritten = w.vector[:0], nil
	w.used = 0
}
