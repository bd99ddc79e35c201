package session

import (
	"math/rand/v2"
	"testing"

	"ashlar/target/iscsi/pdu"
)

func TestCommandsOutsideOfTheWindowAreIgnored(t *testing.T) {
	w := NewWindow(0xfffffffe, 3) // wraps
	for i, c := range []struct {
		sn   uint32
		now  bool
		want Arrival
	}{
		{0xfffffffd, false, Ignore}, // too low
		{1, false, Ignore},          // too high
		{0xffffffff, false, Gap},
		{0xfffffffe, false, Deliver},
		{0xfffffffe, false, Ignore}, // again
		{0xffffffff, true, Deliver}, // immediate: the number stays free
		{0xffffffff, false, Deliver},
	} {
		if got := w.Arrive(c.sn, c.now); got != c.want {
			t.Fatalf("%d: CmdSN %#x arrives as %d, want %d", i, c.sn, got, c.want)
		}
	}
}

func TestTheWindowClosesAndMaxCmdSNNeverGoesBack(t *testing.T) {
	w := NewWindow(1, 2)
	last := w.MaxCmdSN()
	check := func() {
		t.Helper()
		if int32(w.MaxCmdSN()-last) < 0 {
			t.Fatalf("MaxCmdSN went from %d to %d", last, w.MaxCmdSN())
		}
		last = w.MaxCmdSN()
	}
	for sn := uint32(1); sn <= 2; sn++ {
		if w.Arrive(sn, false) != Deliver {
			t.Fatal("not delivered")
		}
		w.Begin()
		check()
	}
	if w.Arrive(3, false) != Ignore || w.MaxCmdSN() != w.ExpCmdSN()-1 {
		t.Fatal("the window is not closed")
	}
	if !w.End() {
		t.Fatal("the end does not tell that the window was closed")
	}
	check()
	if w.Arrive(3, false) != Deliver {
		t.Fatal("the window is not open again")
	}
}

// host sends write data as the parameters let it, and says how it went.
func host(t *testing.T, p Params, edtl, want, mrdsl uint32) (received uint32, r2ts int) {
	t.Helper()
	first := min(edtl, p.FirstBurst)
	immediate := uint32(0)
	if p.ImmediateData {
		immediate = min(first, mrdsl)
	}
	var g Gather
	final := p.InitialR2T || immediate >= first
	if f := g.Start(&p, edtl, want, immediate, final); f != NoFault {
		t.Fatalf("start: fault %d", f)
	}
	received = min(immediate, want)
	send := func(ttt, from, to uint32) {
		for sn := uint32(0); from < to; sn++ {
			n := min(mrdsl, to-from)
			if g.Offset() != from {
				t.Fatalf("offset %d, want %d", g.Offset(), from)
			}
			kept, f := g.DataOut(&pdu.DataOut{TTT: ttt, DataSN: sn, Offset: from, DataLength: n, Final: from+n == to})
			if f != NoFault {
				t.Fatalf("data-out: fault %d", f)
			}
			received += kept
			from += n
		}
	}
	if !final {
		send(pdu.NoTag, immediate, first)
	}
	var queue []pdu.R2T
	for tag := uint32(1); ; {
		for r, ok := g.NextR2T(tag); ok; r, ok = g.NextR2T(tag) {
			if r.R2TSN != uint32(r2ts) || r.Length == 0 || r.Length > p.MaxBurst {
				t.Fatalf("%v", &r)
			}
			queue = append(queue, r)
			r2ts++
			tag++
		}
		if uint32(len(queue)) > p.MaxOutstandingR2T {
			t.Fatalf("%d R2Ts outstanding", len(queue))
		}
		if len(queue) == 0 {
			break
		}
		r := queue[0]
		queue = queue[1:]
		send(r.TTT, r.Offset, r.Offset+r.Length)
	}
	if !g.Complete() {
		t.Fatal("not complete")
	}
	return received, r2ts
}

func TestEveryShapeOfWriteIsGatheredWhole(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		p := Defaults()
		p.InitialR2T, p.ImmediateData = rng.IntN(2) == 0, rng.IntN(2) == 0
		p.MaxBurst = 512 + rng.Uint32N(100000)
		p.FirstBurst = min(512+rng.Uint32N(100000), p.MaxBurst)
		p.MaxOutstandingR2T = 1 + rng.Uint32N(maxR2Ts)
		edtl, want := rng.Uint32N(500000), rng.Uint32N(500000)
		got, _ := host(t, p, edtl, want, 512+rng.Uint32N(70000))
		if got != min(edtl, want) {
			t.Fatalf("%+v: %d of %d (edtl %d) received", p, got, want, edtl)
		}
	}
}

