package node

import (
	"context"
	"encoding/json"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"ashlar/node/address"
	"ashlar/node/address/assign"
	"ashlar/node/cluster"
	"ashlar/node/engine"
	"ashlar/replication/wire"
)

const (
	fabricsEvery = time.Second // how often this node looks which subnets it is on
	dropMax      = 2 * time.Second

	aboutConnections = "connections" // []address.Connection that hosts have with addresses that move
)

// addresses has this node hold the portal addresses that the cluster has given
// it, and give up those that it is to.
type addresses struct {
	service *service
	news    chan struct{} // capacity 1: the keeper has some

	mu        sync.Mutex
	keeper    *address.Keeper // nil while the cluster has no such addresses, or where this process may not move them
	problem   error           // why there is no keeper
	listeners map[netip.AddrPort]net.Listener
	known     map[wire.NodeID][]address.Connection // of other nodes, as they last said
}

func newAddresses(s *service) *addresses {
	return &addresses{service: s, news: make(chan struct{}, 1), listeners: map[netip.AddrPort]net.Listener{}, known: map[wire.NodeID][]address.Connection{}}
}

// follow does as the cluster has agreed, until the service ends.
func (a *addresses) follow(e *engine.Engine) {
	s := a.service
	e.Answer(aboutConnections, func(wire.NodeID, json.RawMessage) any { return a.connections() })
	s.tasks.Go(func() { a.listenToOthers(e) })
	tick := time.NewTicker(fabricsEvery)
	defer tick.Stop()
	for s.ctx.Err() == nil {
		state, changed := s.consensus.Watch()
		if len(state.Addresses) > 0 {
			a.open(e)
		}
		a.tellFabrics(state)
		a.hold(state)
		a.release(state)
		select {
		case <-changed:
		case <-a.news:
		case <-tick.C:
		case <-s.ctx.Done():
		}
	}
}

// open starts the keeper where there is none yet. It fails for good where this
// process may not move addresses; others then hold them.
func (a *addresses) open(e *engine.Engine) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.keeper != nil || a.problem != nil {
		return
	}
	a.keeper, a.problem = address.Open(address.Config{Lease: e.Lease, Drop: a.drop, Connections: a.formerly, Changed: a.tell, Log: a.service.log})
	if a.problem != nil {
		a.service.log.Warn("this node holds no portal addresses", "error", a.problem)
	}
}

// drop ends what hosts have with an address that is about to be given up.
func (a *addresses) drop(ip netip.Addr) {
	ctx, cancel := context.WithTimeout(context.Background(), dropMax)
	defer cancel()
	var ending sync.WaitGroup
	ending.Go(func() { a.service.server.DropAddress(ctx, ip) })
	ending.Go(func() { a.service.nvme.DropAddress(ctx, ip) })
	ending.Wait()
}

func (a *addresses) tell() {
	select {
	case a.news <- struct{}{}:
	default:
	}
}

func (a *addresses) kept() *address.Keeper {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.keeper
}

// tellFabrics has the cluster know which subnets this node is on, where that is news.
func (a *addresses) tellFabrics(state *cluster.State) {
	s := a.service
	if a.kept() == nil {
		return
	}
	fabrics, err := address.Fabrics()
	if err != nil {
		s.log.Warn("looking for subnets", "error", err)
		return
	}
	self, incarnation := s.record.Node, wire.Incarnation(s.incarnation.Load())
	if n := state.Nodes[self]; !n.Up || n.Incarnation != incarnation || slices.Equal(n.Fabrics, fabrics) {
		return
	}
	ctx, cancel := context.WithTimeout(s.ctx, fabricsEvery)
	defer cancel()
	if _, err := s.propose(ctx, cluster.Command{SetFabrics: &cluster.SetFabrics{Node: self, Incarnation: incarnation, Fabrics: fabrics}}); err != nil && s.ctx.Err() == nil {
		s.log.Info("the cluster does not know yet which subnets this node is on", "error", err)
	}
}

// hold takes what is this node's, and lets go of the rest.
func (a *addresses) hold(state *cluster.State) {
	k := a.kept()
	if k == nil {
		return
	}
	self, incarnation := a.service.record.Node, wire.Incarnation(a.service.incarnation.Load())
	var mine []address.Portal
	listen := map[netip.AddrPort]func(net.Listener) error{}
	for _, x := range state.Addresses {
		if x.HeldBy(self, incarnation) {
			mine = append(mine, address.Portal{Address: x.Address.Address, Fabric: x.Fabric})
			listen[x.Portal()] = a.service.server.Serve
			for _, p := range x.NVMePortals() {
				listen[p] = a.service.nvme.Serve
			}
		}
	}
	// A host that finds the address is to find the portal: it listens first.
	for portal, serve := range listen {
		a.listen(portal, serve)
	}
	k.Hold(mine)
	a.mu.Lock()
	defer a.mu.Unlock()
	for portal, l := range a.listeners {
		if listen[portal] == nil {
			l.Close()
			delete(a.listeners, portal)
		}
	}
}

