package node

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"ashlar/node/cluster"
	"ashlar/node/disk"
	"ashlar/node/disk/disktest"
	"ashlar/node/freeport"
	"ashlar/node/identity"
	"ashlar/replication/wire"
	"ashlar/target"
	"ashlar/target/iscsi/session"
	"ashlar/target/targettest/initiator"
)

const (
	segmentBytes = 4 << 20
	timeout      = 20 * time.Second
)

func TestMain(m *testing.M) {
	newStallWatch = func() *target.StallWatch { return target.NewStallWatchOn(func() int64 { return 0 }) }
	flag.Set("test.parallel", "6") // unless ordered: the tests mostly wait, for elections and leases
	os.Exit(m.Run())
}

// newConfig is of a node at 127.0.0.1 with ports that nobody uses.
func newConfig(t *testing.T, name string) Config {
	t.Helper()
	ports, err := freeport.Take([]string{"127.0.0.1"}, 3)
	if err != nil {
		t.Fatal(err)
	}
	return Config{Dir: t.TempDir(), Name: name, Addresses: []netip.Addr{netip.MustParseAddr("127.0.0.1")},
		PeerPort: ports[0], GossipPort: ports[1], ISCSIPort: ports[2], Log: newLog(t, name)}
}

// logMost bounds what is shown of a node's log, bytes.
const logMost = 20000

// logEnd keeps the end of a log.
type logEnd struct {
	mu   sync.Mutex
	text []byte
}

func (l *logEnd) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, line...)
	if extra := len(l.text) - logMost; extra > logMost {
		l.text = append([]byte(nil), l.text[extra:]...)
	}
	return len(line), nil
}

// newLog is a log whose end is shown where the test fails.
func newLog(t *testing.T, name string) *slog.Logger {
	end := &logEnd{}
	t.Cleanup(func() {
		if t.Failed() {
			end.mu.Lock()
			defer end.mu.Unlock()
			t.Logf("the end of the log of %s:\n%s", name, end.text[max(0, len(end.text)-logMost):])
		}
	})
	return slog.New(slog.NewTextHandler(end, nil))
}

