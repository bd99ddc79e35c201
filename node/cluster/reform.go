package cluster

import (
	"slices"

	"ashlar/replication/wire"
)

// epochGap is added to the epoch of every volume when a cluster is formed anew: heads may
// have reigned of whom the state that it is formed of does not know.
const epochGap = 1 << 20

// Reform is the cluster formed anew of one node, as a lineage of its own: the node is the only voter, and
// all others are expelled for ever, since nobody can know what they agreed on without it. Where the node has an in-sync copy
// that can be used, that one goes on alone; where it has none the set stays as it is, so nothing
// that is older, or half, is ever taken for the whole: reads and writes there wait.
func (s *State) Reform(self wire.NodeID, lineage string) *State {
	next := s.clone()
	defer func() { next.Edited = nil }()
	next.descend(lineage)
	for _, id := range next.NodeIDs() {
		n := next.editNode(id)
		n.Up, n.Voter, n.Leaving = id == self, id == self, false
		if id != self {
			n.Expelled = true
			next.endSessions(id)
		}
	}
	for _, id := range next.DiskIDs() {
		if next.Disks[id].Node != self {
			next.editDisk(id).Failed = true
		}
	}
	for _, id := range next.VolumeIDs() {
		v := next.editVolume(id)
		v.Epoch += epochGap
		v.Head, v.HeadIncarnation = 0, 0
	}
	next.settle()
	return next
}

// Forebear is a lineage that the cluster went on from, and the index up to which it did: what that lineage came
// to later is no part of the cluster's past.
type Forebear struct {
	Lineage string `json:",omitempty"`
	Index   uint64
}

func (s *State) descend(lineage string) {
	s.Forebears = append(slices.Clone(s.Forebears), Forebear{s.Lineage, s.Index})
	s.Lineage = lineage
}

// Remains counts the segments of a volume of which a node has an in-sync copy that
// can be used: those that go on when the cluster is formed anew of it.
func (s *State) Remains(v *Volume, self wire.NodeID) (n int) {
	for _, g := range v.Segments {
		if r := g.On(self); r != nil && r.InSync && !s.Disks[r.Disk].Failed {
			n++
		}
	}
	return n
}

// KnowsAll says whether nothing can have been agreed on without a node, though it cannot be reached: it is
// one of two voters, and was no more about to leave than fenced. Then each of the two
// has in its log all that the other may have acted on. voters are raft's latest.
func (s *State) KnowsAll(self wire.NodeID, voters []wire.NodeID) bool {
	n := s.Nodes[self]
	one := len(voters) == 1 && voters[0] == self
	two := len(voters) == 2 && (voters[0] == self || voters[1] == self)
	return n != nil && (one || two && n.Up && !n.Leaving)
}
