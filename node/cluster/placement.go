package cluster

import (
	"slices"

	"ashlar/replication/wire"
)

func (s *State) createVolume(c *CreateVolume) Result {
	switch {
	case !nameRule.MatchString(c.Name):
		return badName("volume", c.Name)
	case s.VolumeNamed(c.Name) != nil:
		return problem(Exists, "a volume named %q is there already", c.Name)
	case c.Copies < 1 || c.Copies > 3:
		return problem(Invalid, "a volume has 1, 2 or 3 copies, not %d", c.Copies)
	case c.WriteCache && c.Copies < 2:
		return problem(Invalid, "a write cache needs 2 copies or more: what is in the memory of one node alone is lost with it")
	case !validSize(c.Bytes):
		return badSize(c.Bytes)
	}
	if r := s.mayGrow(c.Tenant, 1, c.Bytes); r.Problem != "" {
		return r
	}
	domains := s.disksByNode()
	if len(domains) < c.Copies {
		return tooFewDomains(c.Copies, len(domains))
	}
	if c.WriteCache {
		s.Version = max(s.Version, cachesVersion)
	}
	s.LastVolume++
	v := &Volume{ID: s.LastVolume, Name: c.Name, Bytes: c.Bytes, Copies: c.Copies, MinInSync: max(1, c.Copies-1), Tenant: c.Tenant, WriteCache: c.WriteCache}
	home := s.leastHeads(domains)
	v.Segments = s.place(s.segmentsOf(c.Bytes), c.Copies, home, domains)
	s.Volumes[v.ID] = v
	s.grant(v, home)
	return Result{Volume: v.ID}
}

// place gives new segments a copy each on the node home, the head's, so that
// reads are local, and the others in turn over all other nodes, so that a
// rebuild is from many to many.
func (s *State) place(count, copies int, home wire.NodeID, domains map[wire.NodeID][]DiskID) []Segment {
	load := s.CopiesOn()
	segments := make([]Segment, count)
	for i := range segments {
		nodes := []wire.NodeID{home}
		for len(nodes) < copies {
			nodes = append(nodes, s.leastLoaded(domains, load, nodes))
		}
		replicas := make([]Replica, len(nodes))
		for k, n := range nodes {
			d := leastDisk(domains[n], load)
			load[d]++
			replicas[k] = Replica{Node: n, Disk: d, InSync: true}
		}
		segments[i] = Segment{Gen: 1, Replicas: replicas}
	}
	return segments
}

// disksByNode are the disks that can be given copies, of each node that has one.
func (s *State) disksByNode() map[wire.NodeID][]DiskID {
	m := map[wire.NodeID][]DiskID{}
	for _, id := range s.DiskIDs() {
		if d := s.Disks[id]; s.takes(id) {
			m[d.Node] = append(m[d.Node], id)
		}
	}
	return m
}

// CopiesOn counts the copies on each disk.
func (s *State) CopiesOn() map[DiskID]int {
	m := map[DiskID]int{}
	for _, v := range s.Volumes {
		for _, g := range v.Segments {
			for _, r := range g.Replicas {
				m[r.Disk]++
			}
		}
	}
	return m
}

func (s *State) headCounts() map[wire.NodeID]int {
	m := map[wire.NodeID]int{}
	for _, v := range s.Volumes {
		m[v.Head]++
	}
	return m
}

// leastHeads is the node with the fewest heads of those that have a disk, a
// drained one only where there is no other.
func (s *State) leastHeads(domains map[wire.NodeID][]DiskID) wire.NodeID {
	heads := s.headCounts()
	var best wire.NodeID
	for _, n := range s.NodeIDs() {
		switch {
		case len(domains[n]) == 0:
		case best == 0, s.Nodes[best].Drained && !s.Nodes[n].Drained:
			best = n
		case s.Nodes[n].Drained == s.Nodes[best].Drained && heads[n] < heads[best]:
			best = n
		}
	}
	return best
}

// leastLoaded is the node, other than those taken, whose least loaded disk has
// the fewest copies; the lowest number among equals; one in a fault domain with
// them only where there is no other.
func (s *State) leastLoaded(domains map[wire.NodeID][]DiskID, load map[DiskID]int, taken []wire.NodeID) wire.NodeID {
	var best wire.NodeID
	var bestLoad int
	var bestApart bool
	for _, n := range s.NodeIDs() {
		if len(domains[n]) == 0 || slices.Contains(taken, n) {
			continue
		}
		l, apart := load[leastDisk(domains[n], load)], s.apart(n, taken)
		if best == 0 || apart && !bestApart || apart == bestApart && l < bestLoad {
			best, bestLoad, bestApart = n, l, apart
		}
	}
	return best
}

func leastDisk(disks []DiskID, load map[DiskID]int) DiskID {
	best := disks[0]
	for _, d := range disks[1:] {
		if load[d] < load[best] {
			best = d
		}
	}
	return best
}