func open(t *testing.T, c Config) *Node {
	t.Helper()
	n, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

// newCluster is one node in a cluster of its own, ready for hosts.
func newCluster(t *testing.T) *Node {
	t.Helper()
	return newClusterOf(t, newConfig(t, "node1"))
}

func newClusterOf(t *testing.T, c Config) *Node {
	t.Helper()
	n := open(t, c)
	if err := n.CreateCluster(limit(t), "test", segmentBytes); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the node is ready", n.Ready)
	return n
}

func limit(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	t.Cleanup(cancel)
	return ctx
}

func eventually(t *testing.T, what string, ask func() bool) {
	t.Helper()
	for deadline := time.Now().Add(timeout); !ask(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// patiently repeats an order for as long as the state of the cluster is not one for it. In a test's
// process there are many nodes on few cores: one may be late with its lease, and be down for a moment.
func patiently(t *testing.T, order func() error) {
	t.Helper()
	var p *Problem
	for deadline := time.Now().Add(timeout); ; time.Sleep(50 * time.Millisecond) {
		err := order()
		if err == nil {
			return
		}
		if !errors.As(err, &p) || p.Code != cluster.TooFew && p.Code != cluster.Refused && p.Code != cluster.Stale || time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func createVolume(t *testing.T, n *Node, name string, size uint64, copies int) {
	t.Helper()
	patiently(t, func() error {
		return n.CreateVolume(limit(t), cluster.CreateVolume{Name: name, Bytes: size, Copies: copies})
	})
}

func moveHead(t *testing.T, n *Node, volume, to string) {
	t.Helper()
	patiently(t, func() error { return n.MoveHead(limit(t), volume, to) })
}

func state(t *testing.T, n *Node) *cluster.State {
	t.Helper()
	s, err := n.State()
	must(t, err)
	return s
}

func TestWhatAnUnfinishedAttemptLeftIsNoCluster(t *testing.T) {
	t.Parallel()
	c := newConfig(t, "node1")
	n := open(t, c)
	must(t, n.CreateCluster(limit(t), "first", segmentBytes))
	before, _ := n.Self()
	must(t, n.Close())
	must(t, os.Remove(filepath.Join(c.Dir, "node.json"))) // a crash just before it was written

	n = open(t, c)
	if _, member := n.Self(); member {
		t.Fatal("the node takes itself for a member")
	}
	must(t, n.CreateCluster(limit(t), "second", segmentBytes))
	after, _ := n.Self()
	if after.Cluster == before.Cluster || state(t, n).Name != "second" {
		t.Errorf("the new cluster is %+v, the unfinished one was %+v", after, before)
	}
}

func TestAServerThatDiedWhileItJoinedGetsTheSameNumberAgain(t *testing.T) {
	t.Parallel()
	first := newCluster(t)
	text, err := first.Secret()
	must(t, err)
	token, err := identity.ParseToken(text)
	must(t, err)
	csr, _, err := identity.NewRequest()
	must(t, err)
	r := JoinRequest{Version: cluster.FormatVersion, Secret: token.Secret[:], Name: "node2", Peer: "127.0.0.1:9", Gossip: "127.0.0.1:9",
		Portals: []string{"127.0.0.1:9"}, Request: csr}
	a, err := askToJoin(limit(t), first.Config().Peer(), token, r)
	must(t, err)
	b, err := askToJoin(limit(t), first.Config().Peer(), token, r)
	must(t, err)
	if a.Node != 2 || b.Node != 2 || len(state(t, first).Nodes) != 2 {
		t.Errorf("numbers %d and %d, nodes %v", a.Node, b.Node, state(t, first).NodeIDs())
	}
	r.Peer = "127.0.0.1:10"
	var p *Problem
	if _, err := askToJoin(limit(t), first.Config().Peer(), token, r); !errors.As(err, &p) || p.Code != cluster.Exists {
		t.Errorf("another server under the same name: %v", err)
	}
	r.Name, r.Version = "node3", 0
	if _, err := askToJoin(limit(t), first.Config().Peer(), token, r); !errors.As(err, &p) || p.Code != TooNew {
		t.Errorf("a server of an older release: %v", err)
	}
}

func TestAFencedIncarnationIsOver(t *testing.T) {
	t.Parallel()
	n := newCluster(t)
	self, _ := n.Self()
	s := n.service.Load()
	_, err := s.propose(limit(t), cluster.Command{Fence: &cluster.Fence{Refused: true, Dead: []cluster.Dead{{Node: self.Node, Incarnation: self.Incarnation}}}})
	must(t, err)
	select {
	case err := <-n.Over():
		if !errors.Is(err, ErrFenced) {
			t.Errorf("over: %v", err)
		}
	case <-time.After(timeout):
		t.Fatal("the node goes on")
	}
	if n.Ready() {
		t.Error("the node still serves hosts")
	}
	// What the process does next: close, and open as a new incarnation.
	must(t, n.Close())
	n = open(t, n.Config())
	eventually(t, "the new incarnation is ready", n.Ready)
	if again, _ := n.Self(); again.Incarnation != self.Incarnation+1 {
		t.Errorf("incarnation %d after %d", again.Incarnation, self.Incarnation)
	}
}

func TestADiskThatIsLateIsTakenWhenItComes(t *testing.T) {
	t.Parallel()
	n := newCluster(t)
	path := filepath.Join(t.TempDir(), "disk")
	id, err := n.AddDisk(limit(t), path, 64<<20, false)
	must(t, err)
	must(t, n.Close())
	must(t, os.Rename(path, path+".away"))

	n = open(t, n.Config())
	eventually(t, "the disk is missed", func() bool { return n.MissingDisks()[id] != nil })
	if state(t, n).Disks[id].Failed {
		t.Error("a disk that is only late counts as failed")
	}
	must(t, os.Rename(path+".away", path))
	eventually(t, "the disk is back", func() bool { return n.MissingDisks()[id] == nil && n.service.Load().disks.isOpen(id) })
}

// The last copy's node begins anew, and finds its disk a while later. Its head, at another node, writes there then.
func TestAWriteWaitsForTheLastCopysDisk(t *testing.T) {
	t.Parallel()
	nodes := newThreeWith(t, 128<<20)
	must(t, nodes[0].AddHost(limit(t), "web", "iqn.2026-11.com.example:web"))
	createVolume(t, nodes[0], "v", segmentBytes, 2)
	must(t, nodes[0].Publish(limit(t), "v", "web", false))
	v := state(t, nodes[0]).VolumeNamed("v")
	lost, last := v.Segments[0].Replicas[0], v.Segments[0].Replicas[1]
	if lost.Node != v.Head {
		lost, last = last, lost
	}
	head, has := int(lost.Node)-1, int(last.Node)-1
	s := steady(t, nodes[head], "web", state(t, nodes[0]).IQN(v))
	must(t, s.Write(limit(t), 0, 0, known(1), 512))
	_, err := nodes[head].service.Load().propose(limit(t), cluster.Command{FailDisk: &cluster.FailDisk{ID: lost.Disk}})
	must(t, err)
	path := state(t, nodes[0]).Disks[last.Disk].Path
	must(t, nodes[has].Close())
	must(t, os.Rename(path, path+".away"))
	nodes[has] = open(t, nodes[has].Config())
	eventually(t, "the disk is missed", func() bool { return len(nodes[has].MissingDisks()) == 1 })
	written := make(chan error, 1)
	go func() { written <- s.Write(limit(t), 0, 8, known(2), 512) }()
	select {
	case err := <-written:
		t.Fatalf("written to no copy: %v", err)
	case <-time.After(2 * time.Second):
	}
	must(t, os.Rename(path+".away", path))
	must(t, <-written)
	got := make([]byte, 2*wire.BlockSize)
	must(t, s.Read(limit(t), 0, 0, got, 512))
	if !bytes.Equal(got, append(known(1), known(2)...)) {
		t.Error("what was written is not read")
	}
}

func TestADiskThatIsAnotherIsNotTaken(t *testing.T) {
	t.Parallel()
	n := newCluster(t)
	path := filepath.Join(t.TempDir(), "disk")
	id, err := n.AddDisk(limit(t), path, 64<<20, false)
	must(t, err)
	other, err := n.AddDisk(limit(t), path+"2", 64<<20, false)
	must(t, err)
	must(t, n.Close())
	must(t, os.Rename(path, path+".away"))
	must(t, os.Rename(path+"2", path))

	n = open(t, n.Config())
	eventually(t, "both are missed", func() bool { return n.MissingDisks()[id] != nil && n.MissingDisks()[other] != nil })
	if err := n.MissingDisks()[id]; !errors.Is(err, disk.ErrWrongDisk) {
		t.Errorf("the wrong disk: %v", err)
	}
}

func TestAFailedWriteTakesTheDiskOutForEver(t *testing.T) {
	t.Parallel()
	n := newCluster(t)
	s := n.service.Load()
	want, err := clusterIdentity(state(t, n))
	must(t, err)
	want.Disk = [16]byte{1}
	faulty := disktest.NewFaulty(disktest.NewMemory(64 << 20))
	must(t, disk.Format(faulty, want, disk.FormatOptions{}))
	store, err := disk.Open(faulty, disk.Identity{}, disk.Options{})
	must(t, err)
	const id = cluster.DiskID("01000000000000000000000000000000")
	_, err = s.propose(limit(t), cluster.Command{AddDisk: &cluster.AddDisk{ID: id, Node: s.record.Node, Path: "/memory", Size: 64 << 20}})
	must(t, err)
	s.disks.take(s.engine.Load(), id, store, nil)

	faulty.FailWrite(1, errors.New("no more"))
	if err := store.Promise(1, 1); !errors.Is(err, disk.ErrFailed) {
		t.Fatalf("the write that fails: %v", err)
	}
	eventually(t, "the cluster knows", func() bool { return state(t, n).Disks[id].Failed })
}

func TestADiskOfThisClusterIsNeverOverwritten(t *testing.T) {
	t.Parallel()
	n := newCluster(t)
	path := filepath.Join(t.TempDir(), "disk")
	id, err := n.AddDisk(limit(t), path, 64<<20, false)
	must(t, err)
	must(t, n.service.Load().disks.close()) // else its lock alone would refuse it
	alias := path + "-by-another-name"
	must(t, os.Symlink(path, alias))
	var p *Problem
	if _, err := n.AddDisk(limit(t), alias, 0, true); !errors.As(err, &p) || p.Code != InUse {
		t.Errorf("disk %s under another name: %v", id, err)
	}
}

// published is a node whose volume "db" is published to host iqn...:web.
func published(t *testing.T, readOnly bool) (n *Node, iqn string) {
	t.Helper()
	n = newCluster(t)
	_, err := n.AddDisk(limit(t), filepath.Join(t.TempDir(), "disk"), 64<<20, false)
	must(t, err)
	createVolume(t, n, "db", 8<<20, 1)
	createVolume(t, n, "secret", 8<<20, 1)
	must(t, n.AddHost(limit(t), "web", "iqn.2026-11.com.example:web"))
	must(t, n.Publish(limit(t), "db", "web", readOnly))
	s := state(t, n)
	return n, s.IQN(s.VolumeNamed("db"))
}

func login(t *testing.T, n *Node, host, iqn string) (*initiator.Session, error) {
	t.Helper()
	s, err := initiator.Dial(limit(t), n.Config().PortalTexts()[0], iqn, initiator.Options{Name: "iqn.2026-11.com.example:" + host})
	if err == nil {
		t.Cleanup(s.Close)
	}
	return s, err
}

// steady is a host that outlives its sessions.
func steady(t *testing.T, n *Node, host, iqn string) *initiator.Steady {
	t.Helper()
	h := &initiator.Steady{Dial: func(ctx context.Context) (*initiator.Session, error) {
		return initiator.Dial(ctx, n.Config().PortalTexts()[0], iqn, initiator.Options{Name: "iqn.2026-11.com.example:" + host})
	}}
	t.Cleanup(h.Close)
	return h
}

// ready gets the unit attentions of a new session out of the way.
func ready(t *testing.T, s *initiator.Session) {
	t.Helper()
	eventually(t, "the unit is ready", func() bool {
		return s.Do(limit(t), &initiator.Command{CDB: make([]byte, 6)}) == nil // TEST UNIT READY
	})
}

func TestAHostSeesWhatIsPublishedToItAndNothingElse(t *testing.T) {
	t.Parallel()
	n, iqn := published(t, false)
	portal := n.Config().PortalTexts()[0]
	for host, want := range map[string][]string{"web": {iqn}, "stranger": nil} {
		found, err := initiator.Discover(limit(t), portal, initiator.Options{Name: "iqn.2026-11.com.example:" + host})
		must(t, err)
		var names []string
		for _, f := range found {
			names = append(names, f.Name)
			if !slices.Equal(f.Addresses, []string{portal + ",1"}) {
				t.Errorf("%s is told of the portals %v", host, f.Addresses)
			}
		}
		if !slices.Equal(names, want) {
			t.Errorf("%s discovers %v instead of %v", host, names, want)
		}
	}
	var refused *initiator.LoginError
	if _, err := login(t, n, "stranger", iqn); !errors.As(err, &refused) || refused.Status != uint16(session.LoginNotFound) {
		t.Errorf("a stranger's login: %v", err)
	}
	if _, err := login(t, n, "web", iqn+"x"); !errors.As(err, &refused) || refused.Status != uint16(session.LoginNotFound) {
		t.Errorf("a login to a target that there is not: %v", err)
	}
}

func TestWhatAHostWroteIsThereAfterARestart(t *testing.T) {
	t.Parallel()
	n, iqn := published(t, false)
	s, err := login(t, n, "web", iqn)
	must(t, err)
	ready(t, s)
	data, got := make([]byte, 64<<10), make([]byte, 64<<10)
	for i := range data {
		data[i] = byte(i * 7)
	}
	const lba = segmentBytes/512 - 64 // across the border of two segments
	must(t, s.Write(limit(t), 0, lba, data, 512))
	must(t, n.Close())

	n = open(t, n.Config())
	eventually(t, "the new incarnation is ready", n.Ready)
	s, err = login(t, n, "web", iqn)
	must(t, err)
	ready(t, s)
	must(t, s.Read(limit(t), 0, lba, got, 512))
	if !slices.Equal(got, data) {
		t.Error("the data differs")
	}
	report, err := n.Verify(limit(t), "db")
	must(t, err)
	if report.Blocks != 16 || report.Copies != 2 || len(report.Differences) != 0 {
		t.Errorf("verification: %+v", report)
	}
}

func TestAHostThatMayOnlyReadCannotWrite(t *testing.T) {
	t.Parallel()
	n, iqn := published(t, true)
	s, err := login(t, n, "web", iqn)
	must(t, err)
	ready(t, s)
	block := make([]byte, 512)
	must(t, s.Read(limit(t), 0, 0, block, 512))
	var status *initiator.StatusError
	const dataProtect, writeProtected = 0x7, 0x2700 // SPC-4 4.5.6
	if err := s.Write(limit(t), 0, 0, block, 512); !errors.As(err, &status) || status.Key != dataProtect || status.Code != writeProtected {
		t.Errorf("a write: %v", err)
	}
}

func TestTakingAVolumeBackEndsTheHostsSession(t *testing.T) {
	t.Parallel()
	n, iqn := published(t, false)
	s, err := login(t, n, "web", iqn)
	must(t, err)
	must(t, n.Withdraw(limit(t), "db", "web"))
	eventually(t, "the session is over", func() bool { return s.Err() != nil })
	var refused *initiator.LoginError
	if _, err := login(t, n, "web", iqn); !errors.As(err, &refused) || refused.Status != uint16(session.LoginNotFound) {
		t.Errorf("the host's next login: %v", err)
	}
}

func TestANodeThatIsNotReadyTellsHostsToTryAgain(t *testing.T) {
	t.Parallel()
	n, iqn := published(t, false)
	s := n.service.Load()
	e := s.engine.Swap(nil) // as before it is registered
	defer s.engine.Store(e)
	var refused *initiator.LoginError
	if _, err := login(t, n, "web", iqn); !errors.As(err, &refused) || refused.Status != uint16(session.LoginUnavailable) {
		t.Errorf("a login: %v", err)
	}
	if uint16(session.LoginUnavailable) != 0x0301 {
		t.Errorf("unavailable is %04x", uint16(session.LoginUnavailable))
	}
}

func TestOnlyFewerOrOtherRightsEndSessions(t *testing.T) {
	t.Parallel()
	volume := func(exports ...cluster.Export) *cluster.State {
		s := cluster.New()
		s.Name = "test"
		s.Volumes[1] = &cluster.Volume{ID: 1, Name: "db", Exports: exports}
		return s
	}
	web, mail, reader := cluster.Export{Host: "web"}, cluster.Export{Host: "mail"}, cluster.Export{Host: "web", ReadOnly: true}
	gone := cluster.New()
	for _, c := range []struct {
		name        string
		before, now *cluster.State
		ends        bool
	}{
		{"nothing changed", volume(web), volume(web), false},
		{"one more host", volume(web), volume(web, mail), false},
		{"one host fewer", volume(web, mail), volume(mail), true},
		{"read-only from now on", volume(web), volume(reader), true},
		{"the volume is gone", volume(web), gone, true},
		{"a volume without hosts is gone", volume(), gone, false},
	} {
		if got := withdrawn(c.before, c.now); (len(got) == 1) != c.ends {
			t.Errorf("%s: ends %v", c.name, got)
		}
	}
}

func TestPortalsAreThoseOfNodesThatEverRan(t *testing.T) {
	t.Parallel()
	s := cluster.New()
	s.Nodes[1] = &cluster.Node{ID: 1, Incarnation: 3, Up: true, Portals: []string{"10.1.0.1:3260", "10.2.0.1:3260"}}
	s.Nodes[2] = &cluster.Node{ID: 2, Incarnation: 1, Portals: []string{"10.1.0.2:3260"}}
	s.Nodes[3] = &cluster.Node{ID: 3, Portals: []string{"10.1.0.3:3260"}}
	var got []string
	for _, p := range portalsOf(s) {
		got = append(got, p.Address.String())
		if want := wire.NodeID(p.Address.Addr().As4()[3]); p.Group != uint16(want) {
			t.Errorf("%v is in group %d", p.Address, p.Group)
		}
	}
	if want := []string{"10.1.0.1:3260", "10.2.0.1:3260", "10.1.0.2:3260"}; !slices.Equal(got, want) {
		t.Errorf("portals %v instead of %v", got, want)
	}
}
