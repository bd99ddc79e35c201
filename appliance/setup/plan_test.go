package setup

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

var a1, a2, elsewhere = netip.MustParseAddr("10.1.0.1"), netip.MustParseAddr("10.2.0.1"), netip.MustParseAddr("10.9.0.1")

func server() Server {
	return Server{Root: true, Systemd: true, Unit: true, Addresses: []netip.Addr{a1, a2}, Disks: []Disk{
		{Path: "/dev/sda", Bytes: 1 << 30, InUse: "it is mounted at /"},
		{Path: "/dev/sdb", Bytes: 1 << 30},
		{Path: "/dev/sdc", Bytes: 1 << 30, Data: true},
	}}
}

func TestWhatCannotBeMeantIsRefused(t *testing.T) {
	both := []netip.Addr{a1, a2}
	for why, c := range map[string]struct {
		change func(*Server)
		wanted Wanted
	}{
		"administrator":                 {func(s *Server) { s.Root = false }, Wanted{Addresses: both}},
		"not run by systemd":            {func(s *Server) { s.Systemd = false }, Wanted{Addresses: both}},
		"no service":                    {func(s *Server) { s.Unit = false }, Wanted{Addresses: both}},
		"has 10.1.0.1, 10.2.0.1: say":   {nil, Wanted{}},
		"has no address: say":           {func(s *Server) { s.Addresses = nil }, Wanted{}},
		"10.9.0.1 is no address":        {nil, Wanted{Addresses: []netip.Addr{a1, elsewhere}}},
		"named twice":                   {nil, Wanted{Addresses: []netip.Addr{a1, a1}}},
		"/dev/sdx is no disk":           {nil, Wanted{Addresses: both, Disks: []string{"/dev/sdx"}}},
		"in use: it is mounted at /":    {nil, Wanted{Addresses: both, Disks: []string{"/dev/sda"}, Force: true}},
		"/dev/sdc holds data":           {nil, Wanted{Addresses: both, Disks: []string{"/dev/sdc"}}},
		"/dev/sdc holds data, disk two": {nil, Wanted{Addresses: both, Disks: []string{"/dev/sdb", "/dev/sdc"}}},
	} {
		s := server()
		if c.change != nil {
			c.change(&s)
		}
		why, _, _ = strings.Cut(why, ", disk two")
		if _, err := Decide(s, c.wanted); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%+v: %v, want %q", c.wanted, err, why)
		}
	}
}

func TestOnlyDisksThatWereMeantAreTaken(t *testing.T) {
	for _, c := range []struct {
		wanted Wanted
		taken  string
	}{
		{Wanted{}, ""},
		{Wanted{Disks: []string{"/dev/sdb"}}, "/dev/sdb"},
		{Wanted{AllDisks: true}, "/dev/sdb"},
		{Wanted{AllDisks: true, Force: true}, "/dev/sdb"},
		{Wanted{AllDisks: true, Force: true, Disks: []string{"/dev/sdc"}}, "/dev/sdb /dev/sdc"},
	} {
		c.wanted.Addresses = []netip.Addr{a1}
		p, err := Decide(server(), c.wanted)
		if err != nil {
			t.Fatal(err)
		}
		var taken []string
		for _, d := range p.Disks {
			taken = append(taken, d.Path)
		}
		if got := strings.Join(taken, " "); got != c.taken || len(p.Left)+len(p.Disks) != 3 {
			t.Errorf("%+v takes %q, want %q; left %v", c.wanted, got, c.taken, p.Left)
		}
	}
}

func TestTheOnlyAddressNeedsNoName(t *testing.T) {
	s := server()
	s.Addresses = []netip.Addr{a2}
	p, err := Decide(s, Wanted{Name: "east"})
	if err != nil || !reflect.DeepEqual(p.Addresses, s.Addresses) {
		t.Fatal(p, err)
	}
	if !strings.HasSuffix(p.Settings, "\nASHLAR_ADDRESS=10.2.0.1\nASHLAR_NAME=east\n") {
		t.Errorf("the settings are %q", p.Settings)
	}
}
