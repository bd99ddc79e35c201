package netcheck

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Kind of a Finding.
type Kind string

const (
	Unreachable Kind = "unreachable" // a node cannot connect to another's port
	ShortMTU    Kind = "mtu"         // long packets do not arrive
	Unchecked   Kind = "unchecked"   // whether they do is not known
	Duplicate   Kind = "duplicate"   // somebody else uses a node's address
	Silent      Kind = "silent"      // a node does not say what it sees
)

// Finding is one thing that is wrong with the network.
type Finding struct {
	Kind Kind
	Node string
	Text string // a sentence
	Next string
}

// Rival is address.Rival, in words.
type Rival struct {
	Address        netip.Addr
	Interface, MAC string
}

// Seen is what one node found.
type Seen struct {
	Reaches []Reach
	Rivals  []Rival
	Problem string // why it could not look at all of it
}

// Judge tells what is wrong, of what the nodes that are up have seen; nodes are those, by name, in the order in which they are told of. owner is
// whose an address is.
func Judge(nodes []string, seen map[string]Seen, owner func(netip.Addr) string) []Finding {
	all := []Finding{}
	for _, n := range nodes {
		s, there := seen[n]
		if !there {
			all = append(all, Finding{Silent, n, fmt.Sprintf("Node %s is up and does not say what it sees of the network.", n),
				"ashlar node show " + n + ", and its log (journalctl -u ashlar)"})
			continue
		}
		if s.Problem != "" {
			all = append(all, Finding{Unchecked, n, fmt.Sprintf("Node %s could not look at the network: %s.", n, strings.TrimSuffix(s.Problem, ".")), "start it as the package's unit does"})
		}
		for _, r := range s.Reaches {
			if f, wrong := r.judge(n, owner(r.To)); wrong {
				all = append(all, f)
			}
		}
		for _, r := range s.Rivals {
			all = append(all, Finding{Duplicate, n, fmt.Sprintf("Node %s's address %v on %s is used by %s, too.", n, r.Address, r.Interface, r.MAC),
				"take it off the other machine: connections to the node break while there are two"})
		}
	}
	return slices.CompactFunc(all, func(a, b Finding) bool { return a == b })
}

func (r Reach) judge(from, to string) (Finding, bool) {
	at := fmt.Sprintf("%s's address %v", to, r.To)
	switch {
	case r.Interface == "":
		return Finding{Unreachable, from, fmt.Sprintf("Node %s has no way to %s.", from, at), "an address in that subnet, or a route to it (ip route get " + r.To.String() + ")"}, true
	case !r.Open:
		return Finding{Unreachable, from, fmt.Sprintf("Node %s cannot connect to %s over %s.", from, at, r.Interface),
			"the cable, the switch's VLAN, a firewall (ping -I " + r.Interface + " " + r.To.String() + ")"}, true
	case r.Carries == 0:
		return Finding{Unchecked, from, fmt.Sprintf("Node %s gets no answer to a ping from %s: how long packets may be is not known.", from, at), "let ICMP through between nodes"}, true
	case r.Carries < r.MTU:
		return Finding{ShortMTU, from, fmt.Sprintf("Node %s sends packets of up to %d bytes to %s over %s, and none of more than %d arrives.", from, r.MTU, at, r.Interface, r.Carries),
			fmt.Sprintf("the same MTU on all nodes and hosts and no less on the switches, or ip link set %s mtu %d", r.Interface, r.Carries)}, true
	}
	return Finding{}, false
}
