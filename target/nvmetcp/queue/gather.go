package queue

import "ashlar/target/nvmetcp/pdu"

// Gather collects a command's data: what an R2T asked for, in order, and no more.
type Gather struct {
	want, asked, got uint32 // bytes
	tag              uint16
}

// Start is a command that needs so many bytes, of which some came with it.
func (g *Gather) Start(want, got uint32) { *g = Gather{want: want, asked: got, got: got} }

// Complete says that all data is there.
func (g *Gather) Complete() bool { return g.got == g.want }

// Offset is where the next byte goes.
func (g *Gather) Offset() uint32 { return g.got }

// Request asks for all that is missing. There is one at a time for a command:
// hosts need allow no more (MAXR2T 0).
func (g *Gather) Request(tag uint16) pdu.R2T {
	if g.asked != g.got {
		panic("queue: two R2Ts at a time for a command")
	}
	g.tag, g.asked = tag, g.want
	return pdu.R2T{Tag: tag, Offset: g.got, Length: g.want - g.got}
}

// Data takes an H2CData's place.
func (g *Gather) Data(d *pdu.Data, length int) *Fault {
	switch {
	case g.asked == g.got || d.Tag != g.tag:
		return &Fault{pdu.InvalidHeader, 10}
	case uint64(d.Length) != uint64(length):
		return &Fault{pdu.InvalidHeader, 16}
	case d.Offset != g.got || d.Length > g.asked-g.got:
		return &Fault{pdu.DataOutOfRange, 12}
	case d.Last != (g.got+d.Length == g.asked):
		return &Fault{pdu.InvalidHeader, 1}
	}
	g.got += d.Length
	return nil
}
