package disk

import (
	"errors"
	"fmt"
)

// The journal's way, in the order of this file: enqueue, take a batch that
// fits and is allowed, write it as one record, apply it, tell the callers.

// op is an entry on its way through the journal.
type op struct {
	entry
	data   []byte
	finish func(error)
	pages  map[uint32]*page // that checkVersions asked for, by group
}

// enqueue hands ops to the journal, in order, or fails them.
func (s *Store) enqueue(ops ...*op) {
	s.mu.Lock()
	err := s.refuses()
	if err == nil {
		s.queue = append(s.queue, ops...)
		s.work.Broadcast()
	}
	s.mu.Unlock()
	if err != nil {
		go finishAll(ops, err)
	}
}

func finishAll(ops []*op, err error) {
	for _, o := range ops {
		o.finish(err)
	}
}

// batch becomes one record.
type batch struct {
	ops     []*op
	entries int    // bytes
	blocks  uint32 // of data
	groups  uint32 // touched, at most
	refused []refusal
	record  record
	header  int64 // bytes of the record's header
}

type refusal struct {
	op  *op
	err error
}

func (s *Store) runJournal() {
	defer close(s.journalDone)
	for {
		s.mu.Lock()
		for len(s.queue) == 0 && !s.closing && s.err == nil {
			s.work.Wait()
		}
		b := s.takeBatch()
		if s.err != nil {
			waiting := append(b.ops, s.queue...)
			s.queue = nil
			s.mu.Unlock()
			b.refuse()
			finishAll(waiting, s.err)
			return
		}
		ended := s.closing && len(s.queue) == 0 && len(b.ops) == 0
		s.mu.Unlock()
		b.refuse()
		if len(b.ops) > 0 {
			s.commitBatch(b)
		}
		if ended {
			return
		}
	}
}

func (b *batch) refuse() {
	for _, r := range b.refused {
		r.op.finish(r.err)
	}
}

// takeBatch takes from the queue what may share a record, and waits for room
// when not even the first does. mu is held, and released while it waits.
func (s *Store) takeBatch() *batch {
	b := new(batch)
	for len(s.queue) > 0 && s.err == nil {
		o := s.queue[0]
		if !s.joins(b, o) {
			break
		}
		if !s.hasRoom(b, o) {
			if len(b.ops) > 0 {
				break
			}
			s.wantCheckpoint()
			s.work.Wait()
			continue
		}
		err := s.accept(b, o)
		if errors.Is(err, errNeedsPage) {
			if len(b.ops) > 0 {
				break
			}
			if err = s.loadVersions(o); err == nil {
				continue
			}
		}
		s.queue = s.queue[1:]
		if err != nil || o.kind == 0 {
			b.refused = append(b.refused, refusal{o, err})
			continue
		}
		b.add(o)
	}
	s.place(b)
	return b
}

func (b *batch) add(o *op) {
	b.ops = append(b.ops, o)
	b.entries += o.size()
	b.blocks += o.blocks()
	if o.kind == entryWrite {
		b.groups += spanCount(o.block, o.count)
	}
}

func (s *Store) maxEntries() int { return int(min(maxEntriesBytes, s.journalSize/16)) }

// joins says whether o may share b's record. What makes or ends a replica has a
// record of its own, so that a batch's writes all mean the same replicas.
func (s *Store) joins(b *batch, o *op) bool {
	if len(b.ops) == 0 {
		return true
	}
	switch o.kind {
	case entryCreate, entryRemove, entryReset:
		return false
	}
	switch b.ops[0].kind {
	case entryCreate, entryRemove, entryReset:
		return false
	}
	return b.entries+o.size() <= s.maxEntries() && int64(b.blocks+o.blocks())*blockSize <= s.maxData()
}

// hasRoom says whether b and o fit the journal, the overlay's memory, and the pages a checkpoint may write.
func (s *Store) hasRoom(b *batch, o *op) bool {
	entries, groups := b.entries+o.size(), b.groups
	if o.kind == entryWrite {
		groups += spanCount(o.block, o.count)
	}
	header, data := recordSize(entries+s.commitBytes(), b.blocks+o.blocks())
	if s.active.bytes > 0 && s.active.bytes+header+data > s.o.DirtyBytes {
		return false
	}
	if uint32(len(s.active.deltas))+groups > s.spareSlots {
		return false
	}
	return s.position(header+data)+uint64(header+data)-s.tail <= uint64(s.journalSize)
}

// position is where a record of n bytes goes: a record does not wrap.
func (s *Store) position(n int64) uint64 {
	size := uint64(s.journalSize)
	if left := size - s.head%size; uint64(n) > left {
		return s.head + left
	}
	return s.head
}

// commitBytes is how much the waiting commit points would add to a record.
func (s *Store) commitBytes() int {
	return min(len(s.commits), s.maxEntries()/2/entryBytes) * entryBytes
}

var errNeedsPage = errors.New("disk: a metadata page must be read first")

// accept decides whether o is allowed, and gives it its place. It makes o.kind
// zero when nothing needs to be written. mu is held.
func (s *Store) accept(b *batch, o *op) error {
	switch o.kind {
	case entryWrite:
		return s.acceptWrite(b, o)
	case entryCreate:
		if s.replicas[o.Replica] != nil {
			return fmt.Errorf("%w: volume %d segment %d", ErrExists, o.Volume, o.Segment)
		}
		if len(s.replicas) >= int(s.tableRows) {
			return ErrNoSpace
		}
		o.instance = s.nextInstance
	case entryRemove, entryReset:
		rep := s.replicas[o.Replica]
		if rep == nil {
			return fmt.Errorf("%w: volume %d segment %d", ErrNoReplica, o.Volume, o.Segment)
		}
		o.instance, o.version.Seq = rep.instance, s.nextInstance
	case entryPromise:
		promised, have := s.promises[o.Volume]
		if promised >= o.version.Epoch {
			o.kind = 0
		} else if !have && len(s.promises) >= int(s.tableRows) {
			return ErrNoSpace
		}
	}
	return nil
}

