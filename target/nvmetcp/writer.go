package nvmetcp

import (
	"net"

	"ashlar/target/direct"
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

const slots = 128 // PDUs in one writev at most

// writer turns items into PDUs. It belongs to whoever has set conn.writing.
type writer struct {
	flow       queue.Flow
	frame      pdu.Frame
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
		if w.closeAfter {
			break
		}
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
		c.rest = !all
	}
	c.wait()
	c.mu.Unlock()
}

// wait says that the reader writes nothing for now; mu is held.
func (c *conn) wait() {
	c.reading = false
	if c.rest || len(c.queue) > 0 {
		c.wake.Signal()
	}
}

// little is how many bytes of data the reader writes at once.
const little = 256 << 10

// isLittle says whether what is queued fits into one vector and is soon written; mu
// is held.
func (c *conn) isLittle() bool {
	if c.writer.direct == nil || 2*len(c.queue) > slots {
		return false
	}
	bytes := 0
	for i := range c.queue {
		if cmd := c.queue[i].cmd; cmd != nil && cmd.toHost {
			bytes += len(cmd.Data)
		}
	}
	return bytes <= little
}

// settleLater takes note of an answer that somebody waits to hear of.
func (c *conn) settleLater(cmd *command) {
	if cmd != nil && cmd.Op.Settle != nil {
		c.unsettled.add(cmd.Op.Settle)
		cmd.Op.Settle = nil
	}
}

// takeBatch waits until there is something for the writing goroutine: what is
// queued while the reader waits, or a batch that the reader has written in part.
func (c *conn) takeBatch() (halfway, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.closed && !c.rest && (len(c.queue) == 0 || c.reading) {
		c.wake.Wait()
	}
	switch {
	case c.rest:
		c.rest = false
		return true, true
	case c.closed:
		return false, false
	}
	c.take()
	return false, true
}

// take takes all of the queue. The command of an answer that is taken gives back
// its identifier, which the host may use again once it has it. mu is held.
func (c *conn) take() {
	w := &c.writer
	c.writing = true
	w.batch, c.queue = c.queue, w.batch[:0]
	for i := range w.batch {
		if cmd := w.batch[i].cmd; cmd != nil {
			c.remove(cmd)
		}
	}
	w.flow = c.flow
	c.room.Signal()
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
	c.writing = false
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
		w.unwritten = w.vector
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

// flush writes the rest of the vector. After an error it does nothing more.
func (w *writer) flush() {
	if w.err == nil && len(w.unwritten) > 0 {
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
