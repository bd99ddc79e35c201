package node

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"maps"
	"slices"

	"ashlar/node/cluster"
	"ashlar/replication/wire"
)

// CreateVolume makes a volume. One with a write cache is refused while a node is up whose release does not know of them.
func (n *Node) CreateVolume(ctx context.Context, c cluster.CreateVolume) error {
	command := cluster.Command{CreateVolume: &c}
	if err := n.allKnow(ctx, command); err != nil {
		return err
	}
	return n.order(ctx, command)
}

// allKnow looks whether the releases of all nodes that are up know a command. One
// that is wrong in itself is told so first, whoever answers.
func (n *Node) allKnow(ctx context.Context, command cluster.Command) error {
	s, err := n.member()
	if err != nil {
		return err
	}
	state, version := s.consensus.State(), command.Needs()
	if version <= state.Version { // who joined since, or was started, knows it
		return nil
	}
	if _, r := state.Apply(state.Index+1, command); r.Code == cluster.Invalid {
		return problem(r.Code, "%s", r.Problem)
	}
	var known map[wire.NodeID]int
	if e := s.engine.Load(); e != nil {
		known = e.Formats(ctx)
	}
	for _, id := range slices.Sorted(maps.Keys(state.Nodes)) {
		if x := state.Nodes[id]; x.Up && known[id] < version {
			return problem(cluster.Refused, "node %q does not say that its release knows volumes of this kind", x.Name).next("upgrade it first, or try again: it may be busy")
		}
	}
	return nil
}

// ResizeVolume makes a volume larger, while hosts use it.
func (n *Node) ResizeVolume(ctx context.Context, name string, size uint64) error {
	if _, err := n.volume(name); err != nil {
		return err
	}
	return n.order(ctx, cluster.Command{ResizeVolume: &cluster.ResizeVolume{Name: name, Bytes: size}})
}

// MoveHead has another node order a volume's writes.
func (n *Node) MoveHead(ctx context.Context, volume, to string) error {
	v, err := n.volume(volume)
	if err != nil {
		return err
	}
	node, err := n.nodeNamed(to)
	switch {
	case err != nil:
		return err
	case v.Head == node.ID:
		return nil
	case !slices.ContainsFunc(v.Segments, func(g cluster.Segment) bool { return slices.Contains(g.InSync(), node.ID) }):
		return problem(cluster.Refused, "node %q has no copy of volume %q in sync", to, volume).next("ashlar volume show %s tells who has", volume)
	}
	return n.order(ctx, cluster.Command{MoveHead: &cluster.MoveHead{Volume: v.ID, Epoch: v.Epoch, To: node.ID}})
}

// Set changes the settings of the cluster that are not 0.
func (n *Node) Set(ctx context.Context, settings cluster.Settings) error {
	return n.order(ctx, cluster.Command{Set: &cluster.Set{Settings: settings}})
}

// DeleteVolume removes a volume that is published to no host.
func (n *Node) DeleteVolume(ctx context.Context, name string) error {
	if _, err := n.volume(name); err != nil {
		return err
	}
	return n.order(ctx, cluster.Command{DeleteVolume: &cluster.DeleteVolume{Name: name}})
}

// AddHost names an initiator.
func (n *Node) AddHost(ctx context.Context, name, iqn string) error {
	return n.AddHostAs(ctx, cluster.AddHost{Name: name, IQN: iqn})
}

// AddHostAs names an initiator that has an NQN, beside an IQN or instead of one.
func (n *Node) AddHostAs(ctx context.Context, h cluster.AddHost) error {
	return n.order(ctx, cluster.Command{AddHost: &h})
}

// SetNQN gives a host that is known by its IQN an NQN, too.
func (n *Node) SetNQN(ctx context.Context, host, nqn string) error {
	if err := n.knowsHost(host); err != nil {
		return err
	}
	return n.order(ctx, cluster.Command{SetNQN: &cluster.SetNQN{Host: host, NQN: nqn}})
}

// DeleteHost forgets an initiator that nothing is published to.
func (n *Node) DeleteHost(ctx context.Context, name string) error {
	if err := n.knowsHost(name); err != nil {
		return err
	}
	return n.order(ctx, cluster.Command{DeleteHost: &cluster.DeleteHost{Name: name}})
}

// SetCHAP sets what an initiator has to prove from its next login on, and what
// is proven to it. Without a secret it has to prove nothing.
func (n *Node) SetCHAP(ctx context.Context, host string, chap cluster.CHAP) error {
	if err := n.knowsHost(host); err != nil {
		return err
	}
	return n.order(ctx, cluster.Command{SetCHAP: &cluster.SetCHAP{Host: host, CHAP: chap}})
}

// SetDHCHAP sets what an NVMe host has to prove from its next connection on, and what
// is proven to it. Without a secret it has to prove nothing.
func (n *Node) SetDHCHAP(ctx context.Context, host string, secrets cluster.DHCHAP) error {
	if err := n.knowsHost(host); err != nil {
		return err
	}
	return n.order(ctx, cluster.Command{SetDHCHAP: &cluster.SetDHCHAP{Host: host, DHCHAP: secrets}})
}

