package assign

import (
	"net/netip"
	"slices"

	"ashlar/replication/wire"
)

// Times, ns of CLOCK_BOOTTIME.
const (
	// ReturnAfter is for how long a home has to be well before it gets its
	// addresses back: a node that comes and goes takes no host with it.
	ReturnAfter = int64(60_000_000_000)
	// ReturnEvery parts returns: each makes hosts log in again.
	ReturnEvery = int64(5_000_000_000)

	proposeAgain = int64(500_000_000)
)

// Planner is the raft leader's. A new leader begins a new one: returns to homes
// then wait anew, nothing else does.
type Planner struct {
	well     map[place]int64 // since when a node is fit for a fabric, without a break
	proposed map[netip.Addr]proposal
	returned int64
}

type place struct {
	node        wire.NodeID
	incarnation wire.Incarnation
	fabric      netip.Prefix
}

type proposal struct {
	gen uint64
	at  int64
}

// NewPlanner knows nothing.
func NewPlanner() *Planner {
	return &Planner{well: map[place]int64{}, proposed: map[netip.Addr]proposal{}, returned: -ReturnEvery}
}

// Tick decides. nodes are in ascending order, addresses in any that is the same
// for the same state. rebuilding: copies are being made, and hosts' paths are
// better left alone.
func (p *Planner) Tick(now int64, nodes []Node, addresses []Address, rebuilding bool) (moves []Move) {
	p.watch(now, nodes, addresses)
	load := heldBy(nodes, addresses)
	unsettled := false
	var away []Address
	for _, a := range addresses {
		switch {
		case a.Over(nodes):
			to, ok := taker(a, nodes, load)
			unsettled = unsettled || ok
			if ok && p.may(now, a) {
				load[to.ID]++
				moves = append(moves, Move{Assign, a.Address, a.Gen, to.ID, to.Incarnation})
			}
		case a.Leaving:
			unsettled = true
		case !fitNode(nodes, a.Holder, a.Fabric):
			if _, ok := taker(a, nodes, load); ok && p.may(now, a) {
				unsettled = true
				moves = append(moves, Move{Kind: Recall, Address: a.Address, Gen: a.Gen})
			}
		case a.Holder != a.Home:
			away = append(away, a)
		}
	}
	if !unsettled && !rebuilding && now-p.returned >= ReturnEvery {
		moves = append(moves, p.bringHome(now, nodes, away)...)
	}
	return moves
}

// bringHome recalls one address whose home has been well for long enough.
func (p *Planner) bringHome(now int64, nodes []Node, away []Address) []Move {
	for _, a := range away {
		home, _ := find(nodes, a.Home)
		since, well := p.well[place{home.ID, home.Incarnation, a.Fabric}]
		if well && now-since >= ReturnAfter && p.may(now, a) {
			p.returned = now
			return []Move{{Kind: Recall, Address: a.Address, Gen: a.Gen}}
		}
	}
	return nil
}

// watch keeps track of how long nodes have been fit.
func (p *Planner) watch(now int64, nodes []Node, addresses []Address) {
	well := map[place]int64{}
	for _, n := range nodes {
		for _, f := range n.Fabrics {
			k := place{n.ID, n.Incarnation, f}
			if since, ok := p.well[k]; ok && n.Fit(f) {
				well[k] = since
			} else if n.Fit(f) {
				well[k] = now
			}
		}
	}
	p.well = well
	for address := range p.proposed {
		if !slices.ContainsFunc(addresses, func(a Address) bool { return a.Address == address }) {
			delete(p.proposed, address)
		}
	}
}

// may says whether a move of the address may be proposed now, and notes that it
// is. What was proposed on the same state is given time to be agreed on.
func (p *Planner) may(now int64, a Address) bool {
	if was, ok := p.proposed[a.Address]; ok && was.gen == a.Gen && now-was.at < proposeAgain {
		return false
	}
	p.proposed[a.Address] = proposal{a.Gen, now}
	return true
}

// taker is the node that is to hold an address whose holder is over or unfit:
// its home if that is fit, else the fit node with the fewest addresses, the
// lowest number among equals.
func taker(a Address, nodes []Node, load map[wire.NodeID]int) (best Node, ok bool) {
	for _, n := range nodes {
		switch {
		case !n.Fit(a.Fabric):
		case n.ID == a.Home:
			return n, true
		case !ok || load[n.ID] < load[best.ID]:
			best, ok = n, true
		}
	}
	return best, ok
}

// heldBy counts the addresses of each node.
func heldBy(nodes []Node, addresses []Address) map[wire.NodeID]int {
	load := map[wire.NodeID]int{}
	for _, a := range addresses {
		if !a.Over(nodes) {
			load[a.Holder]++
		}
	}
	return load
}

func fitNode(nodes []Node, id wire.NodeID, fabric netip.Prefix) bool {
	n, ok := find(nodes, id)
	return ok && n.Fit(fabric)
}
