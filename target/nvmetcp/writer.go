package nvmetcp

import (
	"ashlar/target/carrier"
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

// writer turns items into PDUs. It belongs to whoever writes.
type writer struct {
	flow  queue.Flow
	frame pdu.Frame
	slot  [slots]slot
	used  int
	out   *carrier.Output
}

// little is how many bytes of data the reader writes at once.
const little = 256 << 10

// Little says whether what is queued fits into one vector and is soon written; mu
// is held.
func (c *conn) Little(queue []item) bool {
	if 2*len(queue) > slots {
		return false
	}
	bytes := 0
	for i := range queue {
		if cmd := queue[i].cmd; cmd != nil && cmd.toHost {
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

// Take has the command of an answer that is taken give back its identifier, which
// the host may use again once it has it. mu is held.
func (c *conn) Take(batch []item) {
	for i := range batch {
		if cmd := batch[i].cmd; cmd != nil {
			c.remove(cmd)
		}
	}
	c.writer.flow, c.writer.used = c.flow, 0
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
	w := &c.writer
	s := w.next()
	switch {
	case i.cmd != nil:
		w.addAnswer(s, i.cmd)
	case i.header != nil:
		w.out.Add(i.header)
	case i.r2t.Length > 0:
		w.put(s, i.r2t.Marshal(&w.frame, s.head[:]), nil)
	default:
		i.response.SQHead = w.flow.Head()
		w.put(s, i.response.Marshal(&w.frame, s.head[:]), nil)
	}
	if i.terms != nil {
		w.frame = pdu.Frame{HeaderDigest: i.terms.HeaderDigest, DataDigest: i.terms.DataDigest, Alignment: i.terms.Alignment}
	}
	return i.last
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
		w.out.Flush()
		w.used = 0
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
		w.out.Add(s.head[:n])
		return
	}
	offset := int(header[3])
	clear(s.head[n:offset])
	w.out.Add(s.head[:offset])
	w.out.Add(data)
	if w.frame.DataDigest {
		pdu.Digest(0).Add(data).Put(s.tail[:])
		w.out.Add(s.tail[:])
	}
}
