package consensus

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"ashlar/node/cluster"
	"ashlar/node/identity"
	"ashlar/node/peer"
	"ashlar/replication/wire"
)

const (
	patience  = 25 * time.Second
	clusterID = "0123456789abcdef0123456789abcdef"
)

// lab is a cluster of nodes in this process, on 127.1.<lab>.1, .2, ... so that a
// node that starts again finds its port free. Labs run side by side: they mostly wait.
type lab struct {
	t         *testing.T
	number    int32
	folder    string
	authority *identity.Authority
	addresses map[wire.NodeID]string
	nodes     map[wire.NodeID]*labNode
	adapt     func(*Config)
}

type labNode struct {
	*Consensus
	network *peer.Network
	fatal   chan error
}

var labs atomic.Int32

func newLab(t *testing.T) *lab {
	t.Helper()
	t.Parallel()
	a, err := identity.NewAuthority(clusterID, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return &lab{t: t, number: labs.Add(1), folder: t.TempDir(), authority: a, addresses: map[wire.NodeID]string{}, nodes: map[wire.NodeID]*labNode{}}
}

func (l *lab) context() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	l.t.Cleanup(cancel)
	return ctx
}

func (l *lab) credentials(id wire.NodeID) *identity.Credentials {
	l.t.Helper()
	request, key, err := identity.NewRequest()
	if err != nil {
		l.t.Fatal(err)
	}
	certificate, err := l.authority.IssueNode(request, id, time.Now())
	if err != nil {
		l.t.Fatal(err)
	}
	pem, _, err := l.authority.PEM()
	if err != nil {
		l.t.Fatal(err)
	}
	c, err := identity.NewCredentials(pem, certificate, key)
	if err != nil {
		l.t.Fatal(err)
	}
	return c
}

// start opens a node, at the address it had before if it ran before.
func (l *lab) start(id wire.NodeID, hints map[wire.NodeID]string) *labNode {
	l.t.Helper()
	address := l.addresses[id]
	if address == "" {
		address = fmt.Sprintf("127.1.%d.%d:0", l.number, id)
	}
	out := io.Discard
	if os.Getenv("ASHLAR_TEST_LOG") != "" {
		out = os.Stderr
	}
	log := slog.New(slog.NewTextHandler(out, nil)).With("node", id)
	network, err := peer.Listen(peer.Config{Credentials: l.credentials(id), Listen: address, Log: log})
	if err != nil {
		l.t.Fatal(err)
	}
	n := &labNode{network: network, fatal: make(chan error, 10)}
	config := Config{Folder: filepath.Join(l.folder, fmt.Sprint(id)), Network: network, Addresses: hints, Log: log,
		Fatal: func(err error) { n.fatal <- err }, VoterSpacing: 100 * time.Millisecond, StepEvery: 50 * time.Millisecond}
	if l.adapt != nil {
		l.adapt(&config)
	}
	if n.Consensus, err = Open(config); err != nil {
		l.t.Fatal(err)
	}
	network.Serve()
	l.addresses[id] = network.Addr().String()
	l.nodes[id] = n
	l.t.Cleanup(func() { l.stop(n) })
	return n
}

// stop is as abrupt as a process can be within another.
func (l *lab) stop(n *labNode) {
	n.network.Close()
	n.Shutdown()
	if l.nodes[n.id] == n {
		delete(l.nodes, n.id)
	}
}

func (l *lab) propose(at *labNode, c cluster.Command) cluster.Result {
	l.t.Helper()
	r, err := at.Propose(l.context(), c)
	if err != nil {
		l.t.Fatal(err)
	}
	if r.Problem != "" {
		l.t.Fatal(r.Problem)
	}
	return r
}

// found makes a cluster of one.
func (l *lab) found() *labNode {
	l.t.Helper()
	n := l.start(1, nil)
	if n.Existing() {
		l.t.Fatal("an empty folder is a cluster's")
	}
	if err := n.Bootstrap(); err != nil {
		l.t.Fatal(err)
	}
	l.propose(n, cluster.Command{Create: &cluster.Create{ID: clusterID, Name: "lab", SegmentBytes: 1 << 30,
		Node: cluster.AddNode{Name: "node-1", Peer: l.addresses[1]}}})
	l.register(n)
	return n
}

// join adds the node through another one, which need not lead.
func (l *lab) join(id wire.NodeID, through *labNode) *labNode {
	l.t.Helper()
	n := l.start(id, l.addresses)
	if got := l.propose(through, cluster.Command{AddNode: &cluster.AddNode{Name: fmt.Sprintf("node-%d", id), Peer: l.addresses[id]}}); got.Node != id {
		l.t.Fatalf("node %d became %d", id, got.Node)
	}
	l.register(n)
	return n
}

func (l *lab) register(n *labNode) {
	l.t.Helper()
	l.propose(n, cluster.Command{Register: &cluster.Register{Node: n.id, Peer: l.addresses[n.id]}})
}

// await waits until every running node's state and configuration fits.
func (l *lab) await(what string, fits func(*labNode) bool) {
	l.t.Helper()
	deadline := time.Now().Add(patience)
	for _, n := range l.nodes {
		for !fits(n) {
			if time.Now().After(deadline) {
				version, voters := n.Voters()
				l.t.Fatalf("never at node %d: %s; %+v, voters %v of %d", n.id, what, n.Health(), voters, version)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
}

func (l *lab) leader() *labNode {
	l.t.Helper()
	var leader *labNode
	l.await("a leader that all know", func(n *labNode) bool {
		id, ok := n.Leader()
		leader = l.nodes[id]
		return ok && leader != nil && leader.IsLeader()
	})
	return leader
}
