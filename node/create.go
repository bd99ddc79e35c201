package node

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"ashlar/node/cluster"
	"ashlar/node/identity"
	"ashlar/replication/wire"
)

// CreateCluster makes a cluster whose first node, and only voter, this is.
// segmentBytes is the unit of placement, a power of two, fixed for ever.
func (n *Node) CreateCluster(ctx context.Context, name string, segmentBytes uint64) error {
	n.orders.Lock()
	defer n.orders.Unlock()
	if err := n.mustBeAlone(name); err != nil {
		return err
	}
	if n.config.Witness {
		return problem(cluster.Refused, "a witness holds no data, so it cannot be a cluster's first node").
			next("create the cluster on another node, and have this one join it")
	}
	create, token, err := n.newCluster(name, segmentBytes)
	if err != nil {
		return err
	}
	// What the cluster would refuse is found out before anything is written.
	if _, r := cluster.New().Apply(1, cluster.Command{Create: create}); r.Problem != "" {
		return problem(r.Code, "%s", r.Problem)
	}
	if err := n.config.portsAreFree(); err != nil {
		return err
	}
	s, err := n.found(ctx, create, token)
	if err != nil {
		return errors.Join(err, n.folder.clear())
	}
	n.service.Store(s)
	return s.settle(ctx)
}

func (n *Node) mustBeAlone(name string) error {
	if n.closed {
		return problem(NotReady, "this node is about to stop")
	}
	s := n.service.Load()
	switch {
	case s == nil:
		return nil
	case s.record.ClusterName == name:
		return problem(cluster.Exists, "this node is already in a cluster named %q", name)
	}
	return problem(InCluster, "this node is already in cluster %q; a node belongs to one", s.record.ClusterName)
}

// newCluster draws all that is random about a cluster.
func (n *Node) newCluster(name string, segmentBytes uint64) (*cluster.Create, identity.Token, error) {
	id := randomHex(16)
	drawn, token, err := drawSecrets(id)
	if err != nil {
		return nil, token, err
	}
	return &cluster.Create{ID: id, Name: name, SegmentBytes: segmentBytes, Authority: drawn.Authority, Secret: drawn.Secret, GossipKey: drawn.GossipKey,
		Node: cluster.AddNode{Name: n.config.Name, Peer: n.config.Peer(), Gossip: n.config.gossip(), Portals: n.config.PortalTexts()}}, token, nil
}

// drawSecrets draws what the nodes of the cluster with that identity know each other by, and the secret with which others join.
func drawSecrets(id string) (r cluster.Renewal, token identity.Token, err error) {
	authority, err := identity.NewAuthority(id, time.Now())
	if err != nil {
		return r, token, err
	}
	if r.Authority.Certificate, r.Authority.Key, err = authority.PEM(); err != nil {
		return r, token, err
	}
	if token, err = identity.NewToken(r.Authority.Certificate); err != nil {
		return r, token, err
	}
	r.Secret, r.GossipKey = token.Hash(), make([]byte, 32)
	rand.Read(r.GossipKey)
	return r, token, nil
}

// founder is the number of a cluster's first node.
const founder = 1

// found writes the folder of a cluster's first node and starts its service.
// node.json comes last, when raft's log holds the cluster.
func (n *Node) found(ctx context.Context, create *cluster.Create, token identity.Token) (*service, error) {
	if err := n.issueOwn(create.Authority, founder, token); err != nil {
		return nil, err
	}
	r := record{Cluster: create.ID, ClusterName: create.Name, Node: founder, Name: create.Node.Name}
	s, err := n.newService(r, nil)
	if err != nil {
		return nil, err
	}
	if err := s.bootstrap(ctx, create); err != nil {
		return nil, errors.Join(err, s.close())
	}
	if err := n.folder.keep(r); err != nil {
		return nil, errors.Join(err, s.close())
	}
	s.start()
	return s, nil
}

// issueOwn makes the folder, which holds nothing else any more, that of a node with a certificate by an authority that
// is this node's to use.
func (n *Node) issueOwn(a cluster.Authority, id wire.NodeID, token identity.Token) error {
	if err := n.folder.clear(); err != nil {
		return err
	}
	authority, err := identity.ParseAuthority(a.Certificate, a.Key)
	if err != nil {
		return err
	}
	request, key, err := identity.NewRequest()
	if err != nil {
		return err
	}
	certificate, err := authority.IssueNode(request, id, time.Now())
	if err != nil {
		return err
	}
	return n.keepIdentity(a.Certificate, certificate, key, token)
}

func (n *Node) keepIdentity(authority, certificate, key []byte, token identity.Token) error {
	c, err := identity.NewCredentials(authority, certificate, key)
	if err != nil {
		return err
	}
	return errors.Join(c.Save(n.folder.identity()), n.folder.keepSecret(token.String()))
}
