package disk

import (
	"errors"
	"fmt"
	"math/bits"
	"sync"

	"ashlar/replication/wire"
	"ashlar/target/pages"
)

// Open recovers the store on dev and owns dev from then on, unless it fails.
// Recovery takes the newest control slot, the pages that it counts, and the
// journal from its tail on. What it writes changes none of these, except by whole
// checkpoints, so a crash during recovery costs nothing. Errors: those of Probe,
// ErrWrongDisk, ErrDamaged, ErrFailed.
func Open(dev Device, want Identity, o Options) (*Store, error) {
	sb, err := readSuperblock(dev)
	if err != nil {
		return nil, err
	}
	zero := [16]byte{}
	if want.Cluster != zero && want.Cluster != sb.id.Cluster || want.Disk != zero && want.Disk != sb.id.Disk {
		return nil, fmt.Errorf("%w: cluster %x disk %x", ErrWrongDisk, sb.id.Cluster, sb.id.Disk)
	}
	s, err := recoverStore(dev, sb, o, (*Store).makeRoom)
	if err != nil {
		return nil, err
	}
	s.keepLosses()
	s.labels = loadLabels(dev, &s.geometry, s.id.Nonce)
	s.start()
	return s, nil
}

// recoverStore makes memory what the device says. room is called before each record that is
// replayed, with the record's bytes and the groups it may touch.
func recoverStore(dev Device, sb *superblock, o Options, room func(*Store, int64, uint32) error) (*Store, error) {
	c, err := loadControl(dev, &sb.geometry, sb.id.Nonce)
	if err != nil {
		return nil, err
	}
	s := newStore(dev, sb, o, c)
	if err := s.scanPages(c); err != nil {
		return nil, err
	}
	return s, s.replay(room)
}

func newStore(dev Device, sb *superblock, o Options, c *control) *Store {
	o.setDefaults(&sb.geometry)
	s := &Store{dev: &gate{Device: dev}, id: sb.id, geometry: sb.geometry, o: o,
		replicas: map[Replica]*replica{}, promises: map[wire.VolumeID]uint64{}, commits: map[*replica]struct{}{},
		nextInstance: c.nextInstance, space: newSpace(sb.chunkCount), slotMap: newBitmap(sb.pageSlots),
		active: newOverlay(), cache: pageCache{map[pageKey]*page{}, o.CachePages},
		head: c.tail, tail: c.tail, nextSeq: c.nextSeq, number: c.number, failed: make(chan struct{}),
		checkpointsDone: make(chan struct{}), beat: sb.marshal()}
	s.queued, s.work, s.due, s.readWork, s.largeWork = sync.NewCond(&s.mu), sync.NewCond(&s.mu), sync.NewCond(&s.mu), sync.NewCond(&s.mu), sync.NewCond(&s.mu)
	for i := range c.replicas {
		row := &c.replicas[i]
		rep := newReplica(row.Replica, row.instance, s.id.SegmentBlocks)
		rep.commit, rep.pages, rep.hash, rep.damaged = row.commit, row.pages, row.hash, row.damaged
		s.replicas[row.Replica] = rep
	}
	for _, p := range c.promises {
		s.promises[p.volume] = p.epoch
	}
	return s
}

// scanPages finds each group's page: of those that are not newer than the checkpoint, the
// newest. Newer ones are of a checkpoint that a crash cut off; the journal has all
// they hold. They are erased, because the next checkpoint will have their number. They lie
// in the first spareSlots free slots, so none is beyond pagesEnd by more.
func (s *Store) scanPages(c *control) error {
	byInstance := map[uint64]*replica{}
	for _, rep := range s.replicas {
		byInstance[rep.instance] = rep
	}
	newest := map[pageKey]uint64{}
	end := min(c.pagesEnd+s.spareSlots, s.pageSlots)
	buffer, zeros := pages.Make(int(min(end, 256))*blockSize), pages.Make(blockSize)
	var p page
	for slot := uint32(0); slot < end; {
		n := min(end-slot, uint32(len(buffer)/blockSize))
		s.readSlots(slot, buffer[:n*blockSize])
		for i := range n {
			if p.unmarshal(buffer[i*blockSize:][:blockSize], s.id.Nonce) != nil {
				continue
			}
			if p.checkpoint > c.number {
				if _, err := s.dev.WriteAt(zeros, s.pages+int64(slot+i)*blockSize); err != nil {
					return fmt.Errorf("%w: %w", ErrFailed, err)
				}
				continue
			}
			rep, key := byInstance[p.instance], pageKey{p.instance, p.group}
			if rep == nil || int(p.group/leafGroups) >= len(rep.leaves) || newest[key] > p.checkpoint {
				continue
			}
			newest[key] = p.checkpoint
			s.adopt(rep, &p, slot+i)
		}
		slot += n
	}
	for _, rep := range s.replicas {
		if err := s.claim(rep); err != nil {
			return err
		}
	}
	return nil
}

