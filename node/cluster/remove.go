package cluster

import (
	"fmt"
	"slices"
	"strings"

	"ashlar/replication/wire"
)

// RemoveDisk forgets a disk on which nothing is that counts. GiveUp gives up what
// is there and is not in sync: it is made elsewhere, as soon as there is a place.
type RemoveDisk struct {
	Disk   DiskID
	GiveUp bool `json:",omitempty"`
}

// RemoveNode forgets a node that has stopped, with its disks. Its number is never
// another's, and it never comes back as it was. Dead gives up what its disks
// hold that is not in sync.
type RemoveNode struct {
	Node wire.NodeID
	Dead bool `json:",omitempty"`
}

// Held are the copies on disks.
type Held struct {
	Copies int            // of segments
	Sole   map[string]int // segments by volume, of which the only copies in sync are on them
	Placed map[string]int // segments by volume with a copy on them
}

// HeldOn counts what is on some disks.
func (s *State) HeldOn(disks ...DiskID) Held {
	h := Held{Sole: map[string]int{}, Placed: map[string]int{}}
	for _, v := range s.Volumes {
		for _, g := range v.Segments {
			here, sole := 0, true
			for _, r := range g.Replicas {
				if slices.Contains(disks, r.Disk) {
					here++
				} else if r.InSync {
					sole = false
				}
			}
			h.Copies += here
			if here > 0 {
				h.Placed[v.Name]++
			}
			if here > 0 && sole {
				h.Sole[v.Name]++
			}
		}
	}
	return h
}

// names lists volumes with their segments, a few of them.
func names(of map[string]int) string {
	var list []string
	for v, n := range of {
		list = append(list, fmt.Sprintf("%s (segments: %d)", v, n))
	}
	slices.Sort(list)
	if more := len(list) - 5; more > 0 {
		list = append(list[:5], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(list, ", ")
}

func (s *State) removeDisk(c *RemoveDisk) Result {
	d := s.Disks[c.Disk]
	if d == nil {
		return problem(NotFound, "no disk %s", c.Disk)
	}
	name := fmt.Sprintf("disk %s of node %q", d.Path, s.Nodes[d.Node].Name)
	if r := s.mayRemove(name, c.GiveUp, c.Disk); r.Problem != "" {
		return r
	}
	s.giveUp(c.Disk)
	delete(s.Disks, c.Disk)
	return Result{Node: d.Node}
}

// mayRemove refuses where what is on disks counts.
func (s *State) mayRemove(name string, giveUp bool, disks ...DiskID) Result {
	h := s.HeldOn(disks...)
	switch {
	case len(h.Sole) > 0:
		return problem(Refused, "%s has the only copies in sync of volumes %s: they would be lost", name, names(h.Sole))
	case h.Copies > 0 && !giveUp:
		return problem(Refused, "%s still has copies of volumes %s", name, names(h.Placed))
	}
	for _, id := range disks {
		for _, vol := range s.VolumeIDs() {
			v := s.Volumes[vol]
			for _, g := range v.Segments {
				if r := g.OnDisk(id); r != nil && r.InSync {
					return problem(Refused, "%s has copies of volume %s that are in sync", name, v.Name)
				}
			}
		}
	}
	return Result{}
}

// giveUp has other disks take the places of the copies on one that are not in sync; where there
// is none the segment has fewer copies than it should until there is.
func (s *State) giveUp(id DiskID) {
	domains, load := s.disksByNode(), s.CopiesOn()
	n := s.Disks[id].Node
	if domains[n] = slices.DeleteFunc(domains[n], func(d DiskID) bool { return d == id }); len(domains[n]) == 0 {
		delete(domains, n)
	}
	for _, v := range s.VolumeIDs() {
		for i, g := range s.Volumes[v].Segments {
			if g.OnDisk(id) == nil {
				continue
			}
			replicas, ok := s.moveFrom(g, id, domains, load)
			if !ok {
				replicas = g.without(id)
				for k := range replicas { // one that was to take a place is needed beside it now
					replicas[k].Replaces, replicas[k].Drain = "", false
				}
			}
			s.editVolume(v).editReplicas(wire.Segment(i), replicas)
		}
	}
}

func (s *State) removeNode(c *RemoveNode) Result {
	n := s.Nodes[c.Node]
	switch {
	case !n.present():
		return problem(NotFound, "no node %d", c.Node)
	case n.Up:
		return problem(Refused, "node %q is up: it has to be stopped first", n.Name)
	}
	var disks []DiskID
	for _, id := range s.DiskIDs() {
		if s.Disks[id].Node == c.Node {
			disks = append(disks, id)
		}
	}
	if r := s.mayRemove(fmt.Sprintf("node %q", n.Name), c.Dead, disks...); r.Problem != "" {
		return r
	}
	for _, id := range disks {
		s.giveUp(id)
	}
	for _, id := range disks {
		delete(s.Disks, id)
	}
	n = s.editNode(c.Node)
	n.Expelled, n.Removed, n.Drained, n.Emptied, n.Leaving, n.Fabrics = true, true, false, false, false, nil
	s.endSessions(n.ID)
	for i, a := range s.Addresses {
		if a.Home == n.ID {
			s.editAddresses()[i].Home = 0
		}
	}
	s.forgetAddresses()
	return Result{Node: n.ID}
}