func (a *addresses) listen(portal netip.AddrPort, serve func(net.Listener) error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.listeners[portal] != nil {
		return
	}
	l, err := address.Listen(a.service.ctx, portal)
	if err != nil {
		a.service.log.Warn("a portal address is not served", "portal", portal, "error", err)
		return // tried again with the next tick
	}
	a.listeners[portal] = l
	a.service.tasks.Go(func() { serve(l) })
}

// release tells the cluster what has been given up.
func (a *addresses) release(state *cluster.State) {
	s, k := a.service, a.kept()
	self, incarnation := s.record.Node, wire.Incarnation(s.incarnation.Load())
	for _, x := range state.Addresses {
		ip := x.Address.Address
		if !x.Leaving || x.Holder != self || x.Incarnation != incarnation || k == nil || !k.Gone(ip) {
			continue
		}
		ctx, cancel := context.WithTimeout(s.ctx, fabricsEvery)
		m := assign.Move{Kind: assign.Release, Address: ip, Gen: x.Gen, To: self, Incarnation: incarnation}
		if _, err := s.propose(ctx, cluster.Command{MoveAddress: &cluster.MoveAddress{Move: m}}); err != nil && s.ctx.Err() == nil {
			s.log.Info("the cluster does not know yet that an address was given up", "address", ip, "error", err)
		}
		cancel()
	}
}

// connections are those that hosts have with addresses that move, here.
func (a *addresses) connections() []address.Connection {
	all := []address.Connection{}
	state := a.service.consensus.State()
	add := func(local, remote netip.AddrPort) {
		if state.AddressAt(local.Addr()) != nil {
			all = append(all, address.Connection{Portal: local, Host: remote})
		}
	}
	for _, c := range a.service.server.Connections() {
		add(c.Local, c.Remote)
	}
	for _, c := range a.service.nvme.Connections() {
		add(c.Local, c.Remote)
	}
	return all
}

// listenToOthers keeps track of who is connected where, for the time when a node
// is gone and cannot be asked.
func (a *addresses) listenToOthers(e *engine.Engine) {
	for a.service.ctx.Err() == nil {
		if len(a.service.consensus.State().Addresses) > 0 {
			answers := e.AskAll(a.service.ctx, aboutConnections, nil)
			a.mu.Lock()
			for n, text := range answers {
				var list []address.Connection
				if err := json.Unmarshal(text, &list); err == nil {
					a.known[n] = list
				}
			}
			a.mu.Unlock()
		}
		pause(a.service.ctx, time.Second)
	}
}

// formerly are the connections that hosts had with an address elsewhere.
func (a *addresses) formerly(ip netip.Addr) (all []address.Connection) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for n, list := range a.known {
		for _, c := range list {
			if n != a.service.record.Node && c.Portal.Addr() == ip {
				all = append(all, c)
			}
		}
	}
	return all
}

// close gives all addresses up.
func (a *addresses) close() {
	if k := a.kept(); k != nil {
		k.Close()
	}
}

// AddAddress makes a portal address that moves between nodes, written with its
// subnet's length, as 10.1.0.101/24. home is a node's name, or empty.
func (n *Node) AddAddress(ctx context.Context, written, home string) error {
	prefix, err := netip.ParsePrefix(written)
	if err != nil {
		return problem(cluster.Invalid, "%q is no address with the length of its subnet, like 10.1.0.101/24", written)
	}
	if home != "" {
		if _, err := n.nodeNamed(home); err != nil {
			return err
		}
	}
	return n.order(ctx, cluster.Command{AddAddress: &cluster.AddAddress{Written: prefix, Port: n.config.ISCSIPort,
		Ports: cluster.Ports{NVMe: n.config.NVMePort, Discovery: n.config.DiscoveryPort}, Home: home}})
}

// RemoveAddress takes a portal address out of use.
func (n *Node) RemoveAddress(ctx context.Context, text string) error {
	ip, err := netip.ParseAddr(text)
	if err != nil {
		return problem(cluster.Invalid, "%q is no address", text)
	}
	s, err := n.State()
	if err != nil {
		return err
	}
	var known []string
	for _, a := range s.Addresses {
		known = append(known, a.Address.Address.String())
	}
	if !slices.Contains(known, ip.String()) {
		return Unknown("address", ip.String(), known)
	}
	return n.order(ctx, cluster.Command{RemoveAddress: &cluster.RemoveAddress{Address: ip}})
}
