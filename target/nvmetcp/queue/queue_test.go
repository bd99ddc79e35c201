package queue

import (
	"encoding/binary"
	"testing"

	"ashlar/target/nvmetcp/pdu"
)

func TestTermsMirrorWhatTheHostAsksFor(t *testing.T) {
	for _, q := range []pdu.ICReq{{}, {HeaderDigest: true}, {DataDigest: true, Alignment: 31}, {HeaderDigest: true, DataDigest: true, MaxR2T: 9}} {
		resp, terms, fault := Open(&q)
		if fault != nil || resp.Version != 0 || resp.Alignment != 0 || resp.HeaderDigest != q.HeaderDigest || resp.DataDigest != q.DataDigest ||
			resp.MaxData < 4096 || resp.MaxData%4 != 0 || terms.Alignment != 4*(int(q.Alignment)+1) {
			t.Errorf("%v: %v, %+v, %v", &q, &resp, terms, fault)
		}
	}
	for _, c := range []struct {
		q    pdu.ICReq
		want Fault
	}{{pdu.ICReq{Version: 1}, Fault{pdu.UnsupportedParameter, 8}}, {pdu.ICReq{Alignment: 32}, Fault{pdu.InvalidHeader, 10}}} {
		if _, _, fault := Open(&c.q); fault == nil || *fault != c.want {
			t.Errorf("%v: %v", &c.q, fault)
		}
	}
}

