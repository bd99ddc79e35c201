package disk

import (
	"cmp"
	"fmt"
	"slices"
	"sync"

	"ashlar/target/pages"
)

// A checkpoint moves a frozen overlay to chunks and pages, in this order:
//
//  1. freeze the overlay and all that the control slot will say
//  2. write data in place (the journal still has it), and new pages to free slots
//  3. sync
//  4. write the control slot: from here on a crash starts from this checkpoint
//  5. free the pages of the one before, and the journal up to the freeze

// image is what the store was at the freeze.
type image struct {
	control
	overlay *overlay
	groups  []*frozenGroup
}

type frozenGroup struct {
	deltaKey
	delta  *delta
	before group
	page   *page // built from the old page and the delta
	slot   uint32
}

// wantCheckpoint asks for a checkpoint. mu is held.
func (s *Store) wantCheckpoint() {
	if !s.wanted {
		s.wanted = true
		s.due.Signal()
	}
}

func (s *Store) runCheckpoints() {
	defer close(s.checkpointsDone)
	for {
		s.mu.Lock()
		for !s.wanted && !s.stopping && s.err == nil {
			s.due.Wait()
		}
		last, failed := s.stopping, s.err != nil
		s.mu.Unlock()
		if failed {
			return
		}
		if err := s.makeCheckpoint(); err != nil {
			s.fail(fmt.Errorf("write-back: %w", err))
			return
		}
		if last {
			return
		}
	}
}

func (s *Store) makeCheckpoint() error {
	s.mu.Lock()
	img := s.freeze()
	s.mu.Unlock()
	if err := s.writeBack(img); err != nil {
		return err
	}
	if err := s.writePages(img); err != nil {
		return err
	}
	if err := s.dev.Sync(); err != nil {
		return err
	}
	if err := writeControl(s.dev, &s.geometry, s.id.Nonce, &img.control); err != nil {
		return err
	}
	s.mu.Lock()
	s.settle(img)
	s.mu.Unlock()

	img.overlay.recycle(&s.buffers)
	s.mu.Lock()
	s.spare = img.overlay
	s.mu.Unlock()
	return nil
}

// freeze starts a new overlay and notes what the old one stands for. Records in flight belong to the new one.
func (s *Store) freeze() *image {
	s.wanted = false
	s.space.freeze()
	img := &image{overlay: s.active}
	img.number, img.tail, img.nextSeq, img.nextInstance = s.number+1, s.head, s.nextSeq, s.nextInstance
	if s.spare == nil {
		s.spare = newOverlay()
	}
	s.frozen, s.active, s.spare = s.active, s.spare, nil
	s.writtenBack = 0
	for _, rep := range s.sorted() {
		img.replicas = append(img.replicas, controlReplica{rep.Replica, rep.instance, rep.commit, rep.pages, rep.hash, rep.damaged})
		delete(s.commits, rep)
	}
	for volume, epoch := range s.promises {
		img.promises = append(img.promises, promise{volume, epoch})
	}
	groups := make([]frozenGroup, 0, len(s.frozen.deltas))
	for key, d := range s.frozen.deltas {
		groups = append(groups, frozenGroup{deltaKey: key, delta: d, before: *key.rep.group(key.group)})
		img.groups = append(img.groups, &groups[len(groups)-1])
	}
	slices.SortFunc(img.groups, func(a, b *frozenGroup) int {
		return cmp.Or(cmp.Compare(a.rep.instance, b.rep.instance), cmp.Compare(a.group, b.group))
	})
	return img
}

// writeBack writes the data of all groups, and meanwhile builds their pages, several at a time.
func (s *Store) writeBack(img *image) error {
	written := make(chan error, 1)
	go func() { written <- s.writePieces(s.pieces(img)) }()
	work := make(chan *frozenGroup)
	var builders sync.WaitGroup
	for range s.o.Writers {
		builders.Go(func() {
			for f := range work {
				s.buildPage(f, img.number)
			}
		})
	}
	for _, f := range img.groups {
		work <- f
	}
	close(work)
	builders.Wait()
	return <-written
}

// A write-back of many pieces is told in portions, none of fewer than portionLeast.
const (
	portions     = 32
	portionLeast = 128
)

// writePieces writes data in place, and lets new records in as it gets on: see Store.room.
func (s *Store) writePieces(list []piece) error {
	for done := 0; done < len(list); {
		n := min(len(list)-done, max(len(list)/portions, portionLeast))
		if err := s.dev.writeEach(list[done:done+n], s.o.Writers); err != nil {
			return err
		}
		done += n
		s.mu.Lock()
		s.writtenBack = float64(done) / float64(len(list))
		s.work.Broadcast()
		s.mu.Unlock()
	}
	return nil
}

// room is how many journal bytes the active overlay may have. It fills while another one is written back, in half of
// its room as fast as it is asked to, and in the other half no faster than that goes: else whoever writes faster than the device takes it all
// would be stopped for as long as a whole write-back takes. mu is held.
func (s *Store) room() int64 {
	if s.frozen == nil {
		return s.o.DirtyBytes
	}
	return s.o.DirtyBytes/2 + int64(float64(s.o.DirtyBytes/2)*s.writtenBack)
}

