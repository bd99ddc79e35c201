package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"

	"ashlar/replication/wire"
)

// Certificates begin a little in the past, since the clocks of a new cluster's
// nodes may differ. They outlast the hardware: a cluster must not stop because
// nobody looked at a date, and one that was switched off for years must start. A node renews its own after half
// of its life all the same. Who leaves is refused by name, not by date.
const (
	backdate          = time.Hour
	authorityLifetime = 30 * 365 * 24 * time.Hour
	nodeLifetime      = 20 * 365 * 24 * time.Hour
	clientLifetime    = 365 * 24 * time.Hour
)

// Authority issues a cluster's certificates. It holds the cluster's most
// powerful secret, so it lives as PEM in the cluster's state and nowhere else.
type Authority struct {
	cluster     string
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// NewAuthority makes the authority of the cluster with that identity (32 hex
// digits): ECDSA P-256, which browsers and hardware know too.
func NewAuthority(cluster string, now time.Time) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "Ashlar cluster " + cluster, Organization: []string{cluster}},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(authorityLifetime),
		KeyUsage:              x509.KeyUsageCertSign,
		IsCA:                  true,
		MaxPathLenZero:        true,
		BasicConstraintsValid: true,
	}
	if template.SerialNumber, err = serial(); err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &Authority{cluster, certificate, key}, nil
}

// ParseAuthority reads what PEM wrote.
func ParseAuthority(certificatePEM, keyPEM []byte) (*Authority, error) {
	certificate, err := parseCertificate(certificatePEM)
	if err != nil {
		return nil, err
	}
	key, err := parseKey(keyPEM)
	if err != nil {
		return nil, err
	}
	if !key.PublicKey.Equal(certificate.PublicKey) {
		return nil, errors.New("identity: the authority's key is not its certificate's")
	}
	if len(certificate.Subject.Organization) != 1 || !certificate.IsCA {
		return nil, errors.New("identity: not the certificate of a cluster's authority")
	}
	return &Authority{certificate.Subject.Organization[0], certificate, key}, nil
}

// PEM are the authority's certificate (public) and key (secret).
func (a *Authority) PEM() (certificate, key []byte, err error) {
	key, err = encodeKey(a.key)
	return encodeCertificate(a.certificate), key, err
}

// IssueNode certifies that the holder of the request's key is that node. What
// the request says about names is ignored.
func (a *Authority) IssueNode(requestPEM []byte, node wire.NodeID, now time.Time) (certificatePEM []byte, err error) {
	return a.issue(requestPEM, Name{Cluster: a.cluster, Node: node}, now, nodeLifetime,
		x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth)
}

// IssueClient certifies that the holder of the request's key is that client of the API.
func (a *Authority) IssueClient(requestPEM []byte, client string, now time.Time) (certificatePEM []byte, err error) {
	return a.issue(requestPEM, Name{Cluster: a.cluster, Client: client}, now, clientLifetime, x509.ExtKeyUsageClientAuth)
}

func (a *Authority) issue(requestPEM []byte, name Name, now time.Time, lifetime time.Duration, usage ...x509.ExtKeyUsage) ([]byte, error) {
	block, _ := pem.Decode(requestPEM)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return nil, errors.New("identity: not a certificate request")
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("identity: certificate request: %w", err)
	}
	if err := request.CheckSignature(); err != nil {
		return nil, fmt.Errorf("identity: certificate request: %w", err)
	}
	uri, err := name.uri()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: uri.Path[1:]},
		NotBefore:             now.Add(-backdate),
		NotAfter:              earlier(now.Add(lifetime), a.certificate.NotAfter),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           usage,
		BasicConstraintsValid: true,
	}
	template.URIs = append(template.URIs, uri)
	if template.SerialNumber, err = serial(); err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, request.PublicKey, a.key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func serial() (*big.Int, error) {
	return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
}
