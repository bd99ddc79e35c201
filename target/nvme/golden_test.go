package nvme

import (
	"encoding/hex"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"ashlar/target/reserve"
	"ashlar/target/targettest"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files in testdata")

func compareGolden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name+".hex")
	// What is all zeros to the end says nothing.
	n := len(got)
	for n > 0 && got[n-1] == 0 {
		n--
	}
	text := hex.Dump(got[:n])
	if *rewrite {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if text != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", name, text, want)
	}
}

// TestWhatHostsReadOfUs holds the bytes that hosts keep between connections, and
// that are the same from every node or may not change without a thought.
func TestWhatHostsReadOfUs(t *testing.T) {
	r := newRig(t, twoNodes())
	for name, cmd := range map[string]Command{
		"identify-namespace":             command64(Identify, 1, 0x00),
		"identify-common-namespace":      command64(Identify, allNamespaces, 0x00),
		"identify-controller":            command64(Identify, 0, 0x01),
		"identify-namespaces":            command64(Identify, 0, 0x02),
		"identify-descriptors":           command64(Identify, 1, 0x03),
		"identify-nvm-namespace":         command64(Identify, 1, 0x05),
		"identify-nvm-controller":        command64(Identify, 0, 0x06),
		"identify-nvm-namespaces":        command64(Identify, 0, 0x07),
		"identify-independent-namespace": command64(Identify, 1, 0x08),
		"identify-allocated-namespaces":  command64(Identify, 0, 0x10),
		"identify-allocated-namespace":   command64(Identify, 1, 0x11),
		"identify-attached-controllers":  command64(Identify, 1, 0x12),
		"identify-controllers":           command64(Identify, 0, 0x13),
		"identify-command-sets":          command64(Identify, 0, 0x1C),
		"log-supported":                  log(logSupported, 1024),
		"log-errors":                     log(logErrors, 4096),
		"log-smart":                      log(logSMART, 512),
		"log-firmware":                   log(logFirmware, 512),
		"log-changed-namespaces":         log(logChangedNamespaces, 4096),
		"log-effects":                    log(logEffects, 4096),
		"log-ana":                        log(logANA, 4096),
		"log-features":                   log(logFeatures, 1024),
		"log-reservations":               log(logReservations, 64),
	} {
		t.Run(name, func(t *testing.T) {
			b := (&rig{TB: t, subsystem: r.subsystem, Controller: r.Controller}).good(0, cmd, nil).Data
			if name == "identify-controller" {
				if b[135] == 0 || le.Uint64(b[136:]) == 0 {
					t.Error("CIU and CIRN are 0")
				}
				clear(b[135:144]) // drawn for each controller
			}
			compareGolden(t, name, b)
		})
	}
}

func TestABlockOf4096IsToldSo(t *testing.T) {
	r := newRig(t, targettest.Options{BlockSize: 4096, ReadOnly: true})
	compareGolden(t, "identify-namespace-4096", r.good(0, command64(Identify, 1, 0x00), nil).Data)
}

func TestDiscoveryIsToldAsHostsReadIt(t *testing.T) {
	at := func(s string, id uint16) Portal { return Portal{netip.MustParseAddrPort(s), id} }
	d := Discovery{Generation: 5, Listings: []Listing{
		{"nqn.2026-11.com.example:two", []Portal{at("192.0.2.1:4420", 1), at("[2001:db8::2]:4420", 2)}, false},
		{"nqn.2026-11.com.example:one", []Portal{at("192.0.2.1:4421", 1)}, true},
	}, Referrals: []Portal{at("192.0.2.2:8009", 2)}}
	compareGolden(t, "log-discovery", d.page())
	c := NewController(Params{NQN: DiscoveryNQN, Discovery: func() Discovery { return d }, ID: 3, Carrier: noCarrier{}, Generation: func() uint64 { return 1 }})
	r := &rig{TB: t, Controller: c}
	compareGolden(t, "identify-discovery", r.good(0, command64(Identify, 0, 0x01), nil).Data)
	// In pieces, as hosts read it: the header first, then the entries.
	header := r.good(0, log(logDiscovery, 1024), nil).Data
	if le.Uint64(header) != 5 || le.Uint64(header[8:]) != 4 {
		t.Errorf("generation %d, %d records", le.Uint64(header), le.Uint64(header[8:]))
	}
	cmd := log(logDiscovery, 1024)
	le.PutUint32(cmd[48:], 4096)
	if e := r.good(0, cmd, nil).Data; string(e[256:256+len(DiscoveryNQN)]) != DiscoveryNQN || e[2] != subtypeRefers {
		t.Errorf("the last entry is %q", e[256:300])
	}
	r.bad(InvalidOpcode|DoNotRetry, 0, command64(Abort, 0), nil)
	r.bad(InvalidLogPage|DoNotRetry, 0, log(logANA, 64), nil)
}

func TestReservationsAreReportedAsHostsReadThem(t *testing.T) {
	s := reserve.State{}
	for _, q := range []reserve.Request{
		{Kind: reserve.Register, Nexus: Host{"nqn.a", [16]byte{1, 2, 3}}.reserveNexus(), Service: 0xA, APTPL: true},
		{Kind: reserve.Register, Nexus: reserve.Nexus{Host: "iqn.b,i,0x000000000001", Port: 1}, Service: 0xB, APTPL: true},
		{Kind: reserve.Reserve, Nexus: Host{"nqn.a", [16]byte{1, 2, 3}}.reserveNexus(), Key: 0xA, Type: reserve.WriteExclusiveRegistrantsOnly},
	} {
		var result reserve.Result
		if s, result = reserve.Apply(s, q); result.Status != reserve.Good {
			t.Fatal(result)
		}
	}
	compareGolden(t, "reservation-report", reservationStatus(&s))
}
