package nvmetcp

import (
	"net"

	"ashlar/target/nvme"
	"ashlar/target/nvmetcp/pdu"
	"ashlar/target/nvmetcp/queue"
)

// item is something to send: the answer of a command, or one prepared PDU.
type item struct {
	cmd      *command
	r2t      pdu.R2T         // where its Length is not 0
	response pdu.CapsuleResp // of a command that has no place in the table
	header   []byte          // as it is, without digests
	terms    *queue.Terms    // from here on
	last     bool            // the connection is closed after it
}

// slot holds the bytes round the data of a PDU under way.
type slot struct {
	head [pdu.MaxHeader + pdu.DigestSize + 128]byte // header, digest and padding
	tail [pdu.DigestSize]byte
}

const slots = 64 // PDUs in one writev at most

// writer turns items into PDUs. It belongs to the writing goroutine.
type writer struct {
	flow       queue.Flow
	frame      pdu.Frame
	batch      []item
	slot       [slots]slot
	used       int
	vector     [][]byte
	unwritten  net.Buffers
	nc         net.Conn
	err        error
	closeAfter bool
}

// write sends what is queued, batch by batch, until the connection ends.
func (c *conn) write() {
	defer close(c.ended)
	defer c.abandon()
	w := &c.writer
	w.nc = c.nc
	for c.takeBatch() {
		for i := range w.batch {
			c.settleLater(w.batch[i].cmd)
			w.add(&w.batch[i])
			if w.closeAfter {
				break
			}
		}
		w.flush()
		c.recycleBatch()
		if w.err != nil || w.closeAfter {
			c.end()
			return
		}
	}
}

// settleLater takes note of an answer that somebody waits to hear of.
func (c *conn) settleLater(cmd *command) {
	if cmd != nil && cmd.Op.Settle != nil {
		c.unsettled.add(cmd.Op.Settle)
		cmd.Op.Settle = nil
	}
}

// takeBatch waits for items and takes all of them. The command of an answer that
// is taken gives back its identifier, which the host may use again once it has it.
func (c *conn) takeBatch() bool {
	w := &c.writer
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.queue) == 0 && !c.closed {
		c.wake.Wait()
	}
	if c.closed {
		return false
	}
	w.batch, c.queue = c.queue, w.batch[:0]
	for i := range w.batch {
		if cmd := w.batch[i].cmd; cmd != nil {
			c.remove(cmd)
		}
	}
	w.flow = c.flow
	c.room.Signal()
	return true
}

// abandon gives back the commands whose answers will not be sent.
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
}

// add puts an item's PDUs into the vector.
func (w *writer) add(i *item) {
	s := w.next()
	w.closeAfter = w.closeAfter || i.last
	switch {
	case i.cmd != nil:
		w.addAnswer(s, i.cmd)
	case i.header != nil:
		w.vector = append(w.vector, i.header)
	case i.r2t.Length > 0:
		w.put(s, i.r2t.Marshal(&w.frame, s.head[:]), nil)
	default:
		i.response.SQHead = w.flow.Head()
		w.put(s, i.response.Marshal(&w.frame, s.head[:]), nil)
	}
	if i.terms != nil {
		w.frame = pdu.Frame{HeaderDigest: i.terms.HeaderDigest, DataDigest: i.terms.DataDigest, Alignment: i.terms.Alignment}
	}
}

// addAnswer puts a command's data and its completion. The last of the data may be
// both (SUCCESS).
func (w *writer) addAnswer(s *slot, cmd *command) {
	id := cmd.Command.ID()
	if cmd.toHost && cmd.Status == nvme.Success && len(cmd.Data) > 0 {
		d := pdu.Data{ToHost: true, Last: true, Success: w.flow.ReplacesResponse(cmd.Result), CommandID: id, Length: uint32(len(cmd.Data))}
		w.put(s, d.Marshal(&w.frame, s.head[:]), cmd.Data)
		if d.Success {
			return
		}
		s = w.next()
	}
	r := pdu.CapsuleResp{Result: cmd.Result, SQHead: w.flow.Head(), CommandID: id, Status: uint16(cmd.Status)}
	w.put(s, r.Marshal(&w.frame, s.head[:]), nil)
}

// next is a free slot; a full vector is written first.
func (w *writer) next() *slot {
	if w.used == slots {
		w.flush()
	}
	w.used++
	return &w.slot[w.used-1]
}

// put adds one PDU, whose header is in the slot.
func (w *writer) put(s *slot, header, data []byte) {
	n := len(header)
	if w.frame.HeaderDigest {
		pdu.Digest(0).Add(header).Put(s.head[n:])
		n += pdu.DigestSize
	}
	if len(data) == 0 {
		w.vector = append(w.vector, s.head[:n])
		return
	}
	offset := int(header[3])
	clear(s.head[n:offset])
	w.vector = append(w.vector, s.head[:offset], data)
	if w.frame.DataDigest {
		pdu.Digest(0).Add(data).Put(s.tail[:])
		w.vector = append(w.vector, s.tail[:])
	}
}

// flush writes the vector. After an error it does nothing more.
func (w *writer) flush() {
	if w.err == nil && len(w.vector) > 0 {
		w.unwritten = w.vector
		_, w.err = w.unwritten.WriteTo(w.nc)
	}
	clear(w.vector)
	w.vector = w.vector[:0]
	w.used = 0
}
