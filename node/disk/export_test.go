package disk

import (
	"errors"
	"fmt"
)

// Abandon ends a store as a crash does: nothing more is written.
func (s *Store) Abandon() {
	s.fail(errors.New("abandoned by the test"))
	s.Close()
}

// Checkpoint makes one now and waits for it.
func (s *Store) Checkpoint() {
	s.mu.Lock()
	defer s.mu.Unlock()
	target := s.number + 1
	if s.frozen != nil {
		target++ // the one under way began too early
	}
	s.wantCheckpoint()
	for s.number < target && s.err == nil {
		s.work.Wait()
	}
}

// Waiting is how many operations no record has taken yet.
func (s *Store) Waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.queue.len()
}

// DropCache makes the next reads take metadata pages from the device.
func (s *Store) DropCache() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.cache.pages)
}

// CachedPages is how many metadata pages memory has.
func (s *Store) CachedPages() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.cache.pages)
}

// BlockPlace is where on the device a block was written back to, and its page; 0: nowhere.
func (s *Store) BlockPlace(r Replica, block uint32) (data, page int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.replicas[r].group(block / groupBlocks)
	return s.blockAt(g.place[block%groupBlocks/chunkBlocks], block%groupBlocks), s.pages + int64(g.slot)*blockSize
}

// Layout is where the parts of a store lie.
func (s *Store) Layout() (superblocks [4]int64, control, controlSlot, journal, head int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.superblocks(), s.control, s.controlSlot, s.journal, s.journal + int64(s.head%uint64(s.journalSize))
}

// LivePage is a metadata page that the last checkpoint counts.
type LivePage struct {
	Replica
	Group uint32
	At    int64 // on the device
}

// LivePages lists them by replica and group.
func (s *Store) LivePages() (list []LivePage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, rep := range s.sorted() {
		rep.each(func(i uint32, g *group) {
			if g.paged && !g.lost {
				list = append(list, LivePage{rep.Replica, i, s.pages + int64(g.slot)*blockSize})
			}
		})
	}
	return list
}

// DataStart is where the chunks begin; all metadata lies before it, but for two superblocks.
func (s *Store) DataStart() int64 { return s.chunks }

// LabelSlots is where the two labels lie.
func (s *Store) LabelSlots() [2]int64 { return [2]int64{s.labelAt(0), s.labelAt(1)} }

// Audit compares the space in use with what the replicas account for.
func (s *Store) Audit() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.frozen != nil && s.err == nil {
		s.work.Wait()
	}
	var chunks, groups, slots uint32
	for _, rep := range s.replicas {
		rep.each(func(_ uint32, g *group) {
			groups++
			if g.paged && !g.lost {
				slots++
			}
			for _, place := range g.place {
				if place != noChunk {
					chunks++
				}
			}
		})
	}
	if chunks != s.space.used.used || groups != s.groups || slots != s.slotMap.used {
		return fmt.Errorf("space is lost or counted twice: chunks %d of %d, groups %d of %d, slots %d of %d",
			chunks, s.space.used.used, groups, s.groups, slots, s.slotMap.used)
	}
	return nil
}
