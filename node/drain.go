package node

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"ashlar/node/cluster"
	"ashlar/node/engine"
	"ashlar/replication/wire"
	"ashlar/target/iscsi"
	"ashlar/target/nvmetcp"
)

const (
	drainPatience  = 5 * time.Second // that hosts have to log out of a node that is drained
	leavePatience  = 3 * time.Second // and of one that is about to stop
	redirectMax    = 3 * time.Second // that hosts have to ask where else to go
	elsewhereEvery = time.Second

	withdrawnFor = 300 * time.Millisecond // that hosts have to go on over other paths before they are asked to log out
)

// What nodes ask each other about hosts.
const (
	aboutHosts  = "hosts"  // who is logged in: []visit
	aboutReturn = "return" // visit: who was sent away may go back to where it came from
)

// visit is a host that is logged in to a target.
type visit struct{ Initiator, Target string }

// drain keeps hosts away from this node while the cluster has it drained, or
// while it is about to stop. They are asked to log out. A host that is logged
// in to the same target at another node, too, has its paths there: it is told to
// try again later. One that is not is redirected, for the time being.
type drain struct {
	service *service

	mu        sync.Mutex
	on        bool
	leaving   bool           // for good: this node is about to stop
	elsewhere map[visit]bool // who is logged in at other nodes, drained ones apart
	sent      map[visit]wire.NodeID
}

// answerAboutHosts answers the other nodes' questions.
func (d *drain) answerAboutHosts(e *engine.Engine) {
	server := d.service.server
	e.Answer(aboutHosts, func(wire.NodeID, json.RawMessage) any { return d.here() })
	e.Answer(aboutReturn, func(_ wire.NodeID, body json.RawMessage) any {
		var who visit
		if err := json.Unmarshal(body, &who); err != nil {
			d.service.log.Warn("a malformed question about hosts", "error", err)
			return false
		}
		scope := iscsi.Scope{Initiator: who.Initiator, Target: who.Target}
		err := server.Drain(d.service.ctx, scope, drainPatience)
		server.Resume(scope)
		return err == nil
	})
}

// here is who is logged in at this node.
func (d *drain) here() []visit {
	all := d.redirectable()
	for _, c := range d.service.nvme.Connected() {
		all = append(all, visit{c.Host, c.Subsystem})
	}
	return all
}

// redirectable are those of them that can be sent elsewhere.
func (d *drain) redirectable() []visit {
	all := []visit{}
	for _, s := range d.service.server.LoggedIn() {
		all = append(all, visit{s.Initiator, s.Target})
	}
	return all
}

// follow does as the cluster has agreed on this node, until the service ends.
func (d *drain) follow(e *engine.Engine) {
	s := d.service
	stop := func() {} // ends the asking of hosts, and returns when it has ended
	for s.ctx.Err() == nil {
		state, changed := s.consensus.Watch()
		drained := state.Nodes[s.record.Node].Drained
		switch {
		case d.isLeaving():
			return
		case drained && !d.isOn():
			d.begin(s.ctx, e)
			stop = d.ask()
		case drained:
			d.look(s.ctx, e)
		case d.isOn():
			stop() // the portals are opened again only after they were closed
			d.end(s.ctx, e)
		}
		var again <-chan time.Time
		if drained {
			again = time.After(elsewhereEvery)
		}
		select {
		case <-changed:
		case <-again:
		case <-s.ctx.Done():
		}
	}
}

// ask has the hosts log out, until stop.
func (d *drain) ask() (stop func()) {
	ctx, cancel := context.WithCancel(d.service.ctx)
	ended := make(chan struct{})
	d.service.tasks.Go(func() {
		defer close(ended)
		d.empty(ctx, drainPatience)
	})
	return func() {
		cancel()
		<-ended
	}
}

