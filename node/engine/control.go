package engine

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"slices"
	"time"

	"ashlar/node/address/assign"
	"ashlar/node/cluster"
	"ashlar/node/failover"
	"ashlar/node/lease"
	"ashlar/node/peer"
	"ashlar/node/volume"
	"ashlar/replication/wire"
	"ashlar/target/boottime"
)

// Kinds of messages of class Control. Numbers are never reused.
const (
	kindRenew     uint16 = 0x201
	kindGrant     uint16 = 0x202
	kindAsk       uint16 = 0x203
	kindAnswer    uint16 = 0x204
	kindComplaint uint16 = 0x205
	kindRefused   uint16 = 0x206
	kindRelay     uint16 = 0x207
	kindPromised  uint16 = 0x208
	kindKnown     uint16 = 0x209
	kindKnows     uint16 = 0x20a
	kindQuestion  uint16 = 0x20b
	kindReply     uint16 = 0x20c
	kindPing      uint16 = 0x20d
	kindPong      uint16 = 0x20e
)

var controlKinds = []uint16{kindRenew, kindGrant, kindAsk, kindAnswer, kindComplaint, kindRefused, kindRelay, kindPromised, kindKnown, kindKnows,
	kindQuestion, kindReply, kindPing, kindPong, uint16(wire.KindToken)}

const (
	tick       = 50 * time.Millisecond
	tokenEvery = int64(100 * time.Millisecond)
	dropAfter  = int64(4 * time.Second) // hosts are dropped when no lease was held for so long
)

// control is the loop of what must never wait for data: the lease, tokens, and
// on the raft leader the failover planner. It owns its machines.
type control struct {
	e        *Engine
	inbox    chan func()
	holder   *lease.Holder
	voter    *lease.Voter
	version  uint64            // of the configuration that the voter knows
	votes    bool              // this node is among its voters
	planner  *failover.Planner // nil: another node leads
	pacing   pacing
	rebuild  *failover.Rebuild
	moves    *failover.Moves
	address  *assign.Planner
	gray     *failover.Gray // nil: another node leads
	worn     *failover.Worn // the same
	links    *failover.Links
	silences map[cluster.DiskID]*silence
	told     int64 // when the last token went out
	leased   bool  // held a lease since hosts were last dropped
	known    map[wire.NodeID]knowledge
	waits    map[uint64]*waiting // orders that wait until other nodes know of them
	polls    map[uint64]*poll
	lastWait uint64
}

// knowledge is since when this node knows of another's incarnation.
type knowledge struct {
	incarnation wire.Incarnation
	since       time.Time
}

func newControl(e *Engine) *control {
	return &control{e: e, inbox: make(chan func(), 1024), holder: lease.NewHolder(e.Self, e.Incarnation),
		voter: lease.NewVoter(e.Self, now()), known: map[wire.NodeID]knowledge{}, waits: map[uint64]*waiting{}, polls: map[uint64]*poll{},
		links: failover.NewLinks(), silences: map[cluster.DiskID]*silence{}}
}

// post has the loop do f. Where the loop is far behind f is lost, as a message may be.
func (c *control) post(f func()) {
	select {
	case c.inbox <- f:
	default:
	}
}

func (c *control) run() {
	t := boottime.Ticker(tick)
	defer t.Stop()
	for {
		select {
		case <-c.e.ctx.Done():
			return
		case f := <-c.inbox:
			f()
		case <-t.C:
			c.tick()
		}
	}
}

func (c *control) tick() {
	e := c.e
	st := e.Consensus.State()
	c.follow(st)
	t := now()
	version, voters := c.configuration()
	c.listen()
	c.ask(t, st)
	if r := c.holder.Tick(t); r != nil {
		m := renewal{*r, c.report(t)}
		for _, v := range voters {
			c.send(v, kindRenew, m)
		}
	}
	e.lease.Store(c.holder.Until(version, voters))
	c.hosts(t)
	if e.Ready() && t-c.told >= tokenEvery {
		c.told = t
		m := &wire.Token{Incarnation: e.Incarnation, Token: t}
		e.setToken(e.Self, m)
		for _, id := range st.NodeIDs() {
			if s := e.Network.Session(id, peer.Control); id != e.Self && s != nil {
				s.Send(peer.Frame{Kind: uint16(wire.KindToken), Head: wire.Marshal(nil, m)})
			}
		}
	}
	c.pace(t, st)
	c.lead(t, st, version, voters)
	select {
	case e.ticked <- struct{}{}:
	default: // the volumes have the one before yet to come
	}
}

// configuration is raft's latest. The voter hears of each before it grants or
// casts a ballot under it.
func (c *control) configuration() (version uint64, voters []wire.NodeID) {
	version, voters = c.e.Consensus.Voters()
	if version != c.version {
		c.version, c.votes = version, slices.Contains(voters, c.e.Self)
		c.voter.Reconfigured(now())
	}
	return version, voters
}

