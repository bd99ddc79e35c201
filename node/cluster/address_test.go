package cluster

import (
	"net/netip"
	"slices"
	"testing"

	"ashlar/node/address/assign"
	"ashlar/replication/wire"
)

var (
	fabric = netip.MustParsePrefix("10.1.0.0/24")
	moving = netip.MustParseAddr("10.1.0.101")
)

// on has a node tell that it is on the fabric.
func (r *rig) on(n wire.NodeID) {
	r.t.Helper()
	r.good(Command{SetFabrics: &SetFabrics{Node: n, Incarnation: r.Nodes[n].Incarnation, Fabrics: []netip.Prefix{fabric}}})
}

func (r *rig) address() Address {
	r.t.Helper()
	a := r.AddressAt(moving)
	if a == nil {
		r.t.Fatal("there is no such address")
	}
	return *a
}

func (r *rig) assign(n wire.NodeID) Command {
	return Command{MoveAddress: &MoveAddress{assign.Move{Kind: assign.Assign, Address: moving, Gen: r.address().Gen, To: n, Incarnation: r.Nodes[n].Incarnation}}}
}

func withAddress(t *testing.T) *rig {
	r := newRig(t, 3, 3)
	for n := wire.NodeID(1); n <= 3; n++ {
		r.on(n)
	}
	r.good(Command{AddAddress: &AddAddress{Written: netip.PrefixFrom(moving, 24), Port: 3260, Ports: Ports{NVMe: 4420, Discovery: 8009}, Home: "n1"}})
	at := func(port uint16) netip.AddrPort { return netip.AddrPortFrom(moving, port) }
	if got := r.address().NVMePortals(); !slices.Equal(got, []netip.AddrPort{at(4420), at(8009)}) {
		t.Errorf("NVMe/TCP at %v", got)
	}
	r.good(r.assign(1))
	return r
}

func TestAnAddressLeavesANodeOnlyWhenThatIsOverOrSaysSo(t *testing.T) {
	r := withAddress(t)
	r.refuse(Stale, r.assign(2))
	r.down(1)
	r.good(r.assign(2))
	if a := r.address(); a.Holder != 2 || a.Group != groupOfAddresses {
		t.Errorf("%+v", a)
	}
	gen := r.address().Gen
	r.good(Command{MoveAddress: &MoveAddress{assign.Move{Kind: assign.Recall, Address: moving, Gen: gen}}})
	r.refuse(Stale, r.assign(3))
	r.good(Command{MoveAddress: &MoveAddress{assign.Move{Kind: assign.Release, Address: moving, Gen: gen + 1, To: 2, Incarnation: r.Nodes[2].Incarnation}}})
	r.good(r.assign(3))
}

func TestANodesNextIncarnationHoldsNothingOfTheFormerOnes(t *testing.T) {
	r := withAddress(t)
	r.up(1)
	if a := r.address(); a.HeldBy(1, r.Nodes[1].Incarnation) || !a.Over(r.AddressNodes()) {
		t.Errorf("%+v", a)
	}
	r.refuse(Stale, r.assign(1)) // it has not told its subnets yet
	r.on(1)
	r.good(r.assign(1))
}

func TestAnAddressIsForgottenOnceItsHolderHasGivenItUp(t *testing.T) {
	r := withAddress(t)
	r.good(Command{RemoveAddress: &RemoveAddress{moving}})
	if a := r.address(); !a.Leaving || len(r.AddressesToMove()) != 0 {
		t.Fatalf("%+v", a)
	}
	r.refuse(NotFound, Command{RemoveAddress: &RemoveAddress{moving}})
	r.refuse(Refused, r.assign(2))
	r.down(1)
	if r.AddressAt(moving) != nil {
		t.Error("it is there although its holder is over")
	}
	r.good(Command{AddAddress: &AddAddress{Written: netip.PrefixFrom(moving, 24), Port: 3260}})
	if a := r.address(); a.Group != groupOfAddresses+1 {
		t.Errorf("the group %#x is used again", a.Group)
	}
}

func TestAddressesThatNoHostCouldUseAreRefused(t *testing.T) {
	r := withAddress(t)
	for _, c := range []struct {
		code Code
		add  AddAddress
	}{
		{Exists, AddAddress{Written: netip.PrefixFrom(moving, 24), Port: 3260}},
		{Exists, AddAddress{Written: netip.MustParsePrefix("10.0.1.2/24"), Port: 3260}}, // a portal of n2's own
		{NotFound, AddAddress{Written: netip.MustParsePrefix("10.1.0.102/24"), Port: 3260, Home: "n9"}},
		{Invalid, AddAddress{Written: netip.MustParsePrefix("10.1.0.102/24")}},
		{Invalid, AddAddress{Written: netip.MustParsePrefix("127.0.0.1/8"), Port: 3260}},
		{Invalid, AddAddress{Written: netip.MustParsePrefix("10.1.0.102/32"), Port: 3260}},
	} {
		r.refuse(c.code, Command{AddAddress: &c.add})
	}
}
