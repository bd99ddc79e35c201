package cluster

import (
	"slices"

	"ashlar/replication/wire"
)

// A disk that loses what was written to it loses more soon. Bad blocks are mended
// from other copies, and counted for good; at the third place within a day the
// disk has to go, and goes as soon as each of its sets can do without it.
const (
	BadMost = 3
	badDay  = 24 * 3600 * 1000 // ms
	badKept = 64               // of the latest, on each disk
)

// BadBlock is a place that a disk could not give: a block, or the first of those of
// a metadata page that is lost.
type BadBlock struct {
	Volume  wire.VolumeID
	Segment wire.Segment
	Block   uint32
	At      int64 // ms since 1970, by its node's clock
}

func (b BadBlock) same(o BadBlock) bool {
	return b.Volume == o.Volume && b.Segment == o.Segment && b.Block == o.Block && b.At-o.At < badDay && o.At-b.At < badDay
}

// BadBlocks counts what a disk could not give. A place counts once a day.
type BadBlocks struct {
	Disk   DiskID
	Blocks []BadBlock
}

// EjectDisk takes a disk that is worn out of the pool for good, where every set that
// counts on a copy on it can do without.
type EjectDisk struct{ ID DiskID }

// BadLately is how many places a disk could not give in the day before a time, ms since 1970.
func (d *Disk) BadLately(at int64) (n int) {
	for _, b := range d.Bad {
		if at-b.At < badDay && b.At-at < badDay {
			n++
		}
	}
	return n
}

// Counted says whether a bad block is on the record already.
func (d *Disk) Counted(b BadBlock) bool { return slices.ContainsFunc(d.Bad, b.same) }

func (s *State) badBlocks(c *BadBlocks) Result {
	d := s.Disks[c.Disk]
	if d == nil {
		return problem(NotFound, "no disk %s", c.Disk)
	}
	if d.Failed {
		return problem(Refused, "disk %s is out of use already", c.Disk)
	}
	bad, more := slices.Clone(d.Bad), uint64(0)
	for _, b := range c.Blocks {
		if !slices.ContainsFunc(bad, b.same) {
			bad = append(bad, b)
			more++
		}
	}
	if more == 0 {
		return problem(Stale, "these blocks of disk %s are counted already", c.Disk)
	}
	d = s.editDisk(c.Disk)
	d.Bad, d.BadEver = bad[max(0, len(bad)-badKept):], d.BadEver+more
	for _, b := range c.Blocks {
		d.Worn = d.Worn || d.BadLately(b.At) >= BadMost
	}
	return Result{}
}

// CanEject says whether a disk is to go, and every set with a copy on it can do without.
func (s *State) CanEject(id DiskID) bool {
	d := s.Disks[id]
	return d != nil && d.Worn && !d.Failed && s.spared(d)
}

func (s *State) spared(d *Disk) bool {
	for _, v := range s.Volumes {
		for _, g := range v.Segments {
			if r := g.On(d.Node); r != nil && r.Disk == d.ID && r.InSync && !s.Spares(v, g, d.Node) {
				return false
			}
		}
	}
	return true
}

func (s *State) ejectDisk(c *EjectDisk) Result {
	d := s.Disks[c.ID]
	switch {
	case d == nil:
		return problem(NotFound, "no disk %s", c.ID)
	case d.Failed:
		return problem(Refused, "disk %s is out of use already", c.ID)
	case !d.Worn:
		return problem(Refused, "disk %s has not lost %d blocks in a day", c.ID, BadMost)
	case !s.spared(d):
		return problem(Refused, "disk %s holds copies that their sets cannot do without", c.ID)
	}
	d = s.editDisk(c.ID)
	d.Failed, d.Ejected = true, true
	s.settle()
	return Result{}
}

// Scrubs is how far the comparing of a volume's copies is. Never changed in place.
type Scrubs struct {
	Light, Deep Round
}

// Round is about one way round the volume, and the one before.
type Round struct {
	Since  int64        // ms since 1970: the next is due one interval later
	Began  int64        `json:",omitempty"` // the one that goes on; 0: none does
	Next   wire.Segment `json:",omitempty"` // where that goes on
	Counts Counts       // of that one so far
	Ended  int64        `json:",omitempty"` // the last whole one; 0: there was none yet
	Took   int64        `json:",omitempty"` // of it, ms
	Last   Counts
}

// Counts is what a round came upon.
type Counts struct {
	Differing uint64 `json:",omitempty"` // blocks of which not all copies were alike and good
	Mended    uint64 `json:",omitempty"` // of those
	Skipped   uint64 `json:",omitempty"` // blocks that could not be compared, since a copy could not be asked
}

// NoteScrub keeps how far a volume's head is with its scrubs; nil: as it was.
type NoteScrub struct {
	Volume      wire.VolumeID
	Epoch       uint64
	Light, Deep *Round `json:",omitempty"`
}

func (s *State) noteScrub(c *NoteScrub) Result {
	v := s.Volumes[c.Volume]
	if v == nil || v.Epoch != c.Epoch {
		return problem(Stale, "the head of volume %d is not of epoch %d", c.Volume, c.Epoch)
	}
	var next Scrubs
	if v.Scrubs != nil {
		next = *v.Scrubs
	}
	if c.Light != nil {
		next.Light = *c.Light
	}
	if c.Deep != nil {
		next.Deep = *c.Deep
	}
	s.editVolume(c.Volume).Scrubs = &next
	return Result{Volume: v.ID}
}