// pieces are the data of all groups, by where it goes: a run of changed blocks of one chunk is one write.
func (s *Store) pieces(img *image) (list []piece) {
	n := 0
	for _, f := range img.groups {
		n += len(f.delta.blocks)
	}
	blocks := make([]*[blockSize]byte, 0, n) // of all pieces
	for _, f := range img.groups {
		for at := uint32(0); at < groupBlocks; at++ {
			b := f.delta.get(at)
			if b == nil || b.data == nil {
				continue
			}
			off := s.blockAt(f.before.place[at/chunkBlocks], at)
			blocks = append(blocks, b.data)
			if n := len(list); n > 0 && at%chunkBlocks != 0 && list[n-1].off+int64(len(list[n-1].blocks))*blockSize == off {
				list[n-1].blocks = list[n-1].blocks[:len(list[n-1].blocks)+1]
				continue
			}
			list = append(list, piece{off, blocks[len(blocks)-1:]})
		}
	}
	return list
}

// blockAt is where a group's block lies, given the place of its chunk.
func (s *Store) blockAt(place, block uint32) int64 {
	return s.chunks + int64(place)*chunkBytes + int64(block%chunkBlocks)*blockSize
}

// buildPage merges the group's delta into its page, or into a lost one if it cannot be read any more.
func (s *Store) buildPage(f *frozenGroup, number uint64) {
	p := &page{instance: f.rep.instance, group: f.group}
	if f.before.paged && len(f.delta.blocks) < groupBlocks {
		*p = *s.oldPage(f)
	}
	p.checkpoint = number
	for i := range uint32(groupBlocks) {
		if b := f.delta.get(i); b != nil {
			p.bad.clear(i)
			p.version[i], p.crc[i] = b.version, b.crc
		}
	}
	p.mapped = f.before.mapped
	for c := range p.place {
		p.place[c] = noChunk
		if p.mapped[c] != 0 {
			p.place[c] = f.before.place[c]
		}
	}
	f.page = p
}

func (s *Store) oldPage(f *frozenGroup) *page {
	s.mu.Lock()
	p := s.cache.get(f.rep.instance, f.group, f.before.sum)
	s.mu.Unlock()
	if p == nil && !f.before.lost {
		p, _ = s.readPage(f.rep.instance, f.group, f.before.slot, f.before.sum)
	}
	if p == nil {
		p = s.lostPage(f.rep.instance, f.group, f.before.sum)
	}
	return p
}

// writePages puts the new pages into free slots, neighbours in one write, and counts them into the control rows.
func (s *Store) writePages(img *image) error {
	s.takeSlots(img)
	rows := map[uint64]*controlReplica{}
	for i := range img.replicas {
		rows[img.replicas[i].instance] = &img.replicas[i]
	}
	buffer := pages.Make(min(len(img.groups)*blockSize, 1<<20))
	first, n := uint32(0), 0 // slots in the buffer
	flush := func() error {
		_, err := s.dev.WriteAt(buffer[:n*blockSize], s.pages+int64(first)*blockSize)
		clear(buffer[:n*blockSize])
		return err
	}
	for _, f := range img.groups {
		if n > 0 && (f.slot != first+uint32(n) || n == len(buffer)/blockSize) {
			if err := flush(); err != nil {
				return err
			}
			n = 0
		}
		if n == 0 {
			first = f.slot
		}
		f.page.marshal(buffer[n*blockSize:][:blockSize], s.id.Nonce)
		n++
		rows[f.rep.instance].count(f)
	}
	if n == 0 {
		return nil
	}
	return flush()
}

func (row *controlReplica) count(f *frozenGroup) {
	if f.before.paged {
		row.hash ^= pageHash(f.group, f.before.sum)
	} else {
		row.pages++
	}
	row.hash ^= pageHash(f.group, f.page.sum)
}

func (s *Store) takeSlots(img *image) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range img.groups {
		slot, ok := s.slotMap.take()
		if !ok {
			panic("disk: a checkpoint has more pages than spare slots")
		}
		f.slot = slot
		s.slotEnd = max(s.slotEnd, slot+1)
	}
	img.pagesEnd = s.slotEnd
}

// settle makes memory follow the checkpoint that has become valid. mu is held.
func (s *Store) settle(img *image) {
	for _, f := range img.groups {
		s.settleGroup(f)
	}
	for i := range img.replicas {
		row := &img.replicas[i]
		if rep := s.replicas[row.Replica]; rep != nil && rep.instance == row.instance {
			rep.pages, rep.hash, rep.damaged = row.pages, row.hash, row.damaged
		}
	}
	s.space.settle()
	s.frozen, s.tail, s.number = nil, img.tail, img.number
	s.stats.Checkpoints++
	s.work.Broadcast()
}

func (s *Store) settleGroup(f *frozenGroup) {
	switch {
	case f.rep.gone:
		s.slotMap.release(f.slot) // removed meanwhile, which released the page before
	default:
		if f.before.paged && !f.before.lost {
			s.slotMap.release(f.before.slot)
		}
		g := f.rep.group(f.group)
		g.paged, g.lost, g.slot, g.sum = true, false, f.slot, f.page.sum
		s.setBad(f.rep, f.group, f.page.bad)
		s.cache.put(f.page)
	}
}
