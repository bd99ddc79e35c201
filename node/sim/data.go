package sim

import (
	"slices"

	"ashlar/node/cluster"
	"ashlar/node/failover"
	"ashlar/replication/mirror"
	"ashlar/replication/wire"
)

// session is a peer's end of a connection that one node dialled for its
// requests; the answers come back on it.
type session struct {
	p    *process
	peer wire.NodeID
	c    *conn
	side int // 0: this node dialled
	over bool
}

// envelope says which volume a message is about.
type envelope struct {
	volume wire.VolumeID
	msg    wire.Message
}

func (s *session) send(v wire.VolumeID, m wire.Message) {
	if !s.over {
		s.c.send(s.side, envelope{v, carried(m)})
	}
}

// carried is a message on its way: what it is made of is its sender's again, but not its data, which is sent from where it is.
func carried(m wire.Message) wire.Message {
	switch m := m.(type) {
	case *wire.Submit:
		c := *m
		c.Into = nil
		return &c
	case *wire.Write:
		c := *m
		c.CRC = slices.Clone(m.CRC)
		return &c
	case *wire.Read:
		c := *m
		c.Into = nil
		return &c
	case *wire.Blocks:
		c := *m
		return &c
	case *wire.Done:
		c := *m
		c.Returned = false
		return &c
	}
	return m
}

// arrived has the message's data in memory of its own.
func arrived(m wire.Message) {
	switch m := m.(type) {
	case *wire.Submit:
		m.Data = slices.Clone(m.Data)
	case *wire.Write:
		m.Data = slices.Clone(m.Data)
	case *wire.Blocks:
		m.Data = slices.Clone(m.Data)
	case *wire.Done:
		m.Data = slices.Clone(m.Data)
	}
}

// end is this process's decision.
func (s *session) end() {
	s.over = true
	s.c.close(s.side)
	if s.side == 1 && s.p.in[s.peer] == s {
		delete(s.p.in, s.peer)
	}
}

// dialAll keeps a session to each node.
func (p *process) dialAll() {
	for _, s := range p.w.servers {
		if s == p.s || p.out[s.id] != nil || p.dialing[s.id] {
			continue
		}
		p.dial(s)
	}
}

func (p *process) dial(to *server) {
	p.dialing[to.id] = true
	var known wire.Incarnation // registered before the dial began
	if n := p.st.Nodes[to.id]; n.Up {
		known = n.Incarnation
	}
	p.w.after(p.w.net.delay(p.s.at, to.at)+p.w.net.delay(to.at, p.s.at), func() {
		if !p.alive {
			return
		}
		open, refused := to.reachable(p.s.at)
		if !open {
			p.run(fromControl, func() {
				p.dialing[to.id] = false
				if (refused || p.w.bugs.SilenceIsDeath) && known != 0 {
					p.refused(cluster.Dead{Node: to.id, Incarnation: known})
				}
			})
			return
		}
		c := p.w.net.dial(p.s.at, to.at)
		to.process.accepted(c, p.s.id)
		p.dialled(c, to.id)
	})
}

func (p *process) refused(d cluster.Dead) {
	p.toPlanner(func(q *process) {
		q.planner.Refused(d)
	})
}

func (p *process) dialled(c *conn, to wire.NodeID) {
	s := &session{p: p, peer: to, c: c}
	c.ends[0].receive = func(msg any) { p.run(c.id, func() { p.answered(s, msg.(envelope)) }) }
	c.ends[0].lost = func() { p.run(c.id, func() { p.lostOut(s) }) }
	p.run(c.id, func() {
		p.w.note("session", int64(p.s.id), int64(to), int64(c.id))
		p.dialing[to] = false
		p.out[to] = s
		for _, r := range p.reigns {
			r.head.Connected(p.now(), to)
		}
		p.routes()
	})
}

func (p *process) lostOut(s *session) {
	p.w.note("session lost", int64(p.s.id), int64(s.peer), int64(s.c.id))
	s.over = true
	delete(p.out, s.peer)
	for _, r := range p.reigns {
		r.head.Lost(p.now(), s.peer)
	}
	p.routes()
}

// accepted takes a peer's session. What comes over the one it replaces is not
// looked at any more: its sender has given it up and said everything again.
func (p *process) accepted(c *conn, from wire.NodeID) {
	s := &session{p: p, peer: from, c: c, side: 1}
	c.ends[1].receive = func(msg any) {
		p.run(c.id, func() {
			if !s.over {
				p.asked(s, msg.(envelope))
			}
		})
	}
	c.ends[1].lost = func() {
		p.run(c.id, func() {
			s.over = true
			if p.in[from] == s {
				delete(p.in, from)
			}
		})
	}
	p.run(c.id, func() {
		if old := p.in[from]; old != nil {
			old.end()
		}
		p.in[from] = s
	})
}

