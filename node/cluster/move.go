package cluster

import (
	"cmp"
	"slices"

	"ashlar/replication/wire"
)

// A copy moves without its segment ever having fewer: an empty one is placed
// beside those there are (AddReplica), its head fills it as it fills any copy that
// is behind, and when it is in sync the other one goes (DropReplica). So a
// segment has one copy more than its volume asks for while one of them moves.

// SetDiskDrained has all copies move away from a disk, and none come to it, or
// takes that back: what has not moved yet then stays.
type SetDiskDrained struct {
	Disk    DiskID
	Drained bool
}

// AddReplica places an empty copy of a segment on a disk: in the place, once it is
// in sync, of the one on the disk Replaces; or, where a segment has too
// few copies, as one more.
type AddReplica struct {
	Volume   wire.VolumeID
	Segment  wire.Segment
	Gen      uint64
	To       DiskID
	Replaces DiskID `json:",omitempty"`
}

// DropReplica takes a copy away: one whose place another has taken that is in
// sync, or one that was to take a place and is not.
type DropReplica struct {
	Volume  wire.VolumeID
	Segment wire.Segment
	Gen     uint64
	Disk    DiskID
}

// Drains says whether all copies are to leave a disk.
func (s *State) Drains(id DiskID) bool {
	d := s.Disks[id]
	return d != nil && (d.Drained || s.Nodes[d.Node].Emptied)
}

// takes says whether a disk can be given new copies.
func (s *State) takes(id DiskID) bool {
	d := s.Disks[id]
	return d != nil && !d.Failed && s.Nodes[d.Node].Up && !s.Drains(id)
}

// OnDisk is the segment's replica on a disk, or nil.
func (g Segment) OnDisk(id DiskID) *Replica {
	for i := range g.Replicas {
		if g.Replicas[i].Disk == id {
			return &g.Replicas[i]
		}
	}
	return nil
}

// Coming is the replica that is to take another's place, or nil.
func (g Segment) Coming() *Replica {
	for i := range g.Replicas {
		if g.Replicas[i].Replaces != "" {
			return &g.Replicas[i]
		}
	}
	return nil
}

func (s *State) setDiskDrained(c *SetDiskDrained) Result {
	d := s.Disks[c.Disk]
	if d == nil {
		return problem(NotFound, "no disk %s", c.Disk)
	}
	if d.Drained == c.Drained {
		return Result{}
	}
	s.editDisk(c.Disk).Drained = c.Drained
	s.callOff()
	return Result{}
}

// callOff takes back the moves away from disks that are not drained any more, as
// far as their copies are not in sync.
func (s *State) callOff() {
	for _, id := range s.VolumeIDs() {
		for i, g := range s.Volumes[id].Segments {
			if x := g.Coming(); x != nil && !x.InSync && x.Drain && !s.Drains(x.Replaces) {
				s.editVolume(id).editReplicas(wire.Segment(i), g.without(x.Disk))
			}
		}
	}
}

// without is the segment's copies but the one on a disk; what is to take the
// place of that one has it then.
func (g Segment) without(id DiskID) []Replica {
	out := slices.DeleteFunc(slices.Clone(g.Replicas), func(r Replica) bool { return r.Disk == id })
	for i := range out {
		if out[i].Replaces == id {
			out[i].Replaces, out[i].Drain = "", false
		}
	}
	return out
}

// segmentOf finds a segment in the state that a command compares with.
func (s *State) segmentOf(volume wire.VolumeID, i wire.Segment, gen uint64) (*Volume, Segment, Result) {
	v := s.Volumes[volume]
	if v == nil || int(i) >= len(v.Segments) || v.Segments[i].Gen != gen {
		return nil, Segment{}, problem(Stale, "segment %d of volume %d is not of generation %d", i, volume, gen)
	}
	return v, v.Segments[i], Result{}
}

func (s *State) addReplica(c *AddReplica) Result {
	v, g, r := s.segmentOf(c.Volume, c.Segment, c.Gen)
	switch {
	case r.Problem != "":
		return r
	case !s.takes(c.To):
		return problem(Refused, "disk %s cannot take a copy", c.To)
	case g.On(s.Disks[c.To].Node) != nil:
		return problem(TooFew, "node %d already has a copy of segment %d", s.Disks[c.To].Node, c.Segment)
	case g.Coming() != nil:
		return problem(Refused, "a copy of segment %d is moving already", c.Segment)
	case c.Replaces == "" && len(g.Replicas) >= v.Copies:
		return problem(Refused, "segment %d has all its copies", c.Segment)
	case c.Replaces != "" && len(g.Replicas) < v.Copies:
		return problem(Refused, "segment %d lacks copies: these come first", c.Segment)
	case c.Replaces != "" && g.OnDisk(c.Replaces) == nil:
		return problem(NotFound, "no copy of segment %d on disk %s", c.Segment, c.Replaces)
	}
	added := Replica{Node: s.Disks[c.To].Node, Disk: c.To, Replaces: c.Replaces, Drain: c.Replaces != "" && s.Drains(c.Replaces)}
	s.editVolume(v.ID).editReplicas(c.Segment, append(slices.Clone(g.Replicas), added))
	return Result{Volume: v.ID}
}

