package identity

import (
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"path/filepath"
	"testing"
	"time"
)

func TestANodesCertificateIsRenewedLongBeforeItEnds(t *testing.T) {
	a := authority(t, clusterA)
	one, two := credentials(t, a, 1), credentials(t, a, 2)
	now := time.Now()
	clock := func() time.Time { return now }
	one.now, two.now = clock, clock
	server, client := one.ServerTLS(nodesOnly, open), two.ClientTLS(1, "nodes/1") // of before the renewal
	now = now.Add(9 * 365 * 24 * time.Hour)
	if one.Due() {
		t.Fatal("due before half of its life is over")
	}
	now = now.Add(2 * 365 * 24 * time.Hour)
	if !one.Due() {
		t.Fatal("not due after half of its life")
	}
	next := must[*Credentials](t)(one.Renew(a))
	if one.Due() {
		t.Fatal("due again at once")
	}
	folder := filepath.Join(t.TempDir(), "identity")
	if err := next.Save(folder); err != nil {
		t.Fatal(err)
	}
	saved := must[*Credentials](t)(Load(folder))
	saved.now = clock
	if saved.Due() || saved.Name != one.Name {
		t.Fatalf("saved were credentials of %v that are due: %v", saved.Name, saved.Due())
	}
	now = now.Add(10 * 365 * 24 * time.Hour) // the first ones' life is over
	if _, _, err := shake(t, server, client); err == nil {
		t.Fatal("node 2 was let in with a certificate of the past")
	}
	must[*Credentials](t)(two.Renew(a))
	if _, serverErr, clientErr := shake(t, server, client); serverErr != nil || clientErr != nil {
		t.Fatalf("server %v, client %v", serverErr, clientErr)
	}
}

func TestCertificatesForHTTPSAreOfAddressesAndFollowTheClock(t *testing.T) {
	a, other := authority(t, clusterA), authority(t, clusterA)
	now := time.Now()
	s := &Server{Names: []string{"node1"}, Addresses: []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("fd00::1")},
		Authority: a.PEM, Now: func() time.Time { return now }}
	reach := func(a *Authority, name string) error {
		t.Helper()
		certificate, _, err := a.PEM()
		if err != nil {
			t.Fatal(err)
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(certificate)
		_, _, clientErr := shake(t, s.TLS(), &tls.Config{RootCAs: roots, ServerName: name, Time: s.Now})
		return clientErr
	}
	for name, good := range map[string]bool{"127.0.0.1": true, "fd00::1": true, "node1": true, "127.0.0.2": false, "node2": false} {
		if err := reach(a, name); (err == nil) != good {
			t.Errorf("%s: %v", name, err)
		}
	}
	first := must[*tls.Certificate](t)(s.certificate())
	if !first.Leaf.NotBefore.Before(now.Add(-backdate / 2)) {
		t.Errorf("valid only from %v, it is %v", first.Leaf.NotBefore, now)
	}
	now = now.Add(serverLifetime / 4)
	if must[*tls.Certificate](t)(s.certificate()) != first {
		t.Error("renewed before a third of its life is over")
	}
	now = now.Add(serverLifetime) // while nobody asked
	if err := reach(a, "node1"); err != nil {
		t.Errorf("after its end: %v", err)
	}
	now = now.Add(-2 * serverLifetime) // the clock was set right
	later := must[*tls.Certificate](t)(s.certificate())
	if !later.Leaf.NotBefore.Before(now) {
		t.Errorf("it is not valid yet: from %v, it is %v", later.Leaf.NotBefore, now)
	}
	now = time.Now()
	s.Authority = other.PEM
	if err := reach(other, "node1"); err != nil {
		t.Errorf("with a new authority: %v", err)
	}
	if err := reach(a, "node1"); err == nil {
		t.Error("the certificate is still the former authority's")
	}
	// It proves nothing to nodes.
	forged := *credentials(t, a, 1)
	forged.certificate = *first
	if _, _, err := shake(t, forged.ServerTLS(nodesOnly, open), credentials(t, a, 2).ClientTLS(1, "nodes/1")); err == nil {
		t.Error("a node believed a certificate for HTTPS")
	}
}
