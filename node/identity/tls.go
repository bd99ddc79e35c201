package identity

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"ashlar/replication/wire"
)

// Reasons to refuse a peer. They arrive at its side as a TLS alert.
var (
	ErrNoCertificate = errors.New("identity: peer has no certificate")
	ErrWrongCluster  = errors.New("identity: peer belongs to another cluster")
	ErrWrongPeer     = errors.New("identity: peer is somebody else")
	ErrFingerprint   = errors.New("identity: the authority is not the one in the join token")
)

// base is what all our connections have in common. The certificates name no
// hosts, so crypto/tls cannot check them: VerifyConnection always does, also
// where a session is resumed.
func (c *Credentials) base(protocols []string) *tls.Config {
	return &tls.Config{
		MinVersion:                  tls.VersionTLS13,
		GetCertificate:              func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.shown(), nil },
		GetClientCertificate:        func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c.shown(), nil },
		NextProtos:                  protocols,
		SessionTicketsDisabled:      true,
		DynamicRecordSizingDisabled: true,
		Time:                        c.now,
	}
}

// ServerTLS accepts nodes of this cluster on the ALPN protocols in nodes, and on
// those in open also clients, and who has no certificate at all (a node that joins).
// A certificate that is shown must be good in any case.
func (c *Credentials) ServerTLS(nodes, open []string) *tls.Config {
	config := c.base(slices.Concat(nodes, open))
	config.ClientAuth = tls.RequestClientCert
	config.VerifyConnection = func(cs tls.ConnectionState) error {
		forNodes := slices.Contains(nodes, cs.NegotiatedProtocol)
		if len(cs.PeerCertificates) == 0 && !forNodes {
			return nil
		}
		name, err := c.verify(cs, x509.ExtKeyUsageClientAuth)
		if err == nil && forNodes && name.Node == 0 {
			err = fmt.Errorf("%w: %v is no node", ErrWrongPeer, name)
		}
		return err
	}
	return config
}

// ClientTLS talks only to that node of this cluster; to any node if it is 0.
func (c *Credentials) ClientTLS(node wire.NodeID, protocol string) *tls.Config {
	config := c.base([]string{protocol})
	config.InsecureSkipVerify = true // VerifyConnection does it
	config.VerifyConnection = func(cs tls.ConnectionState) error {
		name, err := c.verify(cs, x509.ExtKeyUsageServerAuth)
		switch {
		case err != nil:
			return err
		case name.Node == 0, node != 0 && name.Node != node:
			return fmt.Errorf("%w: %v instead of node %d", ErrWrongPeer, name, node)
		case cs.NegotiatedProtocol != protocol:
			return fmt.Errorf("%w: it does not speak %s", ErrWrongPeer, protocol)
		}
		return nil
	}
	return config
}

func (c *Credentials) verify(cs tls.ConnectionState, usage x509.ExtKeyUsage) (Name, error) {
	if len(cs.PeerCertificates) == 0 {
		return Name{}, ErrNoCertificate
	}
	leaf := cs.PeerCertificates[0]
	if err := verifyChain(leaf, c.roots, c.now(), usage); err != nil {
		return Name{}, err
	}
	name, err := nameOf(leaf)
	if err == nil && name.Cluster != c.Name.Cluster {
		err = fmt.Errorf("%w: %v", ErrWrongCluster, name)
	}
	return name, err
}

func verifyChain(leaf *x509.Certificate, roots *x509.CertPool, now time.Time, usage x509.ExtKeyUsage) error {
	_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage}})
	return err
}

// PeerOf is whom a connection made with these configurations talks to. False
// when the peer showed no certificate.
func PeerOf(cs tls.ConnectionState) (Name, bool) {
	if len(cs.PeerCertificates) == 0 {
		return Name{}, false
	}
	name, err := nameOf(cs.PeerCertificates[0])
	return name, err == nil
}

// JoinTLS is for who has only a join token: it talks to nodes whose authority has
// the token's fingerprint, so the secret is told to nobody else. now may be nil.
func (t Token) JoinTLS(protocol string, now func() time.Time) *tls.Config {
	if now == nil {
		now = time.Now
	}
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		NextProtos:         []string{protocol},
		InsecureSkipVerify: true, // VerifyConnection does it
		VerifyConnection: func(cs tls.ConnectionState) error {
			for _, c := range cs.PeerCertificates[min(1, len(cs.PeerCertificates)):] {
				sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
				if subtle.ConstantTimeCompare(sum[:], t.Fingerprint[:]) != 1 {
					continue
				}
				roots := x509.NewCertPool()
				roots.AddCert(c)
				return verifyChain(cs.PeerCertificates[0], roots, now(), x509.ExtKeyUsageServerAuth)
			}
			return ErrFingerprint
		},
	}
}
