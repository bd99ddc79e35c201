package mirror

import (
	"fmt"
	"slices"

	"ashlar/replication/wire"
)

// segState is how far a segment is in this reign. The only edge is preparing -> serving.
type segState uint8

const (
	preparing segState = iota // waits for the promises and tails of all in-sync copies, and that earlier heads are over
	serving                   // blocks whose tail is not settled are locked, all others serve
)

// segment is one piece of the volume as its head sees it.
type segment struct {
	index    wire.Segment
	view     SegmentView
	state    segState
	tails    map[wire.NodeID]*wire.Tail // of in-sync copies, while preparing
	paging   map[wire.NodeID]*wire.Tail // tails of which only a part is here
	listings map[wire.NodeID]*listing   // while preparing
	since    int64                      // when it began to prepare
	settles  int                        // rewrites of the tail that are not done
	held     []*Op
	seq      uint64
	flight   []*flight // by sequence; the first is not done
	commit   wire.Version
	told     map[wire.NodeID]wire.Version // the commit point that an in-sync node was sent
	untold   bool                         // one may not have been sent it
	joiners  map[wire.NodeID]*joiner
	shown    []shown // claims of copies, while preparing
	forgot   uint64  // claims of reigns up to this one may have been forgotten by a copy that had them alone

	relearning map[wire.NodeID]*relearner
}

// flight is a write on its way to all copies.
type flight struct {
	segment *segment
	seq     uint64
	block   uint32
	count   uint32
	data    []byte // nil: zeros
	crc     []uint32
	pending owed
	full    []wire.NodeID // had no space
	stored  []wire.NodeID // have it
	done    bool
	claims  []wire.Claim      // that its blocks have by it
	changes []*claim          // that it ends
	by      *Op               // whose part it is, or
	fate    func(wire.Status) // OK: on all must-ack copies. NoSpace: on none
	cached  *cached           // nil: it is answered when it is stored

	asked int  // requests there were
	loose bool // something may refer to it when it is done

	asks  [usualCopies]asking[wire.Write] // the first of them; and what pending, stored and crc lie in, where there are no more
	owing [usualCopies]owing
	have  [usualCopies]wire.NodeID
	sum   [1]uint32
}

// usualCopies is how many copies a segment mostly has at most, with one that catches up.
const usualCopies = 3

// owed is the requests that a write waits for, one for each node.
type owed []owing

type owing struct {
	node wire.NodeID
	req  uint64
}

// by is the node's request, 0 where none is waited for.
func (o owed) by(node wire.NodeID) (req uint64) {
	for _, w := range o {
		if w.node == node {
			return w.req
		}
	}
	return 0
}

func (o *owed) set(node wire.NodeID, req uint64) {
	o.remove(node)
	*o = append(*o, owing{node, req})
}

func (o *owed) remove(node wire.NodeID) {
	*o = slices.DeleteFunc(*o, func(w owing) bool { return w.node == node })
}

// Configure takes what the cluster has agreed on now.
func (h *Head) Configure(now int64, v View) {
	h.now = now
	if h.deposed {
		return
	}
	h.minInSync, h.reserved = v.MinInSync, v.Reservations
	h.writeCache, h.losses = v.WriteCache, v.Losses
	h.bytes = max(h.bytes, v.Bytes) // a volume never shrinks
	h.nodesAre(v.Nodes)
	h.agreed()
	for i := range v.Segments {
		if i == len(h.segments) {
			h.segments = append(h.segments, &segment{index: wire.Segment(i), since: now, tails: map[wire.NodeID]*wire.Tail{}, paging: map[wire.NodeID]*wire.Tail{}, listings: map[wire.NodeID]*listing{},
				told: map[wire.NodeID]wire.Version{}, joiners: map[wire.NodeID]*joiner{}})
		}
		seg := h.segments[i]
		if seg.view.Gen == v.Segments[i].Gen && slices.Equal(seg.view.Members, v.Segments[i].Members) {
			continue
		}
		before := seg.view
		seg.view, seg.untold = v.Segments[i], true
		for _, m := range seg.view.Members {
			p := h.peer(m.Node)
			if p.connected && p.prepared && seg.state == preparing && m.InSync && seg.tails[m.Node] == nil {
				p.prepared = false // its promise did not cover this segment
			}
			if p.connected && !p.prepared {
				h.prepare(m.Node)
			}
		}
		h.settleJoins(seg)
		h.dropPending(seg)
		for _, m := range before.Members {
			if now := seg.member(m.Node); m.InSync && (now == nil || !now.InSync) {
				h.redirect(m.Node, func(w wire.Message) bool { s, _, ok := wire.CopyOf(w); return ok && s == seg.index })
			}
		}
		h.tryReconcile(seg)
		if seg.state == serving {
			h.release(seg)
		}
	}
	h.formerAre(v.Former)
	// Before anything that comes after this View: a host may have had the answer
	// to the same operation, sent again by its portal, and have gone on.
	beyond := h.beyond
	h.beyond = nil
	for _, op := range beyond {
		h.readmit(op)
	}
}

