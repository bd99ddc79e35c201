package sim

import (
	"fmt"
	"slices"

	"ashlar/node/cluster"
	"ashlar/node/failover"
	"ashlar/replication/wire"
)

// raft stands for the consensus of the voters: one order of commands, which
// never changes. What it leaves open, a real one does too: a command is
// answered late or never, is carried out long after its proposer gave up, or
// comes twice; nodes learn of it at different times; a leader that is cut off
// thinks for a while that it leads.
type raft struct {
	w        *world
	states   []*cluster.State // by index; what a node has applied is one of them
	leader   wire.NodeID
	term     int
	voters   []wire.NodeID
	missing  int64 // since when there is no leader that works; 0: there is one
	patience int64
	commands int
}

const (
	raftVersion = 1 // of the configuration, which does not change here
	raftTick    = 100 * millisecond
)

func (r *raft) last() *cluster.State { return r.states[len(r.states)-1] }

// works says whether a node could lead: it runs, and reaches a majority of the voters.
func (r *raft) works(id wire.NodeID) bool {
	s := r.w.server(id)
	if s.process == nil || s.paused {
		return false
	}
	n := 0
	for _, v := range r.voters {
		o := r.w.server(v)
		if o.process != nil && !o.paused && r.w.net.connected(s.at, o.at) {
			n++
		}
	}
	return n > len(r.voters)/2
}

// watch replaces a leader that does not work for 1 to 2 s.
func (r *raft) watch() {
	r.w.after(raftTick, r.watch)
	if r.leader != 0 && r.works(r.leader) && r.w.server(r.leader).process.planner != nil {
		r.missing = 0
		return
	}
	if r.missing == 0 {
		r.missing, r.patience = r.w.now, r.w.between(second, 2*second)
	}
	if r.w.now-r.missing < r.patience {
		return
	}
	var able []wire.NodeID
	for _, v := range r.voters {
		if r.works(v) {
			able = append(able, v)
		}
	}
	if len(able) == 0 {
		return
	}
	// A witness hands the lead over as soon as another can have it.
	data := slices.DeleteFunc(slices.Clone(able), func(v wire.NodeID) bool { return r.w.server(v).witness })
	if len(data) > 0 && len(data) < len(able) && r.w.chance(0.8) {
		able = data
	}
	r.leader = able[r.w.rng.IntN(len(able))]
	r.term++
	r.missing = 0
	r.w.note("leader", int64(r.leader), int64(r.term))
	p := r.w.server(r.leader).process
	p.run(fromControl, func() { p.lead(r.term) })
}

// propose takes a command to the leader.
func (r *raft) propose(leader *process, c cluster.Command, answer func(cluster.Result)) {
	if r.leader != leader.s.id {
		return
	}
	r.w.after(r.w.between(millisecond, 10*millisecond), func() {
		if r.leader == leader.s.id && leader.alive && r.works(leader.s.id) {
			result := r.commit(c)
			answer(result)
			if r.w.faults.duplicates && r.w.chance(0.2) {
				r.w.after(r.w.between(0, 3*second), func() { r.again(c) })
			}
			return
		}
		// It may lie in the log of a voter who will lead.
		if r.w.chance(0.5) {
			r.w.after(r.w.between(0, 4*second), func() { r.again(c) })
		}
	})
}

func (r *raft) again(c cluster.Command) {
	if r.leader != 0 && r.works(r.leader) {
		r.commit(c)
	}
}

// commit puts a command into the order.
func (r *raft) commit(c cluster.Command) cluster.Result {
	if c.FailDisk != nil && r.w.works(c.FailDisk.ID) {
		return cluster.Result{Code: cluster.Refused, Problem: "the disk works"}
	}
	before := r.last()
	next, result := before.Apply(uint64(len(r.states)), c)
	next = r.w.planted.state(r, next, c)
	r.states = append(r.states, next)
	r.commands++
	r.w.note("commit", int64(len(r.states)-1), int64(len(result.Problem)))
	if r.w.trace != nil {
		r.w.tell("  %s -> %+v", describe(c), result)
		r.w.tell("  %s", sketch(next))
	}
	r.w.agreed(before, next)
	if result.Problem == "" {
		r.w.changed(c)
	}
	if s := r.w.server(r.leader); r.leader != 0 && s.process != nil {
		p := s.process
		p.run(fromControl, p.heartbeat)
	}
	return result
}

