package wire

import (
	"bytes"
	"encoding/hex"
	options "flag" // flag is an encoder of this package
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

var update = options.Bool("update", false, "write the golden files in testdata anew")

// goldenFile is in a folder of its format: whoever changes the bytes of a format
// that nodes in the field speak, does so under a new version.
func goldenFile(name string) string {
	return filepath.Join("testdata", fmt.Sprintf("v%d", FormatVersion), name+".golden")
}

// goldenText shows a message and, 16 in a line, its bytes.
func goldenText(m Message) string {
	var text strings.Builder
	fmt.Fprintf(&text, "# kind %d: %v\n", m.Kind(), m)
	for b := Marshal(nil, m); len(b) > 0; b = b[min(16, len(b)):] {
		fmt.Fprintf(&text, "% x\n", b[:min(16, len(b))])
	}
	return text.String()
}

func goldenBytes(tb testing.TB, name string) []byte {
	text, err := os.ReadFile(goldenFile(name))
	if err != nil {
		tb.Fatal(err)
	}
	_, dump, _ := strings.Cut(string(text), "\n")
	b, err := hex.DecodeString(strings.Join(strings.Fields(dump), ""))
	if err != nil {
		tb.Fatalf("%s: %v", name, err)
	}
	return b
}

func TestBytesOfAFormatNeverChange(t *testing.T) {
	for _, s := range samples() {
		t.Run(s.name, func(t *testing.T) {
			got := goldenText(s.m)
			if *update {
				if err := os.MkdirAll(filepath.Dir(goldenFile(s.name)), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(goldenFile(s.name), []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(goldenFile(s.name))
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%swant\n%s", got, want)
			}
			m, err := Unmarshal(s.m.Kind(), goldenBytes(t, s.name))
			if err != nil || !reflect.DeepEqual(m, s.m) {
				t.Errorf("decodes to %v, %v", m, err)
			}
		})
	}
}

func TestEveryGoldenIsOfAMessage(t *testing.T) {
	files, err := filepath.Glob(goldenFile("*"))
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	kinds := map[Kind]bool{}
	for _, s := range samples() {
		known[goldenFile(s.name)] = true
		kinds[s.m.Kind()] = true
	}
	for _, f := range files {
		if !known[f] {
			t.Errorf("%s is of nothing", f)
		}
	}
	for k := Kind(0); k < 1000; k++ {
		if (newMessage(k) != nil) != kinds[k] {
			t.Errorf("kind %d is a message: %v; has a golden: %v", k, newMessage(k) != nil, kinds[k])
		}
		if m := newMessage(k); m != nil && m.Kind() != k {
			t.Errorf("kind %d makes a message of kind %d", k, m.Kind())
		}
	}
}

func TestMarshalAppends(t *testing.T) {
	for _, s := range samples() {
		b := Marshal([]byte("before"), s.m)
		if !bytes.Equal(b, append([]byte("before"), Marshal(nil, s.m)...)) {
			t.Errorf("%s: % x", s.name, b[:min(len(b), 64)])
		}
	}
}

// TestDataIsNotCopied: 8 MiB of it would be.
func TestDataIsNotCopied(t *testing.T) {
	b := goldenBytes(t, "write")
	m, err := Unmarshal(KindWrite, b)
	if err != nil {
		t.Fatal(err)
	}
	if data := m.(*Write).Data; &data[len(data)-1] != &b[len(b)-1] {
		t.Error("Data is not a part of the bytes that were decoded")
	}
}

// TestAMessageEndsWhereItEnds: one byte less or more is no message.
func TestAMessageEndsWhereItEnds(t *testing.T) {
	for _, s := range samples() {
		b := Marshal(nil, s.m)
		for n := range b {
			if m, err := Unmarshal(s.m.Kind(), b[:n]); err == nil {
				t.Fatalf("%s: its first %d of %d bytes are %v", s.name, n, len(b), m)
			}
		}
		if m, err := Unmarshal(s.m.Kind(), append(b, 0)); err == nil {
			t.Errorf("%s with a byte more is %v", s.name, m)
		}
	}
}
