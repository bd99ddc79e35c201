package session

import "ashlar/target/iscsi/pdu"

// Fault is what is wrong with write data.
type Fault uint8

const (
	NoFault    Fault = iota
	Unexpected       // unexpected unsolicited data: ABORTED COMMAND 0C/0C
	NotEnough        // not enough unsolicited data: ABORTED COMMAND 0C/0D
	Disordered       // a DataSN out of order means a PDU lost: ABORTED COMMAND 47/05, as for a digest error
	Violation        // offset, tag or length: the connection ends
)

// maxR2TLength is the most that one R2T asks for, bytes.
const maxR2TLength = 1 << 20

// burst is an R2T that the initiator has not answered in full.
type burst struct {
	ttt uint32
	end uint32 // offset after its last byte
}

// Gather collects the data of one write. Data comes in order of offset, within
// a sequence and from one sequence to the next (DataPDUInOrder and
// DataSequenceInOrder are Yes), so next is the one place where it goes on:
//
//	0 .. next         received
//	next .. asked     asked for by the R2Ts outstanding
//	asked .. want     still to be asked for
//	want .. edtl      never asked for; if it comes unsolicited it is thrown away
type Gather struct {
	edtl, want  uint32
	limit       uint32 // of unsolicited data, bytes
	next, asked uint32
	dataSN      uint32 // expected in the sequence under way
	unsolicited bool   // unsolicited Data-Out is under way
	r2tSN       uint32
	maxBurst    uint32
	maxR2T      int
	bursts      [maxR2Ts]burst // outstanding[0] is the oldest
	outstanding int
}

// Start begins with a command: edtl is its expected transfer length if it has
// the W bit, else 0; want is how much of it the CDB asks for; immediate is its
// data segment's length and final its F bit.
func (g *Gather) Start(p *Params, edtl, want, immediate uint32, final bool) Fault {
	*g = Gather{
		edtl: edtl, want: min(want, edtl), limit: min(p.FirstBurst, edtl), next: immediate, unsolicited: !final,
		maxBurst: min(p.MaxBurst, maxR2TLength), maxR2T: int(min(p.MaxOutstandingR2T, maxR2Ts)),
	}
	if immediate > 0 && (!p.ImmediateData || immediate > g.limit) || g.unsolicited && (p.InitialR2T || g.limit == 0) {
		return Unexpected
	}
	g.asked = g.next
	return NoFault
}

// DataOut holds a PDU against what is expected, and takes its data as received.
// The first kept bytes of its data belong at offset At of the buffer.
func (g *Gather) DataOut(d *pdu.DataOut) (kept uint32, fault Fault) {
	if d.TTT == pdu.NoTag {
		fault = g.takeUnsolicited(d)
	} else {
		fault = g.takeSolicited(d)
	}
	if fault != NoFault {
		return 0, fault
	}
	kept = min(d.DataLength, g.want-min(g.want, g.next))
	g.next += d.DataLength
	g.dataSN++
	if d.Final {
		g.dataSN = 0
	}
	return kept, NoFault
}

func (g *Gather) takeUnsolicited(d *pdu.DataOut) Fault {
	if !g.unsolicited {
		return Violation
	}
	if d.DataSN != g.dataSN {
		return Disordered
	}
	if d.Offset != g.next {
		return Violation
	}
	if d.DataLength > g.limit-g.next {
		return Unexpected
	}
	if d.Final {
		g.unsolicited = false
		if g.next+d.DataLength < g.limit {
			return NotEnough
		}
	}
	g.asked = max(g.asked, g.next+d.DataLength)
	return NoFault
}

func (g *Gather) takeSolicited(d *pdu.DataOut) Fault {
	b := g.bursts[0]
	if g.outstanding == 0 || d.TTT != b.ttt {
		return Violation
	}
	if d.DataSN != g.dataSN {
		return Disordered
	}
	if d.Offset != g.next || d.DataLength > b.end-g.next || d.Final != (d.DataLength == b.end-g.next) {
		return Violation
	}
	if d.Final {
		copy(g.bursts[:], g.bursts[1:g.outstanding])
		g.outstanding--
	}
	return NoFault
}

// NextR2T gives the next R2T to send now, if any, under the tag ttt. The
// unsolicited data comes first, so that offsets never go back.
func (g *Gather) NextR2T(ttt uint32) (r pdu.R2T, ok bool) {
	if g.unsolicited || g.asked >= g.want || g.outstanding >= g.maxR2T {
		return pdu.R2T{}, false
	}
	r = pdu.R2T{TTT: ttt, R2TSN: g.r2tSN, Offset: g.asked, Length: min(g.maxBurst, g.want-g.asked)}
	g.asked += r.Length
	g.bursts[g.outstanding] = burst{ttt, g.asked}
	g.outstanding++
	g.r2tSN++
	return r, true
}

// Complete tells whether all data is here and no more will come.
func (g *Gather) Complete() bool { return !g.unsolicited && g.next >= g.want }

// Offset is where the next data goes, bytes.
func (g *Gather) Offset() uint32 { return g.next }

// R2Ts is how many R2Ts were sent.
func (g *Gather) R2Ts() uint32 { return g.r2tSN }