func (s *Store) acceptWrite(b *batch, o *op) error {
	rep, err := s.replica(o.Replica)
	if err != nil {
		return err
	}
	low := o.lowest()
	older := false
	spans(o.block, o.count, func(p span) error {
		g := rep.group(p.group)
		older = older || g != nil && low.Less(g.max)
		return nil
	})
	if older {
		if err := s.checkVersions(b, rep, o); err != nil {
			return err
		}
	}
	if err := s.allocate(rep, o.block, o.count, !o.zero); err != nil {
		return err
	}
	o.instance = rep.instance
	raise(rep, &o.entry)
	return nil
}

// raise keeps group.max above every accepted version.
func raise(rep *replica, e *entry) {
	spans(e.block, e.count, func(p span) error {
		g := rep.group(p.group)
		for i := p.skip; i < p.skip+p.last-p.first; i++ {
			if v := e.versionOf(i); g.max.Less(v) {
				g.max = v
			}
			if e.versions == nil {
				break
			}
		}
		return nil
	})
}

// checkVersions compares block by block, with what is stored and with what b holds already.
func (s *Store) checkVersions(b *batch, rep *replica, o *op) error {
	err := spans(o.block, o.count, func(p span) error {
		g := rep.group(p.group)
		if g == nil {
			return nil
		}
		var pg *page
		if g.paged {
			if pg = s.currentPage(rep, p.group, g.sum, o.pages[p.group]); pg == nil {
				return errNeedsPage
			}
		}
		active, frozen := s.active.delta(rep, p.group), s.frozen.delta(rep, p.group)
		for i := p.first; i < p.last; i++ {
			if o.versionOf(p.skip + i - p.first).Less(storedVersion(active, frozen, pg, i)) {
				return ErrVersion
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, other := range b.ops {
		if other.kind != entryWrite || other.Replica != o.Replica {
			continue
		}
		first, last := max(o.block, other.block), min(o.block+o.count, other.block+other.count)
		for i := first; i < last; i++ {
			if o.versionOf(i - o.block).Less(other.versionOf(i - other.block)) {
				return ErrVersion
			}
		}
	}
	return nil
}

func storedVersion(active, frozen *delta, pg *page, block uint32) Version {
	if d := active.get(block); d != nil {
		return d.version
	}
	if d := frozen.get(block); d != nil {
		return d.version
	}
	if pg != nil {
		return pg.version[block]
	}
	return Version{}
}

// loadVersions gives o the pages that checkVersions needs. mu is released
// meanwhile; only the journal's goroutine ends replicas, so o's stays.
func (s *Store) loadVersions(o *op) error {
	rep := s.replicas[o.Replica]
	if o.pages == nil {
		o.pages = map[uint32]*page{}
	}
	return spans(o.block, o.count, func(p span) error {
		g := rep.group(p.group)
		if g == nil || !g.paged || s.currentPage(rep, p.group, g.sum, o.pages[p.group]) != nil {
			return nil
		}
		s.mu.Unlock()
		pg, err := s.loadPage(rep, p.group)
		s.mu.Lock()
		o.pages[p.group] = pg
		return err
	})
}

// place gives b its record: its entries, the commit points that ride along, its
// place in the journal. hasRoom saw the same under the same hold of mu.
func (s *Store) place(b *batch) {
	if len(b.ops) == 0 {
		return
	}
	left := s.commitBytes() / entryBytes
	for _, o := range b.ops {
		b.record.entries = append(b.record.entries, &o.entry)
	}
	for rep := range s.commits {
		if left == 0 {
			break
		}
		left--
		b.entries += entryBytes
		b.record.entries = append(b.record.entries, &entry{kind: entryCommit, instance: rep.instance, Replica: rep.Replica, version: rep.commit})
		delete(s.commits, rep)
	}
	header, data := recordSize(b.entries, b.blocks)
	b.header, b.record.seq, b.record.at = header, s.nextSeq, s.position(header+data)
}

// commitBatch makes b durable, applies it, and tells its callers.
func (s *Store) commitBatch(b *batch) {
	r := &b.record
	buffer := alignedBytes(int(b.header) + int(b.blocks)*blockSize)
	r.data = buffer[b.header:b.header]
	for _, o := range b.ops {
		r.data = append(r.data, o.data...)
	}
	r.marshalHeader(buffer[:b.header], s.id.Nonce)
	if _, err := s.dev.WriteThrough(buffer, s.journal+int64(r.at%uint64(s.journalSize))); err != nil {
		s.fail(fmt.Errorf("journal: %w", err))
		finishAll(b.ops, s.Err())
		return
	}

	s.mu.Lock()
	if err := s.applyRecord(r, int64(len(buffer)), s.apply); err != nil {
		panic(err) // accept let through what apply does not know
	}
	s.stats.Batches++
	s.stats.Writes += uint64(len(b.ops))
	if s.half() {
		s.wantCheckpoint()
	}
	s.mu.Unlock()
	finishAll(b.ops, nil)
}

// half says that the active overlay should be written back now, while there is room to go on meanwhile.
func (s *Store) half() bool {
	return s.active.bytes > s.o.DirtyBytes/2 || uint32(len(s.active.deltas)) > s.spareSlots/2 ||
		s.head-s.tail > uint64(s.journalSize/2)
}
