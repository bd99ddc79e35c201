// Package mirror holds the decisions that keep a volume's copies identical: the
// Head, which orders one volume's writes for one epoch; the Replica, which is a
// node's side of its copies; and the Portal, which brings hosts' operations to
// the head. It is pure: events and times come in by calls, what is to be done
// is collected and taken out. One goroutine owns each machine.
package mirror

import (
	"fmt"
	"slices"
	"strings"

	"ashlar/replication/latency"
	"ashlar/replication/wire"
)

// Times, ns of CLOCK_BOOTTIME.
const (
	Millisecond = int64(1_000_000)
	Second      = 1000 * Millisecond

	TokenMax      = 1 * Second // a command is sequenced only with a token younger than this
	HoldMax       = 4 * Second // a command is answered Busy when this old
	StuckMax      = 2 * Second // a request unanswered this long is complained of
	complainAgain = 500 * Millisecond
	retryAfter    = 100 * Millisecond
)

// Limits of one volume's window (invariant I15).
const (
	WindowOps   = 4096
	WindowBytes = 64 << 20
)

// pieceBlocks is the longest single read or write of a copy: 1 MiB.
const pieceBlocks = 256

// View is what the cluster has agreed on of a volume.
type View struct {
	Bytes        uint64 // its size, if it has grown since the reign began
	MinInSync    int
	WriteCache   bool   // writes may be answered from memory
	Losses       uint64 // how often what was in memory alone may have been lost
	Segments     []SegmentView
	Reservations Reservations // nil: there are none
	Nodes        []NodeView   // all that may have portals

	// Former are the nodes of earlier heads that may not have heard of their end: they are up, in
	// the run in which they reigned. A copy that has left its set since may still obey them.
	Former []wire.NodeID
}

// Reservations are what hosts have reserved. They are agreed on by the cluster
// and obeyed by the head, at the moment when it starts an operation.
type Reservations interface {
	Allows(n wire.Nexus, k wire.OpKind) bool
	Changes() uint64 // how many changes there were
}

// NodeView is a node in the newest run that the cluster knows of; Up until it is fenced.
type NodeView struct {
	wire.Portal
	Up bool
}

// SegmentView is one segment's copies.
type SegmentView struct {
	Gen     uint64
	Members []Member
}

// Member is one copy.
type Member struct {
	Node        wire.NodeID
	Incarnation wire.Incarnation // of Node, as registered
	Made        uint64           // generation of the segment's that it came with: with another one it is another copy
	InSync      bool
	Forgot      bool // in the set, and lacks what was in its memory
	Stored      bool // alone in the set, with all on its disk
	Usable      bool // its node is up and its disk has not failed; or, out of the set, it may catch up
}

// Send is a message for a node, this one included.
type Send struct {
	To  wire.NodeID
	Msg wire.Message
}

// Caught asks the cluster to take a copy that has caught up into the in-sync
// set (the answer comes as Joined or in a View).
type Caught struct {
	Node        wire.NodeID
	Incarnation wire.Incarnation
	Segment     wire.Segment
	Gen         uint64
}

// Actions is what a Head wants done, in order within each list.
type Actions struct {
	Sends    []Send
	Done     []*Op
	Caught   []Caught
	Complain []wire.NodeID // does not answer although its session lives or its lease may
	Reserve  []*Op         // ask the cluster; the answer comes as Reserved or Unreserved
	Fenced   []any         // what Fence was asked with: it is proven
	Scrubbed []Scrubbed
	Spent    []*Op // that were Done before, and are their submitter's again; not all are told
}

// Head orders the writes of one volume in one epoch.
type Head struct {
	volume    wire.VolumeID
	epoch     uint64
	self      wire.NodeID
	segBlocks uint64
	bytes     uint64
	bugs      Bugs

	now       int64
	lease     int64 // when this node's lease ends
	minInSync int

	writeCache    bool
	losses        uint64
	unstable      []*flight // that may be answered from memory, and are not stored by all; in their order
	unstableBytes int

	deposed   bool
	segments  []*segment
	peers     map[wire.NodeID]*peer
	locks     lockTable
	ops       map[*Op]struct{} // not answered, or still worked on
	order     []*Op            // ops in order of submission, for a deterministic Tick
	bytesHeld int
	full      int64          // when an operation last found no room in the window
	took      latency.Window // writes of hosts
	served    latency.Window // reads and writes of hosts
	beyond    []*Op          // for a View that has their segments, in order of submission
	leaseless []*Op          // done but for the lease
	calls     map[uint64]*call
	lastReq   uint64
	retries   []func() // on the next tick
	reserved  Reservations
	changes   []*change // of the reservations: agreed on, and not yet in a View
	joining   int
	rate      uint64   // of copying, bytes per second; 0: as fast as it goes
	allowance float64  // bytes that may be copied before the next Tick; below 0 they were copied ahead
	paced     int64    // when the allowance was last raised
	held      []func() // copies that wait for an allowance
	nodes     []NodeView
	former    []wire.NodeID // see View
	clearings []*clearing   // in order of their fences
	scrubs    []*scrubbing
	claims    claims
	out       Actions
	taken     Actions // by the last Take

	flights    spare[flight]
	gatherings spare[gathering]
	swept      []*Op // since the last Take
}

