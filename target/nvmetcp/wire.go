package nvmetcp

import (
	"errors"
	"io"

	"ashlar/target/nvmetcp/pdu"
)

var (
	errDataDigest = errors.New("nvmetcp: data digest mismatch")
	errRefused    = errors.New("nvmetcp: protocol violation")
)

// readHeader reads a PDU's header and its digest. What is wrong with the header
// comes before what is wrong with its digest.
func (c *conn) readHeader() error {
	if _, err := io.ReadFull(c.in, c.header[:pdu.CommonSize]); err != nil {
		return err
	}
	c.common.Unmarshal(c.header[:])
	layout, fault := c.terms.Check(&c.common, c.opened)
	if fault != nil {
		return c.refuse(fault)
	}
	c.layout = layout
	h := c.header[:c.common.HeaderLength]
	if _, err := io.ReadFull(c.in, h[pdu.CommonSize:]); err != nil {
		return err
	}
	if !c.common.HasHeaderDigest() || c.common.Type == pdu.TypeICReq || c.common.Type == pdu.TypeH2CTermReq {
		return nil
	}
	if _, err := io.ReadFull(c.in, c.tail[:]); err != nil {
		return err
	}
	if d := pdu.Digest(0).Add(h); !d.Matches(c.tail[:]) {
		return c.refuse(digestFault(d))
	}
	return nil
}

// readData reads a PDU's data of n bytes, with its padding and digest: its head
// into b, the rest, if any, into nothing.
func (c *conn) readData(b []byte) error {
	n := c.layout.Data
	if n == 0 {
		return nil
	}
	if _, err := io.ReadFull(c.in, c.scratch[:c.layout.Padding]); err != nil {
		return err
	}
	var d pdu.Digest
	b = b[:min(len(b), n)]
	if _, err := io.ReadFull(c.in, b); err != nil {
		return err
	}
	if c.terms.DataDigest {
		d = d.Add(b)
	}
	for left := n - len(b); left > 0; {
		part := c.scratch[:min(left, len(c.scratch))]
		if _, err := io.ReadFull(c.in, part); err != nil {
			return err
		}
		if c.terms.DataDigest {
			d = d.Add(part)
		}
		left -= len(part)
	}
	if !c.terms.DataDigest || c.common.Type == pdu.TypeH2CTermReq {
		return nil
	}
	if _, err := io.ReadFull(c.in, c.tail[:]); err != nil {
		return err
	}
	if !d.Matches(c.tail[:]) {
		return errDataDigest
	}
	return nil
}
