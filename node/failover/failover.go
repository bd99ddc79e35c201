// Package failover decides, on the raft leader, what the cluster must be told
// about nodes that are gone or cannot be reached. It is pure: reports and ticks
// come in, requests to voters and commands come out. It never decides alone
// that a node is dead: voters' ballots or the node's own kernel do.
package failover

import (
	"slices"

	"ashlar/node/cluster"
	"ashlar/node/lease"
	"ashlar/replication/wire"
)

// Times, ns.
const (
	proposeAgain = int64(500_000_000)
	hearsay      = int64(3_000_000_000) // complaints older than this say nothing
)

// Ask is a request for a voter's ballots.
type Ask struct {
	Voter wire.NodeID
	Dead  []cluster.Dead
}

// Answer is a voter's.
type Answer struct {
	Voter       wire.NodeID
	Incarnation wire.Incarnation // the voter's
	Version     uint64           // of the configuration that it knows
	Dead        []cluster.Dead   // that it casts ballots against
}

// Complaint is a head's: a node does not answer it.
type Complaint struct {
	Volume   wire.VolumeID
	Epoch    uint64
	From     wire.NodeID // the head
	About    wire.NodeID
	Promised bool // About has promised Epoch to the head
}

// Relay asks a node, whom a head cannot reach, for its promise of the head's
// epoch: to obey no lower one.
type Relay struct {
	Node   wire.NodeID
	Volume wire.VolumeID
	Epoch  uint64
}

// Actions is what a Planner wants done.
type Actions struct {
	Asks     []Ask
	Relays   []Relay           // each is answered by Promised, if at all
	Proposes []cluster.Command // without Request
}

// Planner is the leader's. A new leader begins a new one.
type Planner struct {
	self     wire.NodeID
	ballots  map[cluster.Dead]map[wire.NodeID]ballot
	refused  map[cluster.Dead]bool
	proposed map[cluster.Dead]int64
	heard    map[pair]int64 // when a head last complained of a node
	wanted   map[Complaint]bool
	acted    map[wire.VolumeID]int64
	promised map[Relay]bool
}

type ballot struct {
	cluster.Ballot
	version uint64
}

type pair struct{ from, about wire.NodeID }

// New knows nothing.
func New(self wire.NodeID) *Planner {
	return &Planner{self: self, ballots: map[cluster.Dead]map[wire.NodeID]ballot{}, refused: map[cluster.Dead]bool{},
		proposed: map[cluster.Dead]int64{}, heard: map[pair]int64{}, wanted: map[Complaint]bool{}, acted: map[wire.VolumeID]int64{}, promised: map[Relay]bool{}}
}

// Answered takes a voter's ballots.
func (p *Planner) Answered(a Answer) {
	for _, d := range a.Dead {
		if p.ballots[d] == nil {
			p.ballots[d] = map[wire.NodeID]ballot{}
		}
		p.ballots[d][a.Voter] = ballot{cluster.Ballot{Voter: a.Voter, Incarnation: a.Incarnation}, a.Version}
	}
}

// Refused reports that an incarnation's kernel refused a connection to its peer
// port, on which it listened before it registered: its process is dead.
func (p *Planner) Refused(d cluster.Dead) { p.refused[d] = true }

// Complained takes a head's complaint.
func (p *Planner) Complained(now int64, c Complaint) {
	if c.From != c.About {
		p.heard[pair{c.From, c.About}] = now
	}
	p.wanted[c] = true
}

// Promised takes a node's promise, which it has made durable.
func (p *Planner) Promised(r Relay) { p.promised[r] = true }

// Tick decides. own is the leader's own voter; voters and version are raft's
// latest configuration.
func (p *Planner) Tick(now int64, st *cluster.State, own *lease.Voter, version uint64, voters []wire.NodeID) (out Actions) {
	var suspects []cluster.Dead
	var dead []cluster.Dead
	var refused []cluster.Dead
	for _, id := range st.NodeIDs() {
		n := st.Nodes[id]
		d := cluster.Dead{Node: id, Incarnation: n.Incarnation}
		if !n.Up || now-p.proposed[d] < proposeAgain && p.proposed[d] != 0 {
			continue
		}
		if p.refused[d] {
			refused = append(refused, d)
		} else if own.Lapsed(now, id, n.Incarnation) {
			suspects = append(suspects, d)
			if p.elected(now, d, st, own, version, voters) {
				dead = append(dead, d)
			}
		}
	}
	p.forget(st)
	if len(refused) > 0 {
		p.propose(now, refused)
		out.Proposes = append(out.Proposes, cluster.Command{Fence: &cluster.Fence{Dead: refused, Refused: true}})
	}
	for len(dead) > 0 {
		same, rest := p.alike(dead)
		p.propose(now, same)
		out.Proposes = append(out.Proposes, cluster.Command{Fence: &cluster.Fence{Dead: same, Ballots: p.list(same[0])}})
		dead = rest
	}
	if len(suspects) > 0 {
		for _, v := range voters {
			if v != p.self {
				out.Asks = append(out.Asks, Ask{v, suspects})
			}
		}
	}
	p.arbitrate(now, st, own, &out)
	return out
}