// empty has all hosts leave this node; it is false where they did not within patience. Paths of hosts that have others fail before they
// are asked to log out: an initiator that logs out, and cannot log in again, holds what comes over that path until its timers end.
func (d *drain) empty(ctx context.Context, patience time.Duration) bool {
	if d.withdraw() > 0 {
		pause(ctx, withdrawnFor)
	}
	ended := make(chan error, 1)
	go func() { ended <- d.service.nvme.Drain(ctx, nvmetcp.Scope{}, patience) }()
	err := errors.Join(d.service.server.Drain(ctx, iscsi.Scope{}, patience), <-ended)
	if err != nil {
		d.service.log.Warn("hosts that did not leave", "error", err)
	}
	return err == nil
}

// withdraw fails the iSCSI paths of hosts that are logged in elsewhere, too, and gives their number.
func (d *drain) withdraw() (n int) {
	d.mu.Lock()
	elsewhere := d.elsewhere
	d.mu.Unlock()
	for _, s := range d.service.server.LoggedIn() {
		if elsewhere[visit{s.Initiator, s.Target}] {
			n += d.service.server.Withdraw(s)
		}
	}
	return n
}

func (d *drain) isOn() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.on
}

func (d *drain) isLeaving() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.leaving
}

func (d *drain) begin(ctx context.Context, e *engine.Engine) {
	d.look(ctx, e)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.on, d.sent = true, map[visit]wire.NodeID{}
}

