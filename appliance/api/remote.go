package api

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// DefaultPort is where nodes serve the API to the network.
const DefaultPort = "7443"

// NewRemoteClient is a client of the node at https://HOST[:PORT]. authorityPEM is the cluster's certificate (`ashlar cluster ca`); none: the
// system's authorities are believed.
func NewRemoteClient(server string, authorityPEM []byte, token string) (*Client, error) {
	u, err := url.Parse(server)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.Path != "" && u.Path != "/" || u.User != nil || u.RawQuery != "" {
		return nil, fmt.Errorf("%q is no node's address: write https://NODE:%s", server, DefaultPort)
	}
	if u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), DefaultPort)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS13}
	if len(authorityPEM) > 0 {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(authorityPEM) {
			return nil, errors.New("there is no certificate in what should be the cluster's: write what `ashlar cluster ca` prints on a node")
		}
	}
	return &Client{base: "https://" + u.Host, token: token, http: &http.Client{
		Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: config, DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
			TLSHandshakeTimeout: 10 * time.Second},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // the token is for this node alone
	}}, nil
}

func (c *Client) request(ctx context.Context, method, path string, body io.Reader) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err == nil && c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	return r, err
}

func (c *Client) unreachableThere(err error) error {
	p := &Problem{Code: "no-daemon", Detail: fmt.Sprintf("no answer from the node at %s: %v", c.base, rootOf(err)), Next: "does a node of the cluster serve there? `ashlar serve --api-port` says at which port"}
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &unknown):
		p.Code, p.Next = "untrusted", "give the cluster's certificate with --ca-file FILE or $ASHLAR_CA_FILE; `ashlar cluster ca` on a node prints it"
	case errors.As(err, &name):
		p.Code, p.Next = "untrusted", "use an address that the node was started with, or its name"
	case errors.As(err, &invalid):
		p.Code, p.Next = "untrusted", "are the clocks here and there right?"
	}
	return p
}

// rootOf drops what an HTTP client says around the reason.
func rootOf(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
