package mirror

import (
	"slices"

	"ashlar/replication/wire"
)

// fenceWait is after how long a fence needs no answer of the head: every token
// that a command was sent with is then too old, with 10 % for clocks that drift.
const fenceWait = TokenMax + TokenMax/10

// fenceMax is for how long a fence waits that only the head's word proves.
const fenceMax = HoldMax - 200*Millisecond

// roomEach is how many requests try a full window again on a tick.
const roomEach = 32

// Request is one operation of a host at a portal. Data and Into are the portal's from
// Submit until it is in Done, and for good where it is Lent then.
type Request struct {
	Kind    wire.OpKind
	Nexus   wire.Nexus
	Stamp   wire.Stamp // the portal's when the last byte was read
	Read    int64      // when that was, by this node's clock
	Offset  uint64     // bytes
	Length  uint64     // bytes
	Data    []byte     // of a read that ended OK what it read, in Into or elsewhere
	Into    []byte     // of a read: nil, or Length bytes
	Private any

	Cached bool   // the volume has a write cache
	FUA    bool   // to stable storage before the answer
	Losses uint64 // how often the cache had been lost when the host's session began

	Status wire.Status
	Miss   uint64
	Runs   []uint32
	Claim  uint64 // to be settled; 0: nothing is
	Lent   bool   // it may still be on its way, or this node's head or copies may look at Data as submitted, or read into Into

	number  uint64 // of a command that must not be carried out twice
	tried   bool   // it was sent to a head
	first   uint64 // in this epoch, the first time
	req     uint64 // 0: not with the head
	stale   bool   // its stamp was refused: it needs a newer one
	refused int64  // the token it was refused with
	fenced  bool   // never to be sent again
	full    bool   // the head's window was: waits for the next answer or tick
	crowded bool   // its last answer was that
	size    int    // bytes that it counts for
	ended   bool
	lent    int         // how often its memory went to a head, and did not come back
	submit  wire.Submit // sent the first time
}

// Portal brings one volume's operations from this node's hosts to its head, and
// hides the head's moves: it holds what cannot be sent, stamps it again if that
// is still right, and answers Busy before a host gives up.
type Portal struct {
	volume wire.VolumeID
	self   wire.Portal
	bugs   Bugs
	now    int64
	lease  int64

	head      wire.NodeID
	epoch     uint64
	connected bool
	token     int64

	requests []*Request // in order of submission: no more than a window of them (invariant I15)
	bytes    int        // of them
	sent     map[uint64]*Request
	fences   []*fence
	heard    []uint64   // Clear.Req, of the last ones
	barriers []barrier  // fences of the last HoldMax
	done     []*Request // but for the lease
	lastReq  uint64
	numbers  uint64    // of commands, so far
	unsaid   []verdict // for the next Settle
	said     []verdict // said to the head, that may not have heard it
	out      PortalActions
	taken    PortalActions // by the last Take
	spare    spare[Request]
}

// fence is one that a front end has asked for here, or one asked for elsewhere
// that the head has told of.
type fence struct {
	id      uint64 // the front end's
	clear   uint64 // Clear.Req; 0: asked for here
	scope   wire.FenceScope
	nexus   wire.Nexus
	began   int64
	req     uint64
	covered []*Request
}

// barrier is a fence that commands of this portal may meet which had been read before
// it, and had not been submitted yet.
type barrier struct {
	scope wire.FenceScope
	nexus wire.Nexus
	at    int64
}

// everywhere says whether a fence is about other portals' commands, too. No age
// proves anything about these: they may be stamped again.
func (f *fence) everywhere() bool { return f.clear == 0 && f.scope >= wire.FenceUnit }

// PortalActions is what a Portal wants done.
type PortalActions struct {
	Sends    []Send
	Done     []*Request
	Fenced   []uint64 // fences that are proven, by the id they were asked with
	Unfenced []uint64 // fences whose proof could not be had in time
}

// NewPortal has no head yet.
func NewPortal(volume wire.VolumeID, self wire.Portal, bugs Bugs) *Portal {
	return &Portal{volume: volume, self: self, bugs: bugs, sent: map[uint64]*Request{}}
}

