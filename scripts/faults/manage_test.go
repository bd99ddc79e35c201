//go:build faults

package faults

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"ashlar/scripts/internal/clusters"
	"ashlar/target/targettest/initiator"
)

// Task management functions (RFC 7143 11.5.1), and the responses to them (11.6.1).
const (
	abortTaskSet     = 2
	clearTaskSet     = 4
	logicalUnitReset = 5

	functionComplete = 0
	functionRejected = 255
)

// errRejected is the answer that nothing is proven. A host goes on to ruder means.
// It is right only where the head itself is gone for most of the time there is.
var errRejected = errors.New("function rejected")

// Additional sense codes of the unit attentions that tell of them (SPC-4 4.5.6.2).
const (
	codeReset                  = 0x2903
	codeAccessStateChanged     = 0x2a06
	codeCleared                = 0x2f00
	codeRegistrationsPreempted = 0x2a05
)

// managedMax is what a host waits for a task management function at the least.
const managedMax = 4 * time.Second

const (
	keyOfManager = 0xa
	keyOfOther   = 0xb
)

// function is a way to end what came through other nodes.
type function struct {
	name    string
	prepare func(m *management) // before anything is frozen
	call    func(m *management) error
	own     bool     // the caller's commands end
	others  bool     // those of other hosts end
	told    []uint16 // additional sense codes of what they are told
}

// spares tells whether a host's commands go on: of the caller (0) or the other (1).
func (f function) spares(host int) bool { return host == 0 && !f.own || host == 1 && !f.others }

func manage(function uint8) func(m *management) error {
	return func(m *management) error {
		ctx, cancel := context.WithTimeout(m.Context(), hostTimeout)
		defer cancel()
		response, err := m.manager.session.Manage(ctx, function, 0, 0)
		switch {
		case err != nil:
			return err
		case response == functionRejected:
			return errRejected
		case response != functionComplete:
			return fmt.Errorf("response %d", response)
		}
		return nil
	}
}

var functions = []function{
	{"LOGICAL UNIT RESET", nil, manage(logicalUnitReset), true, true, []uint16{codeReset}},
	{"CLEAR TASK SET", nil, manage(clearTaskSet), true, true, []uint16{codeCleared}},
	{"PREEMPT AND ABORT", registerBoth, preemptAndAbort, false, true, []uint16{codeRegistrationsPreempted}},
	{"ABORT TASK SET", nil, manage(abortTaskSet), true, false, nil},
}

// registerBoth registers both hosts and reserves for those who are registered.
func registerBoth(m *management) {
	m.manager.must(m.T, reserveOut(prRegister, 0, 0, keyOfManager, false))
	m.other.must(m.T, reserveOut(prRegister, 0, 0, keyOfOther, false))
	m.manager.must(m.T, reserveOut(prReserve, typeWriteExclusiveRegistrants, keyOfManager, 0, false))
}

func preemptAndAbort(m *management) error {
	return m.manager.once(m.Context(), reserveOut(prPreemptAndAbort, typeWriteExclusiveRegistrants, keyOfManager, keyOfOther, false))
}

// management is a volume with two hosts on two nodes, one of which ends what
// both have under way while a third node is frozen.
type management struct {
	*testing.T
	c              *clusters.Cluster
	target         string
	round          uint64
	manager, other *host
	watch          *watch
}

const (
	oldVersion = 1
	newVersion = 2
	underWay   = 16 // writes of each host
)

// spans are the blocks that a host writes in a round; host is 0 or 1.
func (m *management) spans(host uint64) (all []span) {
	for i := range uint64(underWay) {
		all = append(all, span{m.round*2*underWay + host*underWay + i, 1})
	}
	return all
}

