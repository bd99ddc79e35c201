//go:build faults

package faults

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ashlar/appliance/api"
	"ashlar/scripts/internal/clusters"
	"ashlar/target/nvme"
	"ashlar/target/targettest/initiator"
	"ashlar/target/targettest/nvmehost"
)

const secondIQN = "iqn.2026-11.com.example:second"

const lbaBytes = 512

// compareAndWrite is COMPARE AND WRITE of one logical block (SBC-3 5.2).
func compareAndWrite(lba uint64, old, new []byte) *initiator.Command {
	cdb := make([]byte, 16)
	cdb[0] = 0x89
	binary.BigEndian.PutUint64(cdb[2:], lba)
	cdb[13] = 1
	return &initiator.Command{CDB: cdb, Out: append(bytes.Clone(old), new...)}
}

// tallies are some hosts' counters in one logical block, each raised by one with
// each of its owner's increments.
type tallies [3]uint64

func (c tallies) block() []byte {
	b := make([]byte, lbaBytes)
	sum := uint64(0)
	for i, n := range c {
		binary.BigEndian.PutUint64(b[8*i:], n)
		sum = sum<<20 + n
	}
	fillPiece(b[8*len(c):], int(sum))
	return b
}

func parseTallies(b []byte) (c tallies, err error) {
	for i := range c {
		c[i] = binary.BigEndian.Uint64(b[8*i:])
	}
	if !bytes.Equal(c.block(), b) {
		return c, errors.New("the counters' block is none that was ever written")
	}
	return c, nil
}

// incrementer is a host that raises its counter by COMPARE AND WRITE, or by Compare
// fused with Write, and never believes an answer that it did not get.
type incrementer struct {
	hosts []writer // its paths; it uses the first and fails over to the next
	self  int
	at    int
	known tallies

	good       atomic.Uint64 // increments that were answered GOOD
	found      atomic.Uint64 // whose answer was lost, and that were then found done
	lost       atomic.Uint64 // answers that did not come
	miscompare atomic.Uint64
	itself     atomic.Uint64 // miscompares of a repetition against what it had written itself
}

func isMiscompare(err error) bool {
	var s *initiator.StatusError
	return errors.As(err, &s) && s.Status == statusCheck && s.Key == keyMiscomp || nvmehost.Is(err, nvme.CompareFailure)
}

// increment raises the counter once.
func (i *incrementer) increment(ctx context.Context) error {
	for {
		next := i.known
		next[i.self]++
		repeated := false
		for {
			err := i.path().compareAndWrite(ctx, 0, i.known.block(), next.block())
			switch {
			case err == nil:
				i.known = next
				i.good.Add(1)
				return nil
			case isMiscompare(err):
				i.miscompare.Add(1)
			case isAttention(err): // it was not carried out
				continue
			case ctx.Err() != nil || !isTemporary(err):
				return err
			default:
				repeated = true
				i.lost.Add(1)
				i.leave(ctx)
				continue
			}
			break
		}
		if err := i.look(ctx); err != nil {
			return err
		}
		if !repeated || i.known[i.self] != next[i.self] {
			continue // it is the other host's, before ours
		}
		i.found.Add(1)
		if i.known == next {
			i.itself.Add(1)
		}
		return nil
	}
}

func (i *incrementer) path() writer { return i.hosts[i.at%len(i.hosts)] }

// leave goes to the next path.
func (i *incrementer) leave(ctx context.Context) {
	i.path().close()
	i.at++
	select {
	case <-ctx.Done():
	case <-time.After(20 * time.Millisecond):
	}
}

// look reads the counters.
func (i *incrementer) look(ctx context.Context) error {
	for {
		b := make([]byte, lbaBytes)
		err := i.path().readOnce(ctx, 0, b)
		if err == nil {
			i.known, err = parseTallies(b)
			return err
		}
		if ctx.Err() != nil || !isTemporary(err) {
			return err
		}
		if !isAttention(err) {
			i.leave(ctx)
		}
	}
}

// Two hosts on two nodes raise counters in one block by COMPARE AND WRITE while
// the volume's head is killed, the next one frozen, and the one after that told to
// hand over. Each increment that was answered GOOD is there once, and no other.
func TestCompareAndWriteCountsEachIncrementOnceOverNodesAndHeads(t *testing.T) {
	c, v := counters(t, clusters.Plan{})
	head, last, witness := holders(t, c)
	iscsi := func(n *clusters.Node, name string, number byte) writer { return newHost(t, n, v.IQN, name, number) }
	r := &race{T: t, hosts: []*incrementer{
		{self: 0, hosts: []writer{iscsi(witness, clusters.HostIQN, 10), iscsi(last, clusters.HostIQN, 11), iscsi(head, clusters.HostIQN, 12)}},
		{self: 1, hosts: []writer{iscsi(last, secondIQN, 10), iscsi(witness, secondIQN, 11), iscsi(head, secondIQN, 12)}},
	}}
	r.throughHeads(c, v)
}