// Take gives what is to be done since the last Take. Its Sends and Done are the portal's again at the next one.
func (p *Portal) Take() PortalActions {
	a := p.out
	p.out = PortalActions{Sends: emptied(p.taken.Sends), Done: emptied(p.taken.Done)}
	p.taken = a
	p.spare.turn()
	return a
}

// NewRequest is an empty one.
func (p *Portal) NewRequest() *Request { return p.spare.get() }

// Release gives a request back that was in Done. Nobody may touch it any more.
func (p *Portal) Release(r *Request) {
	if !r.fenced || p.bugs.RequestReused { // else a fence may refer to it
		p.spare.give(r)
	}
}

// Stamp is for a command whose last byte is being read.
func (p *Portal) Stamp() wire.Stamp { return wire.Stamp{Epoch: p.epoch, Token: p.token} }

// Lease says until when this node's lease holds now.
func (p *Portal) Lease(now, until int64) {
	p.now, p.lease = now, until
	if !p.leased() {
		return
	}
	p.out.Done = append(p.out.Done, p.done...)
	p.done = nil
	p.pump()
}

func (p *Portal) leased() bool { return p.now < p.lease || p.bugs.NoLease }

// Head says who the head is (0: nobody) and whether a session with it lives.
func (p *Portal) Head(now int64, node wire.NodeID, epoch uint64, connected bool) {
	p.now = now
	if node == p.head && epoch == p.epoch && connected == p.connected {
		return
	}
	if node != p.head || epoch != p.epoch {
		p.token = 0 // another incarnation's clock may stand lower
	}
	p.head, p.epoch, p.connected = node, epoch, connected
	p.recall()
	p.pump()
}

// recall takes back what the head was sent: whether it was carried out is
// unknown. It can be sent again, as the same command of a session that lives: a
// COMPARE AND WRITE that was carried out is known to whoever is the head by its
// claim, and to do anything else twice makes no difference.
func (p *Portal) recall() {
	for _, r := range p.requests {
		if r.req == 0 || r.ended {
			continue
		}
		delete(p.sent, r.req)
		r.req, r.stale, r.refused = 0, true, 0
	}
	for _, f := range p.fences {
		f.req = 0
	}
	p.unsaid, p.said = append(p.said, p.unsaid...), nil
}

// Token takes the head's token.
func (p *Portal) Token(now int64, from wire.NodeID, token int64) {
	p.now = now
	if from == p.head && token > p.token {
		p.token = token
		p.pump()
	}
}

// Waiting is how many requests of hosts are not answered.
func (p *Portal) Waiting() int { return len(p.requests) }

// Idle says whether ticks change nothing soon.
func (p *Portal) Idle() bool { return len(p.requests)+len(p.fences)+len(p.done)+len(p.unsaid) == 0 }

// Submit takes a host's operation.
func (p *Portal) Submit(now int64, r *Request) {
	p.now = now
	if r.Kind == wire.OpCompareAndWrite {
		p.numbers++
		r.number = p.numbers
	}
	size := (&Op{Kind: r.Kind, Length: r.Length, Data: r.Data}).size()
	if n := len(p.requests); n >= WindowOps || n > 0 && p.bytes+size > WindowBytes {
		p.end(r, wire.Window)
		return
	}
	r.size = size
	p.bytes += size
	p.requests = append(p.requests, r)
	for _, b := range p.barriers {
		if r.Read < b.at && Covers(b.scope, b.nexus, r.Nexus) {
			p.end(r, wire.Aborted)
			return
		}
	}
	p.pump()
}