// formerAre takes which earlier heads have to hear of this one before anything is served.
func (h *Head) formerAre(nodes []wire.NodeID) {
	if slices.Equal(h.former, nodes) || h.bugs.FormerForgotten {
		return
	}
	h.former = nodes
	for _, n := range nodes {
		h.retire(n)
	}
	for _, s := range h.segments {
		h.tryReconcile(s)
	}
}

// retire has an earlier head's node obey no lower epoch.
func (h *Head) retire(node wire.NodeID) {
	if p := h.peer(node); h.retired(node) || !p.connected || !slices.Contains(h.former, node) {
		return
	}
	h.lastReq++
	m := &wire.Retire{Req: h.lastReq, Volume: h.volume, Epoch: h.epoch}
	h.calls[m.Req] = &call{node: node, msg: m, sent: h.now, reply: func(m wire.Message) {
		if m.(*wire.Ack).Status == wire.OK {
			h.peer(node).retired = true
			for _, s := range h.segments {
				h.tryReconcile(s)
			}
		}
	}, lost: func() {}}
	h.out.Sends = append(h.out.Sends, Send{node, m})
}

// retired says whether no head of a lower epoch serves on a node: its promise is as good.
func (h *Head) retired(node wire.NodeID) bool { return h.peer(node).retired || h.peer(node).promised }

func (h *Head) formerRetired() bool {
	return !slices.ContainsFunc(h.former, func(n wire.NodeID) bool { return !h.retired(n) })
}

// redirect asks others what a node that left a set, or is gone, was asked to read.
func (h *Head) redirect(n wire.NodeID, which func(wire.Message) bool) {
	for _, req := range h.callsTo(n) {
		c := h.calls[req]
		if c == nil || c.lost == nil && c.fetch == nil || !which(c.msg) {
			continue
		}
		delete(h.calls, req)
		if c.fetch != nil {
			c.fetch.loose = true
			h.later(func() { h.fetch(c.fetch) })
		} else {
			c.lost()
		}
	}
}

func (s *segment) member(n wire.NodeID) *Member {
	for i := range s.view.Members {
		if s.view.Members[i].Node == n {
			return &s.view.Members[i]
		}
	}
	return nil
}

// mustAck are the nodes whose acknowledgement a write needs: the committed
// in-sync set and whoever is catching up (invariant I2).
func (h *Head) mustAck(s *segment) (nodes []wire.NodeID) {
	for _, m := range s.view.Members {
		if m.InSync || s.joiners[m.Node] != nil && !h.bugs.JoinNoShadow {
			nodes = append(nodes, m.Node)
		}
	}
	return nodes
}

// prepare asks a node for its promise, and for the tails of those of its copies
// that are in sync and not settled yet.
func (h *Head) prepare(node wire.NodeID) {
	p := h.peers[node]
	if p.preparing != 0 {
		return
	}
	var tails []wire.Segment
	var gens []uint64
	some := false
	for _, s := range h.segments {
		m := s.member(node)
		some = some || m != nil
		if m != nil && m.InSync && s.state == preparing {
			tails, gens = append(tails, s.index), append(gens, s.view.Gen)
		}
	}
	if !some {
		return
	}
	h.lastReq++
	req := h.lastReq
	p.preparing = req
	m := &wire.Prepare{Req: req, Volume: h.volume, Epoch: h.epoch, Segments: tails, Gens: gens}
	h.calls[req] = &call{node: node, msg: m, sent: h.now, reply: func(m wire.Message) { h.prepared(node, m.(*wire.Prepared)) }}
	h.out.Sends = append(h.out.Sends, Send{node, m})
}