// Droppable says whether a copy's place is taken: by one that is in sync, and with
// as many others as the volume asks for, so that nothing is lost with it.
func (s *State) Droppable(v *Volume, g Segment, id DiskID) bool {
	x, r := g.Coming(), g.OnDisk(id)
	if x == nil || r == nil || x.Replaces != id || !x.InSync || !s.Opened(*x) {
		return false
	}
	others := 0
	for _, o := range g.Replicas {
		if o.InSync && o.Disk != id && s.Opened(o) {
			others++
		}
	}
	return !r.InSync || others >= v.Copies
}

func (s *State) dropReplica(c *DropReplica) Result {
	v, g, bad := s.segmentOf(c.Volume, c.Segment, c.Gen)
	if bad.Problem != "" {
		return bad
	}
	r := g.OnDisk(c.Disk)
	switch {
	case r == nil:
		return problem(NotFound, "no copy of segment %d on disk %s", c.Segment, c.Disk)
	case r.Replaces != "" && r.InSync:
		return problem(Refused, "the copy on disk %s is in sync: the other one goes", c.Disk)
	case r.Replaces == "" && !s.Droppable(v, g, c.Disk):
		return problem(Refused, "the copy on disk %s is needed until another in its place is in sync", c.Disk)
	}
	v = s.editVolume(v.ID)
	v.editReplicas(c.Segment, g.without(c.Disk))
	s.follow(v)
	return Result{Volume: v.ID}
}

// follow has a volume's head go where its copies went, when its node has none any more.
func (s *State) follow(v *Volume) {
	if v.Head == 0 || slices.ContainsFunc(v.Segments, func(g Segment) bool { return g.On(v.Head) != nil }) {
		return
	}
	if best := s.bestHead(v, s.headCounts(), v.Head); best != 0 && (!s.Nodes[best].Drained || s.Nodes[v.Head].Drained) {
		s.grant(v, best)
	}
}

// Places are the disks that copies can be moved to. It is a reckoning: what
// Take was told of counts as there.
type Places struct {
	s     *State
	disks []DiskID
	load  map[DiskID]int
}

// Places as they are now.
func (s *State) Places() *Places {
	p := &Places{s: s, load: s.CopiesOn()}
	for _, id := range s.DiskIDs() {
		if s.takes(id) {
			p.disks = append(p.disks, id)
		}
	}
	return p
}

// For is the best disk for one more copy of a segment, or for one instead of that on
// the disk instead: on a node that has none, in another fault domain than the
// others' where there is one, and there the least full for its size; false where there is none.
// Those that may not be are left out.
func (p *Places) For(g Segment, instead DiskID, may func(DiskID) bool) (best DiskID, ok bool) {
	var others []wire.NodeID
	for _, r := range g.Replicas {
		if r.Disk != instead {
			others = append(others, r.Node)
		}
	}
	apart := false
	for _, id := range p.disks {
		n := p.s.Disks[id].Node
		if g.On(n) != nil || may != nil && !may(id) {
			continue
		}
		a := p.s.apart(n, others)
		if !ok || a && !apart || a == apart && p.fullness(id, 1) < p.fullness(best, 1) {
			best, ok, apart = id, true, a
		}
	}
	return best, ok
}

// Apart is For where only a place in a fault domain of its own will do.
func (p *Places) Apart(g Segment, instead DiskID, may func(DiskID) bool) (DiskID, bool) {
	var others []wire.NodeID
	for _, r := range g.Replicas {
		if r.Disk != instead {
			others = append(others, r.Node)
		}
	}
	return p.For(g, instead, func(id DiskID) bool { return p.s.apart(p.s.Disks[id].Node, others) && (may == nil || may(id)) })
}

// fullness is how full a disk would be with so many copies more, if they were.
func (p *Places) fullness(id DiskID, more int) float64 {
	return float64(p.load[id]+more) * float64(p.s.SegmentBytes) / float64(max(1, p.s.Disks[id].Size))
}

// Uneven is by how much of a disk its fullness has to differ from another's for copies to move for that alone.
const Uneven = 0.1

// Fullest are the disks that can be given copies, the fullest for its size first.
func (p *Places) Fullest() []DiskID {
	return slices.SortedStableFunc(slices.Values(p.disks), func(a, b DiskID) int { return cmp.Compare(p.fullness(b, 0), p.fullness(a, 0)) })
}

// Evens says whether a copy of a segment had better be on one disk than on
// another: much fuller is the other, also when it has moved, and it is as far apart from its like.
func (p *Places) Evens(g Segment, from, to DiskID) bool {
	var others []wire.NodeID
	for _, r := range g.Replicas {
		if r.Disk != from {
			others = append(others, r.Node)
		}
	}
	far := func(id DiskID) bool { return p.s.apart(p.s.Disks[id].Node, others) }
	gap := p.fullness(from, 0) - p.fullness(to, 0)
	return gap > Uneven && p.fullness(from, -1) >= p.fullness(to, 1) && (far(to) || !far(from))
}

// Take reckons with a copy that is about to come to a disk.
func (p *Places) Take(id DiskID) { p.load[id]++ }
