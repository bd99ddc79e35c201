// Package assign decides which node holds which portal address, and what changes
// of that the cluster may agree on. It is pure.
//
// An address is a target port: its portal group tag goes with it, so that a host
// finds the same port at whichever node serves it (open-iscsi refuses a portal
// whose tag has changed). Two nodes must never hold it together, so it leaves a
// node in one of two ways only: that incarnation is over (fenced, or followed by
// another), or the node itself said that it has taken it off its interface.
package assign

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"ashlar/replication/wire"
)

// Address is what the cluster has agreed on about one portal address.
type Address struct {
	Address netip.Addr
	Fabric  netip.Prefix // the subnet, masked: only nodes on it can hold the address
	Group   uint16       // portal group tag, target port group and relative target port: permanent
	Home    wire.NodeID  // where it belongs; 0: nowhere in particular

	Holder      wire.NodeID      // 0: nobody
	Incarnation wire.Incarnation // the holder's
	Leaving     bool             // the holder is to give it up, and to say so
	Gen         uint64           // grows with each change of the holder
}

// Node is what the decision needs to know of a server.
type Node struct {
	ID          wire.NodeID
	Incarnation wire.Incarnation
	Up          bool           // registered, and not fenced since
	Drained     bool           // being emptied or stopped: gets nothing, gives up what it has
	Fabrics     []netip.Prefix // subnets, masked, on whose links it can hold addresses now
}

// Kind of a Move.
type Kind int

const (
	Assign  Kind = iota // To holds the address
	Recall              // the holder is to give it up
	Release             // the holder has given it up
)

func (k Kind) String() string { return [...]string{"assign", "recall", "release"}[k] }

// Move is a change of an address, for the cluster to agree on.
type Move struct {
	Kind        Kind
	Address     netip.Addr
	Gen         uint64           // of the address as it was when this was decided
	To          wire.NodeID      // Assign: the new holder; Release: the old one
	Incarnation wire.Incarnation // of To
}

// ErrStale refuses a Move that was decided on an earlier state of the address.
var ErrStale = errors.New("the address has moved meanwhile")

// New is an address that nobody holds yet, written with the length of its subnet,
// as 10.1.0.101/24. It refuses what no host could log in to.
func New(written netip.Prefix, group uint16, home wire.NodeID) (Address, error) {
	a, fabric := written.Addr(), written.Masked()
	switch {
	case !written.IsValid() || a.Is4In6() || !a.IsGlobalUnicast():
		return Address{}, fmt.Errorf("%s is no address that hosts can reach", written)
	case written.IsSingleIP():
		return Address{}, fmt.Errorf("%s says nothing of its subnet: write it as 10.1.0.101/24", written)
	case a == fabric.Addr() || a.Is4() && !fabric.Contains(a.Next()):
		return Address{}, fmt.Errorf("%s is its subnet's own address", written)
	}
	return Address{Address: a, Fabric: fabric, Group: group, Home: home}, nil
}

// Fit says whether the node can be given addresses of a fabric.
func (n Node) Fit(fabric netip.Prefix) bool {
	return n.Up && !n.Drained && slices.Contains(n.Fabrics, fabric)
}

// Over says whether the holder can no longer act: there is none, or the
// incarnation that held the address is fenced or followed by another.
func (a Address) Over(nodes []Node) bool {
	n, ok := find(nodes, a.Holder)
	return a.Holder == 0 || !ok || !n.Up || n.Incarnation != a.Incarnation
}

// HeldBy says whether an incarnation may put the address on its interface,
// while it has its lease.
func (a Address) HeldBy(id wire.NodeID, incarnation wire.Incarnation) bool {
	return a.Holder == id && a.Incarnation == incarnation && !a.Leaving
}

// Apply is the address after a Move. It refuses, with a sentence and the
// address unchanged, whatever could make two holders of it.
func (a Address) Apply(m Move, nodes []Node) (Address, error) {
	if m.Address != a.Address || m.Gen != a.Gen {
		return a, ErrStale
	}
	next := a
	next.Gen++
	switch m.Kind {
	case Assign:
		to, _ := find(nodes, m.To)
		switch {
		case !a.Over(nodes):
			return a, fmt.Errorf("node %d holds %s", a.Holder, a.Address)
		case m.To == 0 || !to.Up || to.Incarnation != m.Incarnation:
			return a, ErrStale
		case !slices.Contains(to.Fabrics, a.Fabric):
			return a, fmt.Errorf("node %d is not on %s", m.To, a.Fabric)
		}
		next.Holder, next.Incarnation, next.Leaving = m.To, m.Incarnation, false
	case Recall:
		if a.Over(nodes) || a.Leaving {
			return a, ErrStale
		}
		next.Leaving = true
	case Release:
		if !a.Leaving || m.To != a.Holder || m.Incarnation != a.Incarnation {
			return a, ErrStale
		}
		next.Holder, next.Incarnation, next.Leaving = 0, 0, false
	default:
		return a, fmt.Errorf("no move of kind %d", m.Kind)
	}
	return next, nil
}

func find(nodes []Node, id wire.NodeID) (Node, bool) {
	for _, n := range nodes {
		if n.ID == id {
			return n, true
		}
	}
	return Node{}, false
}
