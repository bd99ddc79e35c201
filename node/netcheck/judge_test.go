package netcheck

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWhatIsWrongIsSaidOnce(t *testing.T) {
	ip := netip.MustParseAddr
	owner := func(a netip.Addr) string {
		return map[string]string{"10.0.0.1": "n1", "10.0.0.2": "n2", "10.1.0.2": "n2"}[a.String()]
	}
	seen := map[string]Seen{
		"n1": {
			Reaches: []Reach{
				{ip("10.0.0.2"), true, "eth0", 9000, 9000},
				{ip("10.1.0.2"), true, "eth1", 9000, 1500},
				{ip("10.1.0.2"), true, "eth1", 9000, 1500}, // of another port
			},
			Rivals: []Rival{{ip("10.0.0.1"), "eth0", "02:00:00:00:00:09"}},
		},
		"n2": {Reaches: []Reach{{ip("10.0.0.1"), false, "eth0", 1500, 0}, {ip("10.0.0.1"), false, "", 0, 0}, {ip("10.0.0.1"), true, "eth0", 1500, 0}}, Problem: "it may not."},
	}
	got := Judge([]string{"n1", "n2", "n3"}, seen, owner)
	var short []string
	for _, f := range got {
		short = append(short, string(f.Kind)+" "+f.Text)
		if f.Next == "" {
			t.Errorf("%q has no next step", f.Text)
		}
	}
	if diff := cmp.Diff([]string{
		"mtu Node n1 sends packets of up to 9000 bytes to n2's address 10.1.0.2 over eth1, and none of more than 1500 arrives.",
		"duplicate Node n1's address 10.0.0.1 on eth0 is used by 02:00:00:00:00:09, too.",
		"unchecked Node n2 could not look at the network: it may not.",
		"unreachable Node n2 cannot connect to n1's address 10.0.0.1 over eth0.",
		"unreachable Node n2 has no way to n1's address 10.0.0.1.",
		"unchecked Node n2 gets no answer to a ping from n1's address 10.0.0.1: how long packets may be is not known.",
		"silent Node n3 is up and does not say what it sees of the network.",
	}, short); diff != "" {
		t.Error(diff)
	}
	if all := Judge([]string{"n1"}, map[string]Seen{"n1": {Reaches: []Reach{{ip("10.0.0.2"), true, "lo", 65535, 65535}}}}, owner); len(all) > 0 {
		t.Errorf("of a network that is well: %v", all)
	}
}
