package cluster

import (
	"slices"

	"ashlar/replication/wire"
)

// Demote leaves a node's copies out of their in-sync sets because they are slow,
// where the set can do without: no set gets below what its volume needs to take
// writes, and no volume loses copies twice in DemoteEvery. It is asked for when the node has promised the heads' epochs.
type Demote struct {
	Node    wire.NodeID
	Disk    DiskID `json:",omitempty"` // whose copies alone are meant; empty: all of the node's
	Volumes []VolumeEpoch
	Why     string // a sentence
	At      int64  // ms since 1970 by the proposer's clock
}

// VolumeEpoch is one reign.
type VolumeEpoch struct {
	Volume wire.VolumeID
	Epoch  uint64
}

// Readmit lets a node's demoted copies of a volume catch up again.
type Readmit struct {
	Volume wire.VolumeID
	Node   wire.NodeID
}

// Demotion is the latest demotion of a node's copies of a volume.
type Demotion struct {
	Volume wire.VolumeID
	Node   wire.NodeID
	Disk   DiskID `json:",omitempty"`
	Why    string
	At     int64 // ms since 1970, as the proposer said
	Times  int   // how often within forgiveAfter of one another
}

// Times in ms. Those that are compared were told with the commands.
const (
	DemoteEvery  = 60_000    // a volume loses copies to slowness once in so long at most
	forgiveAfter = 1_800_000 // a demotion so long after the one before is a first one
	demotionsMax = 256       // that are remembered
)

// DemotionOf is the latest demotion of a node's copies of a volume, nil if none is remembered.
func (s *State) DemotionOf(v wire.VolumeID, n wire.NodeID) *Demotion {
	for i := range s.Demotions {
		if s.Demotions[i].Volume == v && s.Demotions[i].Node == n {
			return &s.Demotions[i]
		}
	}
	return nil
}

// DemotedLately says whether a volume lost a copy to slowness so shortly before a
// time, ms since 1970, or after it, that it must lose no other.
func (s *State) DemotedLately(v wire.VolumeID, at int64) bool {
	return slices.ContainsFunc(s.Demotions, func(d Demotion) bool {
		return d.Volume == v && at-d.At < DemoteEvery && d.At-at < DemoteEvery
	})
}

// Spares says whether an in-sync set can do without a node's copy: what is left
// is on open disks, and is as much as the volume needs to take writes.
func (s *State) Spares(v *Volume, g Segment, n wire.NodeID) bool {
	return s.OpenCopies(g, n) >= max(1, v.MinInSync)
}

func (s *State) demote(c *Demote) Result {
	demoted := false
	for _, x := range c.Volumes {
		if v := s.Volumes[x.Volume]; v != nil && v.Epoch == x.Epoch && !s.DemotedLately(x.Volume, c.At) && s.demoteOf(v, c) {
			s.remember(x.Volume, c)
			demoted = true
		}
	}
	if !demoted {
		return problem(Refused, "node %d has no slow copies that their sets can do without", c.Node)
	}
	return Result{Node: c.Node}
}

func (s *State) demoteOf(v *Volume, c *Demote) (some bool) {
	for i, g := range v.Segments {
		r := g.On(c.Node)
		if r == nil || !r.InSync || c.Disk != "" && r.Disk != c.Disk || !s.Spares(v, g, c.Node) {
			continue
		}
		replicas := slices.Clone(g.Replicas)
		for k := range replicas {
			if replicas[k].Node == c.Node {
				replicas[k].InSync, replicas[k].Demoted = false, true
			}
		}
		v, some = s.editVolume(v.ID), true
		v.editReplicas(wire.Segment(i), replicas)
	}
	return some
}

// remember puts the demotion in the place of the one before of the same copies.
func (s *State) remember(v wire.VolumeID, c *Demote) {
	d := Demotion{Volume: v, Node: c.Node, Disk: c.Disk, Why: c.Why, At: c.At, Times: 1}
	if old := s.DemotionOf(v, c.Node); old != nil && c.At-old.At < forgiveAfter {
		d.Times += old.Times
	}
	list := slices.DeleteFunc(slices.Clone(s.Demotions), func(o Demotion) bool {
		return s.Volumes[o.Volume] == nil || o.Volume == v && o.Node == c.Node
	})
	list = append(list, d)
	s.Demotions = list[max(0, len(list)-demotionsMax):]
}

func (s *State) readmit(c *Readmit) Result {
	v := s.Volumes[c.Volume]
	if v == nil {
		return problem(NotFound, "no volume %d", c.Volume)
	}
	some := false
	for i, g := range v.Segments {
		if r := g.On(c.Node); r == nil || !r.Demoted {
			continue
		}
		replicas := slices.Clone(g.Replicas)
		for k := range replicas {
			replicas[k].Demoted = replicas[k].Demoted && replicas[k].Node != c.Node
		}
		v, some = s.editVolume(c.Volume), true
		v.editReplicas(wire.Segment(i), replicas)
	}
	if !some {
		return problem(Stale, "no copy of volume %q on node %d is demoted", v.Name, c.Node)
	}
	return Result{Volume: c.Volume}
}