// answered takes an answer to one of this node's requests.
func (p *process) answered(s *session, e envelope) {
	if !s.over {
		arrived(e.msg)
		p.route(s.peer, e.volume, e.msg)
	}
}

func (p *process) route(from wire.NodeID, v wire.VolumeID, m wire.Message) {
	switch m.(type) {
	case *wire.Done, *wire.Fenced:
		p.portals[v-1].Receive(p.now(), from, m)
	default:
		if r := p.reign(v); r != nil {
			r.head.Receive(p.now(), from, m)
		}
	}
}

// asked takes a peer's request.
func (p *process) asked(s *session, e envelope) {
	volume := e.volume
	arrived(e.msg)
	switch m := e.msg.(type) {
	case *wire.Submit:
		p.submitted(s, m)
	case *wire.Fence:
		p.askedToFence(s, m)
	case *wire.Token:
		p.token(s.peer, m)
	case *wire.Clear, *wire.Cleared, *wire.Settle:
		p.askedOfFences(s, m)
	default:
		p.outranked(volume, m)
		p.replicas[volume-1].Receive(p.now(), uint64(s.c.id), m)
	}
}

// origin is who wants an operation's answer; session nil: this node's own portal.
type origin struct {
	session *session
	req     uint64
}

func (p *process) reply(s *session, v wire.VolumeID, m wire.Message) {
	if s == nil {
		p.route(p.s.id, v, m)
	} else {
		s.send(v, m)
	}
}

func (p *process) reign(v wire.VolumeID) *reign {
	for _, r := range p.reigns {
		if r.volume == v && !r.over {
			return r
		}
	}
	return nil
}

func (p *process) submitted(s *session, m *wire.Submit) {
	r := p.reign(m.Volume)
	if r == nil {
		p.reply(s, m.Volume, &wire.Done{Req: m.Req, Status: wire.NotHead, Returned: true})
		return
	}
	now := p.now()
	op := new(mirror.Op)
	if n := len(p.spent) - 1; n >= 0 {
		op, p.spent = p.spent[n], p.spent[:n]
	}
	*op = mirror.NewOp(now, m, origin{s, m.Req})
	r.head.Submit(now, op)
}

func (p *process) askedToFence(s *session, m *wire.Fence) {
	r := p.reign(m.Volume)
	if r == nil {
		p.reply(s, m.Volume, &wire.Fenced{Req: m.Req, Status: wire.NotHead})
		return
	}
	r.head.Fence(p.now(), m, origin{s, m.Req})
}

// askedOfFences takes what heads and portals tell each other of fences and claims.
func (p *process) askedOfFences(s *session, m wire.Message) {
	switch m := m.(type) {
	case *wire.Clear:
		if p.portals != nil {
			p.portals[m.Volume-1].Clear(p.now(), m)
		}
	case *wire.Cleared:
		r := p.reign(m.Volume)
		if r == nil {
			p.reply(s, m.Volume, &wire.Fenced{Req: m.Req, Status: wire.NotHead})
			return
		}
		r.head.Cleared(p.now(), m)
		p.reply(s, m.Volume, &wire.Fenced{Req: m.Req})
	case *wire.Settle:
		if r := p.reign(m.Volume); r != nil {
			r.head.Settle(p.now(), m)
		}
	}
}

// sendTokens gives all portals this node's time, if it is a head with a lease.
func (p *process) sendTokens() {
	now := p.now()
	some := false
	for _, r := range p.reigns {
		some = some || !r.over
	}
	if !some || now >= p.until && !p.w.bugs.Mirror.NoLease {
		return
	}
	t := &wire.Token{Incarnation: p.incarnation, Token: now}
	for _, n := range p.peers() {
		if n == p.s.id {
			p.token(n, t)
		} else if s := p.out[n]; s != nil {
			s.send(0, t)
		}
	}
}

func (p *process) token(from wire.NodeID, t *wire.Token) {
	for i, portal := range p.portals {
		if v := p.st.Volumes[wire.VolumeID(i+1)]; v.Head == from && v.HeadIncarnation == t.Incarnation {
			portal.Token(p.now(), from, t.Token)
		}
	}
}

