package sim

import (
	"slices"

	"ashlar/node/cluster"
	"ashlar/node/failover"
	"ashlar/node/lease"
	"ashlar/replication/mirror"
	"ashlar/replication/wire"
)

const (
	tickEvery = 50 * millisecond
	beatEvery = 100 * millisecond // of the stall watch, the tokens and the dials
	stallMax  = 500 * millisecond
)

// process is one run of a node's program: the shell round the pure machines,
// as small as it can be.
type process struct {
	w      *world
	s      *server
	number int // of the run
	alive  bool
	ended  int64 // when it was not any more

	st          *cluster.State
	applied     int
	term        int
	leader      wire.NodeID
	planner     *failover.Planner // on whom thinks that it leads
	gray        *failover.Gray    // beside it
	worn        *failover.Worn
	moves       *failover.Moves // beside it
	links       *failover.Links
	beating     bool  // a beat is in the disk's hands
	majority    int64 // when a leader last heard a majority
	requests    int
	incarnation wire.Incarnation // 0: not registered yet
	active      bool             // its registration is applied
	opening     bool             // the cluster is told that its disk is open

	holder *lease.Holder
	voter  *lease.Voter
	until  int64 // when the lease ends
	lapsed int64 // when it ended last, while it has none
	beat   int64 // of the stall watch

	replicas []*mirror.Replica // by volume
	reigns   []*reign
	portals  []*mirror.Portal // by volume
	out      map[wire.NodeID]*session
	in       map[wire.NodeID]*session
	dialing  map[wire.NodeID]bool

	hosts      []*hostConn
	generation uint64
	fences     map[uint64]func(proven bool)
	lastFence  uint64
	relays     map[uint64]func(*wire.Prepared)
	lastRelay  uint64
	spent      []*mirror.Op // for operations to come
}

// reign is one Head and what it is of.
type reign struct {
	head   *mirror.Head
	volume wire.VolumeID
	epoch  uint64
	over   bool
	scrub  scrubbing
}

func newProcess(s *server) *process {
	w := s.w
	w.runs++
	p := &process{w: w, s: s, number: w.runs, alive: true, ended: never, out: map[wire.NodeID]*session{},
		in: map[wire.NodeID]*session{}, dialing: map[wire.NodeID]bool{}, fences: map[uint64]func(proven bool){}, relays: map[uint64]func(*wire.Prepared){}, links: failover.NewLinks()}
	now := p.now()
	p.beat, p.lapsed = now, now
	promises := s.disk.promises
	if w.bugs.Mirror.NoPromise || s.disk.missing {
		promises = nil
	}
	if slices.Contains(w.raft.voters, s.id) {
		p.voter = lease.NewVoter(s.id, now)
		if w.bugs.VoterForgets {
			p.voter = lease.NewVoter(s.id, now-2*lease.Promise)
			for _, id := range w.raft.last().NodeIDs() {
				p.voter.Lapsed(now-2*lease.Promise, id, w.raft.last().Nodes[id].Incarnation)
			}
		}
	}
	for range w.volumes {
		p.replicas = append(p.replicas, mirror.NewReplica(promises, w.bugs.Mirror))
	}
	return p
}

func (p *process) now() int64 { return p.s.clock() }

// begin reads what the node's own log holds and asks to be registered.
func (p *process) begin() {
	p.applied = max(1, p.s.applied-p.w.rng.IntN(3))
	p.configure(p.w.raft.states[p.applied])
	if p.w.genesis {
		p.registered(p.st.Nodes[p.s.id].Incarnation)
	} else {
		p.propose(cluster.Command{Register: &cluster.Register{Node: p.s.id, Peer: "p"}}, func(r cluster.Result) { p.registered(r.Incarnation) })
	}
	p.after(p.w.between(0, tickEvery), p.tick)
	p.after(p.w.between(0, beatEvery), p.pulse)
}

func (p *process) registered(i wire.Incarnation) {
	p.incarnation = i
	for v := range p.w.volumes {
		portal := mirror.NewPortal(wire.VolumeID(v+1), wire.Portal{Node: p.s.id, Incarnation: i}, p.w.bugs.Mirror)
		portal.Lease(p.now(), p.until)
		p.portals = append(p.portals, portal)
	}
	p.holder = lease.NewHolder(p.s.id, i)
	p.configure(p.st)
	p.reportDisk()
}

// configure follows what is agreed.
func (p *process) configure(st *cluster.State) {
	p.st = st
	me := st.Nodes[p.s.id]
	if p.incarnation != 0 && (me.Incarnation > p.incarnation || me.Incarnation == p.incarnation && !me.Up) {
		p.fenced()
		return
	}
	p.active = p.incarnation != 0 && me.Incarnation >= p.incarnation
	if p.active {
		p.place()
		p.retire()
		p.open()
	}
	for _, id := range st.VolumeIDs() {
		p.reignOver(st.Volumes[id])
	}
	p.routes()
}

