package identity

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
)

// shown is the certificate for the next handshake.
func (c *Credentials) shown() *tls.Certificate {
	if renewed := c.renewed.Load(); renewed != nil {
		return renewed
	}
	return &c.certificate
}

// Due says whether half of the certificate's life is over.
func (c *Credentials) Due() bool {
	leaf := c.shown().Leaf
	return c.now().After(leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) / 2))
}

// Renew has the authority certify a node's key anew. The configurations that were made of c show the new certificate from
// the next handshake on. The result is to be saved.
func (c *Credentials) Renew(a *Authority) (*Credentials, error) {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, c.certificate.PrivateKey)
	if err != nil {
		return nil, err
	}
	request := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
	certificate, err := a.IssueNode(request, c.Name.Node, c.now())
	if err != nil {
		return nil, err
	}
	next, err := NewCredentials(c.authorityPEM, certificate, c.keyPEM)
	if err != nil {
		return nil, err
	}
	c.renewed.Store(&next.certificate)
	return next, nil
}