// end has one host call a function while writes of two hosts, through two nodes,
// wait for a third one that is frozen: the head, or the node with the other copy.
// Whatever the first read finds after the answer is what all later ones must find.
func (m *management) end(f function, atWitness, freezeHead bool) {
	m.Helper()
	m.c.AwaitInSync("v", time.Minute)
	beside, frozen, through := holders(m.T, m.c)
	if freezeHead {
		beside, frozen = frozen, beside
	}
	if !atWitness {
		through, beside = beside, through
	}
	m.round++
	m.manager = newHost(m.T, through, m.target, clusters.HostIQN, 1)
	m.other = newHost(m.T, beside, m.target, secondIQN, 2)
	defer m.manager.close()
	defer m.other.close()
	both := []*host{m.manager, m.other}
	for k, h := range both {
		for _, s := range m.spans(uint64(k)) {
			h.must(m.T, s.write(oldVersion))
		}
	}
	if f.prepare != nil {
		f.prepare(m)
	}
	frozen.Freeze()
	var commands [2][]*initiator.Command
	var results [2][]<-chan error
	for k, h := range both {
		for _, s := range m.spans(uint64(k)) {
			c := s.write(newVersion)
			commands[k], results[k] = append(commands[k], c), append(results[k], submit(h.session, c))
		}
		if err := h.session.Ping(m.Context(), nil); err != nil { // so the node has read them
			m.Fatal(err)
		}
	}
	begin := time.Now()
	err := f.call(m)
	took := time.Since(begin)
	early := m.ended(results)
	limit := managedMax
	if freezeHead {
		limit += managedMax / 8 // a busy machine's own: the node waits for the proof as long as it may
	}
	if took > limit || err != nil && !(freezeHead && errors.Is(err, errRejected)) {
		m.Errorf("%s through %s, %s frozen: %v after %v", f.name, through.Name, frozen.Name, err, took)
	}
	if told := m.attentions(m.other); err == nil && !slices.Equal(told, f.told) {
		m.Errorf("%s through %s, %s frozen: the host at %s is told %04x, want %04x", f.name, through.Name, frozen.Name, beside.Name, told, f.told)
	}
	first := m.settle(through, beside)
	frozen.Thaw()
	m.watch.add(first)
	done := "rejected: there was no proof in time"
	if err == nil {
		done = m.outcome(f, commands, results, early, first)
	}
	if f.prepare != nil {
		m.manager.must(m.T, reserveOut(prClear, 0, keyOfManager, 0, false))
	}
	m.Logf("%s through %s, %s frozen: answered after %v; %s", f.name, through.Name, frozen.Name, took.Round(time.Millisecond), done)
}

// ended tells which commands have an answer: as a node sends answers in their
// order, all that were on their way are there before that to a ping.
func (m *management) ended(results [2][]<-chan error) (early [2][underWay]bool) {
	m.Helper()
	for k, h := range []*host{m.manager, m.other} {
		if err := h.session.Ping(m.Context(), nil); err != nil {
			m.Fatal(err)
		}
		for i, r := range results[k] {
			early[k][i] = len(r) > 0
		}
	}
	return early
}

// attentions is what a host is told next, besides that the head has moved.
func (m *management) attentions(h *host) (codes []uint16) {
	m.Helper()
	for {
		c := testUnitReady()
		err := h.once(m.Context(), c)
		if err != nil && !isAttention(err) {
			m.Errorf("TEST UNIT READY through %s: %v", h.node.Name, err)
		}
		if !isAttention(err) {
			return codes
		}
		if _, code := c.SenseCode(); code != codeAccessStateChanged {
			codes = append(codes, code)
		}
	}
}

// settle reads the round's blocks through two nodes: what they hold from now on.
func (m *management) settle(nodes ...*clusters.Node) (first []settled) {
	m.Helper()
	ctx, cancel := context.WithTimeout(m.Context(), 30*time.Second)
	defer cancel()
	for _, n := range nodes {
		h := newHost(m.T, n, m.target, clusters.HostIQN, 3)
		for i, s := range append(m.spans(0), m.spans(1)...) {
			versions, err := h.read(ctx, s)
			if err != nil {
				m.Fatal(err)
			}
			if len(first) <= i {
				first = append(first, settled{s, versions[0]})
			} else if first[i].version != versions[0] {
				m.Errorf("block %d has version %d through %s, and had %d before", s.block, versions[0], n.Name, first[i].version)
			}
		}
		h.close()
	}
	return first
}

