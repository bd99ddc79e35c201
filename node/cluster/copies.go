package cluster

import (
	"fmt"
	"slices"

	"ashlar/replication/wire"
)

// settle brings copies and heads in line with which nodes and disks can be
// used. Where an in-sync copy's disk is open, those that cannot be used leave the set: it
// holds every acknowledged write, so the others are not needed. Where none is,
// the set stays as it is: each member is as good as the others, and the first
// to return will do. A volume whose head is gone gets the best one there is.
func (s *State) settle() {
	var heads map[wire.NodeID]int
	for _, id := range s.VolumeIDs() {
		for i, g := range s.Volumes[id].Segments {
			if replicas, changed := s.settled(g.Replicas); changed {
				s.editVolume(id).editReplicas(wire.Segment(i), replicas)
			}
		}
		v := s.Volumes[id]
		if n := s.Nodes[v.Head]; n != nil && n.Up && n.Incarnation == v.HeadIncarnation {
			continue
		}
		if heads == nil {
			heads = s.headCounts()
		}
		heads[v.Head]--
		best := s.bestHead(v, heads, 0)
		heads[best]++
		if best == 0 && v.Head == 0 {
			continue
		}
		v = s.editVolume(id)
		s.grant(v, best)
	}
}

// settled is what a segment's copies come to, in a slice of its own if changed.
func (s *State) settled(replicas []Replica) ([]Replica, bool) {
	opened, unusable := 0, 0
	for _, r := range replicas {
		switch {
		case r.InSync && s.Opened(r):
			opened++
		case r.InSync && !s.Usable(r):
			unusable++
		}
	}
	if opened == 0 || unusable == 0 {
		return replicas, false
	}
	out := append([]Replica(nil), replicas...)
	for i := range out {
		out[i].InSync = out[i].InSync && s.Usable(out[i])
	}
	return out, true
}

// grant begins a new reign. Its epoch was never used before; to node 0 the
// volume is left without a head.
func (s *State) grant(v *Volume, to wire.NodeID) {
	former := make([]Reign, 0, len(v.Former)+1)
	for _, r := range append(v.Former[:len(v.Former):len(v.Former)], Reign{v.Head, v.HeadIncarnation}) {
		if s.alive(r) && r.Node != to && !slices.Contains(former, r) {
			former = append(former, r)
		}
	}
	v.Former = slices.Clip(former)
	if len(former) == 0 {
		v.Former = nil
	}
	v.Head, v.HeadIncarnation = to, 0
	if to == 0 {
		return
	}
	v.HeadIncarnation = s.Nodes[to].Incarnation
	v.Epoch++
	v.HeadIndex = s.Index
}

// alive says whether a reign's run of its node goes on, for all the cluster knows.
func (s *State) alive(r Reign) bool {
	n := s.Nodes[r.Node]
	return n != nil && n.Up && n.Incarnation == r.Incarnation
}

// FormerHeads are the nodes that a volume's head needs word from, besides those of copies.
func (s *State) FormerHeads(v *Volume) (nodes []wire.NodeID) {
	for _, r := range v.Former {
		if s.alive(r) {
			nodes = append(nodes, r.Node)
		}
	}
	return nodes
}

// bestHead is the node, other than but, that has the most in-sync copies of the volume
// on open disks, or where there are none, on disks that may be; then the one with the fewest heads; then the
// lowest number; a drained one only where there is no other. 0 where no in-sync
// copy can be used.
func (s *State) bestHead(v *Volume, heads map[wire.NodeID]int, but wire.NodeID) wire.NodeID {
	copies := v.copies(but, s.Opened)
	if len(copies) == 0 {
		copies = v.copies(but, s.Usable)
	}
	var best wire.NodeID
	for _, n := range s.NodeIDs() {
		switch {
		case copies[n] == 0:
		case best == 0, s.Nodes[best].Drained && !s.Nodes[n].Drained:
			best = n
		case s.Nodes[n].Drained && !s.Nodes[best].Drained:
		case copies[n] > copies[best], copies[n] == copies[best] && heads[n] < heads[best]:
			best = n
		}
	}
	return best
}

// copies counts the in-sync copies at each node but one, of those that are as asked for.
func (v *Volume) copies(but wire.NodeID, such func(Replica) bool) map[wire.NodeID]int {
	out := map[wire.NodeID]int{}
	for _, g := range v.Segments {
		for _, r := range g.Replicas {
			if r.InSync && r.Node != but && such(r) {
				out[r.Node]++
			}
		}
	}
	return out
}

func (s *State) eject(c *Eject) Result {
	v := s.Volumes[c.Volume]
	if v == nil || v.Epoch != c.Epoch {
		return problem(Stale, "the head of volume %d is not of epoch %d", c.Volume, c.Epoch)
	}
	if v.Head == c.Node {
		return problem(Refused, "node %d is the head of volume %q", c.Node, v.Name)
	}
	some := false
	for i, g := range v.Segments {
		if r := g.On(c.Node); r == nil || !r.InSync || s.OpenCopies(g, c.Node) == 0 {
			continue
		}
		if !some {
			v = s.editVolume(c.Volume)
			some = true
		}
		replicas := append([]Replica(nil), g.Replicas...)
		for k := range replicas {
			replicas[k].InSync = replicas[k].InSync && replicas[k].Node != c.Node
		}
		v.editReplicas(wire.Segment(i), replicas)
	}
	if i := slices.IndexFunc(v.Former, func(r Reign) bool { return r.Node == c.Node }); i >= 0 { // it has promised the epoch
		v, some = s.editVolume(c.Volume), true
		v.Former = slices.Delete(slices.Clone(v.Former), i, i+1)
		if len(v.Former) == 0 {
			v.Former = nil
		}
	}
	if !some {
		return problem(Refused, "node %d has no copy of volume %q that its set can do without", c.Node, v.Name)
	}
	return Result{Volume: v.ID}
}

