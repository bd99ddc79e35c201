package pdu

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite testdata")

// samples have every field set to something of its own.
var samples = []Message{
	&NopOut{true, 4, 0x0001000000000000, 0x11, NoTag, 0x21, 0x31},
	&SCSICommand{false, true, true, false, 1, 3, 512, 0x0002000000000000, 0x12, 4096, 0x22, 0x32, [16]byte{0x88, 15: 0xff}},
	&TaskRequest{true, 5, 0x0003000000000000, 0x13, 0x12, 0x23, 0x33, 0x22, 7},
	&LoginRequest{true, false, LoginOperational, FullFeature, 1, 0, 100, [6]byte{0, 2, 0x3d, 1, 2, 3}, 0x1234, 0x14, 9, 0x24, 0x34},
	&TextRequest{true, true, false, 16, 0, 0x15, NoTag, 0x25, 0x35},
	&DataOut{true, 65536, 0x0004000000000000, 0x16, 0x99, 0x36, 3, 131072},
	&LogoutRequest{true, 1, 0x17, 9, 0x27, 0x37},
	&SNACK{1, 0, 0x18, NoTag, 0x38, 5, 6},
	&NopIn{0, 0x0005000000000000, NoTag, 0x77, 0x41, 0x51, 0x61},
	&SCSIResponse{false, false, true, false, 0, 2, 20, 0x19, 0, 0x42, 0x52, 0x62, 3, 0, 512},
	&TaskResponse{5, 0x1a, 0x43, 0x53, 0x63},
	&LoginResponse{false, true, SecurityNegotiation, LoginOperational, 0, 0, 20, [6]byte{0, 2, 0x3d, 1, 2, 3}, 0x4321, 0x1b, 0x44, 0x54, 0x64, 0x0301},
	&TextResponse{false, true, 8192, 0, 0x1c, 0x88, 0x45, 0x55, 0x65},
	&DataIn{true, false, false, true, true, 0, 512, 0, 0x1d, NoTag, 0x46, 0x56, 0x66, 4, 1024, 2560},
	&LogoutResponse{3, 0x1e, 0x47, 0x57, 0x67, 2, 20},
	&R2T{0x0006000000000000, 0x1f, 0x99, 0x48, 0x58, 0x68, 2, 65536, 131072},
	&Async{0, 0, 0x49, 0x59, 0x69, AsyncRequestLogout, 0, [3]uint16{0, 2, 30}},
	&Reject{RejectProtocolError, 48, 0x4a, 0x5a, 0x6a, 0},
}

func TestBytesOnTheWireDoNotChange(t *testing.T) {
	var b strings.Builder
	for _, m := range samples {
		var h Header
		m.Marshal(&h)
		fmt.Fprintln(&b, m)
		for i := 0; i < HeaderSize; i += 16 {
			fmt.Fprintf(&b, "    % x\n", h[i:i+16])
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
	for _, m := range samples {
		var h Header
		m.Marshal(&h)
		got := New(h.Opcode())
		got.Unmarshal(&h)
		if !reflect.DeepEqual(got, m) {
			t.Errorf("got  %v\nwant %v", got, m)
		}
	}
}

func FuzzHeader(f *testing.F) {
	for _, m := range samples {
		var h Header
		m.Marshal(&h)
		f.Add(h[:])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < HeaderSize {
			return
		}
		h := Header(b[:HeaderSize])
		first := New(h.Opcode())
		if first == nil {
			return
		}
		first.Unmarshal(&h)
		var again Header
		first.Marshal(&again)
		second := New(again.Opcode())
		second.Unmarshal(&again)
		if !reflect.DeepEqual(first, second) {
			t.Fatalf("decoded %v\nthen    %v", first, second)
		}
	})
}

func FuzzAHS(f *testing.F) {
	f.Add([]byte{0, 5, 2, 0, 0, 0, 16, 0})
	f.Add([]byte{0, 17, 1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16})
	f.Add([]byte{0xff, 0xff, 1, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		first, err := UnmarshalAHS(b)
		if err != nil {
			return
		}
		again := first.Append(nil)
		if len(again)%4 != 0 {
			t.Fatalf("%d bytes", len(again))
		}
		second, err := UnmarshalAHS(again)
		if err != nil || !bytes.Equal(first.CDB, second.CDB) || first.Bidirectional != second.Bidirectional || first.BidirectionalLen != second.BidirectionalLen {
			t.Fatalf("%+v, then %+v, %v", first, second, err)
		}
	})
}

func FuzzText(f *testing.F) {
	f.Add([]byte("InitiatorName=iqn.x\x00SessionType=Discovery\x00"))
	f.Add([]byte("=\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		first, err := UnmarshalText(b)
		if err != nil {
			return
		}
		var again []byte
		for _, p := range first {
			again = AppendText(again, p.Key, p.Value)
		}
		second, err := UnmarshalText(again)
		if err != nil || !reflect.DeepEqual(first, second) {
			t.Fatalf("%q, then %q, %v", first, second, err)
		}
	})
}

// The examples of RFC 7143 appendix A.4, as they are on the wire.
func TestDigestExamplesOfTheStandard(t *testing.T) {
	ascending, descending := make([]byte, 32), make([]byte, 32)
	for i := range ascending {
		ascending[i], descending[31-i] = byte(i), byte(i)
	}
	read, _ := hex.DecodeString("01c00000000000000000000000000000140000000000040000000014000000182800000000000000" + "0200000000000000")
	for _, c := range []struct {
		data []byte
		want string
	}{
		{make([]byte, 32), "aa36918a"},
		{bytes.Repeat([]byte{0xff}, 32), "43aba862"},
		{ascending, "4e79dd46"},
		{descending, "5cdb3f11"},
		{read, "563a96d9"},
	} {
		var got [DigestSize]byte
		d := Digest(0).Add(c.data[:7]).Add(c.data[7:])
		d.Put(got[:])
		if hex.EncodeToString(got[:]) != c.want || !d.Matches(got[:]) {
			t.Errorf("%x: digest %x, want %s", c.data, got, c.want)
		}
	}
}