func TestLengthsAreCheckedBeforeTheyAreUsed(t *testing.T) {
	plain, digests := &Terms{}, &Terms{HeaderDigest: true, DataDigest: true}
	for name, c := range map[string]struct {
		terms  *Terms
		header pdu.Common
		opened bool
		want   Layout
		fault  pdu.FatalError
	}{
		"a request for a connection":            {plain, pdu.Common{Type: pdu.TypeICReq, HeaderLength: 128, Length: 128}, false, Layout{}, 0},
		"a second one":                          {plain, pdu.Common{Type: pdu.TypeICReq, HeaderLength: 128, Length: 128}, true, Layout{}, pdu.SequenceError},
		"one that has data":                     {plain, pdu.Common{Type: pdu.TypeICReq, HeaderLength: 128, Length: 132}, false, Layout{}, pdu.InvalidHeader},
		"a command before that":                 {plain, pdu.Common{Type: pdu.TypeCapsuleCmd, HeaderLength: 72, Length: 72}, false, Layout{}, pdu.SequenceError},
		"a command":                             {plain, pdu.Common{Type: pdu.TypeCapsuleCmd, HeaderLength: 72, Length: 72}, true, Layout{}, 0},
		"one of another HLEN":                   {plain, pdu.Common{Type: pdu.TypeCapsuleCmd, HeaderLength: 64, Length: 64}, true, Layout{}, pdu.InvalidHeader},
		"one with data":                         {plain, pdu.Common{Type: pdu.TypeCapsuleCmd, HeaderLength: 72, DataOffset: 80, Length: 592}, true, Layout{8, 512}, 0},
		"data within the header":                {plain, pdu.Common{Type: pdu.TypeCapsuleCmd, HeaderLength: 72, DataOffset: 68, Length: 592}, true, Layout{}, pdu.InvalidHeader},
		"data at no dword":                      {plain, pdu.Common{Type: pdu.TypeCapsuleCmd, HeaderLength: 72, DataOffset: 74, Length: 592}, true, Layout{}, pdu.InvalidHeader},
		"data of no end":                        {plain, pdu.Common{Type: pdu.TypeCapsuleCmd, HeaderLength: 72, DataOffset: 72, Length: 0xFFFFFFFF}, true, Layout{}, pdu.InvalidHeader},
		"a PLEN below HLEN":                     {plain, pdu.Common{Type: pdu.TypeCapsuleCmd, HeaderLength: 72, DataOffset: 72, Length: 8}, true, Layout{}, pdu.InvalidHeader},
		"digests":                               {digests, pdu.Common{Type: pdu.TypeCapsuleCmd, Flags: 3, HeaderLength: 72, DataOffset: 76, Length: 592}, true, Layout{0, 512}, 0},
		"no digests where there ought to be":    {digests, pdu.Common{Type: pdu.TypeCapsuleCmd, HeaderLength: 72, DataOffset: 76, Length: 592}, true, Layout{}, pdu.InvalidHeader},
		"a digest where there ought to be none": {plain, pdu.Common{Type: pdu.TypeCapsuleCmd, Flags: 1, HeaderLength: 72, Length: 76}, true, Layout{}, pdu.InvalidHeader},
		"only a data digest":                    {digests, pdu.Common{Type: pdu.TypeCapsuleCmd, Flags: 3, HeaderLength: 72, DataOffset: 76, Length: 80}, true, Layout{}, pdu.InvalidHeader},
		"a command without data with digests":   {digests, pdu.Common{Type: pdu.TypeCapsuleCmd, Flags: 1, HeaderLength: 72, Length: 76}, true, Layout{}, 0},
		"data without data":                     {plain, pdu.Common{Type: pdu.TypeH2CData, HeaderLength: 24, Length: 24}, true, Layout{}, pdu.InvalidHeader},
		"too much data":                         {plain, pdu.Common{Type: pdu.TypeH2CData, HeaderLength: 24, DataOffset: 24, Length: 24 + MaxData + 4}, true, Layout{}, pdu.InvalidHeader},
		"what only a controller sends":          {plain, pdu.Common{Type: pdu.TypeR2T, HeaderLength: 24, Length: 24}, true, Layout{}, pdu.InvalidHeader},
		"a type that there is not":              {plain, pdu.Common{Type: 0x0B, HeaderLength: 24, Length: 24}, true, Layout{}, pdu.InvalidHeader},
		"the host's end":                        {plain, pdu.Common{Type: pdu.TypeH2CTermReq, HeaderLength: 24, Length: 152}, true, Layout{0, 128}, 0},
		"an end without an end":                 {plain, pdu.Common{Type: pdu.TypeH2CTermReq, HeaderLength: 24, Length: 153}, true, Layout{}, pdu.InvalidHeader},
	} {
		got, fault := c.terms.Check(&c.header, c.opened)
		switch {
		case fault == nil && c.fault != 0, fault != nil && fault.Error != c.fault:
			t.Errorf("%s: %v, want %v", name, fault, c.fault)
		case got != c.want:
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

func TestAnSGLIsOneDescriptorOfAKindThatIsOffered(t *testing.T) {
	for name, c := range map[string]struct {
		kind    byte
		address uint64
		length  uint32
		came    int
		want    SGL
		fault   SGLFault
	}{
		"in the capsule":               {0x01, 0, 512, 512, SGL{true, 512}, NoSGLFault},
		"in the capsule, not there":    {0x01, 0, 512, 0, SGL{}, SGLLength},
		"in the capsule, more there":   {0x01, 0, 512, 1024, SGL{}, SGLLength},
		"in the capsule, at an offset": {0x01, 8, 512, 512, SGL{}, SGLOffset},
		"by the transport":             {0x5A, 0, 1 << 20, 0, SGL{false, 1 << 20}, NoSGLFault},
		"by both":                      {0x5A, 0, 512, 512, SGL{}, SGLType},
		"nowhere":                      {0, 0, 0, 0, SGL{}, NoSGLFault},
		"an address":                   {0x00, 4096, 512, 0, SGL{}, SGLType},
		"a keyed block":                {0x40, 0, 512, 0, SGL{}, SGLType},
		"a segment":                    {0x21, 0, 64, 64, SGL{}, SGLType},
	} {
		var command [64]byte
		binary.LittleEndian.PutUint64(command[24:], c.address)
		binary.LittleEndian.PutUint32(command[32:], c.length)
		command[39] = c.kind
		if got, fault := ReadSGL(&command, c.came); got != c.want || fault != c.fault {
			t.Errorf("%s: %+v, %v", name, got, fault)
		}
	}
}

func TestDataIsTakenAsItWasAskedFor(t *testing.T) {
	ok := pdu.Data{CommandID: 1, Tag: 7, Offset: 0, Length: 4096}
	for name, c := range map[string]struct {
		change func(*pdu.Data)
		length int
		want   *Fault
	}{
		"as asked":           {func(*pdu.Data) {}, 4096, nil},
		"of another R2T":     {func(d *pdu.Data) { d.Tag = 8 }, 4096, &Fault{pdu.InvalidHeader, 10}},
		"of another length":  {func(*pdu.Data) {}, 4092, &Fault{pdu.InvalidHeader, 16}},
		"from elsewhere":     {func(d *pdu.Data) { d.Offset = 4096 }, 4096, &Fault{pdu.DataOutOfRange, 12}},
		"beyond the command": {func(d *pdu.Data) { d.Length = 12288 }, 12288, &Fault{pdu.DataOutOfRange, 12}},
		"last too soon":      {func(d *pdu.Data) { d.Last = true }, 4096, &Fault{pdu.InvalidHeader, 1}},
	} {
		var g Gather
		g.Start(8192, 0)
		if r := g.Request(7); r.Offset != 0 || r.Length != 8192 || r.Tag != 7 {
			t.Fatalf("%v", &r)
		}
		d := ok
		c.change(&d)
		fault := g.Data(&d, c.length)
		if (fault == nil) != (c.want == nil) || fault != nil && *fault != *c.want {
			t.Errorf("%s: %v, want %v", name, fault, c.want)
		}
	}
	var g Gather
	g.Start(8192, 0)
	if g.Data(&ok, 4096) == nil {
		t.Error("data that nobody asked for was taken")
	}
	g.Request(7)
	last := pdu.Data{CommandID: 1, Tag: 7, Offset: 4096, Length: 4096}
	if g.Data(&ok, 4096) != nil || g.Complete() {
		t.Fatal("the first half completes it, or is not taken")
	}
	if fault := g.Data(&last, 4096); fault == nil {
		t.Error("the last data was not said to be the last")
	}
	if last.Last = true; g.Data(&last, 4096) != nil || !g.Complete() {
		t.Error("the second half does not complete it")
	}
	if g.Data(&last, 4096) == nil {
		t.Error("data was taken after the last")
	}
}

func TestFlowControlTellsTheHead(t *testing.T) {
	f := NewFlow(3, false)
	for i := range 7 {
		if want := uint16(i % 3); f.Head() != want {
			t.Errorf("head %d, want %d", f.Head(), want)
		}
		f.Take()
	}
	if !f.Room(2) || f.Room(3) || f.ReplacesResponse(0) {
		t.Error("a queue of 3 entries has room for 3 commands, and needs SQHD")
	}
	off := NewFlow(3, true)
	if off.Take(); off.Head() != 0xFFFF || !off.ReplacesResponse(0) || off.ReplacesResponse(1) {
		t.Error("without flow control there is no SQHD, and success needs no response unless it has a result")
	}
}

// Whatever the header, what is read for it is bounded.
func FuzzCheck(f *testing.F) {
	f.Add([]byte{4, 3, 72, 76, 0x50, 2, 0, 0}, true, true)
	f.Add([]byte{6, 0, 24, 24, 0, 0, 0x10, 0}, false, true)
	f.Add([]byte{0, 0, 128, 0, 128, 0, 0, 0}, false, false)
	f.Fuzz(func(t *testing.T, b []byte, digests, opened bool) {
		if len(b) < pdu.CommonSize {
			return
		}
		var c pdu.Common
		c.Unmarshal(b)
		terms := &Terms{HeaderDigest: digests, DataDigest: digests}
		layout, fault := terms.Check(&c, opened)
		if fault != nil {
			return
		}
		if int(c.HeaderLength) > pdu.MaxHeader || layout.Data < 0 || layout.Data > MaxData || layout.Padding < 0 || layout.Padding > 255 {
			t.Fatalf("%+v: %+v", c, layout)
		}
	})
}

// Whatever the descriptor, data in the capsule is as long as what the capsule brought.
func FuzzSGL(f *testing.F) {
	for _, kind := range []byte{0, 0x01, 0x5A, 0x21, 0x40} {
		var d [16]byte
		d[8], d[15] = 64, kind
		f.Add(d[:], uint32(64))
	}
	f.Fuzz(func(t *testing.T, d []byte, came uint32) {
		if len(d) < 16 || came > MaxData {
			return
		}
		var command [64]byte
		copy(command[24:40], d)
		s, fault := ReadSGL(&command, int(came))
		switch {
		case fault != NoSGLFault && s != SGL{}:
			t.Fatalf("%v and yet %+v", fault, s)
		case fault == NoSGLFault && s.InCapsule && s.Length != came, fault == NoSGLFault && !s.InCapsule && came != 0:
			t.Fatalf("%+v, and %d bytes came", s, came)
		}
	})
}

// Whatever data comes, it goes where it was asked for: in order, once, and nowhere
// else.
func FuzzGather(f *testing.F) {
	f.Add(uint32(8192), uint32(0), []byte{0, 16, 0, 0, 16, 1})
	f.Add(uint32(8192), uint32(4096), []byte{16, 16, 1})
	f.Fuzz(func(t *testing.T, want, got uint32, all []byte) {
		if want > MaxData || got > want {
			return
		}
		var g Gather
		g.Start(want, got)
		if !g.Complete() {
			if r := g.Request(7); r.Offset != got || r.Length != want-got {
				t.Fatalf("%v of %d with %d", &r, want, got)
			}
		}
		// Each piece is three bytes: where it begins and how long it is, both in 256
		// bytes, and whether it is said to be the last.
		for ; len(all) >= 3; all = all[3:] {
			d := pdu.Data{Tag: 7, Offset: uint32(all[0]) << 8, Length: uint32(all[1]) << 8, Last: all[2]&1 != 0}
			at := g.Offset()
			if g.Data(&d, int(d.Length)) != nil {
				if g.Offset() != at {
					t.Fatal("data that was refused moved the place")
				}
				return // the connection ends
			}
			if d.Offset != at || g.Offset() != at+d.Length || g.Offset() > want || d.Last != g.Complete() {
				t.Fatalf("%v at %d of %d", &d, at, want)
			}
		}
	})
}