// fenced ends this incarnation: hosts lose their connections, and the node begins anew.
func (p *process) fenced() {
	s := p.s
	s.w.note("fenced", int64(s.id), int64(p.incarnation))
	s.kill()
	s.w.after(s.w.between(50*millisecond, 300*millisecond), func() {
		if s.up {
			s.start()
		}
	})
}

// place makes and removes copies on the node's disk. What is agreed as far as a
// node knows before its registration is applied may be long out of date, and
// what it would remove then may be the last copy.
func (p *process) place() {
	if p.s.disk.missing {
		return
	}
	mine := map[replicaID]bool{}
	for _, id := range p.st.VolumeIDs() {
		for i, g := range p.st.Volumes[id].Segments {
			if r := g.On(p.s.id); r != nil && r.Disk == p.s.diskID {
				mine[replicaID{id, wire.Segment(i)}] = true
			}
		}
	}
	d := p.s.disk
	for _, id := range d.replicaIDs() {
		if !mine[id] {
			delete(d.replicas, id)
		}
	}
	for id := range mine {
		if d.replicas[id] == nil {
			d.create(id)
		}
	}
}

// behind says whether this node does not know yet what is agreed of a segment's
// copies up to a generation: the copy here may be about to be another one. With a write cache it is
// as bad if the asker does not know: this run of the node may have forgotten what that one counts on.
func (p *process) behind(v wire.VolumeID, s wire.Segment, gen uint64) bool {
	known := p.st.Volumes[v]
	return int(s) >= len(known.Segments) || known.Segments[s].Gen < gen || known.WriteCache && (!p.active || known.Segments[s].Gen > gen)
}

func (p *process) peers() (ids []wire.NodeID) {
	for _, s := range p.w.servers {
		ids = append(ids, s.id)
	}
	return ids
}

// reignOver begins and ends the node's reign over a volume, and tells its head of the copies.
func (p *process) reignOver(v *cluster.Volume) {
	mine := p.active && v.Head == p.s.id && (v.HeadIncarnation == p.incarnation || p.w.bugs.EpochReused)
	now := p.now()
	var present *reign
	for _, r := range p.reigns {
		if r.volume != v.ID || r.over {
			continue
		}
		if mine && r.epoch == v.Epoch {
			present = r
		} else {
			r.over = true
			r.head.Stop(now)
		}
	}
	if !mine {
		return
	}
	if present == nil {
		present = p.crown(v, now)
	}
	view := mirror.View{Bytes: v.Bytes, MinInSync: v.MinInSync, WriteCache: v.WriteCache, Losses: v.Losses}
	for _, n := range p.st.NodeIDs() {
		k := p.st.Nodes[n]
		view.Nodes = append(view.Nodes, mirror.NodeView{Portal: wire.Portal{Node: n, Incarnation: k.Incarnation}, Up: k.Up})
	}
	view.Former = p.st.FormerHeads(v)
	for _, g := range v.Segments {
		sv := mirror.SegmentView{Gen: g.Gen}
		for _, r := range g.Replicas {
			sv.Members = append(sv.Members, mirror.Member{Node: r.Node, Incarnation: p.st.Nodes[r.Node].Incarnation, Made: r.Made,
				InSync: r.InSync, Forgot: r.Forgot, Stored: r.Stored, Usable: p.st.Usable(r) && (!r.Demoted || p.w.bugs.DemotedJoins)})
		}
		view.Segments = append(view.Segments, sv)
	}
	present.head.Configure(now, view)
}

func (p *process) crown(v *cluster.Volume, now int64) *reign {
	p.w.crowned(p, v)
	r := &reign{volume: v.ID, epoch: v.Epoch,
		head: mirror.NewHead(v.ID, v.Epoch, p.s.id, v.Bytes, p.st.SegmentBytes, p.w.bugs.Mirror)}
	p.reigns = append(p.reigns, r)
	r.head.Lease(now, p.until)
	r.head.Connected(now, p.s.id)
	for _, n := range p.peers() {
		if s := p.out[n]; s != nil {
			r.head.Connected(now, n)
		}
	}
	return r
}

// routes tells the portals where the heads are.
func (p *process) routes() {
	now := p.now()
	for i, portal := range p.portals {
		v := p.st.Volumes[wire.VolumeID(i+1)]
		portal.Head(now, v.Head, v.Epoch, v.Head == p.s.id || p.out[v.Head] != nil)
	}
}

