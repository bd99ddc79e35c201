package cluster

import "ashlar/replication/wire"

// replace gives up the copies on a disk that cannot be used, and places empty
// ones on other disks, which their heads then fill. A copy that is the last of
// its set stays listed, and so does one for which no other fault domain has a disk.
func (s *State) replace(c *Replace) Result {
	d := s.Disks[c.Disk]
	if d == nil {
		return problem(NotFound, "no disk %s", c.Disk)
	}
	if !d.Failed && s.Nodes[d.Node].Up {
		return problem(Refused, "disk %s on node %q can be used", c.Disk, s.Nodes[d.Node].Name)
	}
	domains, load := s.disksByNode(), s.CopiesOn()
	moved := false
	for _, id := range s.VolumeIDs() {
		for i, g := range s.Volumes[id].Segments {
			replicas, ok := s.moveFrom(g, c.Disk, domains, load)
			if ok {
				moved = true
				s.editVolume(id).editReplicas(wire.Segment(i), replicas)
			}
		}
	}
	if !moved {
		return problem(TooFew, "no copy on disk %s can be placed elsewhere", c.Disk)
	}
	return Result{}
}

// moveFrom is a segment's copies with the one on a disk replaced, if it has one
// there that is not in sync and there is a place for it. One that moves has its
// place already, or had one to take and does not need another.
func (s *State) moveFrom(g Segment, from DiskID, domains map[wire.NodeID][]DiskID, load map[DiskID]int) ([]Replica, bool) {
	at := -1
	var taken []wire.NodeID
	for i, r := range g.Replicas {
		if r.Disk == from && !r.InSync {
			at = i
		} else {
			taken = append(taken, r.Node)
		}
	}
	if at < 0 {
		return nil, false
	}
	if x := g.Coming(); x != nil && (x.Disk == from || x.Replaces == from) {
		return g.without(from), true
	}
	n := s.leastLoaded(domains, load, taken)
	if n == 0 {
		return nil, false
	}
	d := leastDisk(domains[n], load)
	load[d]++
	out := append([]Replica(nil), g.Replicas...)
	out[at] = Replica{Node: n, Disk: d}
	return out, true
}

// Replaceable says whether a Replace of a disk would place a copy elsewhere.
func (s *State) Replaceable(id DiskID) bool {
	domains, load := s.disksByNode(), s.CopiesOn()
	for _, v := range s.Volumes {
		for _, g := range v.Segments {
			if _, ok := s.moveFrom(g, id, domains, load); ok {
				return true
			}
		}
	}
	return false
}