// readSlots reads page slots; what the device cannot read becomes zeros, which are no page.
func (s *Store) readSlots(slot uint32, b []byte) {
	at := s.pages + int64(slot)*blockSize
	if _, err := s.dev.ReadAt(b, at); err == nil {
		return
	}
	for i := 0; i < len(b); i += blockSize {
		if _, err := s.dev.ReadAt(b[i:i+blockSize], at+int64(i)); err != nil {
			clear(b[i : i+blockSize])
		}
	}
}

func (s *Store) adopt(rep *replica, p *page, slot uint32) {
	g, made := rep.open(p.group)
	if made {
		s.groups++
	}
	g.written, g.paged, g.slot, g.sum = true, true, slot, p.sum
	g.place, g.mapped, g.max = p.place, p.mapped, p.newest()
	s.setBad(rep, p.group, p.bad)
}

// claim takes the places of a replica's pages and chunks, if its pages are those that its control
// row counted. If one is missing, or older, its blocks are bad. If several are, the replica is damaged:
// nothing its pages say is believed, so that no other replica suffers from what they claim.
func (s *Store) claim(rep *replica) error {
	var pages uint32
	var hash uint64
	rep.each(func(i uint32, g *group) {
		pages++
		hash ^= pageHash(i, g.sum)
	})
	if !rep.damaged && (pages != rep.pages || hash != rep.hash) {
		s.harmed = true
		gi, sum, found := s.findLost(rep, pages, hash)
		rep.damaged = !found
		if found {
			s.lose(rep, gi, sum)
		}
	}
	if rep.damaged {
		rep.leaves, rep.bad = make([][]group, len(rep.leaves)), nil
		s.groups -= pages
		return nil
	}
	sound := true
	rep.each(func(_ uint32, g *group) {
		if !g.lost {
			sound = s.slotMap.claim(g.slot) && sound
			s.slotEnd = max(s.slotEnd, g.slot+1)
		}
		for c, place := range g.place {
			if place != noChunk {
				sound = s.space.claim(place) && sound
				rep.mapped += uint64(bits.OnesCount32(g.mapped[c]))
			}
		}
	})
	if !sound {
		return fmt.Errorf("%w: two metadata pages claim one chunk", ErrDamaged)
	}
	return nil
}

// replay applies the journal's records from the tail on, up to the first that is not whole.
func (s *Store) replay(room func(*Store, int64, uint32) error) error {
	for {
		r, size, err := s.nextRecord()
		if errors.Is(err, errBadRecord) {
			break
		}
		if err := s.replayRecord(r, size, room); err != nil {
			return err
		}
	}
	return s.endJournal()
}

// nextRecord reads the record at head, or at the ring's start when it did not fit there.
func (s *Store) nextRecord() (*record, int64, error) {
	r, size, err := s.readRecord(s.head)
	if err == nil {
		return r, size, nil
	}
	if left := uint64(s.journalSize) - s.head%uint64(s.journalSize); left < uint64(s.journalSize) {
		return s.readRecord(s.head + left)
	}
	return nil, 0, errBadRecord
}

// readRecord reads the record with number nextSeq at a journal position. What
// cannot be read counts as not whole: a write that a crash cut off may leave such blocks.
func (s *Store) readRecord(at uint64) (*record, int64, error) {
	off := int64(at % uint64(s.journalSize))
	first := pages.Make(blockSize)
	if _, err := s.dev.ReadAt(first, s.journal+off); err != nil {
		return nil, 0, errBadRecord
	}
	header, data, err := headerLength(first, s.id.Nonce)
	size := header + data
	if err != nil || off+size > s.journalSize || at+uint64(size)-s.tail > uint64(s.journalSize) {
		return nil, 0, errBadRecord
	}
	b := pages.Make(int(size))
	if _, err := s.dev.ReadAt(b, s.journal+off); err != nil {
		return nil, 0, errBadRecord
	}
	r := new(record)
	if err := r.unmarshal(b[:header], b[header:]); err != nil || r.seq != s.nextSeq || r.at != at {
		return nil, 0, errBadRecord
	}
	return r, size, nil
}

// replayRecord applies a record as it was applied when it was written.
func (s *Store) replayRecord(r *record, size int64, room func(*Store, int64, uint32) error) error {
	groups := uint32(0)
	for _, e := range r.entries {
		if e.kind == entryWrite {
			if !s.inSegment(e.block, e.count) {
				return fmt.Errorf("%w: journal record %d writes outside the segment", ErrDamaged, r.seq)
			}
			groups += spanCount(e.block, e.count)
		}
	}
	if err := room(s, size, groups); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.applyRecord(r, size, s.replayEntry)
}