// look asks the other nodes who is logged in there.
func (d *drain) look(ctx context.Context, e *engine.Engine) {
	elsewhere, state := map[visit]bool{}, d.service.consensus.State()
	for n, text := range e.AskAll(ctx, aboutHosts, nil) {
		var logins []visit
		if err := json.Unmarshal(text, &logins); err != nil {
			d.service.log.Warn("a malformed answer about hosts", "from", n, "error", err)
		}
		for _, who := range logins {
			if n != d.service.record.Node && !state.Nodes[n].Drained {
				elsewhere[who] = true
			}
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.elsewhere = elsewhere
}

// end serves hosts again, and has those that were sent away asked to return.
func (d *drain) end(ctx context.Context, e *engine.Engine) {
	d.mu.Lock()
	sent := d.sent
	d.on, d.sent = false, nil
	d.mu.Unlock()
	d.service.server.Resume(iscsi.Scope{})
	d.service.nvme.Resume(nvmetcp.Scope{})
	for who, n := range sent {
		d.service.tasks.Go(func() { e.Ask(ctx, n, aboutReturn, who) })
	}
}

// redirect is where a host is to log in instead, if it is to.
func (d *drain) redirect(initiator, iqn string, local net.Addr) (netip.AddrPort, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	who := visit{initiator, iqn}
	if !d.on || d.elsewhere[who] && d.sent[who] == 0 {
		return netip.AddrPort{}, false
	}
	state := d.service.consensus.State()
	if movingAt(state, local) != nil {
		d.elsewhere[who] = true // its portal moves, and it finds it where it was
		return netip.AddrPort{}, false
	}
	for _, n := range d.others(state, iqn) {
		if portal, ok := d.portalLike(state.Nodes[n], local); ok {
			d.sent[who] = n
			return portal, true
		}
	}
	return netip.AddrPort{}, false
}

// others are the nodes that hosts can go to: first the head of their volume,
// then those after this one.
func (d *drain) others(s *cluster.State, iqn string) []wire.NodeID {
	var head wire.NodeID
	for _, v := range s.Volumes {
		if s.IQN(v) == iqn {
			head = v.Head
		}
	}
	self := d.service.record.Node
	all := slices.DeleteFunc(s.NodeIDs(), func(n wire.NodeID) bool { return n == self || !s.Nodes[n].Up || s.Nodes[n].Drained })
	rank := func(n wire.NodeID) int {
		switch {
		case n == head:
			return 0
		case n > self:
			return 1
		}
		return 2
	}
	slices.SortStableFunc(all, func(a, b wire.NodeID) int { return rank(a) - rank(b) })
	return all
}

// portalLike is a node's portal in the same place as the one where a host has
// come in here: nodes have the same fabrics in the same order.
func (d *drain) portalLike(n *cluster.Node, local net.Addr) (netip.AddrPort, bool) {
	i := slices.IndexFunc(d.service.node.config.PortalTexts(), func(p string) bool { return p == local.String() })
	if i < 0 || i >= len(n.Portals) {
		i = 0
	}
	if len(n.Portals) == 0 {
		return netip.AddrPort{}, false
	}
	portal, err := netip.ParseAddrPort(n.Portals[i])
	return portal, err == nil
}

// leave has hosts go elsewhere before this node stops. It returns when they have,
// or have had their time.
func (d *drain) leave(ctx context.Context, e *engine.Engine) {
	d.mu.Lock()
	d.leaving = true
	d.mu.Unlock()
	if len(d.here()) == 0 {
		return
	}
	here := d.redirectable()
	if !d.isOn() {
		d.begin(ctx, e)
	}
	if !d.empty(ctx, leavePatience) {
		return
	}
	limit := time.NewTimer(redirectMax)
	defer limit.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for d.awaits(here) {
		select {
		case <-tick.C:
		case <-limit.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// awaits says whether there are hosts that have no other path and have not been
// told of one yet.
func (d *drain) awaits(hosts []visit) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.ContainsFunc(hosts, func(who visit) bool { return !d.elsewhere[who] && d.sent[who] == 0 })
}

// Drain has hosts go to other nodes, and heads too, until Undrain; with data copies, too, which
// takes its time. It returns when nobody is logged in to the node any more, or has had the time to leave; left
// are those that did not.
func (n *Node) Drain(ctx context.Context, name string, data bool) (left int, err error) {
	id, err := n.setDrained(ctx, cluster.SetDrained{Drained: true, Data: data}, name)
	if err != nil {
		return 0, err
	}
	s, err := n.member()
	if err != nil {
		return 0, err
	}
	e := s.engine.Load()
	ctx, cancel := context.WithTimeout(ctx, drainPatience+2*time.Second)
	defer cancel()
	for e != nil {
		text, ok := e.Ask(ctx, id, aboutHosts, nil)
		var logins []visit
		if ok && json.Unmarshal(text, &logins) == nil {
			if left = len(logins); left == 0 {
				return 0, nil
			}
		}
		pause(ctx, 50*time.Millisecond)
		if ctx.Err() != nil {
			break
		}
	}
	return left, nil
}

// Undrain has a node serve hosts again, and keep and take copies.
func (n *Node) Undrain(ctx context.Context, name string) error {
	_, err := n.setDrained(ctx, cluster.SetDrained{}, name)
	return err
}

func (n *Node) setDrained(ctx context.Context, c cluster.SetDrained, name string) (wire.NodeID, error) {
	node, err := n.nodeNamed(name)
	if err != nil {
		return 0, err
	}
	c.Node = node.ID
	return node.ID, n.order(ctx, cluster.Command{SetDrained: &c})
}

// Leave prepares for Close: other nodes become the heads of this one's volumes,
// and its hosts go to them. It returns when that is done or ctx has ended; what could
// not be done then follows from the node's end.
func (n *Node) Leave(ctx context.Context) {
	s := n.service.Load()
	if s == nil || s.engine.Load() == nil || !s.ready() {
		return
	}
	state := s.consensus.State()
	if !slices.ContainsFunc(state.NodeIDs(), func(id wire.NodeID) bool { return id != s.record.Node && state.Nodes[id].Up }) {
		return // there is nowhere to go
	}
	quick, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	command := cluster.MoveHeads{Node: s.record.Node, Incarnation: wire.Incarnation(s.incarnation.Load()), Leaving: true}
	if _, err := s.propose(quick, cluster.Command{MoveHeads: &command}); err != nil {
		s.log.Warn("moving heads before the end", "error", err)
	}
	e := s.engine.Load()
	e.Everywhere(quick)
	s.drain.leave(ctx, e)
	s.unvote(ctx)
}