// outcome tells what became of the writes. It fails the test where one that was
// acknowledged is not there, where one that the function means has another answer,
// and where one that it does not mean is not done.
func (m *management) outcome(f function, commands [2][]*initiator.Command, results [2][]<-chan error, early [2][underWay]bool, first []settled) string {
	m.Helper()
	var good, busy, silent, there int
	wrong := map[string]int{}
	for k, h := range []*host{m.manager, m.other} {
		for i, c := range commands[k] {
			if f.spares(k) {
				select {
				case <-results[k][i]:
				case <-time.After(hostTimeout):
				}
			}
			is := first[k*underWay+i].version == newVersion
			switch {
			case h.session.Forget(c):
				silent++
				if f.spares(k) {
					wrong[fmt.Sprintf("of host %d, whom nobody means, without an answer", k)]++
				}
			case c.Status == statusGood && c.Err == nil:
				good++
				if !is {
					wrong["acknowledged and not there"]++
				}
				if !early[k][i] && !f.spares(k) {
					wrong[fmt.Sprintf("of host %d acknowledged when they had been ended", k)]++
				}
			case c.Status == statusBusy && c.Err == nil && k == 1 && !f.spares(k): // send it again, if you like
				busy++
			default:
				wrong[fmt.Sprintf("of host %d with %v", k, c.Result())]++
			}
			if is {
				there++
			}
		}
	}
	for what, n := range wrong {
		m.Errorf("%s: %d writes %s", f.name, n, what)
	}
	return fmt.Sprintf("of %d writes %d were answered GOOD, %d BUSY, and %d not at all; %d are there", 2*underWay, good, busy, silent, there)
}

// settled is what a block was found to hold after its writer's commands had ended.
type settled struct {
	span    span
	version uint64
}

// watch reads blocks through all nodes again and again: they must not change.
type watch struct {
	t    *testing.T
	stop chan struct{}
	wait sync.WaitGroup

	mu     sync.Mutex
	blocks []settled
	rounds int // over all nodes, since the last were added
}

func newWatch(t *testing.T, c *clusters.Cluster, target string) *watch {
	w := &watch{t: t, stop: make(chan struct{})}
	w.wait.Go(func() {
		for {
			for _, n := range c.Nodes {
				if !w.look(newHost(t, n, target, clusters.HostIQN, 4)) {
					return
				}
			}
			w.mu.Lock()
			w.rounds++
			w.mu.Unlock()
		}
	})
	t.Cleanup(w.end)
	return w
}

// add watches more blocks.
func (w *watch) add(more []settled) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.blocks, w.rounds = append(w.blocks, more...), 0
}

// look reads all blocks through one node, and is false once it is to stop.
func (w *watch) look(h *host) bool {
	defer h.close()
	w.mu.Lock()
	blocks := slices.Clone(w.blocks)
	w.mu.Unlock()
	for _, b := range blocks {
		versions, err := h.read(w.t.Context(), b.span)
		if err != nil {
			w.t.Error(err)
			return false
		}
		if versions[0] != b.version {
			w.t.Errorf("block %d through %s changed from version %d to %d long after its writers' commands had ended", b.span.block, h.node.Name, b.version, versions[0])
		}
	}
	select {
	case <-w.stop:
		return false
	case <-time.After(100 * time.Millisecond):
		return true
	}
}

// await waits until the newest blocks were read for so long, and through all nodes.
func (w *watch) await(c *clusters.Cluster, atLeast time.Duration) {
	w.t.Helper()
	begin := time.Now()
	c.Eventually(time.Minute, "all blocks were read again through all nodes", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.rounds > 1 && time.Since(begin) >= atLeast
	})
}

func (w *watch) end() {
	select {
	case <-w.stop:
	default:
		close(w.stop)
	}
	w.wait.Wait()
}

// What one host ends through its node ends on every node, in time though a copy
// or the head hangs, and nothing of it appears later.
func TestTaskManagementReachesAllNodesWhileOneIsFrozen(t *testing.T) {
	t.Parallel()
	c := clusters.New(t, clusters.Plan{Addresses: neighbourhood()})
	v := c.Publish("v", "16M", 2, secondIQN)
	m := &management{T: t, c: c, target: v.IQN, watch: newWatch(t, c, v.IQN)}
	for i, f := range functions {
		m.end(f, i%2 == 0, false)
		if long() {
			m.end(f, i%2 == 1, false)
			m.end(f, i%2 == 0, true)
		}
	}
	m.end(functions[0], true, true)
	m.watch.await(c, watchedFor)
	m.watch.end()
	c.AwaitInSync("v", time.Minute)
	c.Verify("v")
}
