package cluster

import "ashlar/replication/wire"

// SetDrained takes a node from serving hosts, or gives it back to them. A
// drained node keeps its copies, unless Data is drained, too, and its vote, and is a head only of volumes
// that no other node can be the head of. It stays drained when it starts anew.
type SetDrained struct {
	Node    wire.NodeID
	Drained bool
	Data    bool `json:",omitempty"` // its copies move away, too
}

// MoveHeads gives all volumes whose head is an incarnation other heads, where
// there can be any: it is about to stop.
type MoveHeads struct {
	Node        wire.NodeID
	Incarnation wire.Incarnation
	Leaving     bool `json:",omitempty"` // it votes no more, either, where two voters are too few without it
}

func (s *State) setDrained(c *SetDrained) Result {
	n := s.Nodes[c.Node]
	if n == nil {
		return problem(NotFound, "no node %d", c.Node)
	}
	if n.Drained == c.Drained && (n.Emptied == c.Data || c.Drained && !c.Data) {
		return Result{Node: n.ID}
	}
	if c.Drained && !n.Drained && !s.servedWithout(n.ID) {
		return problem(Refused, "node %q is the only one that is up and serves hosts", n.Name)
	}
	n = s.editNode(n.ID)
	n.Drained = c.Drained
	if c.Drained {
		n.Emptied = n.Emptied || c.Data
		s.shed(n.ID)
	} else {
		n.Emptied = false
		s.callOff()
	}
	return Result{Node: n.ID}
}

// servedWithout says whether hosts are served by a node other than one.
func (s *State) servedWithout(but wire.NodeID) bool {
	for id, n := range s.Nodes {
		if id != but && n.Up && !n.Drained && !n.Witness {
			return true
		}
	}
	return false
}

func (s *State) moveHeads(c *MoveHeads) Result {
	n := s.Nodes[c.Node]
	if n == nil || !n.Up || n.Incarnation != c.Incarnation {
		return problem(Stale, "node %d is not up as incarnation %d", c.Node, c.Incarnation)
	}
	if c.Leaving {
		s.editNode(c.Node).Leaving = true
	}
	s.shed(c.Node)
	return Result{Node: c.Node}
}

// shed moves heads away from a node, to nodes that hosts are served by.
func (s *State) shed(from wire.NodeID) {
	heads := s.headCounts()
	for _, id := range s.VolumeIDs() {
		v := s.Volumes[id]
		if v.Head != from {
			continue
		}
		best := s.bestHead(v, heads, from)
		if best == 0 || s.Nodes[best].Drained {
			continue
		}
		heads[from]--
		heads[best]++
		s.grant(s.editVolume(id), best)
	}
}