func (s *State) join(c *Join) Result {
	v, n := s.Volumes[c.Volume], s.Nodes[c.Node]
	if v == nil || v.Epoch != c.Epoch {
		return problem(Stale, "the head of volume %d is not of epoch %d", c.Volume, c.Epoch)
	}
	if n == nil || !n.Up || n.Incarnation != c.Incarnation {
		return problem(Stale, "node %d is not up as incarnation %d", c.Node, c.Incarnation)
	}
	some := false
	for _, sg := range c.Segments {
		if int(sg.Segment) >= len(v.Segments) || v.Segments[sg.Segment].Gen != sg.Gen {
			continue
		}
		r := v.Segments[sg.Segment].On(c.Node)
		if r == nil || r.InSync && !v.WriteCache || r.Demoted || !s.Usable(*r) {
			continue
		}
		replicas := append([]Replica(nil), v.Segments[sg.Segment].Replicas...)
		if r.InSync && !relearned(replicas, c.Node) {
			continue
		} else if !r.InSync {
			for k := range replicas {
				replicas[k].InSync = replicas[k].InSync || replicas[k].Node == c.Node
				replicas[k].Forgot = replicas[k].Forgot && replicas[k].Node != c.Node
				replicas[k].Stored = false
			}
		}
		if !some {
			v = s.editVolume(c.Volume)
			some = true
		}
		v.editReplicas(sg.Segment, replicas)
	}
	if !some {
		return problem(Stale, "none of these segments is as it was when the copying began")
	}
	s.settle() // a last copy on a failed disk is not needed any more
	return Result{Volume: v.ID}
}

func (s *State) moveHead(c *MoveHead) Result {
	v := s.Volumes[c.Volume]
	if v == nil || v.Epoch != c.Epoch {
		return problem(Stale, "the head of volume %d is not of epoch %d", c.Volume, c.Epoch)
	}
	to := c.To
	if to == 0 {
		to = s.bestHead(v, s.headCounts(), v.Head)
	}
	if n := s.Nodes[to]; n == nil || !n.Up || to == v.Head {
		return problem(Refused, "no other node can be the head of volume %q", v.Name)
	}
	s.grant(s.editVolume(c.Volume), to)
	return Result{Volume: v.ID, Node: to}
}

func (s *State) moveReplica(c *MoveReplica) Result {
	v, to := s.Volumes[c.Volume], s.Disks[c.To]
	if v == nil || int(c.Segment) >= len(v.Segments) || v.Segments[c.Segment].Gen != c.Gen {
		return problem(Stale, "segment %d of volume %d is not of generation %d", c.Segment, c.Volume, c.Gen)
	}
	if !s.takes(c.To) {
		return problem(Refused, "disk %s cannot take a copy", c.To)
	}
	replicas := append([]Replica(nil), v.Segments[c.Segment].Replicas...)
	found := -1
	for i, r := range replicas {
		switch {
		case r.Disk == c.From && r.InSync:
			return problem(Refused, "the copy on disk %s is in sync", c.From)
		case r.Disk == c.From:
			found = i
		case r.Replaces == c.From:
			return problem(Refused, "the copy on disk %s is moving already", c.From)
		case r.Node == to.Node:
			return problem(TooFew, "node %d already has a copy of segment %d", to.Node, c.Segment)
		}
	}
	if found < 0 {
		return problem(NotFound, "no copy of segment %d on disk %s", c.Segment, c.From)
	}
	replicas[found] = Replica{Node: to.Node, Disk: c.To, Replaces: replicas[found].Replaces, Drain: replicas[found].Drain}
	s.editVolume(c.Volume).editReplicas(c.Segment, replicas)
	return Result{Volume: v.ID}
}

// check panics where a change broke what must always hold: epochs, generations
// and volumes only grow, and an in-sync set is never emptied (invariants I1, I4).
func (v *Volume) check(before *Volume) {
	if v.Epoch < before.Epoch {
		panic(fmt.Sprintf("cluster: volume %d went from epoch %d to %d", v.ID, before.Epoch, v.Epoch))
	}
	if v.Bytes < before.Bytes || len(v.Segments) < len(before.Segments) {
		panic(fmt.Sprintf("cluster: volume %d went from %d bytes to %d, from %d segments to %d",
			v.ID, before.Bytes, v.Bytes, len(before.Segments), len(v.Segments)))
	}
	for i, g := range v.Segments {
		var old Segment
		if i < len(before.Segments) {
			old = before.Segments[i]
		}
		if g.Gen < old.Gen || len(g.InSync()) == 0 {
			panic(fmt.Sprintf("cluster: volume %d segment %d went from %+v to %+v", v.ID, i, old, g))
		}
		for _, r := range g.Replicas {
			if r.InSync && r.Demoted {
				panic(fmt.Sprintf("cluster: volume %d segment %d has a demoted copy in sync: %+v", v.ID, i, r))
			}
		}
	}
}
