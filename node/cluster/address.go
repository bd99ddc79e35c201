package cluster

import (
	"fmt"
	"net/netip"
	"slices"

	"ashlar/node/address/assign"
	"ashlar/replication/wire"
)

// Address is a portal address that moves: who holds it, and where hosts find it.
type Address struct {
	assign.Address
	Port uint16 // TCP, the same at every holder
	Ports
	Removed bool `json:",omitempty"` // forgotten once its holder has given it up
}

// Ports are those of an address for NVMe/TCP, the same at every holder; 0: it has none.
type Ports struct {
	NVMe      uint16 `json:",omitempty"`
	Discovery uint16 `json:",omitempty"`
}

// Portal is where hosts log in.
func (a Address) Portal() netip.AddrPort { return netip.AddrPortFrom(a.Address.Address, a.Port) }

// NVMePortals are where it serves NVMe/TCP, discovery included.
func (a Address) NVMePortals() (all []netip.AddrPort) {
	for _, port := range []uint16{a.NVMe, a.Discovery} {
		if port != 0 {
			all = append(all, netip.AddrPortFrom(a.Address.Address, port))
		}
	}
	return all
}

// groupOfAddresses is the lowest portal group tag of addresses; below it are those of
// nodes, which are their numbers.
const groupOfAddresses = 0x4000

// AddressesMax bounds a discovery's answer.
const AddressesMax = 64

// AddAddress makes a portal address that moves. Its tag is never used again.
type AddAddress struct {
	Written netip.Prefix // as 10.1.0.101/24
	Port    uint16
	Ports
	Home string // name of a node; empty: it belongs nowhere
}

// RemoveAddress takes an address out of use: its holder gives it up, and then it is
// forgotten.
type RemoveAddress struct{ Address netip.Addr }

// MoveAddress is a move that the planner decided on, or the holder's word that it
// has given the address up.
type MoveAddress struct{ assign.Move }

// SetFabrics is a node's word on which subnets it can hold addresses.
type SetFabrics struct {
	Node        wire.NodeID
	Incarnation wire.Incarnation
	Fabrics     []netip.Prefix
}

// AddressNodes are all nodes, as far as the assignment of addresses goes.
func (s *State) AddressNodes() (all []assign.Node) {
	for _, id := range s.NodeIDs() {
		n := s.Nodes[id]
		all = append(all, assign.Node{ID: id, Incarnation: n.Incarnation, Up: n.Up, Drained: n.Drained || n.Leaving || n.Witness, Fabrics: n.Fabrics})
	}
	return all
}

// AddressesToMove are those that somebody is to hold.
func (s *State) AddressesToMove() (all []assign.Address) {
	for _, a := range s.Addresses {
		if !a.Removed {
			all = append(all, a.Address)
		}
	}
	return all
}

// Catching says whether copies that can be reached are not in sync yet: hosts' paths
// are better left alone meanwhile.
func (s *State) Catching() bool {
	for _, v := range s.Volumes {
		for _, g := range v.Segments {
			if slices.ContainsFunc(g.Replicas, func(r Replica) bool { return !r.InSync && s.Usable(r) }) {
				return true
			}
		}
	}
	return false
}

// AddressAt is the address of this IP, nil if there is none.
func (s *State) AddressAt(ip netip.Addr) *Address {
	if i := s.addressIndex(ip); i >= 0 {
		return &s.Addresses[i]
	}
	return nil
}

func (s *State) addressIndex(ip netip.Addr) int {
	return slices.IndexFunc(s.Addresses, func(a Address) bool { return a.Address.Address == ip })
}

func (s *State) addAddress(c *AddAddress) Result {
	home := wire.NodeID(0)
	if c.Home != "" {
		n := s.NodeNamed(c.Home)
		if n == nil {
			return problem(NotFound, "no node %q", c.Home)
		}
		home = n.ID
	}
	if c.Port == 0 {
		return problem(Invalid, "a portal needs a port")
	}
	a, err := assign.New(c.Written, groupOfAddresses+s.LastAddress, home)
	if err != nil {
		return problem(Invalid, "%v", err)
	}
	if s.AddressAt(a.Address) != nil {
		return problem(Exists, "the portal address %s is there already", a.Address)
	}
	for _, id := range s.NodeIDs() {
		if s.Nodes[id].has(a.Address) {
			return problem(Exists, "%s is node %q's own: a portal address that moves is nobody's own", a.Address, s.Nodes[id].Name)
		}
	}
	if len(s.Addresses) >= AddressesMax || s.LastAddress == 1<<14-1 {
		return problem(Refused, "a cluster has at most %d portal addresses that move", AddressesMax)
	}
	s.LastAddress++
	s.Addresses = append(slices.Clone(s.Addresses), Address{Address: a, Port: c.Port, Ports: c.Ports})
	slices.SortFunc(s.Addresses, func(a, b Address) int { return a.Address.Address.Compare(b.Address.Address) })
	return Result{}
}

// has says whether an address is one of the node's own.
func (n *Node) has(ip netip.Addr) bool {
	return slices.ContainsFunc(append([]string{n.Peer}, n.Portals...), func(text string) bool {
		own, err := netip.ParseAddrPort(text)
		return err == nil && own.Addr() == ip
	})
}

func (s *State) removeAddress(c *RemoveAddress) Result {
	i := s.addressIndex(c.Address)
	if i < 0 || s.Addresses[i].Removed {
		return problem(NotFound, "no portal address %s", c.Address)
	}
	a := &s.editAddresses()[i]
	if !a.Leaving && !a.Over(s.AddressNodes()) {
		next, err := a.Apply(assign.Move{Kind: assign.Recall, Address: a.Address.Address, Gen: a.Gen}, s.AddressNodes())
		if err != nil {
			panic(fmt.Sprintf("cluster: recall of %+v: %v", a.Address, err))
		}
		a.Address = next
	}
	a.Removed = true
	s.forgetAddresses()
	return Result{}
}

func (s *State) moveAddress(c *MoveAddress) Result {
	i := s.addressIndex(c.Address)
	if i < 0 {
		return problem(NotFound, "no portal address %s", c.Address)
	}
	if s.Addresses[i].Removed && c.Kind == assign.Assign {
		return problem(Refused, "the portal address %s is about to be forgotten", c.Address)
	}
	next, err := s.Addresses[i].Apply(c.Move, s.AddressNodes())
	if err != nil {
		return problem(Stale, "%v", err)
	}
	s.editAddresses()[i].Address = next
	s.forgetAddresses()
	return Result{}
}

func (s *State) setFabrics(c *SetFabrics) Result {
	n := s.Nodes[c.Node]
	if n == nil || !n.Up || n.Incarnation != c.Incarnation {
		return problem(Stale, "incarnation %d of node %d is over", c.Incarnation, c.Node)
	}
	s.editNode(c.Node).Fabrics = c.Fabrics
	return Result{}
}

func (s *State) editAddresses() []Address {
	s.Addresses = slices.Clone(s.Addresses)
	return s.Addresses
}

// forgetAddresses drops those that were removed, once nobody acts for them.
func (s *State) forgetAddresses() {
	nodes := s.AddressNodes()
	gone := func(a Address) bool { return a.Removed && a.Over(nodes) }
	if slices.ContainsFunc(s.Addresses, gone) {
		s.Addresses = slices.DeleteFunc(s.editAddresses(), gone)
	}
}