func (h *Head) prepared(node wire.NodeID, m *wire.Prepared) {
	p := h.peers[node]
	p.preparing = 0
	if m.Status != wire.OK { // it cannot promise now: its disk has failed, or it is starting
		h.retries = append(h.retries, func() {
			if p.connected && !p.prepared {
				h.prepare(node)
			}
		})
		return
	}
	p.prepared, p.promised = true, true
	for _, req := range h.callsTo(node) {
		c := h.calls[req]
		c.sent = h.now
		c.again()
		h.out.Sends = append(h.out.Sends, Send{node, c.msg})
	}
	h.collect(node, m.Claims)
	p.forgot = m.Forgot
	for i := range m.Segments {
		t := &m.Segments[i]
		if int(t.Segment) < len(h.segments) && t.Status == wire.OK {
			seg := h.segments[t.Segment]
			if seg.state == preparing {
				h.tail(seg, node, t)
			}
		}
	}
	for _, seg := range h.segments {
		h.tryReconcile(seg)    // a former head's promise may be all that was missing
		delete(seg.told, node) // what was said in a former session may not have arrived
		seg.untold = true
	}
	h.keepClaims(node, func(s *segment) bool { return s.state == serving })
	again := false // a copy could not be looked at, or was not asked about
	for _, seg := range h.segments {
		m := seg.member(node)
		again = again || seg.state == preparing && m != nil && m.InSync && seg.tails[node] == nil && seg.paging[node] == nil
	}
	if again {
		h.retries = append(h.retries, func() {
			if p.connected && p.prepared {
				p.prepared = false
				h.prepare(node)
			}
		})
	}
}

// tail takes a copy's tail. Where it is long the rest is asked for page by page.
func (h *Head) tail(s *segment, node wire.NodeID, t *wire.Tail) {
	if t.Next == 0 {
		delete(s.paging, node)
		s.tails[node] = t
		h.tryReconcile(s)
		return
	}
	s.paging[node] = t
	h.call(node, func(req uint64) wire.Message {
		return &wire.Changes{Req: req, Volume: h.volume, Segment: s.index, Epoch: h.epoch, After: t.Commit, From: t.Next, Gen: s.view.Gen}
	}, func(m wire.Message) {
		p := m.(*wire.Page)
		if s.paging[node] != t || s.state != preparing {
			return
		}
		if p.Status == wire.OK {
			t.Changes, t.Next = append(t.Changes, p.Changes...), p.Next
		}
		h.later(func() {
			if s.paging[node] == t && s.state == preparing {
				h.tail(s, node, t)
			}
		})
	}, func() { delete(s.paging, node) })
}

// tryReconcile begins to serve a segment once every in-sync copy has promised the
// epoch, and no earlier head serves: the blocks of their tails are locked until they are equal on all
// copies (invariant I7).
func (h *Head) tryReconcile(s *segment) {
	if s.state != preparing || !h.formerRetired() {
		return
	}
	tails := 0
	for _, m := range s.view.Members {
		if !m.InSync {
			continue
		}
		if s.tails[m.Node] != nil {
			tails++
		} else if !h.bugs.PartialPrepare {
			return
		}
	}
	if tails == 0 || !h.listed(s) {
		return
	}
	s.state = serving
	for _, m := range s.view.Members {
		if t := s.tails[m.Node]; m.InSync && t != nil && s.commit.Less(t.Commit) {
			s.commit = t.Commit
		}
	}
	h.adopt(s)
	if !h.bugs.NoReconcile {
		h.reconcile(s)
	}
	s.tails, s.listings = nil, nil
	if s.settles == 0 {
		h.advance(s)
	}
	h.release(s)
}

