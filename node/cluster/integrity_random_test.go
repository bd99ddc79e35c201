package cluster

import "ashlar/replication/wire"

// integrity is a command about bad blocks and scrubs.
func (g *chaos) integrity(s *State, v *Volume) Command {
	for _, id := range s.DiskIDs() {
		if s.Disks[id].Worn && (s.CanEject(id) || g.IntN(4) == 0) {
			return Command{EjectDisk: &EjectDisk{id}}
		}
	}
	switch g.IntN(6) {
	case 0:
		return Command{EjectDisk: &EjectDisk{g.disk()}}
	case 1, 2:
		n := &NoteScrub{Volume: v.ID, Epoch: v.Epoch - uint64(g.IntN(8)/7)}
		round := &Round{Since: int64(len(g.past)), Began: int64(g.IntN(3)), Next: wire.Segment(g.IntN(2)), Counts: Counts{Differing: 2, Mended: 1}}
		if g.IntN(2) == 0 {
			n.Light = round
		} else {
			n.Deep = round
		}
		return Command{NoteScrub: n}
	}
	b := &BadBlocks{Disk: g.disk()}
	for _, id := range s.DiskIDs() { // one that may go
		if d := s.Disks[id]; !d.Failed && s.spared(d) && g.IntN(2) == 0 {
			b.Disk = id
		}
	}
	for range 1 + g.IntN(4) {
		b.Blocks = append(b.Blocks, BadBlock{Volume: v.ID, Block: uint32(g.IntN(4)), At: int64(len(g.past)) * 3_600_000})
	}
	return Command{BadBlocks: b}
}