// The same for two hosts that fuse Compare with Write over NVMe/TCP, and a third one
// beside them that has COMPARE AND WRITE.
func TestFusedCompareAndWriteCountsEachIncrementOnceOverNodesAndHeads(t *testing.T) {
	c, v := counters(t, clusters.Plan{})
	publishNVMe(t, c, v, map[string]string{clusters.HostIQN: hostNQN, secondIQN: secondHostNQN})
	head, last, witness := holders(t, c)
	over := func(n *clusters.Node, name string) writer { return newNVMeHost(t, n, v, name) }
	iscsi := func(n *clusters.Node, number byte) writer { return newHost(t, n, v.IQN, clusters.HostIQN, number) }
	r := &race{T: t, hosts: []*incrementer{
		{self: 0, hosts: []writer{over(witness, hostNQN), over(last, hostNQN), over(head, hostNQN)}},
		{self: 1, hosts: []writer{over(last, secondHostNQN), over(witness, secondHostNQN), over(head, secondHostNQN)}},
		{self: 2, hosts: []writer{iscsi(head, 10), iscsi(witness, 11), iscsi(last, 12)}},
	}}
	r.throughHeads(c, v)
}

// counters are a cluster with a volume whose first block has all counters at 0.
func counters(t *testing.T, plan clusters.Plan) (*clusters.Cluster, api.Volume) {
	t.Helper()
	c := clusters.New(t, plan)
	v := c.Publish("v", "16M", 2, secondIQN)
	c.AwaitInSync("v", 30*time.Second)
	start := newHost(t, c.Head("v"), v.IQN, clusters.HostIQN, 9)
	start.must(t, &initiator.Command{CDB: initiator.CDB16(opWrite, 0, 1), Out: tallies{}.block()})
	start.close()
	return c, v
}

// throughHeads runs a race through three changes of the head, and looks what the
// counters are in the end.
func (r *race) throughHeads(c *clusters.Cluster, v api.Volume) {
	r.Helper()
	atLeast := uint64(10_000)
	if long() {
		atLeast = 100_000
	}
	head := c.Head("v")
	r.start()
	r.await(atLeast / 4)
	before, _ := c.Show("v")
	head.Kill()
	killed := c.AwaitTakeover("v", before.Volume, 30*time.Second)
	head.Start()
	c.AwaitInSync("v", time.Minute)
	r.await(atLeast / 2)
	c.Node(killed.Head).Freeze()
	frozen := c.AwaitTakeover("v", killed.Volume, 30*time.Second)
	r.await(r.sum() + 100)
	c.Node(killed.Head).Thaw()
	c.AwaitInSync("v", time.Minute)
	_, next, _ := holders(r.T, c)
	next.Must("volume", "move-head", "v", next.Name)
	c.AwaitTakeover("v", frozen.Volume, 30*time.Second)
	r.await(max(atLeast, r.sum()+100))
	took := r.stop()

	c.AwaitInSync("v", time.Minute)
	var want tallies
	for k, i := range r.hosts {
		want[k] = i.done()
	}
	for _, n := range c.Nodes {
		h := newHost(r.T, n, v.IQN, clusters.HostIQN, 8)
		read := &initiator.Command{CDB: initiator.CDB16(opRead, 0, 1), In: make([]byte, lbaBytes)}
		h.must(r.T, read)
		if got, err := parseTallies(read.In); err != nil || got != want {
			r.Errorf("through %s the counters are %d, want %d: %v", n.Name, got, want, err)
		}
	}
	c.Verify("v")
	for k, i := range r.hosts {
		r.Logf("host %d: %d increments, %d more found done after %d lost answers, %d miscompares, %d against itself",
			k, i.good.Load(), i.found.Load(), i.lost.Load(), i.miscompare.Load(), i.itself.Load())
		if i.itself.Load() != 0 {
			r.Errorf("host %d: %d repetitions miscompared against what they had written themselves", k, i.itself.Load())
		}
	}
	r.Logf("%d increments in %.1f s", r.sum(), took.Seconds())
}

// race is some hosts that increment until they are stopped.
type race struct {
	*testing.T
	hosts    []*incrementer
	begin    time.Time
	stopping atomic.Bool
	running  sync.WaitGroup
	problem  atomic.Pointer[error]
}

// raceMax is for all of it.
const raceMax = 10 * time.Minute

func (r *race) start() {
	ctx, cancel := context.WithTimeout(r.Context(), raceMax)
	r.Cleanup(func() {
		cancel()
		r.running.Wait()
	})
	r.begin = time.Now()
	for _, i := range r.hosts {
		r.running.Go(func() {
			for !r.stopping.Load() {
				if err := i.increment(ctx); err != nil {
					r.problem.Store(&err)
					return
				}
			}
		})
	}
}

// done is how often the host's counter was raised, for all that it knows.
func (i *incrementer) done() uint64 { return i.good.Load() + i.found.Load() }

func (r *race) sum() (n uint64) {
	for _, i := range r.hosts {
		n += i.done()
	}
	return n
}

