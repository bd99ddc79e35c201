package node

import (
	"context"
	"crypto/tls"
	"os"
	"time"

	"ashlar/node/cluster"
	"ashlar/node/identity"
)

// AddToken makes a token known to the cluster, which keeps nothing but its hash.
func (n *Node) AddToken(ctx context.Context, t cluster.Token) error {
	return n.order(ctx, cluster.Command{AddToken: &cluster.AddToken{Token: t}})
}

// DeleteToken has a token let nobody in any more.
func (n *Node) DeleteToken(ctx context.Context, name string) error {
	return n.order(ctx, cluster.Command{DeleteToken: &cluster.DeleteToken{Name: name}})
}

// AddTenant makes a tenant, which owns nothing yet.
func (n *Node) AddTenant(ctx context.Context, t cluster.Tenant) error {
	return n.order(ctx, cluster.Command{AddTenant: &cluster.AddTenant{Tenant: t}})
}

// SetTenant changes what a tenant may have.
func (n *Node) SetTenant(ctx context.Context, t cluster.Tenant) error {
	return n.order(ctx, cluster.Command{SetTenant: &cluster.SetTenant{Tenant: t}})
}

// DeleteTenant removes a tenant that owns nothing.
func (n *Node) DeleteTenant(ctx context.Context, name string) error {
	return n.order(ctx, cluster.Command{DeleteTenant: &cluster.DeleteTenant{Name: name}})
}

// authority is the cluster's, PEM.
func (n *Node) authority() (certificate, key []byte, err error) {
	s, err := n.State()
	if err != nil {
		return nil, nil, err
	}
	if len(s.Authority.Key) == 0 {
		return nil, nil, problem(NotReady, "this node knows its cluster from its disks only, which hold no secrets")
	}
	return s.Authority.Certificate, s.Authority.Key, nil
}

// AuthorityCertificate is what clients check the nodes' HTTPS with, PEM.
func (n *Node) AuthorityCertificate() ([]byte, error) {
	certificate, _, err := n.authority()
	return certificate, err
}

// ServerTLS is for HTTPS at the node's addresses, with certificates by the cluster's authority. While the node belongs to no
// cluster every handshake fails.
func (n *Node) ServerTLS() *tls.Config {
	names := []string{n.config.Name}
	if host, err := os.Hostname(); err == nil && host != n.config.Name {
		names = append(names, host)
	}
	s := &identity.Server{Names: names, Addresses: n.config.Addresses, Authority: n.authority, Now: time.Now}
	return s.TLS()
}

// renewalCheck is how often a node looks at the date in its own certificate.
const renewalCheck = time.Hour

// renewIdentity has the cluster's authority certify this node anew, long before its certificate ends.
func (s *service) renewIdentity(c *identity.Credentials) {
	for s.ctx.Err() == nil {
		if state := s.consensus.State(); c.Due() && len(state.Authority.Key) > 0 {
			if err := s.renewOnce(c, state.Authority); err != nil {
				s.log.Error("renewing this node's certificate", "error", err)
			} else {
				s.log.Info("renewed this node's certificate")
			}
		}
		pause(s.ctx, renewalCheck)
	}
}

func (s *service) renewOnce(c *identity.Credentials, a cluster.Authority) error {
	authority, err := identity.ParseAuthority(a.Certificate, a.Key)
	if err != nil {
		return err
	}
	next, err := c.Renew(authority)
	if err != nil {
		return err
	}
	return next.Save(s.node.folder.identity())
}
