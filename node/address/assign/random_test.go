package assign

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"ashlar/replication/wire"
)

// world is a cluster in which nodes know of what was agreed only later, die,
// stand still, lose links and come back. A node acts for an address by what it
// knows, while it has its lease; it is fenced only after its lease has lapsed.
type world struct {
	*rand.Rand
	now       int64
	nodes     []Node      // as agreed
	addresses []Address   // as agreed
	known     [][]Address // by node: as it has heard
	lease     []bool      // by node
	holds     []map[netip.Addr]bool
	transit   []Move // proposed, not agreed on yet
	past      []Move // proposed once
	planner   *Planner
	moved     int
}

func newWorld(seed uint64) *world {
	w := &world{Rand: rand.New(rand.NewPCG(seed, 3)), planner: NewPlanner()}
	for i := range 2 + w.IntN(4) {
		w.nodes = append(w.nodes, Node{ID: wire.NodeID(i + 1), Incarnation: 1, Up: true, Fabrics: both})
		w.lease, w.holds = append(w.lease, true), append(w.holds, map[netip.Addr]bool{})
		w.known = append(w.known, nil)
		for k, f := range both {
			w.addresses = append(w.addresses, Address{Address: named(fmt.Sprintf("%c%d", 'a'+k, i+1)), Fabric: f, Home: wire.NodeID(i + 1)})
		}
	}
	return w
}

// step is 100 ms.
func (w *world) step(t *testing.T, faults bool) {
	w.now += second / 10
	if faults {
		w.fault()
	}
	w.transit = append(w.transit, w.planner.Tick(w.now, w.nodes, w.addresses, faults && w.IntN(3) == 0)...)
	w.Shuffle(len(w.transit), func(i, k int) { w.transit[i], w.transit[k] = w.transit[k], w.transit[i] })
	for n := w.IntN(len(w.transit) + 1); n > 0; n-- {
		w.agree(w.transit[0])
		w.transit = w.transit[1:]
	}
	for i := range w.nodes {
		if w.IntN(3) == 0 {
			w.known[i] = slices.Clone(w.addresses)
		}
		w.act(i)
	}
	w.check(t)
}

func (w *world) agree(m Move) {
	w.past = append(w.past, m)
	for i, a := range w.addresses {
		if next, err := a.Apply(m, w.nodes); err == nil {
			w.addresses[i] = next
			w.moved++
		}
	}
}

// act is a node's: it holds what it has heard that it may, and tells what it
// has given up.
func (w *world) act(i int) {
	n := w.nodes[i]
	for _, a := range w.known[i] {
		may := w.lease[i] && a.HeldBy(n.ID, n.Incarnation)
		if !may && w.lease[i] && a.Leaving && a.Holder == n.ID && a.Incarnation == n.Incarnation {
			w.transit = append(w.transit, Move{Release, a.Address, a.Gen, n.ID, n.Incarnation})
		}
		w.holds[i][a.Address] = may
	}
}

func (w *world) fault() {
	i := w.IntN(len(w.nodes))
	n := &w.nodes[i]
	switch w.IntN(14) {
	case 0: // cut off, or dead
		w.lease[i] = false
		clear(w.holds[i])
	case 1, 2:
		if !w.lease[i] {
			n.Up = false
		}
	case 3: // a lease that lapsed is granted again, if nobody was quicker
		w.lease[i] = n.Up
	case 4, 5: // the process starts anew
		n.Up, n.Incarnation = true, n.Incarnation+1
		w.lease[i] = true
		clear(w.holds[i])
	case 6:
		n.Fabrics = [][]netip.Prefix{both, both[:1], both[1:], nil}[w.IntN(4)]
	case 7:
		n.Drained = !n.Drained
	case 8: // another leader
		w.planner = NewPlanner()
	case 9: // proposals are lost
		w.transit = nil
	case 10, 11: // one is delivered again, late
		if len(w.past) > 0 {
			w.transit = append(w.transit, w.past[max(0, len(w.past)-1-w.IntN(20))])
		}
	case 12: // a leader that has lost its mind
		a := w.addresses[w.IntN(len(w.addresses))]
		w.transit = append(w.transit, Move{Kind(w.IntN(2)), a.Address, a.Gen, n.ID, n.Incarnation})
	}
}

func (w *world) check(t *testing.T) {
	t.Helper()
	for _, a := range w.addresses {
		var holders []wire.NodeID
		for i := range w.nodes {
			if w.holds[i][a.Address] {
				holders = append(holders, w.nodes[i].ID)
			}
		}
		if len(holders) > 1 {
			t.Fatalf("%s is held by %v; agreed: %+v", name(a.Address), holders, a)
		}
	}
}

// heal lets every node that is up run, and waits.
func (w *world) heal(t *testing.T) {
	for i := range w.nodes {
		w.lease[i] = w.nodes[i].Up
	}
	returns := int64(len(w.addresses)) * 2 * ReturnEvery
	for range (ReturnAfter + returns) / (second / 10) {
		w.step(t, false)
	}
}

// settled says that each address is where it ought to be.
func (w *world) settled(t *testing.T) {
	t.Helper()
	for _, a := range w.addresses {
		home, _ := find(w.nodes, a.Home)
		switch {
		case home.Fit(a.Fabric) && !w.holds[a.Home-1][a.Address]:
			t.Fatalf("%s is not at home: %+v", name(a.Address), a)
		case slices.ContainsFunc(w.nodes, func(n Node) bool { return n.Fit(a.Fabric) }) &&
			(a.Holder == 0 || !w.holds[a.Holder-1][a.Address] || !fitNode(w.nodes, a.Holder, a.Fabric)):
			t.Fatalf("%s is not served although a node on its fabric is fit: %+v", name(a.Address), a)
		}
	}
}

func TestNeverTwoHoldersAndSoonOne(t *testing.T) {
	moved := 0
	for seed := range uint64(150) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			w := newWorld(seed)
			for range 600 {
				w.step(t, true)
			}
			w.heal(t)
			w.settled(t)
			moved += w.moved
		})
	}
	if moved < 5000 {
		t.Fatalf("only %d moves: the faults do too little", moved)
	}
}
