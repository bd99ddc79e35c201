package consensus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"

	"ashlar/node/cluster"
	"ashlar/replication/wire"
)

func host(name string) cluster.Command {
	return cluster.Command{AddHost: &cluster.AddHost{Name: name, IQN: "iqn.2026-11.io.example:" + name}}
}

func trio(l *lab) {
	one := l.found()
	two := l.join(2, one)
	l.join(3, two)
	l.await("three voters by raft and by the state", func(n *labNode) bool {
		version, ids := n.Voters()
		return version > 0 && slices.Equal(ids, []wire.NodeID{1, 2, 3}) && slices.Equal(n.State().Voters(), ids)
	})
}

func TestThreeNodesOutliveTheirLeader(t *testing.T) {
	l := newLab(t)
	trio(l)
	l.await("one version of the voters", func(n *labNode) bool {
		a, _ := n.Voters()
		b, _ := l.nodes[1].Voters()
		return a == b
	})
	for id, n := range l.nodes {
		l.propose(n, host(fmt.Sprintf("from-%d", id)))
		if n.State().Hosts[fmt.Sprintf("from-%d", id)] == nil {
			t.Errorf("node %d does not see what it proposed", id)
		}
	}
	// A request that is in the air while its leader dies.
	leader := l.leader()
	var survivor *labNode
	for _, n := range l.nodes {
		if n != leader {
			survivor = n
		}
	}
	began := time.Now()
	l.stop(leader)
	again := host("during")
	again.Request = "one request"
	l.propose(survivor, again)
	t.Logf("agreed %v after the leader's end", time.Since(began))
	index := survivor.State().Index
	if r := l.propose(survivor, again); r.Problem != "" {
		t.Errorf("the same request was told: %s", r.Problem)
	}
	if len(survivor.State().Hosts) != 4 || survivor.State().Index <= index {
		t.Errorf("%d hosts at index %d, before %d", len(survivor.State().Hosts), survivor.State().Index, index)
	}
	back := l.start(leader.id, nil)
	l.register(back)
	l.await("the same state", func(n *labNode) bool { return cmp.Equal(n.State(), back.State()) })
	if back.State().Nodes[leader.id].Incarnation != 2 {
		t.Error("the restart is no new incarnation")
	}
}

// A command comes back to a node that does not lead when that node has applied it. It does not wait for
// raft to repeat itself, which takes more than spreadByItself.
func TestWhatIsAgreedOnIsHeardSoon(t *testing.T) {
	l := newLab(t)
	trio(l)
	leader := l.leader()
	took := make([]time.Duration, 0, 20)
	for id, n := range l.nodes {
		for i := 0; n != leader && i < 10; i++ {
			began := time.Now()
			l.propose(n, host(fmt.Sprintf("%d-of-%d", i, id)))
			took = append(took, time.Since(began))
		}
	}
	slices.Sort(took)
	t.Logf("a command through a follower takes %v (%v to %v)", took[len(took)/2], took[0], took[len(took)-1])
	if took[len(took)/2] > spreadByItself/2 {
		t.Errorf("a command through a follower takes %v", took[len(took)/2])
	}
}

// The leader's connections to a follower that has begun anew are of before: raft tries again when an entry follows, or after more
// than spreadByItself.
func TestAFollowerThatBeganAnewIsReachedSoon(t *testing.T) {
	l := newLab(t)
	trio(l)
	leader := l.leader()
	var others []wire.NodeID
	for id := range l.nodes {
		if id != leader.id {
			others = append(others, id)
		}
	}
	var took []time.Duration
	for i := range 5 {
		for _, id := range others {
			l.stop(l.nodes[id])
		}
		n := l.start(others[0], nil) // without it there is no majority
		began := time.Now()
		l.propose(n, host(fmt.Sprintf("round-%d", i)))
		took = append(took, time.Since(began))
		l.propose(l.start(others[1], nil), host(fmt.Sprintf("all-%d", i)))
	}
	slices.Sort(took)
	t.Logf("a command takes %v", took)
	if took[len(took)/2] > spreadByItself {
		t.Errorf("a command takes %v", took[len(took)/2])
	}
}

