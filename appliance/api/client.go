package api

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// Client gives orders to a node.
type Client struct {
	socket  string // empty: over the network
	base    string // of addresses
	token   string
	http    *http.Client
	dryRuns bool // orders are only to be planned
}

// NewClient is a client of the node with that socket (node.SocketPath). It
// connects with each call.
func NewClient(socket string) *Client {
	return &Client{socket: socket, base: "http://node", http: &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}}
}

// answerMax bounds an answer, bytes: a volume of 1 PiB has a million segments.
const answerMax = 512 << 20

// do sends an order and reads its answer into out, where that is not nil. What
// the node refuses is a *Problem.
func (c *Client) do(ctx context.Context, method, path string, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return err
		}
	}
	planning, key := c.dryRuns && method != http.MethodGet, ""
	if planning {
		path, out = dryRunOf(path), &Plan{}
	} else if method != http.MethodGet {
		key = rand.Text()
	}
	text, err := c.send(ctx, method, "/v1"+path, body, key)
	if err != nil || out == nil {
		return err
	}
	if err := json.Unmarshal(text, out); err != nil || !planning {
		return err
	}
	return out.(*Plan)
}

// An order whose answer was lost is given again for about as long as a node takes to start.
const (
	sendsMost  = 8
	sendsApart = time.Second
)

// unanswered is a request that got no answer; not sent, the node cannot have heard of it.
type unanswered struct {
	error
	sent bool
}

// send is exchange, and once more while the answer of an order with a key is lost on
// the way: with its key it is carried out once.
func (c *Client) send(ctx context.Context, method, path string, body []byte, key string) ([]byte, error) {
	lost := false // an answer, or the way to the node since then
	for n := 1; ; n++ {
		text, err := c.exchange(ctx, method, path, body, key)
		var no unanswered
		silent := errors.As(err, &no)
		lost = lost || silent && no.sent && key != ""
		var p *Problem
		goesOn := errors.As(err, &p) && p.Code == string(inProgress)
		if lost && (silent || goesOn) && n < sendsMost && wait(ctx, sendsApart) {
			continue
		}
		if !silent {
			return text, err
		}
		err = c.unreachable(no.error)
		if lost && errors.As(err, &p) {
			p.Detail += "; whether the order was carried out is not known"
		}
		return nil, err
	}
}

// wait is false where the context ends first.
func wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// exchange sends one request and reads its answer. A refusal is a *Problem, or what
// something else than a node said.
func (c *Client) exchange(ctx context.Context, method, path string, body []byte, key string) ([]byte, error) {
	sent := false
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { sent = true }})
	r, err := c.request(ctx, method, path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	if key != "" {
		r.Header.Set(keyHeader, key)
	}
	answer, err := c.http.Do(r)
	if err != nil {
		return nil, unanswered{err, sent}
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, answerMax))
	switch {
	case err != nil:
		return nil, unanswered{err, true}
	case answer.StatusCode >= 300:
		return nil, problemOf(answer, text)
	}
	return text, nil
}

// Metrics are what the node tells Prometheus.
func (c *Client) Metrics(ctx context.Context) ([]byte, error) {
	r, err := c.request(ctx, "GET", "/metrics", nil)
	if err != nil {
		return nil, err
	}
	answer, err := c.http.Do(r)
	if err != nil {
		return nil, c.unreachable(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(answer.Body, answerMax))
		return nil, problemOf(answer, text)
	}
	return io.ReadAll(io.LimitReader(answer.Body, answerMax))
}

func problemOf(answer *http.Response, text []byte) error {
	p := &Problem{}
	if json.Unmarshal(text, p) != nil || p.Detail == "" {
		return fmt.Errorf("the node answered %s: %s", answer.Status, strings.TrimSpace(string(text)))
	}
	return p
}

func (c *Client) unreachable(err error) error {
	if c.socket == "" {
		return c.unreachableThere(err)
	}
	p := &Problem{Code: "no-daemon", Detail: fmt.Sprintf("no answer from the node at %s: %v", c.socket, err)}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		p.Detail = fmt.Sprintf("no node serves at %s", c.socket)
		p.Next = "start one with: ashlar serve --dir DIR --address IP (and give the same --dir here, or set $ASHLAR_DIR)"
	case errors.Is(err, fs.ErrPermission):
		p.Detail = fmt.Sprintf("not allowed to open %s", c.socket)
		p.Next = "run as the user that the node runs as"
	}
	return p
}

func ask[T any](ctx context.Context, c *Client, method, path string, in any) (out T, err error) {
	err = c.do(ctx, method, path, in, &out)
	return out, err
}

func (c *Client) Status(ctx context.Context) (Status, error) {
	return ask[Status](ctx, c, "GET", "/status", nil)
}

func (c *Client) Cluster(ctx context.Context) (Cluster, error) {
	return ask[Cluster](ctx, c, "GET", "/cluster", nil)
}

// SetCluster changes the settings that are not 0.
func (c *Client) SetCluster(ctx context.Context, in Settings) error {
	return c.do(ctx, "PATCH", "/cluster/settings", in, nil)
}

func (c *Client) CreateCluster(ctx context.Context, in NewCluster) error {
	return c.do(ctx, "POST", "/cluster", in, nil)
}

func (c *Client) JoinCluster(ctx context.Context, in Join) error {
	return c.do(ctx, "POST", "/cluster/join", in, nil)
}

