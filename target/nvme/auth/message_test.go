package auth

import (
	"bytes"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
)

func bytesFrom(first byte, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = first + byte(i)
	}
	return b
}

// samples have every field set to something of its own.
var samples = []Message{
	&Negotiate{0x0102, 0, []Protocol{{1, []Hash{SHA256, SHA384, SHA512}, []Group{GroupNull, Group2048, Group3072, Group4096, Group6144, Group8192}}}},
	&Negotiate{0x0103, 1, []Protocol{{2, nil, nil}, {1, []Hash{SHA512}, []Group{Group8192}}}},
	&Challenge{0x0104, SHA256, GroupNull, 0x01020304, bytesFrom(0x10, 32), nil},
	&Challenge{0x0105, SHA384, Group2048, 0x05060708, bytesFrom(0x20, 48), bytesFrom(0x00, 256)},
	&Reply{0x0106, bytesFrom(0x30, 32), 0, nil, nil},
	&Reply{0x0107, bytesFrom(0x40, 48), 0x090a0b0c, bytesFrom(0x80, 48), bytesFrom(0x00, 256)},
	&Success1{0x0108, 64, nil},
	&Success1{0x0109, 32, bytesFrom(0x50, 32)},
	&Success2{0x010a},
	&Failure{false, 0x010b, HashUnusable},
	&Failure{true, 0x010c, Failed},
}

func TestBytesOnTheWireDoNotChange(t *testing.T) {
	var b strings.Builder
	for _, m := range samples {
		fmt.Fprintln(&b, m)
		for text := m.Append(nil); len(text) > 0; text = text[min(16, len(text)):] {
			fmt.Fprintf(&b, "    % x\n", text[:min(16, len(text))])
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
		got, reason := Parse(m.Append(nil))
		if reason != 0 || !reflect.DeepEqual(got, m) {
			t.Errorf("got  %v (%v)\nwant %v", got, reason, m)
		}
	}
}

// A message that ends early, or says of what follows that it is longer than it is, is
// none; of a host's, one that goes on is none either.
func TestLengthsAreHeldAgainstWhatCame(t *testing.T) {
	for _, m := range samples {
		b := m.Append(nil)
		for n := range b {
			if _, reason := Parse(b[:n]); reason != IncorrectPayload {
				t.Errorf("%d bytes of %v: %v", n, m, reason)
			}
		}
		_, reason := Parse(append(b[:len(b):len(b)], 0))
		switch m.(type) {
		case *Negotiate, *Reply, *Success2:
			if reason != IncorrectPayload {
				t.Errorf("a byte after %v: %v", m, reason)
			}
		default:
			if reason != 0 {
				t.Errorf("a byte after %v: %v", m, reason)
			}
		}
	}
	for name, change := range map[string]func(b []byte){
		"31 hashes": func(b []byte) { b[8+2] = 31 }, "31 groups": func(b []byte) { b[8+3] = 31 }, "two protocols": func(b []byte) { b[7] = 2 }, "none": func(b []byte) { b[7] = 0 },
	} {
		b := samples[0].Append(nil)
		change(b)
		if _, reason := Parse(b); reason != IncorrectPayload {
			t.Errorf("%s: %v", name, reason)
		}
	}
	for _, b := range [][]byte{{1, 9, 0, 0, 0, 0}, {0, 1, 0, 0, 0, 0}, {2, 0, 0, 0, 0, 0}, {0, 0xf2, 0, 0, 0, 0}} {
		if _, reason := Parse(b); reason != IncorrectMessage {
			t.Errorf("%x: %v", b, reason)
		}
	}
}

func FuzzMessage(f *testing.F) {
	for _, m := range samples {
		f.Add(m.Append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, reason := Parse(b)
		if reason != 0 {
			return
		}
		_ = m.String()
		again, reason := Parse(m.Append(nil))
		if reason != 0 || !reflect.DeepEqual(again, m) {
			t.Fatalf("%v (%v)\nfrom %v", again, reason, m)
		}
	})
}

// Whatever a host says in whatever order, who does not know the secret is not let in.
// Its messages follow one after the other, each but the last up to two cuts.
func FuzzController(f *testing.F) {
	cut := []byte{0xff, 0xff}
	for _, m := range samples {
		f.Add(bytes.Join([][]byte{samples[0].Append(nil), m.Append(nil)}, cut))
		f.Add(m.Append(nil))
	}
	f.Fuzz(func(t *testing.T, said []byte) {
		config, _ := both(t)
		config.Groups = []Group{GroupNull, Group2048}
		c := NewController(config, counted{}, count)
		for _, text := range bytes.Split(said, cut) {
			if err := c.Send(text); err != nil {
				if _, failed := c.Failed(); !failed {
					t.Fatal(err)
				}
				return
			}
			b, err := c.Receive()
			if err != nil {
				t.Fatal(err)
			}
			if _, reason := Parse(b); reason != 0 {
				t.Fatalf("it says %x", b)
			}
			if c.Authenticated() {
				t.Fatal("it is let in")
			}
		}
	})
}

// counted are random bytes with which a run can be repeated.
type counted struct{}

func (counted) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(i)
	}
	return len(b), nil
}