// Publish exports a volume to a host, as a target of its own.
func (n *Node) Publish(ctx context.Context, volume, host string, readOnly bool) error {
	return n.export(ctx, cluster.SetExport{Volume: volume, Host: host, ReadOnly: readOnly})
}

// PublishAs exports a volume to a host as a logical unit of the cluster's
// target, where the host finds all that is published to it in this way.
func (n *Node) PublishAs(ctx context.Context, volume, host string, lun uint16, readOnly bool) error {
	return n.export(ctx, cluster.SetExport{Volume: volume, Host: host, ReadOnly: readOnly, Numbered: true, LUN: lun, Namespace: true})
}

// Withdraw takes a volume back from a host.
func (n *Node) Withdraw(ctx context.Context, volume, host string) error {
	return n.export(ctx, cluster.SetExport{Volume: volume, Host: host, Remove: true})
}

func (n *Node) export(ctx context.Context, c cluster.SetExport) error {
	if _, err := n.volume(c.Volume); err != nil {
		return err
	}
	if err := n.knowsHost(c.Host); err != nil {
		return err
	}
	err := n.order(ctx, cluster.Command{SetExport: &c})
	if p := (*Problem)(nil); errors.As(err, &p) && p.Code == cluster.NotFound && p.Next == "" {
		return p.next("ashlar export list shows what is published")
	}
	return err
}

// volume is the one with that name.
func (n *Node) volume(name string) (*cluster.Volume, error) {
	s, err := n.State()
	if err != nil {
		return nil, err
	}
	if v := s.VolumeNamed(name); v != nil {
		return v, nil
	}
	var names []string
	for _, v := range s.Volumes {
		names = append(names, v.Name)
	}
	return nil, Unknown("volume", name, names)
}

func (n *Node) nodeNamed(name string) (*cluster.Node, error) {
	s, err := n.State()
	if err != nil {
		return nil, err
	}
	if node := s.NodeNamed(name); node != nil {
		return node, nil
	}
	var names []string
	for _, node := range s.Nodes {
		names = append(names, node.Name)
	}
	return nil, Unknown("node", name, names)
}

func (n *Node) knowsHost(name string) error {
	s, err := n.State()
	if err != nil {
		return err
	}
	if s.Hosts[name] != nil {
		return nil
	}
	return Unknown("host", name, slices.Sorted(maps.Keys(s.Hosts)))
}

// orderKey is the key of what a context's order is called.
type orderKey struct{}

// WithOrder has the order that is given with the context carried out once, however often, and through whichever node, it is given.
func WithOrder(ctx context.Context, o cluster.Order) context.Context {
	return context.WithValue(ctx, orderKey{}, o)
}

// Repeated is what came of the order that has this one's key already, as far as this node knows; false where there is none.
func (n *Node) Repeated(o cluster.Order) (bool, error) {
	s, err := n.State()
	if err != nil {
		return false, nil // the order itself says why it cannot be given
	}
	first := s.OrderOf(o.Key)
	if first == nil {
		return false, nil
	}
	if r := first.Repeats(o); r.Problem != "" {
		return true, problem(r.Code, "%s", r.Problem)
	}
	return true, nil
}

func (n *Node) order(ctx context.Context, c cluster.Command) error {
	_, err := n.ordered(ctx, c)
	return err
}

// ordered carries out an order, and gives what it came to.
func (n *Node) ordered(ctx context.Context, c cluster.Command) (cluster.Result, error) {
	s, err := n.member()
	if err != nil {
		return cluster.Result{}, err
	}
	if p, ok := ctx.Value(planKey{}).(*Plan); ok {
		return cluster.Result{}, p.plan(s.consensus.State(), c)
	}
	if o, ok := ctx.Value(orderKey{}).(cluster.Order); ok {
		c.Order = &o
	}
	r, err := s.propose(ctx, c)
	if err != nil {
		return r, err
	}
	if e := s.engine.Load(); e != nil {
		e.Everywhere(ctx)
	}
	return r, nil
}

// propose has the cluster agree on a command, and returns when this node's state
// contains it: what a person asks for next shows what they just ordered.
func (s *service) propose(ctx context.Context, c cluster.Command) (cluster.Result, error) {
	r, err := s.consensus.Propose(ctx, c)
	switch {
	case err != nil && ctx.Err() != nil:
		return r, problem(NotReady, "the cluster did not answer in time, so it may yet carry this out: is a majority of its voters up?").
			next("ashlar cluster status shows what this node knows")
	case err != nil:
		return r, err
	case r.Problem != "":
		return r, problem(r.Code, "%s", r.Problem)
	}
	return r, nil
}

// await returns when the state is as wanted, or false when ctx ends before.
func (s *service) await(ctx context.Context, wanted func(*cluster.State) bool) bool {
	for {
		state, changed := s.consensus.Watch()
		if wanted(state) {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		case <-s.ctx.Done():
			return false
		}
	}
}

func randomHex(bytes int) string {
	b := make([]byte, bytes)
	rand.Read(b)
	return hex.EncodeToString(b)
}