// follow looks at what the cluster has agreed on: among it whether this
// incarnation is over.
func (c *control) follow(st *cluster.State) {
	e := c.e
	me := st.Nodes[e.Self]
	if me == nil {
		return
	}
	switch {
	case me.Incarnation > e.Incarnation, me.Incarnation == e.Incarnation && !me.Up:
		e.registered.Store(false)
		select {
		case <-e.fenced:
		default:
			e.Log.Warn("the cluster has taken this incarnation for dead", "incarnation", e.Incarnation)
			close(e.fenced)
			e.dropHosts()
		}
		return
	case me.Incarnation == e.Incarnation:
		e.registered.Store(true)
	}
	for id, n := range st.Nodes {
		if n.Up && c.known[id].incarnation != n.Incarnation {
			c.known[id] = knowledge{n.Incarnation, time.Now()}
		}
	}
	e.mu.Lock()
	same := e.state == st
	e.mu.Unlock()
	if !same {
		e.follow(st)
	}
}

// hosts drops every host when no lease was held for so long that the cluster
// may have let others act long ago.
func (c *control) hosts(t int64) {
	until := c.e.Lease()
	if t < until {
		c.leased = true
	} else if c.leased && t-until > dropAfter {
		c.leased = false
		c.e.Log.Warn("no lease for 4 s: hosts are dropped")
		c.e.dropHosts()
	}
}

// lead runs the planner while this node leads.
func (c *control) lead(t int64, st *cluster.State, version uint64, voters []wire.NodeID) {
	if !c.e.Consensus.IsLeader() || !c.e.registered.Load() {
		c.planner, c.rebuild, c.moves, c.address, c.gray, c.worn = nil, nil, nil, nil, nil, nil
		return
	}
	if c.planner == nil {
		c.planner, c.rebuild, c.moves = failover.New(c.e.Self), failover.NewRebuild(), failover.NewMoves()
		c.address, c.gray, c.worn = assign.NewPlanner(), failover.NewGray(), &failover.Worn{}
	}
	a := c.planner.Tick(t, st, c.voter, version, voters)
	for _, ask := range a.Asks {
		c.send(ask.Voter, kindAsk, ask)
	}
	for _, r := range a.Relays {
		c.send(r.Node, kindRelay, r)
	}
	commands := slices.Concat(a.Proposes, c.rebuild.Tick(t, st), c.moves.Tick(t, st), c.gray.Tick(t, time.Now().UnixMilli(), st), c.worn.Tick(t, st))
	for _, m := range c.address.Tick(t, st.AddressNodes(), st.AddressesToMove(), st.Catching()) {
		commands = append(commands, cluster.Command{MoveAddress: &cluster.MoveAddress{Move: m}})
	}
	for _, cmd := range commands {
		c.e.Log.Info("failover", "command", describe(cmd))
		c.e.tasks.Go(func() {
			if r, err := c.e.propose(cmd); err == nil && r.Problem != "" {
				c.e.Log.Info("failover refused", "command", describe(cmd), "why", r.Problem)
			}
		})
	}
}

func describe(c cluster.Command) string {
	b, _ := json.Marshal(c)
	return string(b)
}

// send is a message to a node, or to ourselves.
func (c *control) send(to wire.NodeID, kind uint16, m any) {
	b, err := json.Marshal(m)
	if err != nil {
		panic("engine: " + err.Error())
	}
	if to == c.e.Self {
		c.post(func() { c.receive(to, kind, b) })
		return
	}
	if s := c.e.Network.Session(to, peer.Control); s != nil {
		s.Send(peer.Frame{Kind: kind, Head: b})
	}
}

// controlMessage is the network's handler.
func (e *Engine) controlMessage(s *peer.Session, kind uint16, payload []byte) {
	if kind == uint16(wire.KindToken) {
		if m, err := wire.Unmarshal(wire.KindToken, payload); err == nil {
			e.setToken(s.Peer(), m.(*wire.Token))
		}
		return
	}
	b := slices.Clone(payload)
	e.control.post(func() { e.control.receive(s.Peer(), kind, b) })
}