// reconcile rewrites each block that may differ: the highest version wins, whoever has it. Above the
// highest commit point that is any; below it, one that a copy does not have because its disk lied.
func (h *Head) reconcile(s *segment) {
	blocks := h.newer(s)
	order := h.differing(s, blocks)
	for i := 0; i < len(order); {
		w := blocks[order[i]]
		kept := !s.commit.Less(w.version)
		n := 1
		for i+n < len(order) && n < 16 && order[i+n] == order[i]+uint32(n) {
			o := blocks[order[i+n]]
			if kept == s.commit.Less(o.version) || !slices.Equal(o.nodes, w.nodes) {
				break
			}
			n++
		}
		s.settles++
		h.rewrite(s, order[i], uint32(n), w.nodes, kept, func(wire.Status) {
			s.settles--
			if s.settles == 0 {
				h.advance(s)
			}
		})
		i += n
	}
}

// rewrite makes blocks of a tail equal on all copies, at a new version: it reads them
// from one of their holders under their lock. What may have been acknowledged is read from nobody else.
func (h *Head) rewrite(s *segment, block, count uint32, from []wire.NodeID, kept bool, done func(wire.Status)) {
	first := uint64(s.index)*h.segBlocks + uint64(block)
	l := &lock{first: first, last: first + uint64(count) - 1}
	l.granted = func() {
		f := &fetch{seg: s, block: block, count: count, from: from, tail: !kept, strict: kept, keep: true}
		f.done = func(status wire.Status) {
			if status != wire.OK {
				// No copy that may give it has good data: what is there stays; a read, or a scrub, will say so.
				h.locks.release(l)
				done(status)
				return
			}
			h.lose(s, f)
			h.storeRuns(s, f, func() {
				h.locks.release(l)
				done(wire.OK)
			})
		}
		h.fetch(f)
	}
	if h.bugs.RewriteUnlocked {
		l.granted()
		return
	}
	h.locks.acquire(l)
}

// storeRuns writes what was fetched to all copies, zero blocks as such.
func (h *Head) storeRuns(s *segment, f *fetch, done func()) {
	left := 1
	end := func() {
		if left--; left == 0 {
			done()
		}
	}
	for i := uint32(0); i < f.count; {
		n := f.run(i)
		left++
		var data []byte
		if !f.zero(i) {
			data = f.data[i*wire.BlockSize : (i+n)*wire.BlockSize]
		}
		h.storeInsisting(s, f.block+i, n, data, end)
		i += n
	}
	end()
}

// storeInsisting writes until there is space.
func (h *Head) storeInsisting(s *segment, block, count uint32, data []byte, done func()) {
	h.store(s, block, count, data, nil, func(status wire.Status) {
		if status == wire.OK {
			done()
			return
		}
		h.retries = append(h.retries, func() { h.storeInsisting(s, block, count, data, done) })
	})
}

// store sequences a write and sends it to every must-ack copy. The caller holds
// the lock of its blocks. by is the host's operation, of which it is a part; nil: what is there is
// written again, and fate is told.
func (h *Head) store(s *segment, block, count uint32, data []byte, by *Op, fate func(wire.Status)) {
	if s.state != serving {
		panic(fmt.Sprintf("mirror: write to segment %d of volume %d in state %d", s.index, h.volume, s.state))
	}
	s.seq++
	f := h.flights.get()
	f.segment, f.seq, f.block, f.count, f.by, f.fate = s, s.seq, block, count, by, fate
	f.pending, f.stored = f.owing[:0], f.have[:0]
	s.flight = append(s.flight, f)
	if by != nil {
		by.users++
	}
	f.claims = h.claimsBy(s, f, block, count, by)
	if len(f.claims) > 0 && data == nil {
		// Zeros over what a copy never had leave no version there; a claim needs one.
		data = make([]byte, int(count)*wire.BlockSize)
	}
	f.data = data
	if data != nil {
		if f.crc = f.sum[:]; count > 1 {
			f.crc = make([]uint32, count)
		}
		for i := range f.crc {
			f.crc[i] = wire.BlockCRC(h.volume, s.index, block+uint32(i), data[i*wire.BlockSize:(i+1)*wire.BlockSize])
		}
	}
	if h.caches(s, f, by) {
		h.cache(f, len(data), by)
	}
	for _, n := range h.mustAck(s) {
		if h.bugs.AckUnremoved && n != h.self && !h.peer(n).connected {
			continue
		}
		h.send(f, n)
	}
	if len(f.pending) == 0 {
		h.settled(f)
	}
}