// pump sends what can be sent: fences first, since what they are about was sent
// before or never will be.
func (p *Portal) pump() {
	if p.head == 0 || !p.connected || !p.leased() {
		return
	}
	for _, f := range p.fences {
		if f.req != 0 {
			continue
		}
		p.lastReq++
		f.req = p.lastReq
		var m wire.Message = &wire.Fence{Req: f.req, Volume: p.volume, Portal: p.self, Scope: f.scope, Nexus: f.nexus}
		if f.clear != 0 {
			m = &wire.Cleared{Req: f.req, Volume: p.volume, Portal: p.self, Clear: f.clear}
		}
		p.out.Sends = append(p.out.Sends, Send{p.head, m})
	}
	p.say()
	for _, r := range p.requests {
		if r.ended || r.fenced || r.full || r.req != 0 || p.now-r.Read >= HoldMax {
			continue
		}
		stamp := r.Stamp
		if r.stale || stamp.Epoch != p.epoch {
			// Stamped again: its session lives, no stall was seen (either would
			// have ended it), and it was read less than HoldMax ago.
			if p.token == 0 || p.token <= r.refused {
				continue
			}
			stamp = p.Stamp()
		}
		p.lastReq++
		r.req = p.lastReq
		r.Stamp = stamp
		first := r.first // 0 where this is the first time
		m := &r.submit
		if r.tried {
			m = new(wire.Submit) // the former one may still be read
		} else {
			r.tried, r.first = true, p.epoch
		}
		p.sent[r.req] = r
		*m = wire.Submit{Req: r.req, Volume: p.volume, Op: r.Kind, Nexus: r.Nexus,
			Command: wire.Command{Portal: p.self, Number: r.number}, First: first, Stamp: stamp, Wait: r.Read + HoldMax - p.now, Offset: r.Offset, Length: r.Length, Data: r.Data,
			Cached: r.Cached, FUA: r.FUA, Losses: r.Losses}
		if own := p.head == p.self.Node; own || len(r.Data) > 0 {
			if own && r.lent == 0 {
				m.Into = r.Into
			}
			r.lent++
		}
		p.out.Sends = append(p.out.Sends, Send{p.head, m})
	}
}

// Receive takes the head's answers.
func (p *Portal) Receive(now int64, from wire.NodeID, m wire.Message) {
	p.now = now
	switch m := m.(type) {
	case *wire.Done:
		r := p.sent[m.Req]
		if r == nil || from != p.head {
			return
		}
		delete(p.sent, m.Req)
		r.req = 0
		if own := from == p.self.Node; own && (m.Returned || p.bugs.ReturnedEarly) || !own && len(r.Data) > 0 {
			r.lent-- // another node has data of its own
		}
		switch m.Status {
		case wire.Old, wire.NotHead:
			r.stale, r.refused, r.crowded = true, r.Stamp.Token, false
			p.pump()
		case wire.Window:
			r.full, r.crowded = true, true // sent again when there may be room
		default:
			r.Miss, r.Runs = m.Offset, m.Runs
			if r.Kind == wire.OpRead || r.Kind == wire.OpReserve {
				r.Data = m.Data
			}
			p.end(r, m.Status)
			p.room(1)
		}
	case *wire.Fenced:
		for _, f := range slices.Clone(p.fences) {
			switch {
			case f.req != m.Req:
			case m.Status == wire.OK:
				p.proven(f)
			default:
				f.req = 0 // it does not know yet that it is the head: asked again on a tick
			}
		}
	}
}

// room lets the oldest n requests that found the head's window full try again.
func (p *Portal) room(n int) {
	for _, r := range p.requests {
		if n > 0 && r.full {
			r.full = false
			n--
		}
	}
	p.pump()
}

// end answers a request, now or when the lease is back.
func (p *Portal) end(r *Request, s wire.Status) {
	if r.ended {
		return
	}
	r.ended, r.Status, r.Lent = true, s, r.lent > 0 && !p.bugs.LentForgotten
	p.conclude(r)
	if r.req != 0 {
		delete(p.sent, r.req)
	}
	if i := slices.Index(p.requests, r); i >= 0 {
		p.requests = slices.Delete(p.requests, i, i+1)
		p.bytes -= r.size
	}
	if p.leased() {
		p.out.Done = append(p.out.Done, r)
	} else {
		p.done = append(p.done, r)
	}
}

// Tick is called every 50 to 100 ms.
func (p *Portal) Tick(now int64) {
	p.now = now
	for _, r := range slices.Clone(p.requests) {
		if p.now-r.Read >= HoldMax {
			if r.crowded && r.req == 0 {
				p.end(r, wire.Window)
			} else {
				p.end(r, wire.Busy)
			}
		}
	}
	for _, f := range slices.Clone(p.fences) {
		age := p.now - f.began
		switch {
		case age <= fenceWait:
		case f.clear == 0 && !f.everywhere():
			p.proven(f)
		case age > fenceMax:
			p.unproven(f)
		default:
			p.uncover(f) // nothing of this portal can come any more
		}
	}
	p.barriers = slices.DeleteFunc(p.barriers, func(b barrier) bool { return p.now-b.at > HoldMax })
	p.repeatVerdicts()
	p.room(roomEach)
}