// peer is a node that holds copies of the volume.
type peer struct {
	connected  bool
	prepared   bool // promised this epoch in this session
	promised   bool // promised it in whatever session
	retired    bool // no head there obeys a lower epoch any more
	preparing  uint64
	since      int64 // when it was last heard to answer, or first missed
	complained int64
	low        bool             // its disk is short of space
	forgot     uint64           // of its claims: see wire.Prepared
	run        wire.Incarnation // the newest that was heard of from itself
	joinsFrom  int64            // no copy of it catches up before
	pause      int64            // how long it was left alone last
	took       latency.Window   // writes, from their sending to its answers
	late       bool             // its session began when the cluster had fenced the run that is known
}

// reignBits is how many of a request's 64 bits count within one reign. A node's
// heads of one volume have requests of different numbers, since an answer to one
// of a former reign may still come over a session that outlived it.
const reignBits = 40

// NewHead begins a reign. It serves nothing before the first View and until the
// in-sync copies have promised its epoch.
func NewHead(volume wire.VolumeID, epoch uint64, self wire.NodeID, bytes, segmentBytes uint64, bugs Bugs) *Head {
	h := &Head{volume: volume, epoch: epoch, self: self, bytes: bytes, segBlocks: segmentBytes / wire.BlockSize, bugs: bugs,
		peers: map[wire.NodeID]*peer{}, ops: map[*Op]struct{}{}, calls: map[uint64]*call{}, lastReq: epoch << reignBits, claims: newClaims()}
	h.locks = lockTable{buckets: map[uint64][]*lock{}, start: h.start}
	return h
}

// Take gives what is to be done since the last Take. Its Sends and Done are the head's again at the next one.
func (h *Head) Take() Actions {
	a := h.out
	h.out = Actions{Sends: emptied(h.taken.Sends), Done: emptied(h.taken.Done), Spent: append(emptied(h.taken.Spent), h.swept...)}
	h.taken, h.swept = a, emptied(h.swept)
	h.flights.turn()
	h.gatherings.turn()
	return a
}

// emptied is a list's memory, which refers to nothing any more.
func emptied[T any](l []T) []T {
	clear(l)
	return l[:0]
}

// Epoch is that of the reign.
func (h *Head) Epoch() uint64 { return h.epoch }

// Lease says until when this node's lease holds now. An answer that waited for
// it goes out.
func (h *Head) Lease(now, until int64) {
	h.now, h.lease = now, until
	if h.leased() {
		done := h.leaseless
		h.leaseless = nil
		for _, op := range done {
			h.finish(op, op.Status)
		}
	}
}

func (h *Head) leased() bool { return h.now < h.lease || h.bugs.NoLease }

// Connected begins a session with a node. Requests that a former session left
// without an answer are sent again once the node has promised the epoch.
func (h *Head) Connected(now int64, node wire.NodeID) {
	h.now = now
	p := h.peer(node)
	p.connected, p.prepared, p.since = true, false, now
	p.late = slices.ContainsFunc(h.nodes, func(v NodeView) bool { return v.Node == node && !v.Up })
	h.prepare(node)
	h.retire(node)
}

// Lost ends the session with a node.
func (h *Head) Lost(now int64, node wire.NodeID) {
	h.now = now
	p := h.peer(node)
	if !p.connected {
		return
	}
	p.connected, p.prepared, p.since = false, false, now
	h.clearGone()
	if p.preparing != 0 {
		delete(h.calls, p.preparing)
		p.preparing = 0
	}
	if h.bugs.NotResent {
		for _, req := range h.callsTo(node) {
			delete(h.calls, req)
		}
	}
	if !h.bugs.LostCopied {
		h.dropJoins(node)
	}
	h.redirect(node, func(wire.Message) bool { return true })
	h.forget(node)
}

func (h *Head) peer(node wire.NodeID) *peer {
	p := h.peers[node]
	if p == nil {
		p = &peer{since: h.now}
		h.peers[node] = p
	}
	return p
}

