// Package node is the life of one server: alone at first, then a member of a
// cluster from which on it runs the control plane, the data path and the
// iSCSI portals, until its incarnation is over. See DESIGN.md.
package node

import (
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"

	"ashlar/node/cluster"
	"ashlar/replication/wire"
)

// Node is one server. All methods may be called from any goroutine.
type Node struct {
	config Config
	folder *folder
	log    *slog.Logger

	orders  sync.Mutex              // one of create, join and close at a time
	closed  bool                    // under orders
	service atomic.Pointer[service] // nil while the node is alone
	over    chan error              // capacity 1
}

// ErrFenced is why a node is over when the cluster took its incarnation for
// dead: it starts over, as a new one.
var ErrFenced = errors.New("node: the cluster has taken this incarnation for dead")

// Open takes a node's folder, and goes on where it was left: alone, or a member of its
// cluster. It does not wait for the cluster.
func Open(config Config) (*Node, error) {
	config, err := config.complete()
	if err != nil {
		return nil, err
	}
	f, err := openFolder(config.Dir)
	if err != nil {
		return nil, err
	}
	n := &Node{config: config, folder: f, log: config.Log, over: make(chan error, 1)}
	r, err := f.record()
	if err == nil && r != nil && config.Witness && !r.Witness {
		err = problem(cluster.Refused, "this node holds data in cluster %q: it cannot become a witness", r.ClusterName)
	}
	if err == nil && r != nil {
		var o *releaseOrder
		if o, err = f.ordered(); err == nil && o != nil {
			err = f.carryOut(r, *o)
		}
	}
	if err == nil && r != nil {
		err = n.resume(*r)
	}
	if err != nil {
		f.close()
		return nil, err
	}
	return n, nil
}

// Config is the node's, with what was left out filled in.
func (n *Node) Config() Config { return n.config }

// Over tells when the node cannot go on, and why: ErrFenced, or what broke.
// The process closes it and ends, or starts over.
func (n *Node) Over() <-chan error { return n.over }

func (n *Node) end(err error) {
	select {
	case n.over <- err:
	default:
	}
}

// member is the service of a node that belongs to a cluster.
func (n *Node) member() (*service, error) {
	if s := n.service.Load(); s != nil {
		return s, nil
	}
	return nil, problem(NoCluster, "this node belongs to no cluster yet").
		next("ashlar cluster create NAME makes one, ashlar cluster join ADDRESS enters one")
}

// State is the cluster's state as this node knows it.
func (n *Node) State() (*cluster.State, error) {
	s, err := n.member()
	if err != nil {
		return nil, err
	}
	state := s.consensus.State()
	if local := s.local(); state.ID == "" && local != nil {
		return local, nil
	}
	if state.ID == "" {
		return nil, problem(NotReady, "this node has not heard from its cluster yet").
			next("is a majority of its voters up? If all nodes have lost their raft folders, their disks still tell of it: ashlar cluster adopt --help")
	}
	return state, nil
}

// Self is who a node is in its cluster.
type Self struct {
	Node        wire.NodeID
	Name        string
	Incarnation wire.Incarnation // 0: not registered yet
	Cluster     string           // its identity
	ClusterName string
	Witness     bool     // it votes, and holds no data
	Portals     []string // ip:port
}

// Self is false while the node is alone.
func (n *Node) Self() (Self, bool) {
	s := n.service.Load()
	if s == nil {
		return Self{}, false
	}
	r := s.record
	return Self{r.Node, r.Name, wire.Incarnation(s.incarnation.Load()), r.Cluster, r.ClusterName, r.Witness, s.registration().Portals}, true
}

// Ready says whether hosts are served.
func (n *Node) Ready() bool {
	s := n.service.Load()
	return s != nil && s.ready()
}

// Leader is the node that leads the control plane, as far as this one knows.
func (n *Node) Leader() (wire.NodeID, bool) {
	s := n.service.Load()
	if s == nil {
		return 0, false
	}
	return s.consensus.Leader()
}

// Secret is the text with which other nodes join.
func (n *Node) Secret() (string, error) {
	if _, err := n.member(); err != nil {
		return "", err
	}
	return n.folder.secret()
}

// Close ends all that the node does and lets go of its folder.
func (n *Node) Close() error {
	n.orders.Lock()
	defer n.orders.Unlock()
	if n.closed {
		return nil
	}
	n.closed = true
	var err error
	if s := n.service.Load(); s != nil {
		err = s.close()
	}
	return errors.Join(err, n.folder.close())
}

// resume starts the service of the node that the folder names.
func (n *Node) resume(r record) error {
	s, err := n.newService(r, nil)
	if err != nil {
		return err
	}
	n.service.Store(s)
	s.start()
	return nil
}