// receive takes a control message, in the loop.
func (c *control) receive(from wire.NodeID, kind uint16, b []byte) {
	switch kind {
	case kindRenew:
		decode(c, b, func(r renewal) {
			if r.Node == from {
				c.renew(from, r.Renew)
				if c.gray != nil && r.Report != nil {
					c.gray.Reported(now(), from, *r.Report)
				}
			}
		})
	case kindGrant:
		decode(c, b, func(g lease.Grant) {
			if g.Voter == from {
				c.holder.Granted(g)
				c.e.lease.Store(c.holder.Until(c.e.Consensus.Voters()))
			}
		})
	case kindAsk:
		decode(c, b, func(a failover.Ask) { c.vote(from, a) })
	case kindAnswer:
		decode(c, b, func(a failover.Answer) {
			if c.planner != nil && a.Voter == from {
				c.planner.Answered(a)
			}
		})
	case kindComplaint:
		decode(c, b, func(x failover.Complaint) {
			if c.planner != nil && x.From == from {
				c.planner.Complained(now(), x)
			}
		})
	case kindRelay:
		decode(c, b, func(r failover.Relay) { c.relay(from, r) })
	case kindPromised:
		decode(c, b, func(r failover.Relay) {
			if c.planner != nil && r.Node == from {
				c.planner.Promised(r)
			}
		})
	case kindKnown:
		decode(c, b, func(k known) { c.asked(from, k, 0) })
	case kindKnows:
		decode(c, b, func(k known) { c.knows(from, k) })
	case kindQuestion:
		decode(c, b, func(q question) { c.questioned(from, q) })
	case kindReply:
		decode(c, b, func(r reply) { c.answered(from, r) })
	case kindPing:
		decode(c, b, func(p ping) { c.send(from, kindPong, p) })
	case kindPong:
		decode(c, b, func(p ping) { c.links.Answered(now(), from, p.ID) })
	case kindRefused:
		decode(c, b, func(d cluster.Dead) {
			if c.planner != nil {
				c.planner.Refused(d)
			}
		})
	}
}

func decode[T any](c *control, b []byte, then func(T)) {
	var v T
	if err := json.Unmarshal(b, &v); err != nil {
		c.e.Log.Warn("a malformed control message", "error", err)
		return
	}
	then(v)
}

// renew answers a renewal, once this node knows of its own registration: every
// fence that counted a ballot of its former life is known then, too.
func (c *control) renew(from wire.NodeID, r lease.Renew) {
	st := c.e.Consensus.State()
	n := st.Nodes[from]
	if !c.e.registered.Load() || n == nil {
		return
	}
	present := n.Incarnation
	if !n.Up {
		present++ // that one is over
	}
	version, _ := c.configuration()
	c.send(from, kindGrant, c.voter.Renew(now(), r, present, version))
}

// vote casts the ballots that a leader asks for.
func (c *control) vote(leader wire.NodeID, a failover.Ask) {
	version, _ := c.configuration()
	if !c.e.registered.Load() || !c.votes {
		return
	}
	out := failover.Answer{Voter: c.e.Self, Incarnation: c.e.Incarnation, Version: version}
	for _, d := range a.Dead {
		if c.voter.Condemn(now(), d.Node, d.Incarnation) {
			out.Dead = append(out.Dead, d)
		}
	}
	if len(out.Dead) > 0 {
		c.send(leader, kindAnswer, out)
	}
}

// complain sends a head's complaint to the leader.
func (c *control) complain(x failover.Complaint) { c.toLeader(kindComplaint, x) }

// relayed is a leader that waits for this node's promise to a head which cannot
// reach it.
type relayed struct {
	c      *control
	leader wire.NodeID
	asked  failover.Relay
	volume *volume.Volume
}

// relay has the copies here promise. The promise is durable when it is told.
func (c *control) relay(leader wire.NodeID, r failover.Relay) {
	if v := c.e.volume(r.Volume); v != nil && r.Node == c.e.Self {
		v.RequestLater(&relayed{c, leader, r, v}, &wire.Prepare{Volume: r.Volume, Epoch: r.Epoch})
	}
}

// Reply takes the copies' answer.
func (r *relayed) Reply(_ wire.VolumeID, m wire.Message, _ bool) {
	if p, ok := m.(*wire.Prepared); ok && p.Status == wire.OK {
		r.c.post(func() { r.c.send(r.leader, kindPromised, r.asked) })
	}
	r.volume.Forget(r)
}

func (c *control) toLeader(kind uint16, m any) {
	c.post(func() {
		if leader, ok := c.e.Consensus.Leader(); ok {
			c.send(leader, kind, m)
		}
	})
}

// refused is the proof of a death: a peer port that refuses connections, on
// which the incarnation that is up had listened before it registered. The dial
// must have begun after that registration was known here.
func (c *control) refused(ev peer.Event) {
	c.post(func() {
		n, k := c.e.Consensus.State().Nodes[ev.Peer], c.known[ev.Peer]
		if n == nil || !n.Up || n.Peer != ev.Address || k.incarnation != n.Incarnation || !ev.Began.After(k.since) {
			return
		}
		c.toLeader(kindRefused, cluster.Dead{Node: ev.Peer, Incarnation: n.Incarnation})
	})
}

func randomID() string {
	b := make([]byte, 16)
	rand.Read(b)
	return hex.EncodeToString(b)
}
