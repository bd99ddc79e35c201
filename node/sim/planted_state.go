package sim

import (
	"slices"

	"ashlar/node/cluster"
	"ashlar/replication/wire"
)

// planted stands in for faults of the cluster's state machine.
type planted struct {
	w       *world
	ballots []cast
}

type cast struct {
	voter wire.NodeID
	dead  cluster.Dead
}

// count fences with all ballots ever cast, whoever cast them in what life.
func (p *planted) count(c cast) {
	p.ballots = append(p.ballots, c)
	st := p.w.raft.last()
	fence := cluster.Fence{Dead: []cluster.Dead{c.dead}}
	for _, id := range p.w.raft.voters {
		if slices.Contains(p.ballots, cast{id, c.dead}) {
			fence.Ballots = append(fence.Ballots, cluster.Ballot{Voter: id, Incarnation: st.Nodes[id].Incarnation})
		}
	}
	if len(fence.Ballots) > len(p.w.raft.voters)/2 {
		p.w.raft.again(cluster.Command{Fence: &fence})
	}
}

// command is what a faulty state machine would take a command for.
func (p *planted) command(r *raft, c cluster.Command) cluster.Command {
	bugs := &p.w.bugs
	if j := c.Join; j != nil && (bugs.JoinAnyGen || bugs.JoinAnyLife) {
		wrong := *j
		wrong.Segments = slices.Clone(j.Segments)
		if bugs.JoinAnyLife {
			wrong.Incarnation = r.last().Nodes[j.Node].Incarnation
		}
		if bugs.JoinAnyGen {
			wrong.Epoch = r.last().Volumes[j.Volume].Epoch
			for i, s := range wrong.Segments {
				wrong.Segments[i].Gen = r.last().Volumes[j.Volume].Segments[s.Segment].Gen
			}
		}
		c.Join = &wrong
	}
	if bugs.Twice {
		c.Request = ""
	}
	return c
}

// state is what a faulty state machine would come to.
func (p *planted) state(r *raft, next *cluster.State, c cluster.Command) *cluster.State {
	bugs, before := &p.w.bugs, r.last()
	if bugs.UncleanElection {
		for _, id := range next.VolumeIDs() {
			if next.Volumes[id].Head == 0 {
				next = unclean(next, id)
			}
		}
	}
	if bugs.EpochReused && c.Register != nil {
		for _, id := range next.VolumeIDs() {
			if old := before.Volumes[id]; old.Head == c.Register.Node {
				next = edit(next, id, func(v *cluster.Volume) {
					v.Head, v.HeadIncarnation, v.Epoch = old.Head, next.Nodes[old.Head].Incarnation, old.Epoch
					v.Segments = old.Segments
				})
			}
		}
	}
	return next
}

// edit changes a copy of a state.
func edit(st *cluster.State, id wire.VolumeID, change func(*cluster.Volume)) *cluster.State {
	c := *st
	c.Volumes = map[wire.VolumeID]*cluster.Volume{}
	for _, other := range st.VolumeIDs() {
		c.Volumes[other] = st.Volumes[other]
	}
	v := *st.Volumes[id]
	v.Segments = slices.Clone(v.Segments)
	change(&v)
	c.Volumes[id] = &v
	return &c
}

// unclean promotes whatever copy can be used.
func unclean(st *cluster.State, id wire.VolumeID) *cluster.State {
	return edit(st, id, func(v *cluster.Volume) {
		for i, g := range v.Segments {
			replicas := slices.Clone(g.Replicas)
			some := false
			for k := range replicas {
				some = some || st.Usable(replicas[k])
			}
			if !some {
				continue
			}
			for k := range replicas {
				replicas[k].InSync = st.Usable(replicas[k])
				if replicas[k].InSync && v.Head == 0 {
					v.Head, v.HeadIncarnation = replicas[k].Node, st.Nodes[replicas[k].Node].Incarnation
					v.Epoch++
				}
			}
			v.Segments[i] = cluster.Segment{Gen: g.Gen + 1, Replicas: replicas}
		}
	})
}