func describe(c cluster.Command) string {
	for _, x := range []any{c.Fence, c.Register, c.Eject, c.Join, c.MoveHead, c.MoveReplica, c.AddReplica, c.DropReplica, c.SetDiskDrained, c.FailDisk, c.Demote, c.Readmit, c.BadBlocks, c.EjectDisk} {
		if s := fmt.Sprintf("%T %+v", x, x); s[len(s)-5:] != "<nil>" {
			return s
		}
	}
	return "command"
}

// sketch draws a state in a line: 1^5! is node 1, incarnation 5, down.
func sketch(st *cluster.State) string {
	out := ""
	for _, id := range st.NodeIDs() {
		out += fmt.Sprintf(" %d^%d", id, st.Nodes[id].Incarnation)
		if !st.Nodes[id].Up {
			out += "!"
		}
	}
	for _, id := range st.VolumeIDs() {
		v := st.Volumes[id]
		out += fmt.Sprintf(" | volume %d head %d epoch %d:", id, v.Head, v.Epoch)
		for _, g := range v.Segments {
			out += fmt.Sprintf(" %d", g.Gen)
			for _, c := range g.Replicas {
				if c.InSync {
					out += fmt.Sprintf("+%d", c.Node)
				} else {
					out += fmt.Sprintf("-%d", c.Node)
				}
			}
		}
	}
	return out
}

// What a node knows of raft.

// lead begins a leader's work.
func (p *process) lead(term int) {
	if term < p.term {
		return
	}
	p.term, p.leader = term, p.s.id
	p.planner, p.gray, p.moves, p.worn = failover.New(p.s.id), failover.NewGray(), failover.NewMoves(), &failover.Worn{}
	p.heartbeat()
}

// heartbeat tells the others what is agreed, and steps down where nobody listens.
func (p *process) heartbeat() {
	r := p.w.raft
	if p.planner == nil {
		return
	}
	index, term := p.applied, p.term // what a leader of old says is old
	if r.leader == p.s.id {
		index = len(r.states) - 1
		p.learn(index)
	}
	for _, s := range p.w.servers {
		if s == p.s || !p.alive {
			continue
		}
		p.w.net.toProcess(p.s.at, s, func(q *process) { q.heard(p.s.id, term, index) })
	}
	if r.works(p.s.id) && r.leader == p.s.id {
		p.majority = p.now()
	} else if p.now()-p.majority > second {
		p.planner = nil
	}
}

func (p *process) heard(leader wire.NodeID, term, index int) {
	if term < p.term {
		return
	}
	p.term, p.leader = term, leader
	p.planner = nil
	p.learn(index)
}

// learn applies commands up to an index; what lies between may never be looked at.
func (p *process) learn(index int) {
	if p.s.deaf {
		return
	}
	if p.w.bugs.ConfigReordered && p.w.chance(0.1) {
		index -= p.w.rng.IntN(3)
	} else if index <= p.applied {
		return
	}
	p.applied = max(index, 1)
	p.s.applied = p.applied
	p.configure(p.w.raft.states[p.applied])
}

// proposal is a command that a node wants carried out. It is proposed again,
// with the same request, until it is answered.
type proposal struct {
	command cluster.Command
	then    func(cluster.Result)
	ended   bool
}

func (p *process) propose(c cluster.Command, then func(cluster.Result)) {
	p.requests++
	c.Request = fmt.Sprintf("%d.%d.%d", p.s.id, p.number, p.requests)
	p.attempt(&proposal{command: c, then: then})
}

func (p *process) attempt(x *proposal) {
	if x.ended {
		return
	}
	if p.leader == 0 {
		p.after(50*millisecond, func() { p.attempt(x) })
		return
	}
	p.after(second, func() { p.attempt(x) })
	p.w.net.toProcess(p.s.at, p.w.server(p.leader), func(q *process) {
		p.w.raft.propose(q, x.command, func(result cluster.Result) {
			p.w.net.datagram(q.s.at, p.s.at, func() {
				p.run(fromControl, func() {
					if !x.ended {
						x.ended = true
						x.then(result)
					}
				})
			})
		})
	})
}

// toProcess brings a small message to whatever process runs on a server then.
func (n *network) toProcess(from place, s *server, arrive func(*process)) {
	n.datagram(from, s.at, func() {
		if p := s.process; p != nil {
			p.run(fromControl, func() { arrive(p) })
		}
	})
}

func (n *network) forgetAt(a place) {
	for _, c := range slices.Clone(n.conns) {
		if c.ends[0].at == a || c.ends[1].at == a {
			n.forget(c)
		}
	}
}