// send gives a write to a copy, which it waits for then.
func (h *Head) send(f *flight, n wire.NodeID) {
	h.lastReq++
	var c *asking[wire.Write]
	if f.asked < len(f.asks) {
		c = &f.asks[f.asked]
	} else {
		c = new(asking[wire.Write])
	}
	f.asked++
	m := &c.msg
	*m = wire.Write{Req: h.lastReq, Volume: h.volume, Segment: f.segment.index, Epoch: h.epoch, Seq: f.seq,
		Commit: h.commitFor(f.segment, n), Block: f.block, Count: f.count, Cache: f.cached != nil, Claims: f.claims, CRC: f.crc, Data: f.data}
	if h.bugs.ClaimsKept {
		m.Claims = nil
	}
	c.call = call{node: n, msg: m, flight: f, user: f.by}
	if f.by != nil {
		f.by.users++
	}
	f.pending.set(n, h.request(m.Req, &c.call))
}

// commitFor is the commit point to tell a node: nothing to one that is not in sync,
// since it would take it for a promise that it has all before.
func (h *Head) commitFor(s *segment, n wire.NodeID) wire.Version {
	if m := s.member(n); !h.bugs.CommitJoiner && (m == nil || !m.InSync) || s.commit.Epoch != h.epoch {
		return wire.Version{}
	}
	return s.commit
}

func (h *Head) acked(f *flight, n wire.NodeID, a *wire.Ack) {
	h.peer(n).low = a.Low
	switch a.Status {
	case wire.OK:
		f.stored = append(f.stored, n)
	case wire.NoSpace:
		f.full = append(f.full, n)
	case wire.Missing:
		h.misses(f, n, missingTicks)
		return
	default:
		// Its disk failed: the cluster will take the copy out of the set, and until
		// then nobody is told that it has the write.
		h.owes(f, n)
		return
	}
	f.pending.remove(n)
	if len(f.pending) == 0 || h.bugs.AckEarly {
		h.settled(f)
	}
}

// missingTicks is how long nobody complains of a copy that is not there: mostly the cluster has taken it
// away, and this head is about to learn of it.
const missingTicks = 5

// misses asks a copy again that is not there, after some ticks, and complains of it: its node may find its disk late, and there may
// be no other to take its place.
func (h *Head) misses(f *flight, n wire.NodeID, ticks int) {
	h.dropJoin(f.segment, n)
	f.loose = true
	h.later(func() {
		if f.pending.by(n) == 0 {
			return
		}
		if ticks > 1 {
			h.misses(f, n, ticks-1)
			return
		}
		h.out.Complain = append(h.out.Complain, n)
		if h.bugs.MissingForGood {
			h.owes(f, n)
			return
		}
		h.send(f, n)
	})
}

// owes complains of a copy that will not store a write, until it is removed.
func (h *Head) owes(f *flight, n wire.NodeID) {
	h.dropJoin(f.segment, n)
	f.loose = true
	h.later(func() {
		if f.pending.by(n) != 0 {
			h.out.Complain = append(h.out.Complain, n)
			h.owes(f, n)
		}
	})
}

// later has f called on the next tick.
func (h *Head) later(f func()) { h.retries = append(h.retries, f) }

// settled ends a write that no copy owes an answer for. A copy that has no
// space for what others have stored cannot stay in the set.
func (h *Head) settled(f *flight) {
	if f.done {
		return
	}
	s := f.segment
	stored := len(f.stored) > 0
	if stored && len(f.full) > 0 && !h.bugs.FullCounts {
		stay := f.full[:0]
		for _, n := range f.full {
			if m := s.member(n); m != nil && m.InSync {
				stay = append(stay, n)
			} else if h.dropJoin(s, n); s.joiners[n] != nil {
				// The cluster was asked to take it in: until it has answered, the
				// copy may be in the set at any moment without this write.
				stay = append(stay, n)
			}
		}
		f.full = stay
		undone := len(f.full) > 0 && h.undone(s, f)
		switch {
		case f.done && !h.bugs.SettledTwice:
			return // nobody waits for a joiner that is dropped: that has ended this write, once
		case undone:
			stored = false
		case len(f.full) > 0:
			h.out.Complain = append(h.out.Complain, f.full...)
			f.loose = true
			h.later(func() { h.settled(f) })
			return
		}
	}
	if stored {
		h.assertStored(s, f)
	}
	f.done = true
	h.claimed(f, stored)
	h.advance(s)
	if f.cached != nil {
		h.stable(f, stored)
	}
	fate := wire.NoSpace
	if stored {
		fate = wire.OK
	}
	if op := f.by; op != nil {
		f.by = nil
		op.users--
		h.partDone(op, fate)
	} else {
		f.fate(fate)
	}
}

