package node

import (
	"context"
	"encoding/json"
	"net/netip"
	"slices"
	"time"

	"ashlar/node/address"
	"ashlar/node/cluster"
	"ashlar/node/engine"
	"ashlar/node/netcheck"
	"ashlar/replication/wire"
)

const aboutNetwork = "network" // what a node sees of it: netcheck.Seen

// How long a node looks: others wait a second for its word.
const (
	reachMax = 600 * time.Millisecond
	rivalMax = 350 * time.Millisecond
)

// answerNetwork has this node look at the network as others ask.
func (s *service) answerNetwork(e *engine.Engine) {
	e.Answer(aboutNetwork, func(wire.NodeID, json.RawMessage) any { return s.look(s.ctx, s.consensus.State()) })
}

// look connects to all that the other nodes serve, and asks the neighbours about this node's own addresses.
func (s *service) look(ctx context.Context, state *cluster.State) (out netcheck.Seen) {
	reachable := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(ctx, reachMax)
		defer cancel()
		var err error
		out.Reaches, err = netcheck.Reaches(ctx, served(state, s.record.Node))
		reachable <- err
	}()
	own := slices.Clone(s.node.config.Addresses)
	if k := s.addresses.kept(); k != nil {
		for _, h := range k.Holdings() {
			own = append(own, h.Address)
		}
	}
	quick, cancel := context.WithTimeout(ctx, rivalMax)
	defer cancel()
	rivals, err := address.Rivals(quick, own)
	for _, r := range rivals {
		out.Rivals = append(out.Rivals, netcheck.Rival{Address: r.Address, Interface: r.Interface, MAC: r.MAC.String()})
	}
	if e := <-reachable; e != nil {
		err = e
	}
	if err != nil {
		out.Problem = err.Error()
	}
	return out
}

// served is a port on each address where nodes that are up serve, but for one.
func served(s *cluster.State, but wire.NodeID) (ports []netip.AddrPort) {
	for _, id := range s.NodeIDs() {
		n := s.Nodes[id]
		if id == but || !n.Up {
			continue
		}
		for _, port := range portsOf(n) {
			if !slices.ContainsFunc(ports, func(p netip.AddrPort) bool { return p.Addr() == port.Addr() }) {
				ports = append(ports, port)
			}
		}
	}
	return ports
}

// portsOf are all at which a node serves nodes and hosts.
func portsOf(n *cluster.Node) (ports []netip.AddrPort) {
	for _, text := range slices.Concat([]string{n.Peer}, n.Portals, n.NVMe) {
		if port, err := netip.ParseAddrPort(text); err == nil {
			ports = append(ports, port)
		}
	}
	return ports
}

// CheckNetwork has all nodes look at the networks between them, and says what is wrong.
func (n *Node) CheckNetwork(ctx context.Context) ([]netcheck.Finding, error) {
	e, err := n.running()
	if err != nil {
		return nil, err
	}
	state, err := n.State()
	if err != nil {
		return nil, err
	}
	seen := map[string]netcheck.Seen{}
	for id, text := range e.AskAll(ctx, aboutNetwork, nil) {
		var s netcheck.Seen
		if err := json.Unmarshal(text, &s); err != nil {
			n.log.Warn("a malformed answer about the network", "from", id, "error", err)
			continue
		}
		seen[state.Nodes[id].Name] = s
	}
	var names []string
	owners := map[netip.Addr]string{}
	for _, id := range state.NodeIDs() {
		k := state.Nodes[id]
		if k.Up {
			names = append(names, k.Name)
		}
		for _, port := range portsOf(k) {
			owners[port.Addr()] = k.Name
		}
	}
	return netcheck.Judge(names, seen, func(ip netip.Addr) string { return owners[ip] }), nil
}