// Leases that the old majority gave must run out first, also those given under
// the leader before, of whose last change a new one does not know.
func TestVotersChangeOnlyAfterTheSpacing(t *testing.T) {
	l := newLab(t)
	l.adapt = func(c *Config) { c.VoterSpacing = time.Second }
	one := l.found()
	l.join(2, one)
	l.join(3, one)
	var changes []time.Time
	_, before := one.Voters()
	for deadline := time.Now().Add(patience); len(changes) < 2; time.Sleep(time.Millisecond) {
		if _, now := one.Voters(); !slices.Equal(now, before) {
			before, changes = now, append(changes, time.Now())
		}
		if time.Now().After(deadline) {
			t.Fatalf("voters %v", before)
		}
	}
	if apart := changes[1].Sub(changes[0]); apart < 900*time.Millisecond {
		t.Errorf("two changes within %v", apart)
	}
	began := time.Now()
	l.stop(one) // two of three remain, and one of them will lead
	four := l.leader()
	l.join(4, four)
	_, ids := four.Voters()
	if len(ids) != 3 {
		t.Fatalf("voters %v", ids)
	}
	elected := time.Now()
	l.propose(four, cluster.Command{Fence: &cluster.Fence{Dead: []cluster.Dead{{Node: 1, Incarnation: 1}}, Refused: true}})
	l.await("the dead voter is replaced", func(n *labNode) bool {
		_, ids := n.Voters()
		return slices.Equal(ids, []wire.NodeID{2, 3, 4}) && slices.Equal(n.State().Voters(), ids)
	})
	t.Logf("new leader after %v, voter replaced %v later", elected.Sub(began), time.Since(elected))
}

// Nobody knows any state after a restart before a leader says what is agreed,
// so the addresses must be known without it.
func TestAllNodesRestartAtOnce(t *testing.T) {
	l := newLab(t)
	trio(l)
	l.propose(l.nodes[2], host("kept"))
	var stopped []wire.NodeID
	for id, n := range l.nodes {
		l.stop(n)
		stopped = append(stopped, id)
	}
	for _, id := range stopped {
		if n := l.start(id, nil); !n.Existing() {
			t.Errorf("node %d has forgotten its cluster", id)
		}
	}
	for _, n := range l.nodes {
		l.register(n)
		if n.State().Hosts["kept"] == nil {
			t.Error("what was agreed is lost")
		}
	}
	// And the lead can be handed over.
	leader := l.leader()
	if err := leader.LeadershipTransfer(l.context()); err != nil {
		t.Fatal(err)
	}
	l.await("another leader", func(n *labNode) bool { id, ok := n.Leader(); return ok && id != leader.id })
	l.propose(leader, host("after"))
}

func TestSnapshotReachesWhoIsBehindIt(t *testing.T) {
	l := newLab(t)
	l.adapt = func(c *Config) { c.trailing = 1 }
	one := l.found()
	for i := range 20 {
		l.propose(one, host(fmt.Sprintf("h%d", i)))
	}
	// Node 2 is admitted before the snapshot and comes after it: even that it is
	// admitted reaches it only through the snapshot.
	l.stop(l.start(2, nil)) // has an address now
	l.propose(one, cluster.Command{AddNode: &cluster.AddNode{Name: "node-2", Peer: l.addresses[2]}})
	l.await("node 2 is admitted", func(n *labNode) bool { _, servers := n.seen.latest(); return len(servers) == 2 })
	l.propose(one, host("last"))
	if err := one.Snapshot(l.context()); err != nil {
		t.Fatal(err)
	}
	v1, _ := one.Voters()
	if first, err := one.store.FirstIndex(); first <= v1 || err != nil {
		t.Fatalf("the log still begins at %d, %v", first, err)
	}
	two := l.start(2, l.addresses)
	l.register(two)
	l.await("the same state", func(n *labNode) bool { return cmp.Equal(n.State(), one.State()) && len(n.State().Hosts) == 21 })
	l.await("both vote", func(n *labNode) bool { _, ids := n.Voters(); return len(ids) == 2 })
	v1, ids1 := one.Voters()
	if v2, ids2 := two.Voters(); v1 != v2 || !slices.Equal(ids1, ids2) {
		t.Errorf("voters %v of %d, and %v of %d", ids1, v1, ids2, v2)
	}
	before := one.State()
	l.stop(one)
	one = l.start(1, nil)
	if len(one.State().Hosts) != 21 {
		t.Error("the snapshot was not restored")
	}
	if v, ids := one.Voters(); v != v1 || !slices.Equal(ids, ids1) {
		t.Errorf("after the restart voters %v of %d", ids, v)
	}
	l.await("what was agreed after the snapshot", func(n *labNode) bool { return n.State().Index >= before.Index })
}

