package peer

import (
	"sync"
	"testing"
	"time"

	"ashlar/node/identity"
	"ashlar/replication/wire"
)

const patience = 20 * time.Second

// authority makes credentials for the nodes of one cluster.
func authority(t testing.TB, cluster string) func(wire.NodeID) *identity.Credentials {
	t.Helper()
	a, err := identity.NewAuthority(cluster, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return func(id wire.NodeID) *identity.Credentials {
		t.Helper()
		request, key, err := identity.NewRequest()
		if err != nil {
			t.Fatal(err)
		}
		certificate, err := a.IssueNode(request, id, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		pem, _, err := a.PEM()
		if err != nil {
			t.Fatal(err)
		}
		c, err := identity.NewCredentials(pem, certificate, key)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
}

// diary keeps a network's events.
type diary struct {
	mu     sync.Mutex
	events []Event
	news   chan struct{}
}

func newDiary() *diary { return &diary{news: make(chan struct{}, 1)} }

func (d *diary) note(e Event) {
	d.mu.Lock()
	d.events = append(d.events, e)
	d.mu.Unlock()
	select {
	case d.news <- struct{}{}:
	default:
	}
}

// await finds the first event that fits, among past and coming ones.
func (d *diary) await(t testing.TB, what string, fits func(Event) bool) Event {
	t.Helper()
	deadline := time.After(patience)
	for {
		d.mu.Lock()
		for _, e := range d.events {
			if fits(e) {
				d.mu.Unlock()
				return e
			}
		}
		d.mu.Unlock()
		select {
		case <-d.news:
		case <-deadline:
			t.Fatalf("never: %s; only %v", what, d.events)
		}
	}
}

func is(kind EventKind, peer wire.NodeID, class Class, dialled bool) func(Event) bool {
	return func(e Event) bool {
		return e.Kind == kind && e.Peer == peer && e.Class == class && (e.Session == nil || e.Session.Dialled() == dialled)
	}
}

type testNode struct {
	*Network
	*diary
}

// listen starts a network whose handlers setup may register.
func listen(t testing.TB, c *identity.Credentials, address string, setup func(*Network)) testNode {
	t.Helper()
	d := newDiary()
	n, err := Listen(Config{Credentials: c, Listen: address, Events: d.note})
	if err != nil {
		t.Fatal(err)
	}
	if setup != nil {
		setup(n)
	}
	n.Serve()
	t.Cleanup(func() { n.Close() })
	return testNode{n, d}
}

// connect lets a dial b, and waits for a's session.
func connect(t testing.TB, a, b testNode, class Class) *Session {
	t.Helper()
	a.SetPeers(map[wire.NodeID]string{a.ID(): a.Addr().String(), b.ID(): b.Addr().String()})
	return a.await(t, "a session", is(Connected, b.ID(), class, true)).Session
}

const cluster = "0123456789abcdef0123456789abcdef"