// makeRoom makes a checkpoint of what was replayed when memory or the spare page slots
// would not do for a record of size bytes that touches so many groups.
func (s *Store) makeRoom(size int64, groups uint32) error {
	if s.active.bytes == 0 || s.active.bytes+size <= s.o.DirtyBytes && uint32(len(s.active.deltas))+groups <= s.spareSlots {
		return nil
	}
	if err := s.makeCheckpoint(); err != nil {
		return fmt.Errorf("%w: write-back during recovery: %w", ErrFailed, err)
	}
	return nil
}

// keepLosses makes durable which pages were found lost, and which replicas damaged: their chunks are free from now on, so pages that
// could not be read and can be again must not be believed. A device that takes no writes can still be read.
func (s *Store) keepLosses() {
	if !s.harmed {
		return
	}
	checkpoint := func() {
		if s.err != nil {
			return
		}
		if err := s.makeCheckpoint(); err != nil {
			s.fail(fmt.Errorf("write-back during recovery: %w", err))
		}
	}
	for _, rep := range s.replicas {
		rep.each(func(i uint32, g *group) {
			if g.lost {
				if uint32(len(s.active.deltas)) >= s.spareSlots {
					checkpoint()
				}
				s.active.open(rep, i)
			}
		})
	}
	checkpoint()
}

func (s *Store) replayEntry(e *entry, data []byte) error {
	rep := s.replicas[e.Replica]
	switch e.kind {
	case entryCreate:
		if rep != nil {
			return fmt.Errorf("%w: it creates what exists", ErrDamaged)
		}
	case entryWrite, entryRemove, entryReset:
		if rep == nil || rep.instance != e.instance {
			return fmt.Errorf("%w: it changes a replica that does not exist", ErrDamaged)
		}
	}
	if e.kind == entryWrite {
		if rep.damaged {
			return nil
		}
		if err := s.allocate(rep, e.block, e.count, false, 0); err != nil {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		if !s.claimPlaces(rep, e) {
			return fmt.Errorf("%w: it writes to another's chunk", ErrDamaged)
		}
		raise(rep, e)
	}
	return s.apply(e, data)
}

// claimPlaces takes the chunks that a write was given when its record was made.
func (s *Store) claimPlaces(rep *replica, e *entry) bool {
	sound := true
	if len(e.places) > 0 {
		e.eachChunk(func(i int, group, c uint32) {
			if old := rep.group(group).place[c]; old != e.places[i] {
				sound = sound && (old == noChunk || e.past) && s.space.claim(e.places[i])
			}
		})
	}
	return sound
}

// endJournal looks behind the end, up to which all was replayed. A whole record there was in flight
// together with the one that is missing: it is erased, or it would count once another record fills the
// gap. But if the missing record was durable before a later one was issued, it has decayed.
func (s *Store) endJournal() error {
	size := uint64(s.journalSize)
	reach := recordsInFlight * uint64(maxHeader+s.maxData())
	lap := s.head + size - s.head%size
	if err := s.eraseRecords(s.head, min(lap, s.head+reach)); err != nil {
		return err
	}
	return s.eraseRecords(lap, min(s.tail+size, lap+reach))
}

func (s *Store) eraseRecords(from, to uint64) error {
	block, zeros := pages.Make(blockSize), pages.Make(blockSize)
	for at := from; at < to; at += blockSize {
		r, found := s.headerAt(at, block)
		if !found || r.seq <= s.nextSeq {
			continue
		}
		if s.nextSeq < r.seq-uint64(r.behind) {
			return fmt.Errorf("%w: journal record %d is not whole, but was before record %d was written", ErrDamaged, s.nextSeq, r.seq)
		}
		if _, err := s.dev.WriteThrough(zeros, s.journal+int64(at%uint64(s.journalSize))); err != nil {
			return fmt.Errorf("%w: %w", ErrFailed, err)
		}
	}
	return nil
}

// headerAt looks for a record whose header is whole; block is room to read.
func (s *Store) headerAt(at uint64, block []byte) (r record, found bool) {
	off := int64(at % uint64(s.journalSize))
	if _, err := s.dev.ReadAt(block, s.journal+off); err != nil {
		return r, false
	}
	header, _, err := headerLength(block, s.id.Nonce)
	if err != nil || off+header > s.journalSize {
		return r, false
	}
	b := pages.Make(int(header))
	if _, err := s.dev.ReadAt(b, s.journal+off); err != nil || r.unmarshalHeader(b) != nil {
		return r, false
	}
	return r, r.at == at
}
