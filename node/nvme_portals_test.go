package node

import (
	"net/netip"
	"slices"
	"testing"

	"ashlar/node/address/assign"
	"ashlar/node/cluster"
	"ashlar/replication/wire"
)

func TestAnAddressThatMovesStandsForItsHomesOwnPortal(t *testing.T) {
	moving := func(last byte, home wire.NodeID, change func(*cluster.Address)) cluster.Address {
		ip := netip.AddrFrom4([4]byte{10, 1, 0, last})
		a := cluster.Address{Address: assign.Address{Address: ip, Fabric: netip.MustParsePrefix("10.1.0.0/24"), Group: 0x4000 + uint16(last), Home: home, Holder: 2, Gen: 1},
			Port: 3260, Ports: cluster.Ports{NVMe: 4420, Discovery: 8009}}
		if change != nil {
			change(&a)
		}
		return a
	}
	n1 := []string{"10.1.0.1:4420", "10.2.0.1:4420"}
	n2 := []string{"10.1.0.2:4420", "10.2.0.2:4420"}
	for name, c := range map[string]struct {
		addresses []cluster.Address
		want      []string
	}{
		"none":                          {nil, slices.Concat(n1, n2)},
		"one on the first fabric":       {[]cluster.Address{moving(101, 1, nil)}, []string{"10.2.0.1:4420", n2[0], n2[1], "10.1.0.101:4420"}},
		"one that is at home nowhere":   {[]cluster.Address{moving(101, 0, nil)}, slices.Concat(n1, n2, []string{"10.1.0.101:4420"})},
		"one that nobody has held yet":  {[]cluster.Address{moving(101, 1, func(a *cluster.Address) { a.Gen = 0 })}, slices.Concat(n1, n2, []string{"10.1.0.101:4420"})},
		"one that is about to be gone":  {[]cluster.Address{moving(101, 1, func(a *cluster.Address) { a.Removed = true })}, slices.Concat(n1, n2, []string{"10.1.0.101:4420"})},
		"one of before there was NVMe":  {[]cluster.Address{moving(101, 1, func(a *cluster.Address) { a.Ports = cluster.Ports{} })}, slices.Concat(n1, n2)},
		"one for each node and another": {[]cluster.Address{moving(101, 1, nil), moving(102, 2, nil), moving(103, 0, nil)}, []string{"10.2.0.1:4420", "10.2.0.2:4420", "10.1.0.101:4420", "10.1.0.102:4420", "10.1.0.103:4420"}},
	} {
		s := &cluster.State{Nodes: map[wire.NodeID]*cluster.Node{}, Addresses: c.addresses}
		s.Nodes[1] = &cluster.Node{ID: 1, Incarnation: 1, NVMe: n1}
		s.Nodes[2] = &cluster.Node{ID: 2, Incarnation: 1, NVMe: n2}
		s.Nodes[3] = &cluster.Node{ID: 3, NVMe: []string{"10.1.0.3:4420"}}                                 // it never started
		s.Nodes[4] = &cluster.Node{ID: 4, Incarnation: 1, Expelled: true, NVMe: []string{"10.1.0.4:4420"}} // it never comes back
		var got []string
		for _, p := range portalsNVMe(s) {
			got = append(got, p.Address.String())
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
