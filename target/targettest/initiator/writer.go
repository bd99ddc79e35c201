package initiator

import (
	"ashlar/target/carrier"
	"ashlar/target/iscsi/pdu"
)

// What the reader writes itself.
const (
	fewPDUs = 256       // each has up to three parts of a vector, which has at most 1024 (writev(2))
	little  = 256 << 10 // bytes
)

// writer lays PDUs out for writev.
type writer struct {
	headerDigest, dataDigest bool
	out                      *carrier.Output
	small                    []byte // headers, padding and digests of a batch
}

const mostSmall = pdu.HeaderSize + pdu.DigestSize + 3 + pdu.DigestSize // per PDU

// Little, Take, Put, Sent, End: as carrier.Coder says.
func (s *Session) Little(queue []packet) bool {
	if len(queue) > fewPDUs {
		return false
	}
	bytes := 0
	for i := range queue {
		bytes += len(queue[i].data)
	}
	return bytes <= little
}

// Take makes room for the small parts of a batch, none of which moves any more.
func (s *Session) Take(batch []packet) {
	w := &s.writer
	if need := len(batch) * mostSmall; cap(w.small) < need {
		w.small = make([]byte, 0, need)
	}
	w.small = w.small[:0]
}

// Put adds a PDU to what is written.
func (s *Session) Put(p *packet) (last bool) {
	w := &s.writer
	from := len(w.small)
	w.small = append(w.small, p.header[:]...)
	if w.headerDigest {
		w.small = w.small[:len(w.small)+pdu.DigestSize]
		pdu.Digest(0).Add(p.header[:]).Put(w.small[len(w.small)-pdu.DigestSize:])
	}
	w.out.Add(w.small[from:])
	if len(p.data) == 0 {
		return false
	}
	from = len(w.small)
	w.small = append(w.small, make([]byte, pdu.Padding(len(p.data)))...)
	if w.dataDigest {
		d := pdu.Digest(0).Add(p.data).Add(w.small[from:])
		w.small = w.small[:len(w.small)+pdu.DigestSize]
		d.Put(w.small[len(w.small)-pdu.DigestSize:])
	}
	w.out.Add(p.data)
	if len(w.small) > from {
		w.out.Add(w.small[from:])
	}
	return false
}

// Sent has nothing to give back.
func (s *Session) Sent([]packet) {}

// End is what became of a write that failed.
func (s *Session) End() { s.fail(s.sender.Out.Err) }