// drain carries out what the machines want done, until they want nothing more.
func (p *process) drain() {
	for again := true; again && p.alive; {
		again = false
		for _, r := range p.reigns {
			again = p.carryHead(r) || again
		}
		for i, portal := range p.portals {
			again = p.carryReplica(wire.VolumeID(i+1)) || again
			again = p.carryPortal(i, portal) || again
		}
	}
	if len(p.reigns) > 8 {
		p.bury()
	}
}

// bury forgets heads of old whose answers are all given.
func (p *process) bury() {
	kept := p.reigns[:0]
	for _, r := range p.reigns {
		if !r.over {
			kept = append(kept, r)
		}
	}
	p.reigns = kept
}

func (p *process) carryHead(r *reign) bool {
	a := r.head.Take()
	for _, s := range a.Sends {
		p.w.tell("  head %d to node %d: %v", p.s.id, s.To, s.Msg)
		if _, clear := s.Msg.(*wire.Clear); clear && s.To == p.s.id {
			p.askedOfFences(nil, s.Msg)
		} else if s.To == p.s.id {
			p.replicas[r.volume-1].Receive(p.now(), 0, s.Msg)
		} else if session := p.out[s.To]; session != nil {
			session.send(r.volume, s.Msg)
		}
	}
	for _, op := range a.Done {
		p.w.concluded(p, r, op)
		o := op.Private.(origin)
		done := &wire.Done{Req: o.req, Status: op.Status, Offset: op.Miss, Runs: op.Runs, Returned: op.Returned()}
		if op.Kind == wire.OpRead {
			done.Data = op.Data
		}
		p.reply(o.session, r.volume, done)
	}
	for _, op := range a.Spent {
		*op = mirror.Op{}
		p.spent = append(p.spent, op)
	}
	for _, f := range a.Fenced {
		o := f.(origin)
		p.reply(o.session, r.volume, &wire.Fenced{Req: o.req})
	}
	for _, c := range a.Caught {
		p.caught(r, c)
	}
	for _, x := range a.Scrubbed {
		p.scrubbed(r, x)
	}
	for _, n := range a.Complain {
		c := failover.Complaint{Volume: r.volume, Epoch: r.epoch, From: p.s.id, About: n,
			Promised: r.head.Promised(n) || p.w.bugs.EjectUnpromised}
		p.toPlanner(func(q *process) { q.planner.Complained(q.now(), c) })
	}
	return len(a.Sends)+len(a.Done)+len(a.Fenced)+len(a.Caught)+len(a.Complain)+len(a.Scrubbed) > 0
}

// outranked ends this node's reign of a volume that it is about to promise to another head.
func (p *process) outranked(volume wire.VolumeID, m wire.Message) {
	if epoch, ok := mirror.Promises(m); ok {
		if r := p.reign(volume); r != nil {
			r.head.Outranked(p.now(), epoch)
		}
	}
}

// relay gives the leader the promise that a head could not get.
func (p *process) relay(leader *process, r failover.Relay) {
	if p.w.bugs.RelayUnproven {
		p.w.net.datagram(p.s.at, leader.s.at, func() { leader.promised(r) })
		return
	}
	p.lastRelay++
	session := relaySessions + p.lastRelay
	p.relays[session] = func(m *wire.Prepared) {
		if m.Status != wire.OK {
			return
		}
		p.w.net.datagram(p.s.at, leader.s.at, func() { leader.promised(r) })
	}
	m := &wire.Prepare{Volume: r.Volume, Epoch: r.Epoch}
	p.outranked(r.Volume, m)
	p.replicas[r.Volume-1].Receive(p.now(), session, m)
}

func (p *process) promised(r failover.Relay) {
	p.run(fromControl, func() {
		if p.planner != nil {
			p.planner.Promised(r)
		}
	})
}

// relaySessions are above the numbers of connections.
const relaySessions = uint64(1) << 62

func (p *process) caught(r *reign, c mirror.Caught) {
	p.propose(cluster.Command{Join: &cluster.Join{Volume: r.volume, Epoch: r.epoch, Node: c.Node, Incarnation: c.Incarnation,
		Segments: []cluster.SegmentGen{{Segment: c.Segment, Gen: c.Gen}}}}, func(result cluster.Result) {
		if result.Problem != "" {
			r.head.Refused(p.now(), c)
		}
	})
}

