package cluster

import "ashlar/replication/wire"

// ResizeVolume makes a volume larger. It names the size there is to be, so that
// it may come twice.
type ResizeVolume struct {
	Name  string
	Bytes uint64
}

// resizeVolume places the segments that are new like those of a new volume, the
// first copy of each on the head's node. All of their copies are in sync: none
// was ever written.
func (s *State) resizeVolume(c *ResizeVolume) Result {
	v := s.VolumeNamed(c.Name)
	switch {
	case v == nil:
		return problem(NotFound, "no volume %q", c.Name)
	case c.Bytes < v.Bytes:
		return problem(Refused, "volume %q has %d bytes and cannot be made smaller: what is beyond %d bytes would be lost", v.Name, v.Bytes, c.Bytes)
	case !validSize(c.Bytes):
		return badSize(c.Bytes)
	case c.Bytes == v.Bytes:
		return Result{Volume: v.ID}
	}
	if r := s.mayGrow(v.Tenant, 0, c.Bytes-v.Bytes); r.Problem != "" {
		return r
	}
	more := s.segmentsOf(c.Bytes) - len(v.Segments)
	var added []Segment
	if more > 0 {
		domains := s.disksByNode()
		if len(domains) < v.Copies {
			return tooFewDomains(v.Copies, len(domains))
		}
		home := v.Head
		if len(domains[home]) == 0 {
			home = s.leastHeads(domains)
		}
		added = s.place(more, v.Copies, home, domains)
	}
	v = s.editVolume(v.ID)
	v.Bytes = c.Bytes
	v.Segments = append(v.Segments, added...)
	s.settle() // a volume that nobody could be the head of may have a usable copy now
	return Result{Volume: v.ID}
}

// segmentsOf is how many segments a volume of that many bytes has.
func (s *State) segmentsOf(bytes uint64) int {
	return int((bytes + s.SegmentBytes - 1) / s.SegmentBytes)
}

const volumeBytesMax = 1 << 50

func validSize(bytes uint64) bool {
	return bytes > 0 && bytes%wire.BlockSize == 0 && bytes <= volumeBytesMax
}

func badSize(bytes uint64) Result {
	return problem(Invalid, "a volume's size is a multiple of 4096 bytes from 4 KiB to 1 PiB, not %d", bytes)
}

func tooFewDomains(copies, domains int) Result {
	return problem(TooFew, "%d copies need %d nodes that are up and have a disk; there are %d (see: ashlar node list, ashlar disk list)",
		copies, copies, domains)
}
