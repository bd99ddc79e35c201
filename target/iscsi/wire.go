package iscsi

import (
	"errors"
	"io"

	"ashlar/target/iscsi/pdu"
)

var errDigest = errors.New("iscsi: digest mismatch")

// readTail reads a data segment's padding and digest, and compares it with d.
func (c *conn) readTail(n int, d pdu.Digest) error {
	tail := c.tail[:pdu.Padding(n)]
	if _, err := io.ReadFull(c.in, tail); err != nil {
		return err
	}
	if !c.params.DataDigest {
		return nil
	}
	d = d.Add(tail)
	if _, err := io.ReadFull(c.in, c.tail[:pdu.DigestSize]); err != nil {
		return err
	}
	if !d.Matches(c.tail[:]) {
		return errDigest
	}
	return nil
}

// readData reads a data segment of n bytes: its head into b, the rest, if any,
// into nothing.
func (c *conn) readData(b []byte, n int) error {
	if n == 0 {
		return nil
	}
	var d pdu.Digest
	if _, err := io.ReadFull(c.in, b); err != nil {
		return err
	}
	if c.params.DataDigest {
		d = d.Add(b)
	}
	for left := n - len(b); left > 0; {
		part := c.scratch[:min(left, len(c.scratch))]
		if _, err := io.ReadFull(c.in, part); err != nil {
			return err
		}
		if c.params.DataDigest {
			d = d.Add(part)
		}
		left -= len(part)
	}
	return c.readTail(n, d)
}

// readHeader reads a basic header, its additional segments and its digest.
func (c *conn) readHeader() error {
	if _, err := io.ReadFull(c.in, c.header[:]); err != nil {
		return err
	}
	c.ahs = c.ahsBytes[:c.header.AHSLength()]
	if _, err := io.ReadFull(c.in, c.ahs); err != nil {
		return err
	}
	if !c.params.HeaderDigest {
		return nil
	}
	if _, err := io.ReadFull(c.in, c.tail[:pdu.DigestSize]); err != nil {
		return err
	}
	if !pdu.Digest(0).Add(c.header[:]).Add(c.ahs).Matches(c.tail[:]) {
		return errDigest
	}
	return nil
}
