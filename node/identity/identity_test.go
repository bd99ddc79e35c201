package identity

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ashlar/replication/wire"
)

const (
	clusterA = "0123456789abcdef0123456789abcdef"
	clusterB = "fedcba9876543210fedcba9876543210"
)

var nodesOnly, open = []string{"nodes/1"}, []string{"open/1"}

func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func authority(t *testing.T, cluster string) *Authority {
	t.Helper()
	return must[*Authority](t)(NewAuthority(cluster, time.Now()))
}

// credentials for a node, or for a client if node is 0.
func credentials(t *testing.T, a *Authority, node wire.NodeID) *Credentials {
	t.Helper()
	request, key, err := NewRequest()
	if err != nil {
		t.Fatal(err)
	}
	var certificate []byte
	if node != 0 {
		certificate, err = a.IssueNode(request, node, time.Now())
	} else {
		certificate, err = a.IssueClient(request, "admin", time.Now())
	}
	if err != nil {
		t.Fatal(err)
	}
	authorityPEM, _, err := a.PEM()
	if err != nil {
		t.Fatal(err)
	}
	return must[*Credentials](t)(NewCredentials(authorityPEM, certificate, key))
}

// shake runs one handshake and a byte each way, so that both sides have spoken
// their mind. It gives both sides' errors and whom the server saw.
func shake(t *testing.T, server, client *tls.Config) (seen Name, serverErr, clientErr error) {
	t.Helper()
	l := must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0"))
	defer l.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		raw, err := l.Accept()
		if err != nil {
			serverErr = err
			return
		}
		defer raw.Close()
		raw.SetDeadline(time.Now().Add(5 * time.Second))
		c := tls.Server(raw, server)
		if serverErr = c.Handshake(); serverErr == nil {
			seen, _ = PeerOf(c.ConnectionState())
			_, serverErr = c.Write([]byte{1})
		}
	}()
	raw := must[net.Conn](t)(net.Dial("tcp", l.Addr().String()))
	defer raw.Close()
	raw.SetDeadline(time.Now().Add(5 * time.Second))
	c := tls.Client(raw, client)
	if clientErr = c.Handshake(); clientErr == nil {
		_, clientErr = c.Read(make([]byte, 1))
	}
	raw.Close()
	<-done
	return seen, serverErr, clientErr
}

func TestNodesOfOneClusterTalk(t *testing.T) {
	a := authority(t, clusterA)
	one, two := credentials(t, a, 1), credentials(t, a, 2)
	for _, want := range []wire.NodeID{1, 0} {
		seen, serverErr, clientErr := shake(t, one.ServerTLS(nodesOnly, open), two.ClientTLS(want, "nodes/1"))
		if serverErr != nil || clientErr != nil || seen != (Name{Cluster: clusterA, Node: 2}) {
			t.Fatalf("node %d: server %v, client %v, seen %v", want, serverErr, clientErr, seen)
		}
	}
}

func TestWhoIsRefused(t *testing.T) {
	a, b := authority(t, clusterA), authority(t, clusterB)
	imposter := authority(t, clusterA) // the right names, another key
	node := func(a *Authority, id wire.NodeID) *Credentials { return credentials(t, a, id) }
	late := node(a, 2)
	late.now = func() time.Time { return time.Now().Add(nodeLifetime + time.Hour) }
	lateServer := node(a, 1)
	lateServer.now = late.now

	// A certificate of our authority for another cluster's node: a bug or a
	// theft, but never a peer.
	foreign := *a
	foreign.cluster = clusterB

	mute := node(a, 2).ClientTLS(1, "nodes/1")
	mute.GetClientCertificate = nil
	var unknown x509.UnknownAuthorityError
	for name, c := range map[string]struct {
		server, client *tls.Config
		atServer       bool
		want           func(error) bool
	}{
		"server of another authority": {node(imposter, 1).ServerTLS(nodesOnly, open), node(a, 2).ClientTLS(1, "nodes/1"), false,
			func(err error) bool { return errors.As(err, &unknown) }},
		"client of another authority": {node(a, 1).ServerTLS(nodesOnly, open), trusting(node(imposter, 2), "nodes/1"), true,
			func(err error) bool { return errors.As(err, &unknown) }},
		"client of another cluster": {node(a, 1).ServerTLS(nodesOnly, open), trusting(node(b, 2), "nodes/1"), true,
			func(err error) bool { return errors.As(err, &unknown) }},
		"name in another cluster": {node(a, 1).ServerTLS(nodesOnly, open), trusting(node(&foreign, 2), "nodes/1"), true,
			func(err error) bool { return errors.Is(err, ErrWrongCluster) }},
		"another node answers": {node(a, 3).ServerTLS(nodesOnly, open), node(a, 2).ClientTLS(1, "nodes/1"), false,
			func(err error) bool { return errors.Is(err, ErrWrongPeer) }},
		"no certificate": {node(a, 1).ServerTLS(nodesOnly, open), mute, true,
			func(err error) bool { return errors.Is(err, ErrNoCertificate) }},
		"a client where nodes talk": {node(a, 1).ServerTLS(nodesOnly, open), node(a, 0).ClientTLS(1, "nodes/1"), true,
			func(err error) bool { return errors.Is(err, ErrWrongPeer) }},
		"expired client": {lateServer.ServerTLS(nodesOnly, open), trusting(node(a, 2), "nodes/1"), true, expired},
		"expired server": {node(a, 1).ServerTLS(nodesOnly, open), late.ClientTLS(1, "nodes/1"), false, expired},
		"another protocol": {node(a, 1).ServerTLS(nodesOnly, open), node(a, 2).ClientTLS(1, "other/1"), true,
			func(err error) bool { return strings.Contains(err.Error(), "application protocol") }},
		"imposter on the open protocol": {node(a, 1).ServerTLS(nodesOnly, open), trusting(node(imposter, 2), "open/1"), true,
			func(err error) bool { return errors.As(err, &unknown) }},
	} {
		t.Run(name, func(t *testing.T) {
			_, serverErr, clientErr := shake(t, c.server, c.client)
			err := clientErr
			if c.atServer {
				err = serverErr
			}
			if clientErr == nil {
				t.Fatal("the client was let in")
			}
			if err == nil || !c.want(err) {
				t.Fatalf("server %v, client %v", serverErr, clientErr)
			}
		})
	}
}

