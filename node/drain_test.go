package node

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"ashlar/node/cluster"
	"ashlar/target/iscsi/pdu"
	"ashlar/target/iscsi/session"
	"ashlar/target/targettest/initiator"
)

// polite is a host at one portal that does as it is told: it logs out when it is
// asked to, and logs in again at the same portal, which may send it elsewhere. So it does where its session is lost.
type polite struct {
	t       *testing.T
	portal  string
	iqn     string
	options initiator.Options
	asked   chan struct{}
	now     atomic.Pointer[initiator.Session]
	logins  atomic.Int32
}

func newPolite(t *testing.T, n *Node, iqn string) *polite {
	p := &polite{t: t, portal: n.Config().PortalTexts()[0], iqn: iqn, asked: make(chan struct{}, 8)}
	p.options = initiator.Options{Name: webIQN, ISID: [6]byte{0, 2, 0x3d, 9, 9, 9}, Async: func(a pdu.Async) {
		if a.Event == pdu.AsyncRequestLogout {
			p.asked <- struct{}{}
		}
	}}
	must(t, p.logIn(limit(t)))
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	go p.obey(ctx)
	return p
}

func (p *polite) logIn(ctx context.Context) error {
	s, err := initiator.Dial(ctx, p.portal, p.iqn, p.options)
	if err == nil {
		p.now.Store(s)
		p.logins.Add(1)
	}
	return err
}