func (c *Client) Secret(ctx context.Context) (Secret, error) {
	return ask[Secret](ctx, c, "GET", "/cluster/secret", nil)
}

func (c *Client) Nodes(ctx context.Context) ([]Node, error) {
	return ask[[]Node](ctx, c, "GET", "/nodes", nil)
}

func (c *Client) Node(ctx context.Context, name string) (Node, error) {
	return ask[Node](ctx, c, "GET", "/nodes/"+url.PathEscape(name), nil)
}

// DrainNode has hosts and heads go to other nodes, and waits for the hosts; with data copies go, too.
func (c *Client) DrainNode(ctx context.Context, name string, data bool) (Drained, error) {
	return ask[Drained](ctx, c, "POST", "/nodes/"+url.PathEscape(name)+"/drain", DrainNode{data})
}

func (c *Client) UndrainNode(ctx context.Context, name string) error {
	return c.do(ctx, "POST", "/nodes/"+url.PathEscape(name)+"/undrain", nil, nil)
}

func (c *Client) Pool(ctx context.Context) (Pool, error) {
	return ask[Pool](ctx, c, "GET", "/pool", nil)
}

func (c *Client) Disks(ctx context.Context) ([]Disk, error) {
	return ask[[]Disk](ctx, c, "GET", "/disks", nil)
}

func (c *Client) AddDisk(ctx context.Context, in NewDisk) (Disk, error) {
	return ask[Disk](ctx, c, "POST", "/disks", in)
}

func (c *Client) Volumes(ctx context.Context) ([]Volume, error) {
	return ask[[]Volume](ctx, c, "GET", "/volumes", nil)
}

func (c *Client) Volume(ctx context.Context, name string) (VolumeDetail, error) {
	return ask[VolumeDetail](ctx, c, "GET", "/volumes/"+url.PathEscape(name), nil)
}

func (c *Client) CreateVolume(ctx context.Context, in NewVolume) (Volume, error) {
	return ask[Volume](ctx, c, "POST", "/volumes", in)
}

// ResizeVolume makes a volume larger, while hosts use it.
func (c *Client) ResizeVolume(ctx context.Context, name string, in Size) (Volume, error) {
	return ask[Volume](ctx, c, "PUT", "/volumes/"+url.PathEscape(name)+"/size", in)
}

// MoveHead has another node order a volume's writes.
func (c *Client) MoveHead(ctx context.Context, name string, in Head) error {
	return c.do(ctx, "PUT", "/volumes/"+url.PathEscape(name)+"/head", in, nil)
}

func (c *Client) DeleteVolume(ctx context.Context, name string) error {
	return c.do(ctx, "DELETE", "/volumes/"+url.PathEscape(name), nil, nil)
}

// VerifyVolume compares all copies of a volume. It takes as long as reading them all.
func (c *Client) VerifyVolume(ctx context.Context, name string) (Verification, error) {
	return ask[Verification](ctx, c, "POST", "/volumes/"+url.PathEscape(name)+"/verify", VerifyOrder{})
}

// Scrubs says how far the comparing is that goes on by itself.
func (c *Client) Scrubs(ctx context.Context) ([]Scrub, error) {
	return ask[[]Scrub](ctx, c, "GET", "/scrub", nil)
}

// Disk is one, by its identity or its path.
func (c *Client) Disk(ctx context.Context, id string) (DiskDetail, error) {
	return ask[DiskDetail](ctx, c, "GET", "/disks/"+url.PathEscape(id), nil)
}

func (c *Client) Hosts(ctx context.Context) ([]Host, error) {
	return ask[[]Host](ctx, c, "GET", "/hosts", nil)
}

func (c *Client) AddHost(ctx context.Context, in Host) error {
	return c.do(ctx, "POST", "/hosts", in, nil)
}

// SetCHAP sets what a host has to prove from its next login on.
func (c *Client) SetCHAP(ctx context.Context, host string, in CHAP) error {
	return c.do(ctx, "PUT", "/hosts/"+url.PathEscape(host)+"/chap", in, nil)
}

// SetNQN gives a host that is known by its IQN an NQN, too.
func (c *Client) SetNQN(ctx context.Context, host, nqn string) error {
	return c.do(ctx, "PUT", "/hosts/"+url.PathEscape(host)+"/nqn", HostNQN{nqn}, nil)
}

// SetDHCHAP sets what an NVMe host has to prove from its next connection on.
func (c *Client) SetDHCHAP(ctx context.Context, host string, in DHCHAP) error {
	return c.do(ctx, "PUT", "/hosts/"+url.PathEscape(host)+"/dhchap", in, nil)
}

func (c *Client) DeleteHost(ctx context.Context, name string) error {
	return c.do(ctx, "DELETE", "/hosts/"+url.PathEscape(name), nil, nil)
}

func (c *Client) Exports(ctx context.Context) ([]Export, error) {
	return ask[[]Export](ctx, c, "GET", "/exports", nil)
}

func (c *Client) AddExport(ctx context.Context, in Export) error {
	return c.do(ctx, "POST", "/exports", in, nil)
}

func (c *Client) DeleteExport(ctx context.Context, volume, host string) error {
	return c.do(ctx, "DELETE", "/exports/"+url.PathEscape(volume)+"/"+url.PathEscape(host), nil, nil)
}