// await waits for so many increments in all.
func (r *race) await(n uint64) {
	r.Helper()
	for r.sum() < n {
		if err := r.problem.Load(); err != nil {
			r.Fatalf("after %d increments: %v", r.sum(), *err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// stop lets each host end its increment.
func (r *race) stop() time.Duration {
	r.Helper()
	r.stopping.Store(true)
	r.running.Wait()
	if err := r.problem.Load(); err != nil {
		r.Fatal(*err)
	}
	return time.Since(r.begin)
}

// lock is a lock of a cluster file system: a block that holds its owner or zeros.
type lock struct {
	*testing.T
	lba uint64
}

func owner(name string) []byte {
	b := make([]byte, lbaBytes)
	copy(b, name)
	return b
}

// try changes the lock from one owner to another, "" for nobody.
func (l lock) try(h *host, from, to string) error {
	l.Helper()
	ctx, cancel := context.WithTimeout(l.Context(), 30*time.Second)
	defer cancel()
	return h.do(ctx, compareAndWrite(l.lba, owner(from), owner(to)))
}

func (l lock) changes(h *host, from, to string) {
	l.Helper()
	if err := l.try(h, from, to); err != nil {
		l.Fatalf("%q to %q through %s: %v", from, to, h.node.Name, err)
	}
}

func (l lock) refuses(h *host, from, to, why string) {
	l.Helper()
	if err := l.try(h, from, to); !isMiscompare(err) {
		l.Fatalf("%q to %q through %s, %s: %v, want a miscompare", from, to, h.node.Name, why, err)
	}
}

// acknowledged tells the target that the host has all answers so far: the
// ExpStatSN of its next request says so.
func (l lock) acknowledged(h *host) {
	l.Helper()
	h.must(l.T, testUnitReady())
}

// A lock whose answer is lost with its node or its connection is the host's all
// the same: what it repeats through another node is GOOD. Yet nobody else gets
// the lock meanwhile, and what was acknowledged is no repetition any more.
func TestALockWhoseAnswerWasLostIsGivenOnce(t *testing.T) {
	t.Parallel()
	c := clusters.New(t, clusters.Plan{Addresses: neighbourhood()})
	v := c.Publish("v", "16M", 2, secondIQN)
	c.AwaitInSync("v", 30*time.Second)
	next := uint64(0)
	for _, lose := range []struct {
		name  string
		where func() *clusters.Node
		how   func(t *testing.T, a *host)
	}{
		{"its connection is cut", func() *clusters.Node { return c.NotHead("v") }, hangUp},
		{"its portal's node dies", func() *clusters.Node { return c.NotHead("v") }, func(t *testing.T, a *host) { a.node.Kill() }},
		{"its head's node dies", func() *clusters.Node { return c.Head("v") }, func(t *testing.T, a *host) { a.node.Kill() }},
		{"its portal stands still", func() *clusters.Node { return c.NotHead("v") }, func(t *testing.T, a *host) {
			a.node.Freeze()
			time.Sleep(failoverAfter) // the host's patience
		}},
		{"its connection to the head is cut", func() *clusters.Node { return c.Head("v") }, hangUp},
	} {
		t.Run(lose.name, func(t *testing.T) {
			first := lose.where()
			other := c.Nodes[first.Number%len(c.Nodes)]
			next += lbasPerBlock
			l := lock{t, next}
			defer bringBack(c, first)
			a1 := newHost(t, first, v.IQN, clusters.HostIQN, 1)
			a2 := newHost(t, other, v.IQN, clusters.HostIQN, 2)
			b := newHost(t, third(c, first, other), v.IQN, secondIQN, 3)
			l.changes(a1, "", "A") // the host tells nobody that this answer came
			lose.how(t, a1)
			l.refuses(b, "", "B", "while A has the lock")
			l.changes(a2, "", "A")
			l.acknowledged(a2)
			l.refuses(a2, "", "A", "again, after the repetition was acknowledged")
			l.changes(a2, "A", "")
			l.acknowledged(a2)
			l.changes(b, "", "B")
			l.refuses(a2, "", "A", "while B has the lock")
			l.changes(b, "B", "")
			a1.close()
			bringBack(c, first)
			l.changes(a1, "", "A")
			l.acknowledged(a1)
			a1.close()
			l.refuses(a2, "", "A", "which was acknowledged through another node")
			l.changes(a2, "A", "")
			l.changes(b, "", "B")
			l.refuses(a2, "", "A", "that A had released and B has locked since")
		})
	}
}

// hangUp ends a host's session without a word. A host does not go to another path
// before 2 s have passed; until the portal has noticed, what it repeats would be
// another command.
func hangUp(_ *testing.T, a *host) {
	a.close()
	time.Sleep(2 * time.Second)
}

// bringBack starts a node where it does not run, and lets it go on where it stands.
func bringBack(c *clusters.Cluster, n *clusters.Node) {
	if !n.Runs() {
		n.Start()
	}
	n.Thaw()
	n.AwaitReady()
	c.AwaitInSync("v", 30*time.Second)
}