func (p *polite) obey(ctx context.Context) {
	lost := time.NewTicker(50 * time.Millisecond)
	defer lost.Stop()
	for {
		select {
		case <-p.asked:
			p.now.Load().Logout(ctx)
		case <-lost.C:
			if p.now.Load().Err() == nil {
				continue
			}
		case <-ctx.Done():
			p.now.Load().Close()
			return
		}
		for p.logIn(ctx) != nil && ctx.Err() == nil {
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// at is the portal group, which is the node, where the host is logged in.
func (p *polite) at() string { return p.now.Load().Params.PortalGroup }

// sessions is how many hosts' sessions a node has.
func sessions(n *Node) int { return len(n.service.Load().drain.here()) }

func TestADrainedNodesHostsGoElsewhereAndComeBack(t *testing.T) {
	t.Parallel()
	nodes := newThree(t)
	createVolume(t, nodes[0], "db", 4<<20, 3)
	must(t, nodes[0].AddHost(limit(t), "web", webIQN))
	must(t, nodes[0].Publish(limit(t), "db", "web", false))
	s := state(t, nodes[0])
	host := newPolite(t, nodes[0], s.IQN(s.VolumeNamed("db")))
	if host.at() != "1" {
		t.Fatalf("logged in at node %s", host.at())
	}
	left, err := nodes[2].Drain(limit(t), "node1", false)
	must(t, err)
	if left != 0 || sessions(nodes[0]) != 0 {
		t.Errorf("%d sessions are left", left)
	}
	if h := state(t, nodes[2]).VolumeNamed("db").Head; h == 1 {
		t.Error("the drained node is the head")
	}
	eventually(t, "the host is elsewhere", func() bool { return host.at() != "1" && host.now.Load().Err() == nil })
	if want := fmt.Sprint(state(t, nodes[0]).VolumeNamed("db").Head); host.at() != want {
		t.Errorf("the host was sent to node %s, the head is %s", host.at(), want)
	}
	ready(t, host.now.Load())
	must(t, host.now.Load().Write(limit(t), 0, 0, pattern(4096, 3), 512))

	found, err := initiator.Discover(limit(t), nodes[0].Config().PortalTexts()[0], initiator.Options{Name: webIQN})
	must(t, err)
	if len(found) != 1 || len(found[0].Addresses) != 3 {
		t.Errorf("a drained node tells of %v", found)
	}

	must(t, nodes[1].Undrain(limit(t), "node1"))
	eventually(t, "the host is back", func() bool { return host.at() == "1" && host.now.Load().Err() == nil })
	ready(t, host.now.Load())
	got := make([]byte, 4096)
	must(t, host.now.Load().Read(limit(t), 0, 0, got, 512))
	if string(got) != string(pattern(4096, 3)) || host.logins.Load() < 3 {
		t.Errorf("%d logins; the data is right: %v", host.logins.Load(), string(got) == string(pattern(4096, 3)))
	}
}

func TestAHostWithOtherPathsIsNotSentToThem(t *testing.T) {
	t.Parallel()
	nodes := newThree(t)
	paths := threePaths(t, nodes, 4<<20, 3)
	if left, err := nodes[0].Drain(limit(t), "node1", false); err != nil || left != 0 {
		t.Fatalf("%d left: %v", left, err)
	}
	s := state(t, nodes[0])
	var refused *initiator.LoginError
	_, err := login(t, nodes[0], "web", s.IQN(s.VolumeNamed("db")))
	if !errors.As(err, &refused) || refused.Status != uint16(session.LoginUnavailable) {
		t.Errorf("a login at the drained node: %v", err)
	}
	for i, p := range paths[1:] {
		if err := p.Err(); err != nil {
			t.Errorf("the path to node%d: %v", i+2, err)
		}
	}
}

// A host that looks after its paths goes on over others while it is asked to log out of one.
func TestAPathFailsBeforeAHostThatHasOthersIsAskedToLeaveIt(t *testing.T) {
	t.Parallel()
	nodes := newThree(t)
	threePaths(t, nodes, 4<<20, 3)
	s := state(t, nodes[0])
	asked := make(chan struct{}, 1)
	path, err := initiator.Dial(limit(t), nodes[0].Config().PortalTexts()[0], s.IQN(s.VolumeNamed("db")), initiator.Options{
		Name: webIQN, ISID: [6]byte{0, 2, 0x3d, 9, 9, 9}, Async: func(a pdu.Async) {
			if a.Event == pdu.AsyncRequestLogout {
				asked <- struct{}{}
			}
		}})
	must(t, err)
	defer path.Close()
	ready(t, path)
	time.Sleep(10500 * time.Millisecond) // what comes sooner may be a disk driver's look at a new disk
	ready(t, path)
	drained := make(chan error, 1)
	go func() {
		_, err := nodes[1].Drain(limit(t), "node1", false)
		drained <- err
	}()
	<-asked
	var refused *initiator.StatusError
	if err := path.Read(limit(t), 0, 0, make([]byte, 512), 512); !errors.As(err, &refused) || refused.Key != 2 || refused.Code != 0x040C {
		t.Errorf("a read: %v", err)
	}
	path.Logout(limit(t))
	must(t, <-drained)
}

func TestAHeadMovesWithoutAnErrorForItsHosts(t *testing.T) {
	t.Parallel()
	nodes := newThree(t)
	paths := threePaths(t, nodes, 4<<20, 3)
	var stop atomic.Bool
	worst := make(chan time.Duration, len(paths))
	for i, p := range paths {
		go func() {
			longest, at := time.Duration(0), uint64(i)<<20/512
			for data := pattern(4096, byte(i)); !stop.Load(); {
				began := time.Now()
				var status *initiator.StatusError
				if err := p.Write(limit(t), 0, at, data, 512); errors.As(err, &status) && status.Key == 6 && status.Code == accessChanged {
					continue // what a host is to be told
				} else if err != nil {
					t.Errorf("a write through node%d: %v", i+1, err)
					break
				}
				longest = max(longest, time.Since(began))
			}
			worst <- longest
		}()
	}
	const moves = 9
	for i := range moves {
		v := state(t, nodes[i%3]).VolumeNamed("db")
		to := fmt.Sprintf("node%d", v.Head%3+1)
		moveHead(t, nodes[i%3], "db", to)
		if now := state(t, nodes[i%3]); now.Nodes[now.VolumeNamed("db").Head].Name != to {
			t.Errorf("the head is not %s", to)
		}
	}
	stop.Store(true)
	for range paths {
		if d := <-worst; d > 3*time.Second {
			t.Errorf("a write took %v", d)
		} else {
			t.Logf("the longest write over %d moves: %v", moves, d)
		}
	}
	var p *Problem
	if err := nodes[0].MoveHead(limit(t), "db", "node9"); !errors.As(err, &p) || p.Code != cluster.NotFound {
		t.Errorf("a move to a node that there is not: %v", err)
	}
	equalCopies(t, nodes[0], "db")
}

// TestANodeThatStopsLeavesNobodyWaiting: its heads and its single host move
// before, its copies leave their sets when it has stopped.
func TestANodeThatStopsLeavesNobodyWaiting(t *testing.T) {
	t.Parallel()
	nodes := newThree(t)
	paths := threePaths(t, nodes, 4<<20, 3)
	createVolume(t, nodes[0], "other", 4<<20, 3)
	must(t, nodes[0].Publish(limit(t), "other", "web", false))
	moveHead(t, nodes[1], "db", "node1")
	eventually(t, "there are three voters", func() bool { return len(state(t, nodes[1]).Voters()) == 3 })
	s := state(t, nodes[1])
	host := newPolite(t, nodes[0], s.IQN(s.VolumeNamed("other")))
	writer := steady(t, nodes[1], "web", s.IQN(s.VolumeNamed("db"))) // takes the place of the path there
	began := time.Now()
	var longest atomic.Int64
	var stop atomic.Bool
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for data := pattern(4096, 5); !stop.Load(); {
			at := time.Now()
			var status *initiator.StatusError
			if err := writer.Write(limit(t), 0, 0, data, 512); err != nil && !(errors.As(err, &status) && status.Key == 6) {
				t.Errorf("a write through node2: %v", err)
				return
			}
			longest.Store(max(longest.Load(), int64(time.Since(at))))
		}
	}()
	paths[0].Close() // else it would be waited for: it does not listen
	nodes[0].Leave(limit(t))
	if v := state(t, nodes[1]).VolumeNamed("db"); v.Head == 1 {
		t.Error("it is still the head")
	}
	eventually(t, "the host is elsewhere", func() bool { return host.at() != "1" && host.now.Load().Err() == nil })
	left := time.Since(began)
	must(t, nodes[0].Close())
	eventually(t, "the others know that it has stopped", func() bool { return !state(t, nodes[1]).Nodes[1].Up })
	eventually(t, "the host writes", func() bool { return host.now.Load().Write(limit(t), 0, 0, pattern(4096, 6), 512) == nil })
	stop.Store(true)
	<-ended
	if d := time.Duration(longest.Load()); d > 3*time.Second {
		t.Errorf("a write through another node took %v", d)
	} else {
		t.Logf("hosts and heads had left after %v; the longest write meanwhile: %v", left, d)
	}
}