func TestWrongWriteDataIsFound(t *testing.T) {
	open := Defaults()
	open.InitialR2T, open.FirstBurst = false, 4096
	strict := open
	strict.InitialR2T, strict.ImmediateData = true, false
	start := func(p Params, immediate uint32, final bool) (Gather, Fault) {
		var g Gather
		f := g.Start(&p, 8192, 8192, immediate, final)
		return g, f
	}
	if _, f := start(strict, 512, true); f != Unexpected {
		t.Errorf("immediate data without leave: fault %d", f)
	}
	if _, f := start(strict, 0, false); f != Unexpected {
		t.Errorf("unsolicited data without leave: fault %d", f)
	}
	if _, f := start(open, 4608, true); f != Unexpected {
		t.Errorf("immediate data beyond FirstBurstLength: fault %d", f)
	}
	for name, c := range map[string]struct {
		d    pdu.DataOut
		want Fault
	}{
		"DataSN":               {pdu.DataOut{TTT: pdu.NoTag, DataSN: 1, Offset: 512, DataLength: 512}, Disordered},
		"offset":               {pdu.DataOut{TTT: pdu.NoTag, Offset: 1024, DataLength: 512}, Violation},
		"tag of no R2T":        {pdu.DataOut{TTT: 3, Offset: 512, DataLength: 512}, Violation},
		"beyond first burst":   {pdu.DataOut{TTT: pdu.NoTag, Offset: 512, DataLength: 4096, Final: true}, Unexpected},
		"short of first burst": {pdu.DataOut{TTT: pdu.NoTag, Offset: 512, DataLength: 512, Final: true}, NotEnough},
	} {
		g, _ := start(open, 512, false)
		if _, f := g.DataOut(&c.d); f != c.want {
			t.Errorf("unsolicited, wrong %s: fault %d, want %d", name, f, c.want)
		}
	}
	for name, c := range map[string]struct {
		d    pdu.DataOut
		want Fault
	}{
		"DataSN":      {pdu.DataOut{TTT: 9, DataSN: 0xffffffff, Offset: 0, DataLength: 8192, Final: true}, Disordered},
		"tag":         {pdu.DataOut{TTT: 8, Offset: 0, DataLength: 8192, Final: true}, Violation},
		"offset":      {pdu.DataOut{TTT: 9, Offset: 512, DataLength: 512}, Violation},
		"length":      {pdu.DataOut{TTT: 9, Offset: 0, DataLength: 8704, Final: true}, Violation},
		"early F":     {pdu.DataOut{TTT: 9, Offset: 0, DataLength: 512, Final: true}, Violation},
		"missing F":   {pdu.DataOut{TTT: 9, Offset: 0, DataLength: 8192}, Violation},
		"unsolicited": {pdu.DataOut{TTT: pdu.NoTag, Offset: 0, DataLength: 512}, Violation},
	} {
		g, _ := start(strict, 0, true)
		if _, ok := g.NextR2T(9); !ok {
			t.Fatal("no R2T")
		}
		if _, f := g.DataOut(&c.d); f != c.want {
			t.Errorf("solicited, wrong %s: fault %d, want %d", name, f, c.want)
		}
	}
}

func TestReadDataIsCutBySegmentAndBurst(t *testing.T) {
	p := Defaults()
	p.MaxSend, p.MaxBurst = 3000, 7000
	cut := NewCut(&p, 15000)
	want := []Piece{
		{0, 3000, 0, false, false}, {3000, 3000, 1, false, false}, {6000, 1000, 2, true, false},
		{7000, 3000, 3, false, false}, {10000, 3000, 4, false, false}, {13000, 1000, 5, true, false},
		{14000, 1000, 6, true, true},
	}
	for i, w := range want {
		if got, ok := cut.Next(); !ok || got != w {
			t.Fatalf("piece %d: %+v, want %+v", i, got, w)
		}
	}
	if _, ok := cut.Next(); ok || cut.Sent() != 7 {
		t.Fatal("too many pieces")
	}
}

func TestResiduals(t *testing.T) {
	for _, c := range []struct {
		edtl        uint32
		transfer    uint64
		over, under bool
		residual    uint32
	}{
		{512, 512, false, false, 0},
		{0, 512, true, false, 512},
		{1024, 512, false, true, 512},
		{0, 1 << 40, true, false, 1<<32 - 1},
	} {
		over, under, residual := Residual(c.edtl, c.transfer)
		if over != c.over || under != c.under || residual != c.residual {
			t.Errorf("%+v: %t %t %d", c, over, under, residual)
		}
	}
}

func TestATaskChangesStateOnlyAlongTheTable(t *testing.T) {
	var task Task
	task.To(Gathering)
	task.To(Executing)
	task.To(Answering)
	task.To(Free)
	defer func() {
		if recover() == nil {
			t.Fatal("an illegal change passed")
		}
	}()
	task.To(Executing)
}