// Fence ends the operations of a scope. It is proven, and id comes out in
// Fenced, when the head says so. That of a nexus or a host is also proven when
// every token that they may have been sent with is too old. What the head had
// sequenced before is ordered before everything that comes after, whoever the
// head is then.
func (p *Portal) Fence(now int64, id uint64, scope wire.FenceScope, n wire.Nexus) {
	p.now = now
	f := &fence{id: id, scope: scope, nexus: n, began: now}
	if f.everywhere() {
		p.bar(scope, n)
	}
	p.cover(f, scope, n)
	p.fences = append(p.fences, f)
	p.pump()
}

// heardMax is how many fences of others a portal remembers to have heard of.
const heardMax = 64

// Clear is the head's word of a fence that was asked for elsewhere: what came in
// before is ended here, and the head is told so on the session on which it was
// submitted. It says whether this is news: the head says it again until it has
// an answer.
func (p *Portal) Clear(now int64, m *wire.Clear) (news bool) {
	p.now = now
	news = !slices.Contains(p.heard, m.Req)
	f := &fence{clear: m.Req, scope: m.Scope, began: now}
	if news {
		p.heard = append(p.heard, m.Req)
		p.heard = p.heard[max(0, len(p.heard)-heardMax):]
		switch {
		case p.bugs.ClearNothing:
		case m.Scope == wire.FenceNexus:
			for _, n := range m.Nexuses {
				p.bar(m.Scope, n)
				p.cover(f, m.Scope, n)
			}
		default:
			p.bar(m.Scope, wire.Nexus{})
			p.cover(f, m.Scope, wire.Nexus{})
		}
	} else if slices.ContainsFunc(p.fences, func(o *fence) bool { return o.clear == m.Req }) {
		return false // the answer is under way
	}
	p.fences = append(p.fences, f)
	p.pump()
	return news
}

func (p *Portal) bar(scope wire.FenceScope, n wire.Nexus) {
	p.barriers = append(p.barriers, barrier{scope, n, p.now})
}

// cover ends what a fence is about and was never sent; the rest may be with a head.
func (p *Portal) cover(f *fence, scope wire.FenceScope, n wire.Nexus) {
	for _, r := range slices.Clone(p.requests) {
		switch {
		case r.fenced || !Covers(scope, n, r.Nexus):
		case !r.tried: // no head has it
			p.end(r, wire.Aborted)
		default:
			r.fenced = true
			f.covered = append(f.covered, r)
		}
	}
}

// uncover ends what a fence is about.
func (p *Portal) uncover(f *fence) {
	for _, r := range f.covered {
		p.end(r, wire.Aborted)
	}
	f.covered = nil
}

func (p *Portal) proven(f *fence) {
	p.remove(f)
	if f.clear == 0 {
		p.out.Fenced = append(p.out.Fenced, f.id)
	}
}

func (p *Portal) unproven(f *fence) {
	p.remove(f)
	if f.clear == 0 {
		p.out.Unfenced = append(p.out.Unfenced, f.id)
	}
}

func (p *Portal) remove(f *fence) {
	i := slices.Index(p.fences, f)
	p.fences = slices.Delete(p.fences, i, i+1)
	p.uncover(f)
}

// Drop ends every request without an answer: its connections were dropped.
func (p *Portal) Drop(now int64) {
	p.now = now
	for _, r := range p.requests {
		r.ended, r.Status, r.Lent = true, wire.Aborted, r.lent > 0
		p.conclude(r)
		p.out.Done = append(p.out.Done, r)
	}
	p.out.Done = append(p.out.Done, p.done...)
	p.requests, p.bytes, p.done, p.sent = nil, 0, nil, map[uint64]*Request{}
	// The connections that asked for fences are gone, too. What was sent is too
	// old by the time that another session of the same hosts is let in. What other
	// portals hold is not.
	for _, f := range p.fences {
		if f.everywhere() {
			p.out.Unfenced = append(p.out.Unfenced, f.id)
		} else if f.clear == 0 {
			p.out.Fenced = append(p.out.Fenced, f.id)
		}
	}
	p.fences = slices.DeleteFunc(p.fences, func(f *fence) bool { return f.clear == 0 })
}