func (h *Head) peerIDs() (ids []wire.NodeID) {
	for id := range h.peers {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// Deposed says that a higher epoch was seen: nothing more will come of this Head.
func (h *Head) Deposed() bool { return h.deposed }

// Outranked says that this node obeys a higher epoch: this reign is over, and what it was
// about to read may be old.
func (h *Head) Outranked(now int64, epoch uint64) {
	if h.now = now; epoch > h.epoch && !h.deposed {
		h.depose()
	}
}

// depose ends the reign: operations that wait are for the next head, whose
// portals send them again.
func (h *Head) depose() {
	h.deposed = true
	h.calls = map[uint64]*call{}
	h.retries, h.held, h.leaseless, h.changes, h.clearings, h.beyond, h.unstable = nil, nil, nil, nil, nil, nil, nil
	h.breakOffScrubs()
	for _, op := range h.order {
		if !op.answered {
			h.answer(op, wire.NotHead)
		}
	}
	h.order = nil
}

// Stop ends the reign because the cluster has given it to another.
func (h *Head) Stop(now int64) {
	h.now = now
	if !h.deposed {
		h.depose()
	}
}

// Tick is called every 50 to 100 ms.
func (h *Head) Tick(now int64) {
	h.now = now
	if h.deposed {
		return
	}
	h.GoOn(now)
	retries := h.retries
	h.retries = nil
	for _, f := range retries {
		f()
	}
	h.expire()
	h.commitTick()
	h.giveUpJoins()
	h.joinTick()
	h.remembers()
	h.complain()
	h.clearTick()
	h.claims.expire(h.now)
}

// expire answers Busy what was held for too long. What was sequenced keeps its
// lock until its fate is known, so that later operations are ordered after it.
func (h *Head) expire() {
	for _, op := range slices.Clone(h.order) {
		if op.answered || h.now < op.Deadline {
			continue
		}
		if op.sequenced {
			h.answer(op, wire.Busy)
		} else {
			h.drop(op, wire.Busy)
		}
	}
	h.beyond = slices.DeleteFunc(h.beyond, func(op *Op) bool { return op.answered })
	h.sweep()
}

// Promised says whether a node has promised this Head's epoch. One that has not
// may still obey an older head, so its copies must not leave their sets
// unless it is dead or has promised it to somebody else.
func (h *Head) Promised(n wire.NodeID) bool {
	p := h.peers[n]
	return p != nil && p.promised
}

// complain names nodes that have owed an answer for too long.
func (h *Head) complain() {
	waits := map[wire.NodeID]bool{}
	for _, c := range h.calls {
		if h.now-c.sent > StuckMax && h.now-h.peer(c.node).since > StuckMax && c.node != h.self {
			waits[c.node] = true
		}
	}
	for _, seg := range h.segments {
		if seg.state != preparing || h.now-seg.since <= StuckMax {
			continue
		}
		// A copy that cannot show its tail is in the way, whatever else its node answers.
		for _, m := range seg.view.Members {
			if l := seg.listings[m.Node]; m.InSync && (seg.tails[m.Node] == nil || l != nil && !l.whole) {
				waits[m.Node] = true
			}
		}
	}
	for _, n := range h.former {
		if !h.retired(n) && slices.ContainsFunc(h.segments, func(s *segment) bool { return s.state == preparing && h.now-s.since > StuckMax }) {
			waits[n] = true
		}
	}
	for _, id := range h.peerIDs() {
		if waits[id] {
			h.complainOf(id)
		}
	}
}

// complainOf complains of a node, or of this one: then the head has to move.
func (h *Head) complainOf(n wire.NodeID) {
	if p := h.peer(n); h.now-p.complained > complainAgain {
		p.complained = h.now
		h.out.Complain = append(h.out.Complain, n)
	}
}

// Submit takes a host's operation.
func (h *Head) Submit(now int64, op *Op) {
	h.now = now
	h.heardFrom(op.Command.Portal)
	switch {
	case h.deposed:
		h.reject(op, wire.NotHead)
		return
	case h.gone(op.Command.Portal):
		// It acts for nobody any more (invariant I6): its hosts may have gone elsewhere
		// already, however young its token is.
		h.reject(op, wire.Busy)
		return
	case op.Offset+op.Length < op.Offset || !op.wellFormed():
		h.reject(op, wire.OutOfRange)
		return
	case len(h.ops) >= WindowOps || h.bytesHeld+op.size() > WindowBytes && len(h.ops) > 0:
		h.full = now
		h.reject(op, wire.Window)
		return
	}
	// How long it was under way is not known, but not longer than its token is
	// old: that counts as held, so that nothing is sequenced after the portal,
	// or the host, has given it up.
	op.Deadline -= max(0, min(h.now-op.Stamp.Token, TokenMax))
	if !h.fresh(op) || h.awaits(op.Command.Portal) {
		h.reject(op, wire.Old)
		return
	}
	op.begun = now
	if len(h.order) > 2*len(h.ops)+sweepAfter {
		h.sweep()
	}
	h.ops[op] = struct{}{}
	h.order = append(h.order, op)
	op.held = op.size()
	h.bytesHeld += op.held
	switch {
	case op.Kind == wire.OpReserve:
		h.out.Reserve = append(h.out.Reserve, op)
	case !h.allows(op):
		h.drop(op, wire.Conflict)
	case op.Kind == wire.OpFlush:
		h.startFlush(op)
	case op.Length == 0:
		h.conclude(op, wire.OK)
	default:
		h.admit(op)
	}
}

// size is the memory that an operation needs, bytes.
func (op *Op) size() int {
	if op.Kind == wire.OpRead || op.Kind == wire.OpVerify {
		return int(op.Length)
	}
	return len(op.Data)
}

// wellFormed says whether an operation's data is as long as its kind needs.
func (op *Op) wellFormed() bool {
	n := uint64(len(op.Data))
	switch op.Kind {
	case wire.OpRead:
		return n == 0 && op.Length <= wire.DataMax
	case wire.OpWrite:
		return n == op.Length
	case wire.OpCompareAndWrite:
		return n == 2*op.Length
	case wire.OpVerify:
		return (n == 0 || n == op.Length) && op.Length <= wire.DataMax
	case wire.OpReserve:
		return true
	}
	return n == 0
}

func (h *Head) reject(op *Op, s wire.Status) {
	op.Status, op.answered = s, true
	h.out.Done = append(h.out.Done, op)
}

// fresh is invariant I8: only then may an operation be sequenced. After its deadline its portal
// has answered Busy, so its host may have carried it out elsewhere, and gone on.
func (h *Head) fresh(op *Op) bool {
	if h.bugs.NoTokens {
		return true
	}
	return op.Stamp.Epoch == h.epoch && h.now-op.Stamp.Token < TokenMax && (h.now < op.Deadline || h.bugs.LateTaken)
}

// admit lets an operation claim its range once all its segments take such operations.
// A portal lets through only what is within the volume. What this head takes for
// beyond its end is of a portal that already knows that the volume has grown.
func (h *Head) admit(op *Op) {
	if op.Offset+op.Length > h.bytes {
		h.waitsForView(op)
		return
	}
	first, last := op.Offset/wire.BlockSize, (op.Offset+op.Length-1)/wire.BlockSize
	for i := first / h.segBlocks; i <= last/h.segBlocks; i++ {
		if int(i) >= len(h.segments) {
			h.waitsForView(op) // the first one
			return
		}
		if seg := h.segments[i]; !h.takes(seg, op) {
			op.waits = seg
			seg.held = append(seg.held, op)
			return
		}
	}
	shared := op.reads() && !h.bugs.ReadsDontWait || h.bugs.EdgesShared && op.Offset%wire.BlockSize != 0
	op.claim = lock{first: first, last: last, shared: shared, op: op}
	op.lock = &op.claim
	if op.reads() && h.bugs.ReadsDontWait {
		op.lock = nil
		h.start(op)
		return
	}
	h.locks.acquire(op.lock)
}

func (h *Head) waitsForView(op *Op) {
	op.loose = true
	h.beyond = append(h.beyond, op)
}

func (h *Head) readmit(op *Op) {
	if !op.answered && !h.deposed {
		h.admit(op)
	}
}

func (op *Op) reads() bool {
	return op.Kind == wire.OpRead || op.Kind == wire.OpVerify || op.Kind == wire.OpExtents
}

// takes says whether a segment is ready for an operation. Writes wait while too
// few copies are in sync, or while one that cannot be written is the last.
func (h *Head) takes(seg *segment, op *Op) bool {
	if seg.state == preparing {
		return false
	}
	if op.reads() {
		return true
	}
	n := 0
	for _, m := range seg.view.Members {
		if m.InSync {
			n++
			if !m.Usable {
				return false
			}
		}
	}
	return n >= h.minInSync
}

// release lets the operations that a segment held try again.
func (h *Head) release(seg *segment) {
	held := seg.held
	seg.held = nil
	for _, op := range held {
		op.waits = nil
		h.readmit(op)
	}
}

// start carries out an operation whose range is its own.
func (h *Head) start(op *Op) {
	if op.answered {
		h.unlock(op)
		return
	}
	if !h.fresh(op) {
		h.drop(op, wire.Old)
		return
	}
	if !h.allows(op) {
		h.drop(op, wire.Conflict)
		return
	}
	op.started = true
	switch op.Kind {
	case wire.OpRead, wire.OpVerify:
		h.startRead(op)
	case wire.OpExtents:
		h.startExtents(op)
	case wire.OpWrite, wire.OpZero, wire.OpUnmap:
		h.startWrite(op)
	case wire.OpCompareAndWrite:
		h.startCompare(op)
	default:
		panic(fmt.Sprintf("mirror: operation of kind %d", op.Kind))
	}
}

// conclude ends an operation whose work is done: if this node's lease has run
// out meanwhile, the answer waits for its renewal (invariant I5).
func (h *Head) conclude(op *Op, s wire.Status) {
	h.unlock(op)
	if op.answered {
		return
	}
	op.Status = s
	if !h.leased() {
		op.loose = true
		h.leaseless = append(h.leaseless, op)
		return
	}
	h.finish(op, s)
}

func (h *Head) finish(op *Op, s wire.Status) {
	if !op.answered {
		h.answer(op, s)
	}
}

// drop gives up an operation that was not sequenced.
func (h *Head) drop(op *Op, s wire.Status) {
	h.unlock(op)
	if seg := op.waits; seg != nil {
		op.waits = nil
		seg.held = slices.DeleteFunc(seg.held, func(o *Op) bool { return o == op })
	}
	if !op.answered {
		h.answer(op, s)
	}
}

func (h *Head) unlock(op *Op) {
	if l := op.lock; l != nil {
		op.lock = nil
		if op.answered {
			h.uncount(op)
		}
		h.locks.release(l)
	}
}

// uncount gives an operation's place in the window back: when it is answered
// and no copy works on it any more.
func (h *Head) uncount(op *Op) {
	delete(h.ops, op)
	h.bytesHeld -= op.held
	op.held = 0
	for _, c := range op.drains {
		h.drained(c)
	}
	op.drains = nil
}

func (h *Head) answer(op *Op, s wire.Status) {
	op.Status, op.answered = s, true
	if op.Kind == wire.OpWrite && s == wire.OK {
		h.took.Add(h.now, h.now-op.begun)
	}
	if (op.Kind == wire.OpWrite || op.Kind == wire.OpRead) && s == wire.OK {
		h.served.Add(h.now, h.now-op.begun)
	}
	if op.lock == nil {
		h.uncount(op)
	}
	h.out.Done = append(h.out.Done, op)
}

// Fence drops what was not sequenced yet of a scope: it is answered Aborted and
// will never be seen. What was sequenced holds its lock until its fate is known,
// so that everything later is ordered after it. When no other portal has anything
// of the scope either, private comes out in Actions.Fenced.
func (h *Head) Fence(now int64, m *wire.Fence, private any) {
	h.now = now
	if h.deposed {
		return // its portal asks the next head
	}
	fenced := func() { h.out.Fenced = append(h.out.Fenced, private) }
	if m.Scope < wire.FenceUnit {
		h.abort(func(op *Op) bool { return Covers(m.Scope, m.Nexus, op.Nexus) })
		if !slices.ContainsFunc(h.segments, func(s *segment) bool { return s.state == preparing }) {
			fenced()
		} // else copies may still obey an older head, which takes what it is sent: age proves it
		return
	}
	// Those of other portals end when these have told their hosts why.
	h.abort(func(op *Op) bool { return op.Command.Node == m.Portal.Node })
	h.clear(&wire.Clear{Scope: m.Scope}, m.Portal, fenced)
}

func (h *Head) abort(covered func(*Op) bool) {
	for _, op := range slices.Clone(h.order) {
		switch {
		case op.answered || !covered(op):
		case op.sequenced:
			h.answer(op, wire.Aborted)
		default:
			h.drop(op, wire.Aborted)
		}
	}
}

// Covers says whether a fence of scope and nexus n is about an operation of nexus o.
func Covers(scope wire.FenceScope, n, o wire.Nexus) bool {
	switch scope {
	case wire.FenceNexus:
		if n.Port == 0 { // a registrant that is a host, with all its ports (NVMe)
			host, _, _ := strings.Cut(o.Host, ",i,")
			return host == n.Host
		}
		return o.Host == n.Host && o.Port == n.Port && o.Generation <= n.Generation
	case wire.FenceHost:
		return o.Host == n.Host
	}
	return true
}
