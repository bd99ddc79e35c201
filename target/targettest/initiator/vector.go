package initiator

import (
	"net"

	"ashlar/target/iscsi/pdu"
)

// vector lays PDUs out for writev.
type vector struct {
	headerDigest, dataDigest bool
	small                    []byte // headers, padding and digests of a batch
	parts                    [][]byte
	unwritten                net.Buffers
}

const mostSmall = pdu.HeaderSize + pdu.DigestSize + 3 + pdu.DigestSize // per PDU

func (v *vector) send(nc net.Conn, batch []packet) error {
	if need := len(batch) * mostSmall; cap(v.small) < need {
		v.small = make([]byte, 0, need)
	}
	v.small, v.parts = v.small[:0], v.parts[:0]
	for i := range batch {
		v.add(&batch[i])
	}
	v.unwritten = v.parts
	_, err := v.unwritten.WriteTo(nc)
	clear(v.parts)
	return err
}

func (v *vector) add(p *packet) {
	from := len(v.small)
	v.small = append(v.small, p.header[:]...)
	if v.headerDigest {
		v.small = v.small[:len(v.small)+pdu.DigestSize]
		pdu.Digest(0).Add(p.header[:]).Put(v.small[len(v.small)-pdu.DigestSize:])
	}
	v.parts = append(v.parts, v.small[from:])
	if len(p.data) == 0 {
		return
	}
	from = len(v.small)
	v.small = append(v.small, make([]byte, pdu.Padding(len(p.data)))...)
	if v.dataDigest {
		d := pdu.Digest(0).Add(p.data).Add(v.small[from:])
		v.small = v.small[:len(v.small)+pdu.DigestSize]
		d.Put(v.small[len(v.small)-pdu.DigestSize:])
	}
	v.parts = append(v.parts, p.data)
	if len(v.small) > from {
		v.parts = append(v.parts, v.small[from:])
	}
}