// tick is the machines' clock.
func (p *process) tick() {
	p.after(tickEvery, p.tick)
	p.renew()
	now := p.now()
	for _, r := range p.reigns {
		r.head.Pace(p.w.shape.pace)
		r.head.Tick(now)
		p.scrub(r)
	}
	for _, portal := range p.portals {
		portal.Tick(now)
	}
	p.after(tickEvery/2, p.goOn)
}

// goOn has copies go on between two ticks.
func (p *process) goOn() {
	for _, r := range p.reigns {
		if r.head.Held() {
			r.head.GoOn(p.now())
		}
	}
}

// pulse is what happens ten times a second.
func (p *process) pulse() {
	p.after(beatEvery, p.pulse)
	p.watchStall()
	p.beat = p.now()
	p.sendTokens()
	p.dialAll()
	p.heartbeat()
	p.measure()
	p.plan()
}

// renew asks the voters for the lease, and tells everybody how long it holds.
func (p *process) renew() {
	if p.holder == nil {
		return
	}
	if r := p.holder.Tick(p.now()); r != nil {
		report := p.report()
		for _, v := range p.w.raft.voters {
			p.w.net.toProcess(p.s.at, p.w.server(v), func(q *process) {
				if q.planner != nil {
					q.gray.Reported(q.now(), p.s.id, report)
				}
				q.grant(p, *r)
			})
		}
	}
	p.lease()
}

// grant is a voter's answer to a renewal.
func (q *process) grant(p *process, r lease.Renew) {
	if !q.active || q.voter == nil {
		return
	}
	var present wire.Incarnation
	if n := q.st.Nodes[r.Node]; n.Up {
		present = n.Incarnation
	}
	g := q.voter.Renew(q.now(), r, present, raftVersion)
	q.w.net.datagram(q.s.at, p.s.at, func() {
		p.run(fromControl, func() {
			p.holder.Granted(g)
			if p.holder.Fenced() {
				p.fenced()
				return
			}
			p.lease()
		})
	})
}

// lease tells all machines until when the lease holds. Who was without for
// longer than a host waits begins with new connections.
func (p *process) lease() {
	now := p.now()
	until := p.leaseUntil()
	if now >= p.until && now < until && p.until != 0 && now-p.until > mirror.HoldMax {
		p.dropHosts()
	}
	p.until = until
	for _, replica := range p.replicas {
		replica.Lease(now, until)
	}
	for _, r := range p.reigns {
		r.head.Lease(now, until)
	}
	for _, portal := range p.portals {
		portal.Lease(now, until)
	}
}

func (p *process) leaseUntil() int64 {
	voters := p.w.raft.voters
	if p.w.bugs.LeaseAlone && p.voter != nil {
		voters = []wire.NodeID{p.s.id}
	}
	until := p.holder.Until(raftVersion, voters)
	if p.w.bugs.LeaseStretched && until != 0 {
		until += 2 * second
	}
	return until
}

// plan is a leader's work.
func (p *process) plan() {
	if p.planner == nil || !p.active || p.voter == nil {
		return
	}
	a := p.planner.Tick(p.now(), p.st, p.voter, raftVersion, p.w.raft.voters)
	for _, ask := range a.Asks {
		p.w.net.toProcess(p.s.at, p.w.server(ask.Voter), func(q *process) { q.condemn(p, ask) })
	}
	for _, r := range a.Relays {
		p.w.net.toProcess(p.s.at, p.w.server(r.Node), func(q *process) { q.relay(p, r) })
	}
	if !p.w.bugs.SlowKept {
		a.Proposes = append(a.Proposes, p.gray.Tick(p.now(), p.wall(), p.st)...)
	}
	for _, c := range slices.Concat(a.Proposes, p.moves.Tick(p.now(), p.st), p.eject()) {
		p.propose(c, func(cluster.Result) {})
	}
}

// condemn is a voter's answer to a leader that asks for ballots.
func (q *process) condemn(p *process, ask failover.Ask) {
	if !q.active || q.voter == nil {
		return
	}
	a := failover.Answer{Voter: q.s.id, Incarnation: q.incarnation, Version: raftVersion}
	for _, d := range ask.Dead {
		if q.voter.Condemn(q.now(), d.Node, d.Incarnation) || q.w.bugs.VoterEager {
			a.Dead = append(a.Dead, d)
			q.w.ballot(q, d)
		}
	}
	q.w.net.datagram(q.s.at, p.s.at, func() {
		p.run(fromControl, func() {
			if p.planner != nil {
				p.planner.Answered(a)
			}
		})
	})
}

// toPlanner tells the leader something, if one is known.
func (p *process) toPlanner(tell func(*process)) {
	if p.leader == 0 {
		return
	}
	p.w.net.toProcess(p.s.at, p.w.server(p.leader), func(q *process) {
		if q.planner != nil {
			tell(q)
		}
	})
}
