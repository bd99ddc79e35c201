package session

// Cut divides the data of one read into Data-In PDUs: none is longer than the
// initiator's MaxRecvDataSegmentLength, and each sequence of MaxBurstLength ends
// with the F bit (RFC 7143 11.7.1).
type Cut struct {
	length, segment, burst uint32
	offset, sn, inBurst    uint32
}

// Piece is one Data-In's share.
type Piece struct {
	Offset, Length uint32 // bytes
	DataSN         uint32
	Final          bool // ends a sequence
	Last           bool // ends the data
}

// NewCut divides length bytes.
func NewCut(p *Params, length uint32) Cut {
	return Cut{length: length, segment: p.MaxSend, burst: p.MaxBurst}
}

// Next gives the next piece, until there is none.
func (c *Cut) Next() (Piece, bool) {
	if c.offset >= c.length {
		return Piece{}, false
	}
	n := min(c.segment, c.length-c.offset, c.burst-c.inBurst)
	p := Piece{Offset: c.offset, Length: n, DataSN: c.sn}
	c.offset += n
	c.inBurst += n
	c.sn++
	p.Last = c.offset == c.length
	if p.Final = p.Last || c.inBurst == c.burst; p.Final {
		c.inBurst = 0
	}
	return p, true
}

// Sent is the number of pieces given so far.
func (c *Cut) Sent() uint32 { return c.sn }

// Residual compares the initiator's expected length with what the CDB moves
// (RFC 7143 11.4.5.2), bytes.
func Residual(edtl uint32, transfer uint64) (overflow, underflow bool, residual uint32) {
	switch expected := uint64(edtl); {
	case transfer > expected:
		return true, false, uint32(min(transfer-expected, 1<<32-1))
	case transfer < expected:
		return false, true, uint32(expected - transfer)
	}
	return false, false, 0
}