// trusting is a client that does not check the server, so that only the server can refuse.
func trusting(c *Credentials, protocol string) *tls.Config {
	config := c.ClientTLS(0, protocol)
	config.VerifyConnection = nil
	return config
}

func expired(err error) bool {
	var invalid x509.CertificateInvalidError
	return errors.As(err, &invalid) && invalid.Reason == x509.Expired
}

func TestJoinTokenFindsItsClusterOnly(t *testing.T) {
	a := authority(t, clusterA)
	pem, _, err := a.PEM()
	if err != nil {
		t.Fatal(err)
	}
	token := must[Token](t)(NewToken(pem))
	read := must[Token](t)(ParseToken("  " + strings.ToUpper(token.String()) + "\n"))
	if read != token {
		t.Fatal("token changed by being written and read")
	}
	one := credentials(t, a, 1)
	if _, serverErr, clientErr := shake(t, one.ServerTLS(nodesOnly, open), read.JoinTLS("open/1", nil)); serverErr != nil || clientErr != nil {
		t.Fatalf("server %v, client %v", serverErr, clientErr)
	}
	if _, _, clientErr := shake(t, one.ServerTLS(nodesOnly, open), read.JoinTLS("nodes/1", nil)); clientErr == nil {
		t.Fatal("a token without certificate was let in where nodes talk")
	}
	imposter := credentials(t, authority(t, clusterA), 1)
	if _, _, clientErr := shake(t, imposter.ServerTLS(nodesOnly, open), read.JoinTLS("open/1", nil)); !errors.Is(clientErr, ErrFingerprint) {
		t.Fatalf("imposter: %v", clientErr)
	}
	// An imposter that shows the true authority's certificate behind its own leaf.
	mixed := *imposter
	mixed.certificate.Certificate = [][]byte{imposter.certificate.Certificate[0], one.certificate.Certificate[1]}
	if _, _, clientErr := shake(t, mixed.ServerTLS(nodesOnly, open), read.JoinTLS("open/1", nil)); clientErr == nil {
		t.Fatal("a certificate that the authority did not sign was believed")
	}
}

func TestWrongSecret(t *testing.T) {
	pem, _, err := authority(t, clusterA).PEM()
	if err != nil {
		t.Fatal(err)
	}
	right, wrong := must[Token](t)(NewToken(pem)), must[Token](t)(NewToken(pem))
	if !right.Check(right.Hash()) || wrong.Check(right.Hash()) || right.Check(nil) {
		t.Fatal("the secret does not decide")
	}
	for _, text := range []string{"", ".", "abc", "abc.def", right.String()[1:], right.String() + "a", right.String() + ".a"} {
		if _, err := ParseToken(text); err == nil {
			t.Errorf("%q was taken for a token", text)
		}
	}
}

func TestNames(t *testing.T) {
	a := authority(t, clusterA)
	request, _, err := NewRequest()
	if err != nil {
		t.Fatal(err)
	}
	for _, client := range []string{"", "a/b"} {
		if _, err := a.IssueClient(request, client, time.Now()); err == nil {
			t.Errorf("client %q was certified", client)
		}
	}
	if _, err := a.IssueNode(request, 0, time.Now()); err == nil {
		t.Error("node 0 was certified")
	}
	if got := credentials(t, a, 0).Name.String(); got != "ashlar://"+clusterA+"/client/admin" {
		t.Error(got)
	}
	if got := credentials(t, a, 7).Name.String(); got != "ashlar://"+clusterA+"/node/7" {
		t.Error(got)
	}
}

func TestSavedCredentialsAndAuthority(t *testing.T) {
	a := authority(t, clusterA)
	folder := filepath.Join(t.TempDir(), "identity")
	if _, err := Load(folder); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("empty folder: %v", err)
	}
	if err := credentials(t, a, 3).Save(folder); err != nil {
		t.Fatal(err)
	}
	files := must[[]os.DirEntry](t)(os.ReadDir(folder))
	if len(files) != 3 {
		t.Fatalf("%d files", len(files))
	}
	for _, f := range files {
		if info := must[os.FileInfo](t)(f.Info()); info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", f.Name(), info.Mode())
		}
	}
	three := must[*Credentials](t)(Load(folder))
	if three.Name.Node != 3 {
		t.Fatalf("loaded %v", three.Name)
	}
	certificate, key, err := a.PEM()
	if err != nil {
		t.Fatal(err)
	}
	again := must[*Authority](t)(ParseAuthority(certificate, key))
	if _, serverErr, clientErr := shake(t, three.ServerTLS(nodesOnly, open), credentials(t, again, 4).ClientTLS(3, "nodes/1")); serverErr != nil || clientErr != nil {
		t.Fatalf("server %v, client %v", serverErr, clientErr)
	}
	other, _, err := authority(t, clusterA).PEM()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseAuthority(other, key); err == nil {
		t.Error("an authority with another's key was believed")
	}
	if _, err := NewCredentials(other, three.certificatePEM, three.keyPEM); err == nil {
		t.Error("credentials of another authority were believed")
	}
}
