package identity

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"net/netip"
	"sync"
	"time"
)

// serverLifetime is that of the certificates for HTTPS. They are made anew in memory after a third of it, so nobody
// has to look at a date, and clocks may differ by weeks.
const serverLifetime = 90 * 24 * time.Hour

// Server has the certificate for HTTPS at a node's addresses. It names addresses, which any client compares with where it
// meant to go, and no node: other nodes do not believe it.
type Server struct {
	Names     []string
	Addresses []netip.Addr
	Authority func() (certificatePEM, keyPEM []byte, err error) // the cluster's, as it is now
	Now       func() time.Time

	mu      sync.Mutex
	current *tls.Certificate
	of      []byte // the authority's certificate
}

// TLS is what an http.Server takes. It hands out whichever certificate is current.
func (s *Server) TLS() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, Time: s.Now,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.certificate() }}
}

func (s *Server) certificate() (*tls.Certificate, error) {
	certificate, key, err := s.Authority()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.Now()
	if c := s.current; c != nil && bytes.Equal(s.of, certificate) && now.After(c.Leaf.NotBefore) && now.Before(c.Leaf.NotBefore.Add(serverLifetime/3)) {
		return c, nil
	}
	authority, err := ParseAuthority(certificate, key)
	if err != nil {
		return nil, err
	}
	c, err := authority.issueServer(s.Names, s.Addresses, now)
	if err != nil {
		return nil, err
	}
	s.current, s.of = c, certificate
	return c, nil
}

func (a *Authority) issueServer(names []string, addresses []netip.Addr, now time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "Ashlar API"},
		DNSNames:              names,
		NotBefore:             now.Add(-backdate),
		NotAfter:              earlier(now.Add(serverLifetime), a.certificate.NotAfter),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	for _, address := range addresses {
		template.IPAddresses = append(template.IPAddresses, net.IP(address.AsSlice()))
	}
	if template.SerialNumber, err = serial(); err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	return &tls.Certificate{Certificate: [][]byte{der, a.certificate.Raw}, PrivateKey: key, Leaf: leaf}, err
}
