package identity

import (
	"crypto/x509"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"ashlar/replication/wire"
)

// Name is who a certificate speaks for: a node, or, where Node is 0, a client.
type Name struct {
	Cluster string // 32 hex digits
	Node    wire.NodeID
	Client  string
}

func (n Name) String() string {
	if n.Node != 0 {
		return fmt.Sprintf("ashlar://%s/node/%d", n.Cluster, n.Node)
	}
	return fmt.Sprintf("ashlar://%s/client/%s", n.Cluster, n.Client)
}

func (n Name) uri() (*url.URL, error) {
	u := &url.URL{Scheme: "ashlar", Host: n.Cluster, Path: "/client/" + n.Client}
	if n.Node != 0 {
		u.Path = "/node/" + strconv.Itoa(int(n.Node))
	}
	if got, err := parseName(u); err != nil {
		return nil, err
	} else if got != n {
		return nil, fmt.Errorf("identity: %q is no name", n)
	}
	return u, nil
}

func parseName(u *url.URL) (Name, error) {
	bad := fmt.Errorf("identity: %q is no name", u)
	kind, rest, ok := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	if u.Scheme != "ashlar" || u.Host == "" || !ok || rest == "" || strings.Contains(rest, "/") {
		return Name{}, bad
	}
	switch kind {
	case "node":
		id, err := strconv.ParseUint(rest, 10, 16)
		if err != nil || id == 0 || strconv.FormatUint(id, 10) != rest {
			return Name{}, bad
		}
		return Name{Cluster: u.Host, Node: wire.NodeID(id)}, nil
	case "client":
		return Name{Cluster: u.Host, Client: rest}, nil
	}
	return Name{}, bad
}

// nameOf is the one name in a certificate. Two would let the reader choose.
func nameOf(c *x509.Certificate) (Name, error) {
	if len(c.URIs) != 1 {
		return Name{}, fmt.Errorf("identity: certificate has %d names, not one", len(c.URIs))
	}
	return parseName(c.URIs[0])
}