// carryReplica has a replica of its own for each volume, as its messages do.
func (p *process) carryReplica(v wire.VolumeID) bool {
	a := p.replicas[v-1].Take()
	for _, job := range a.Jobs {
		p.work(v, job)
	}
	for _, reply := range a.Replies {
		p.w.tell("  copies of node %d to session %d: %v", p.s.id, reply.Session, reply.Msg)
		if reply.Session == 0 {
			p.route(p.s.id, v, reply.Msg)
			continue
		}
		if then := p.relays[reply.Session]; then != nil {
			delete(p.relays, reply.Session)
			then(reply.Msg.(*wire.Prepared))
			continue
		}
		for _, n := range p.peers() {
			if s := p.in[n]; s != nil && uint64(s.c.id) == reply.Session {
				s.send(v, reply.Msg)
			}
		}
	}
	return len(a.Jobs)+len(a.Replies) > 0
}

// work has the disk do a job. Of a copy that may be about to be another one
// nothing is said, and none is read that the cluster, as far as this node knows, does not
// count on: it may have replaced the one that is meant. Of a disk that is missing, a node has no copies.
func (p *process) work(v wire.VolumeID, job mirror.Job) {
	unknown := map[wire.Segment]bool{}
	missing := p.s.disk.missing
	switch m := job.Msg.(type) {
	case *wire.Prepare:
		for i, s := range m.Segments {
			unknown[s] = missing || p.behind(v, s, m.Gens[i])
		}
	case *wire.Changes:
		unknown[m.Segment] = p.behind(v, m.Segment, m.Gen)
	case *wire.Read:
		if p.refusesToRead(v, m.Segment, job) {
			return
		}
	case *wire.Check:
		if p.refusesToRead(v, m.Segment, job) {
			return
		}
	}
	if _, prepares := job.Msg.(*wire.Prepare); missing && !prepares {
		p.replicas[v-1].Done(p.now(), job, mirror.Refuse(job.Msg))
		return
	}
	if p.s.disk.outranks(v, job.Msg) {
		p.replicas[v-1].Done(p.now(), job, mirror.RefuseStale(job.Msg))
		return
	}
	told := job
	told.Msg = p.withoutCommit(job.Msg)
	held := p.s.disk.begin(told, unknown, func(m wire.Message) {
		p.run(fromDisk, func() {
			p.countBad(v, job.Msg, m)
			p.replicas[v-1].Done(p.now(), job, m)
		})
	})
	if held {
		p.replicas[v-1].Held(p.now(), job)
	}
}

func (p *process) refusesToRead(v wire.VolumeID, s wire.Segment, job mirror.Job) bool {
	if p.counts(v, s) || p.w.bugs.ReadOfAnother {
		return false
	}
	p.replicas[v-1].Done(p.now(), job, mirror.Refuse(job.Msg))
	return true
}

// withoutCommit is a request without the commit points for copies that the cluster, as far
// as this node knows, does not count on: they may be meant for copies before those.
func (p *process) withoutCommit(m wire.Message) wire.Message {
	if bugs := &p.w.bugs; bugs.CommitOfAnother || bugs.Mirror.CommitJoiner || bugs.ConfigReordered {
		return m // this would make up for the others, too, as far as a story goes
	}
	switch m := m.(type) {
	case *wire.Commit:
		c := *m
		c.Segments = slices.DeleteFunc(slices.Clone(m.Segments), func(x wire.CommitPoint) bool { return !p.counts(m.Volume, x.Segment) })
		return &c
	case *wire.Write:
		if !p.counts(m.Volume, m.Segment) {
			c := *m
			c.Commit = wire.Version{}
			return &c
		}
	}
	return m
}

func (p *process) counts(v wire.VolumeID, s wire.Segment) bool {
	known := p.st.Volumes[v].Segments
	if int(s) >= len(known) {
		return false
	}
	r := known[s].On(p.s.id)
	return r != nil && r.InSync
}

func (p *process) carryPortal(i int, portal *mirror.Portal) bool {
	a := portal.Take()
	for _, s := range a.Sends {
		if m, ok := s.Msg.(*wire.Submit); ok {
			p.forwarded(m)
		}
		if s.To != p.s.id {
			if session := p.out[s.To]; session != nil {
				session.send(wire.VolumeID(i+1), s.Msg)
			}
			continue
		}
		switch m := s.Msg.(type) {
		case *wire.Submit:
			p.submitted(nil, m)
		case *wire.Fence:
			p.askedToFence(nil, m)
		default:
			p.askedOfFences(nil, m)
		}
	}
	for _, r := range a.Done {
		r.Private.(*hostCommand).answer(r)
		portal.Release(r)
	}
	for _, id := range a.Fenced {
		p.fenceEnds(id, true)
	}
	for _, id := range a.Unfenced {
		p.fenceEnds(id, false)
	}
	return len(a.Sends)+len(a.Done)+len(a.Fenced)+len(a.Unfenced) > 0
}
