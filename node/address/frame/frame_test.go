package frame

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"
)

var (
	v4  = netip.MustParseAddr("10.1.0.101")
	v6  = netip.MustParseAddr("fd00:1::65")
	mac = MAC{2, 0, 0, 0, 0, 7}
)

// Written down from the RFCs; the checksums are from another implementation.
var golden = []struct {
	name  string
	frame []byte
	says  Message
	bytes string
}{
	{"ARP probe", Probe(mac, v4), Message{v4, mac, false},
		"ffffffffffff 020000000007 0806 0001 0800 06 04 0001 020000000007 00000000 000000000000 0a010065"},
	{"ARP announcement", Announce(mac, v4)[0], Message{v4, mac, true},
		"ffffffffffff 020000000007 0806 0001 0800 06 04 0001 020000000007 0a010065 000000000000 0a010065"},
	{"gratuitous ARP reply", Announce(mac, v4)[1], Message{v4, mac, true},
		"ffffffffffff 020000000007 0806 0001 0800 06 04 0002 020000000007 0a010065 020000000007 0a010065"},
	{"solicitation", Probe(mac, v6), Message{v6, mac, false},
		"3333ff000065 020000000007 86dd 60000000 0018 3a ff 00000000000000000000000000000000 ff0200000000000000000001ff000065" +
			"87 00 7cdc 00000000 fd000001000000000000000000000065"},
	{"advertisement", Announce(mac, v6)[0], Message{v6, mac, true},
		"333300000001 020000000007 86dd 60000000 0020 3a ff fd000001000000000000000000000065 ff020000000000000000000000000001" +
			"88 00 59cb 20000000 fd000001000000000000000000000065 02 01 020000000007"},
}

func TestGoldenBytes(t *testing.T) {
	for _, g := range golden {
		want := strings.ReplaceAll(g.bytes, " ", "")
		if got := hex.EncodeToString(g.frame); got != want {
			t.Errorf("%s:\n got %s\nwant %s", g.name, got, want)
		}
		if m, ok := Parse(g.frame); !ok || m != g.says {
			t.Errorf("%s: read as %+v, %v", g.name, m, ok)
		}
	}
}

func TestWhatIsCutOrDamagedSaysNothing(t *testing.T) {
	for _, g := range golden {
		for n := range g.frame {
			if m, ok := Parse(g.frame[:n]); ok {
				t.Errorf("%s, %d bytes of it: %+v", g.name, n, m)
			}
		}
		if g.says.Address.Is4() {
			continue
		}
		for i := ethernetSize + 4; i < len(g.frame); i++ {
			b := append([]byte{}, g.frame...)
			b[i] ^= 0x10
			if m, ok := Parse(b); ok {
				t.Errorf("%s, byte %d damaged: %+v", g.name, i, m)
			}
		}
	}
}

func TestAFrameIsPaddedToTheLeastThatEthernetCarries(t *testing.T) {
	for _, g := range golden {
		if m, ok := Parse(append(g.frame, make([]byte, 46)...)); !ok || m != g.says {
			t.Errorf("%s: %+v, %v", g.name, m, ok)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, g := range golden {
		f.Add(g.frame)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, ok := Parse(b)
		if !ok {
			return
		}
		again := Probe(m.MAC, m.Address)
		if m.Uses {
			again = Announce(m.MAC, m.Address)[0]
		}
		if m2, ok := Parse(again); !ok || m2 != m {
			t.Fatalf("%+v became %+v, %v", m, m2, ok)
		}
	})
}
