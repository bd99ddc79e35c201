package identity

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"
)

// Credentials prove one name to others, and hold what is needed to check theirs.
type Credentials struct {
	Name Name

	certificate tls.Certificate                  // with the authority's behind it
	renewed     *atomic.Pointer[tls.Certificate] // instead of it, once there is one
	roots       *x509.CertPool
	now         func() time.Time

	authorityPEM, certificatePEM, keyPEM []byte
}

// NewCredentials puts together the authority's certificate, one that it issued, and its key, all PEM.
func NewCredentials(authorityPEM, certificatePEM, keyPEM []byte) (*Credentials, error) {
	authority, err := parseCertificate(authorityPEM)
	if err != nil {
		return nil, err
	}
	leaf, err := parseCertificate(certificatePEM)
	if err != nil {
		return nil, err
	}
	key, err := parseKey(keyPEM)
	if err != nil {
		return nil, err
	}
	if !key.PublicKey.Equal(leaf.PublicKey) {
		return nil, errors.New("identity: the key is not the certificate's")
	}
	if err := leaf.CheckSignatureFrom(authority); err != nil {
		return nil, fmt.Errorf("identity: certificate was not issued by this authority: %w", err)
	}
	c := &Credentials{roots: x509.NewCertPool(), now: time.Now, renewed: &atomic.Pointer[tls.Certificate]{},
		authorityPEM: authorityPEM, certificatePEM: certificatePEM, keyPEM: keyPEM}
	if c.Name, err = nameOf(leaf); err != nil {
		return nil, err
	}
	c.roots.AddCert(authority)
	// The authority's certificate goes along, so that a node that joins can
	// compare it with the fingerprint in its token.
	c.certificate = tls.Certificate{Certificate: [][]byte{leaf.Raw, authority.Raw}, PrivateKey: key, Leaf: leaf}
	return c, nil
}

const (
	authorityFile   = "authority.crt"
	certificateFile = "certificate.crt"
	keyFile         = "private.key"
)

// Load reads what Save wrote. A folder without credentials gives fs.ErrNotExist.
func Load(folder string) (*Credentials, error) {
	var texts [3][]byte
	for i, name := range []string{authorityFile, certificateFile, keyFile} {
		var err error
		if texts[i], err = os.ReadFile(filepath.Join(folder, name)); err != nil {
			return nil, err
		}
	}
	return NewCredentials(texts[0], texts[1], texts[2])
}

// Save writes three PEM files that only their owner may read, durably. The
// authority's comes last: a folder where it is missing was never complete.
func (c *Credentials) Save(folder string) error {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	for _, f := range []struct {
		name string
		text []byte
	}{{keyFile, c.keyPEM}, {certificateFile, c.certificatePEM}, {authorityFile, c.authorityPEM}} {
		if err := writeDurably(folder, f.name, f.text); err != nil {
			return err
		}
	}
	return nil
}

func writeDurably(folder, name string, text []byte) (err error) {
	f, err := os.CreateTemp(folder, name+".*") // 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err = os.Rename(f.Name(), filepath.Join(folder, name)); err != nil {
		return err
	}
	d, err := os.Open(folder)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