// common says, of a write that is done, that nothing refers to it any more: it was as most are, and each request that
// there was is answered by a copy that has stored it.
func (f *flight) common() bool {
	return !f.loose && f.fate == nil && f.cached == nil && len(f.claims)+len(f.changes) == 0 && f.asked <= len(f.asks) && f.asked == len(f.stored)
}

// assertStored holds invariants I2 and I3: what is about to be acknowledged is stored by
// every copy that the cluster counts on.
func (h *Head) assertStored(s *segment, f *flight) {
	for _, m := range s.view.Members {
		if m.InSync && !slices.Contains(f.stored, m.Node) {
			panic(fmt.Sprintf("mirror: write %d.%d of segment %d of volume %d ends, and is stored by %v of %+v", h.epoch, f.seq, s.index, h.volume,
				f.stored, s.view.Members))
		}
	}
}

// undone says whether all copies that have a write are out of the set, which then
// is those that had no space for it: the write never was.
func (h *Head) undone(s *segment, f *flight) bool {
	for _, n := range f.stored {
		if m := s.member(n); m != nil && m.InSync {
			return false
		}
		if h.dropJoin(s, n); s.joiners[n] != nil {
			return false // it may be in the set at any moment
		}
	}
	return true
}

// advance moves the commit point over the writes that are settled in sequence.
// Before the tail is settled it says nothing about this epoch.
func (h *Head) advance(s *segment) {
	done := 0
	for done < len(s.flight) && s.flight[done].done {
		done++
	}
	for _, f := range s.flight[:done] {
		if f.common() || h.bugs.FlightReused {
			h.flights.give(f)
		}
	}
	s.flight = slices.Delete(s.flight, 0, done)
	if s.settles > 0 {
		return
	}
	v := wire.Version{Epoch: h.epoch, Seq: s.seq}
	if i := slices.IndexFunc(s.flight, func(f *flight) bool { return !h.bugs.CommitHeld || f.cached == nil || !f.cached.held }); i >= 0 && !h.bugs.CommitEarly {
		v.Seq = s.flight[i].seq - 1
	}
	if s.commit.Less(v) {
		s.commit, s.untold = v, true
	}
}

// dropPending stops waiting for copies that the cluster has removed.
func (h *Head) dropPending(s *segment) {
	for _, f := range slices.Clone(s.flight) {
		if f.done {
			continue
		}
		f.pending = slices.DeleteFunc(f.pending, func(w owing) bool {
			m := s.member(w.node)
			gone := (m == nil || !m.InSync) && s.joiners[w.node] == nil
			if gone {
				delete(h.calls, w.req)
			}
			return gone
		})
		if len(f.pending) == 0 {
			h.settled(f)
		} else {
			h.heldByAll(f)
		}
	}
}

// commitTick tells in-sync nodes of commit points that no write has carried.
func (h *Head) commitTick() {
	var byNode map[wire.NodeID][]wire.CommitPoint
	for _, s := range h.segments {
		if !s.untold || s.state != serving || s.commit.Epoch != h.epoch {
			continue
		}
		s.untold = false
		for _, m := range s.view.Members {
			if m.InSync && s.told[m.Node] != s.commit {
				s.told[m.Node] = s.commit
				if byNode == nil {
					byNode = map[wire.NodeID][]wire.CommitPoint{}
				}
				byNode[m.Node] = append(byNode[m.Node], wire.CommitPoint{Segment: s.index, Commit: s.commit})
			}
		}
	}
	if byNode == nil {
		return
	}
	for _, n := range h.peerIDs() {
		if p := h.peers[n]; len(byNode[n]) > 0 && p.connected && p.prepared {
			h.out.Sends = append(h.out.Sends, Send{n, &wire.Commit{Volume: h.volume, Epoch: h.epoch, Segments: byNode[n]}})
		}
	}
}