func TestNobodyLeadsWithoutAMajority(t *testing.T) {
	l := newLab(t)
	trio(l)
	l.stop(l.nodes[2])
	l.stop(l.nodes[3])
	one := l.nodes[1]
	l.await("no leader", func(n *labNode) bool { _, ok := n.Leader(); return !ok && !n.IsLeader() })
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if _, err := one.Propose(ctx, host("alone")); !errors.Is(err, ErrNoLeader) || !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if err := one.Barrier(l.context()); !errors.Is(err, ErrNotLeader) {
		t.Error(err)
	}
	began := time.Now()
	if err := one.Shutdown(); err != nil || time.Since(began) > stopMax {
		t.Error(err, time.Since(began))
	}
}

// faulty is a disk that hangs or fails when told.
type faulty struct {
	stores
	fault atomic.Pointer[func() error] // the entry that follows what is agreed on may be on its way
}

func (f *faulty) StoreLogs(l []*raft.Log) error {
	if fault := f.fault.Load(); fault != nil {
		if err := (*fault)(); err != nil {
			return err
		}
	}
	return f.stores.StoreLogs(l)
}

func TestDiskThatHangsOrFailsIsFatal(t *testing.T) {
	for name, c := range map[string]struct {
		hang bool
		max  time.Duration
	}{"hangs": {true, writeMax + 2*time.Second}, "fails": {false, time.Second}} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			free := make(chan struct{})
			broken := errors.New("input/output error")
			var disk *faulty
			l.adapt = func(c *Config) {
				c.wrap = func(s stores) stores { disk = &faulty{stores: s}; return disk }
				c.StepEvery = time.Hour // nobody else writes
			}
			n := l.found()
			fault := func() error {
				if c.hang {
					<-free
					return nil
				}
				return broken
			}
			disk.fault.Store(&fault)
			t.Cleanup(func() { close(free) }) // before the lab's own
			began := time.Now()
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			go n.Propose(ctx, host("h"))
			select {
			case err := <-n.fatal:
				if took := time.Since(began); took > c.max || c.hang && took < writeMax {
					t.Errorf("after %v", took)
				}
				if !c.hang && !errors.Is(err, broken) {
					t.Error(err)
				}
			case <-time.After(patience):
				t.Fatal("nothing was fatal")
			}
			if len(n.State().Hosts) != 0 {
				t.Error("a command was applied that no disk holds")
			}
		})
	}
}

func TestEntryOfANewerVersionIsFatal(t *testing.T) {
	var fatal error
	m := newMachine(func(*cluster.State) {}, func(err error) { fatal = err })
	before := m.view.Load()
	m.Apply(&raft.Log{Index: 1, Data: fmt.Appendf(nil, `{"Version":%d}`, cluster.FormatVersion+1)})
	if fatal == nil || m.view.Load() != before {
		t.Error("a node skipped what others did, and went on")
	}
	if _, err := m.Snapshot(); err == nil {
		t.Error("and would write it down")
	}
}
