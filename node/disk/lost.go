package disk

import (
	"math/bits"

	"ashlar/replication/wire"
)

// LostVersion is what Changes gives for a lost block: higher than any other, so that whoever compares
// copies takes the block for one that differs, and does not take it from here, for a read of it fails.
var LostVersion = wire.LostVersion

// A lost page is one that the last checkpoint counts and that cannot be read any more. Its blocks are bad: their
// versions, checksums and perhaps places are unknown. They read as checksum errors until each is overwritten;
// the rest of the replica is sound.

// blockBits is a set of blocks of a group, by chunk.
type blockBits [groupChunks]uint32

func (b *blockBits) has(block uint32) bool {
	return b[block/chunkBlocks]&(1<<(block%chunkBlocks)) != 0
}

func (b *blockBits) clear(block uint32) { b[block/chunkBlocks] &^= 1 << (block % chunkBlocks) }

// blocksOf is all blocks of a group.
func (s *Store) blocksOf(group uint32) (all blockBits) {
	n := min(s.id.SegmentBlocks-group*groupBlocks, groupBlocks)
	for c := range all {
		all[c] = uint32(1<<min(n, chunkBlocks) - 1)
		n -= min(n, chunkBlocks)
	}
	return all
}

// lostPage stands for the page of a group with CRC sum.
func (s *Store) lostPage(instance uint64, group, sum uint32) *page {
	p := &page{instance: instance, group: group, bad: s.blocksOf(group), sum: sum}
	for c := range p.place {
		p.place[c] = noChunk
	}
	return p
}

// findLost says which page is lost, if one page alone accounts for the difference between the
// pages found, their number and hash, and those that the control row counts. The hash of each page
// is a bijection of its group and CRC, so the XOR of all tells both. When several are lost, it
// takes one for the culprit in less than one case of a million.
func (s *Store) findLost(rep *replica, pages uint32, hash uint64) (lost, sum uint32, found bool) {
	difference := rep.hash ^ hash
	if pages+1 == rep.pages {
		lost, sum = pageOfHash(difference)
		return lost, sum, int64(lost)*groupBlocks < int64(s.id.SegmentBlocks) && rep.group(lost) == nil
	}
	if pages != rep.pages {
		return 0, 0, false
	}
	rep.each(func(i uint32, g *group) { // an older page of the group was taken for it
		if gi, su := pageOfHash(difference ^ pageHash(i, g.sum)); gi == i {
			lost, sum, found = gi, su, true
		}
	})
	return lost, sum, found
}

// lose makes what a scan found, or did not find, of a group a lost page with CRC sum.
func (s *Store) lose(rep *replica, gi, sum uint32) {
	g, made := rep.open(gi)
	if made {
		s.groups++
	}
	p := s.lostPage(rep.instance, gi, sum)
	*g = group{used: true, written: true, paged: true, lost: true, sum: sum, place: p.place}
	s.setBad(rep, gi, p.bad)
	s.stats.PageErrors++
}

// scrubPages reads the pages of a range from the device. One that has decayed while memory has it
// is written anew by the next checkpoint; without a copy in memory, the read that follows finds it lost.
func (s *Store) scrubPages(r *Read) error {
	return spans(r.Block, r.Count, func(p span) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		rep, err := s.replica(r.Replica)
		if err != nil || rep.group(p.group) == nil {
			return err
		}
		g := *rep.group(p.group)
		if !g.paged || g.lost {
			return nil
		}
		s.mu.Unlock()
		_, err = s.readPage(rep.instance, p.group, g.slot, g.sum)
		s.mu.Lock()
		current := !rep.gone && rep.group(p.group).sum == g.sum
		if err == nil || !current || s.cache.get(rep.instance, p.group, g.sum) == nil {
			return nil
		}
		s.stats.PageErrors++
		if _, groups := s.dirty(); groups < s.spareSlots {
			s.active.open(rep, p.group)
		}
		s.wantCheckpoint()
		return nil
	})
}

// setBad notes which of a group's blocks are bad, but for those overwritten since. mu is held, or nobody else is there yet.
func (s *Store) setBad(rep *replica, gi uint32, bad blockBits) {
	for _, d := range []*delta{s.active.delta(rep, gi), s.frozen.delta(rep, gi)} {
		if d == nil {
			continue
		}
		for i := range uint32(groupBlocks) {
			if d.get(i) != nil {
				bad.clear(i)
			}
		}
	}
	delete(rep.bad, gi)
	if bad == (blockBits{}) {
		return
	}
	if rep.bad == nil {
		rep.bad = map[uint32]blockBits{}
	}
	rep.bad[gi] = bad
}

// heal notes that a block was overwritten.
func (r *replica) heal(gi, block uint32) {
	bad, have := r.bad[gi]
	if !have {
		return
	}
	bad.clear(block)
	r.bad[gi] = bad
	if bad == (blockBits{}) {
		delete(r.bad, gi)
	}
}

// Lost says whether a metadata page with a block is lost, and which the first of its blocks is.
func (s *Store) Lost(r Replica, block uint32) (first uint32, lost bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rep := s.replicas[r]
	if rep == nil {
		return 0, false
	}
	bad := rep.bad[block/groupBlocks]
	return block / groupBlocks * groupBlocks, bad.has(block % groupBlocks)
}

// lost counts the bad blocks.
func (r *replica) lost() (n uint64) {
	for _, bad := range r.bad {
		for _, b := range bad {
			n += uint64(bits.OnesCount32(b))
		}
	}
	return n
}