// elected says whether a majority has cast ballots against d. The leader casts
// its own last, so that it condemns nobody whom the others still hear.
func (p *Planner) elected(now int64, d cluster.Dead, st *cluster.State, own *lease.Voter, version uint64, voters []wire.NodeID) bool {
	need := len(voters)/2 + 1
	n := 0
	for v, b := range p.ballots[d] {
		// A ballot cast under another configuration is asked for again.
		if v != p.self && slices.Contains(voters, v) && b.version == version && counts(st, b.Ballot) {
			n++
		} else {
			delete(p.ballots[d], v)
		}
	}
	me := st.Nodes[p.self]
	if me == nil || !me.Up || !slices.Contains(voters, p.self) || n < need-1 || !own.Condemn(now, d.Node, d.Incarnation) {
		return false
	}
	p.Answered(Answer{Voter: p.self, Incarnation: me.Incarnation, Version: version, Dead: []cluster.Dead{d}})
	return true
}

// counts says whether the cluster would accept a ballot: one that it would not
// makes it refuse the whole fence.
func counts(st *cluster.State, b cluster.Ballot) bool {
	n := st.Nodes[b.Voter]
	return n != nil && n.Up && n.Voter && n.Incarnation == b.Incarnation
}

func (p *Planner) list(d cluster.Dead) (l []cluster.Ballot) {
	for _, b := range p.ballots[d] {
		l = append(l, b.Ballot)
	}
	slices.SortFunc(l, func(a, b cluster.Ballot) int { return int(a.Voter) - int(b.Voter) })
	return l
}

// alike splits off those that the same voters have condemned as the first: they
// go into one command, so that copies that died together are judged together.
func (p *Planner) alike(dead []cluster.Dead) (same, rest []cluster.Dead) {
	for _, d := range dead {
		if slices.Equal(p.list(d), p.list(dead[0])) {
			same = append(same, d)
		} else {
			rest = append(rest, d)
		}
	}
	return same, rest
}

func (p *Planner) propose(now int64, dead []cluster.Dead) {
	for _, d := range dead {
		p.proposed[d] = now
	}
}

// forget drops what is about incarnations that are over.
func (p *Planner) forget(st *cluster.State) {
	over := func(d cluster.Dead) bool {
		n := st.Nodes[d.Node]
		return n == nil || !n.Up || n.Incarnation != d.Incarnation
	}
	for d := range p.ballots {
		if over(d) {
			delete(p.ballots, d)
		}
	}
	for d := range p.refused {
		if over(d) {
			delete(p.refused, d)
		}
	}
	for d := range p.proposed {
		if over(d) {
			delete(p.proposed, d)
		}
	}
	for r := range p.promised {
		if v := st.Volumes[r.Volume]; v == nil || v.Epoch != r.Epoch {
			delete(p.promised, r)
		}
	}
}

// arbitrate decides what becomes of a copy that its head cannot reach although
// its lease holds. Of the two, the one that has complaints with more nodes is the
// one that is cut off: if it is the head, the head moves, and healthy copies
// stay. Where only the way between the two is cut, the head stays: the other
// would complain alike, and the head would move to and fro.
//
// A copy leaves its set only after its node has promised the head's epoch, to
// the head or to the leader: until then it may obey an older head that has not
// heard of this one, and whose lease holds.
func (p *Planner) arbitrate(now int64, st *cluster.State, own *lease.Voter, out *Actions) {
	wanted := make([]Complaint, 0, len(p.wanted))
	for c := range p.wanted {
		wanted = append(wanted, c)
	}
	clear(p.wanted)
	slices.SortFunc(wanted, func(a, b Complaint) int {
		if a.Volume != b.Volume {
			return int(a.Volume) - int(b.Volume)
		}
		return int(a.About) - int(b.About)
	})
	for k, t := range p.heard {
		if now-t > hearsay {
			delete(p.heard, k)
		}
	}
	for _, c := range wanted {
		v, n, head := st.Volumes[c.Volume], st.Nodes[c.About], st.Nodes[c.From]
		switch {
		case v == nil || v.Epoch != c.Epoch || v.Head != c.From || head == nil || n == nil || !n.Up:
		case p.acted[c.Volume] != 0 && now-p.acted[c.Volume] < proposeAgain:
		case own.Lapsed(now, c.About, n.Incarnation) || own.Lapsed(now, c.From, head.Incarnation):
			// Its lease decides, soon.
		case c.About == c.From, p.quarrels(c.From) > p.quarrels(c.About):
			p.acted[c.Volume] = now
			out.Proposes = append(out.Proposes, cluster.Command{MoveHead: &cluster.MoveHead{Volume: c.Volume, Epoch: c.Epoch}})
		case !c.Promised && !p.promised[Relay{c.About, c.Volume, c.Epoch}]:
			out.Relays = append(out.Relays, Relay{c.About, c.Volume, c.Epoch})
		default:
			p.acted[c.Volume] = now
			out.Proposes = append(out.Proposes, cluster.Command{Eject: &cluster.Eject{Volume: c.Volume, Epoch: c.Epoch, Node: c.About}})
		}
	}
}

// quarrels counts the nodes that a node complains of or that complain of it.
func (p *Planner) quarrels(n wire.NodeID) int {
	with := map[wire.NodeID]bool{}
	for k := range p.heard {
		switch n {
		case k.from:
			with[k.about] = true
		case k.about:
			with[k.from] = true
		}
	}
	return len(with)
}
