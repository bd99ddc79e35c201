package pdu

import (
	"flag"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite testdata")

// message is a PDU header with its bytes.
type message struct {
	name  fmt.Stringer
	bytes func(f *Frame) []byte
	fresh func(h []byte) fmt.Stringer // decodes
}

func room() []byte { return make([]byte, MaxTermReq) }

// samples have every field set to something of its own.
func samples() []message {
	command := [64]byte{0x02, 0x40, 0x34, 0x12, 1}
	for i := 16; i < 64; i++ {
		command[i] = byte(i)
	}
	icReq, icResp := &ICReq{0, 3, true, false, 7}, &ICResp{0, 1, false, true, 0x100000}
	term := &TermReq{true, HeaderDigestError, 0x01020304, []byte{4, 5, 6, 7, 8, 9, 10, 11}}
	hostTerm := &TermReq{false, DataOutOfRange, 12, nil}
	cmd := &CapsuleCmd{command, 512}
	bare := &CapsuleCmd{command, 0}
	resp := &CapsuleResp{0x1122334455667788, 0x99AA, 0x1234, 0x4281}
	toHost := &Data{true, true, true, 0x1234, 0, 0x2000, 0x1000}
	fromHost := &Data{false, true, false, 0x1234, 0x5678, 0x2000, 0x1000}
	r2t := &R2T{0x1234, 0x5678, 0x2000, 0x1000}
	return []message{
		{icReq, func(*Frame) []byte { return icReq.Marshal(room()) }, func(h []byte) fmt.Stringer { p := &ICReq{}; p.Unmarshal(h); return p }},
		{icResp, func(*Frame) []byte { return icResp.Marshal(room()) }, func(h []byte) fmt.Stringer { p := &ICResp{}; p.Unmarshal(h); return p }},
		{term, func(*Frame) []byte { return term.Marshal(room()) }, func(h []byte) fmt.Stringer { p := &TermReq{}; p.Unmarshal(h); return p }},
		{hostTerm, func(*Frame) []byte { return hostTerm.Marshal(room()) }, func(h []byte) fmt.Stringer { p := &TermReq{}; p.Unmarshal(h); return p }},
		{cmd, func(f *Frame) []byte { return cmd.Marshal(f, room()) }, func(h []byte) fmt.Stringer { p := &CapsuleCmd{}; p.Unmarshal(h); return p }},
		{bare, func(f *Frame) []byte { return bare.Marshal(f, room()) }, func(h []byte) fmt.Stringer { p := &CapsuleCmd{}; p.Unmarshal(h); return p }},
		{resp, func(f *Frame) []byte { return resp.Marshal(f, room()) }, func(h []byte) fmt.Stringer { p := &CapsuleResp{}; p.Unmarshal(h); return p }},
		{toHost, func(f *Frame) []byte { return toHost.Marshal(f, room()) }, func(h []byte) fmt.Stringer { p := &Data{}; p.Unmarshal(h); return p }},
		{fromHost, func(f *Frame) []byte { return fromHost.Marshal(f, room()) }, func(h []byte) fmt.Stringer { p := &Data{}; p.Unmarshal(h); return p }},
		{r2t, func(f *Frame) []byte { return r2t.Marshal(f, room()) }, func(h []byte) fmt.Stringer { p := &R2T{}; p.Unmarshal(h); return p }},
	}
}

var frames = []Frame{{}, {HeaderDigest: true, DataDigest: true}, {Alignment: 128}}

func TestBytesOnTheWireDoNotChange(t *testing.T) {
	var b strings.Builder
	for _, f := range frames {
		fmt.Fprintf(&b, "%+v\n", f)
		for _, m := range samples() {
			fmt.Fprintln(&b, m.name)
			for h := m.bytes(&f); len(h) > 0; h = h[min(16, len(h)):] {
				fmt.Fprintf(&b, "    % x\n", h[:min(16, len(h))])
			}
		}
	}
	const file = "testdata/golden.txt"
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("got:\n%s\nwant:\n%s", b.String(), want)
	}
}

func TestEveryFieldSurvivesTheWire(t *testing.T) {
	for _, f := range frames {
		for _, m := range samples() {
			h := m.bytes(&f)
			if got := m.fresh(h); !reflect.DeepEqual(got, m.name) {
				t.Errorf("%+v: got %v, want %v", f, got, m.name)
			}
			var c Common
			c.Unmarshal(h)
			if c.Type != TypeC2HTermReq && c.Type != TypeH2CTermReq && int(c.HeaderLength) != len(h) {
				t.Errorf("%v: HLEN %d of %d bytes", m.name, c.HeaderLength, len(h))
			}
		}
	}
}

// decode is the message of a header, nil for no type or too few bytes.
func decode(b []byte) (fmt.Stringer, func(f *Frame) []byte) {
	if len(b) < CommonSize {
		return nil, nil
	}
	kind := Type(b[0])
	if n := kind.HeaderLength(); n == 0 || len(b) < n {
		return nil, nil
	} else if kind != TypeC2HTermReq && kind != TypeH2CTermReq {
		b = b[:n]
	} else if b = b[:min(len(b), MaxTermReq)]; len(b) == 24 {
		b = b[:24:24]
	}
	switch kind {
	case TypeICReq:
		p := &ICReq{}
		p.Unmarshal(b)
		return p, func(*Frame) []byte { return p.Marshal(room()) }
	case TypeICResp:
		p := &ICResp{}
		p.Unmarshal(b)
		return p, func(*Frame) []byte { return p.Marshal(room()) }
	case TypeH2CTermReq, TypeC2HTermReq:
		p := &TermReq{}
		p.Unmarshal(b)
		return p, func(*Frame) []byte { return p.Marshal(room()) }
	case TypeCapsuleCmd:
		p := &CapsuleCmd{}
		p.Unmarshal(b)
		return p, func(f *Frame) []byte { return p.Marshal(f, room()) }
	case TypeCapsuleResp:
		p := &CapsuleResp{}
		p.Unmarshal(b)
		return p, func(f *Frame) []byte { return p.Marshal(f, room()) }
	case TypeR2T:
		p := &R2T{}
		p.Unmarshal(b)
		return p, func(f *Frame) []byte { return p.Marshal(f, room()) }
	}
	p := &Data{}
	p.Unmarshal(b)
	return p, func(f *Frame) []byte { return p.Marshal(f, room()) }
}

func FuzzHeader(f *testing.F) {
	for _, frame := range frames {
		for _, m := range samples() {
			f.Add(m.bytes(&frame))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		first, encode := decode(b)
		if first == nil {
			return
		}
		if c, ok := first.(*CapsuleCmd); ok && c.Data > 1<<30 {
			return // a length that the queue refuses
		}
		for _, frame := range frames {
			if second, _ := decode(encode(&frame)); !reflect.DeepEqual(first, second) {
				t.Fatalf("decoded %v\nthen    %v", first, second)
			}
		}
	})
}
