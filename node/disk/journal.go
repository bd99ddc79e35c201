package disk

import (
	"errors"
	"fmt"
)

// The journal's way, in the order of this file: enqueue, take a batch that
// fits and is allowed, write it as one record, apply it, tell the callers.
//
// Several goroutines go it side by side, so that the device has a record to work on while
// another one is applied. They take batches one at a time, and apply them in the order of their
// records: a record counts once it and all before it are durable.

// recordsInFlight is how many records may be on their way to the device. One that is not the first waits
// for as many operations or blocks as make it worth a device write of its own.
const (
	recordsInFlight = 2
	worthOperations = 12
	worthBlocks     = 32
)

// op is an entry on its way through the journal.
type op struct {
	entry
	runs   []entry // of a zero write: what of it goes to the journal
	data   []byte
	write  *Write // that it is the whole of, or
	finish func(error)
	held   bool             // it was promised room
	moves  bool             // a chunk that has a place gets another one
	pages  map[uint32]*page // that checkVersions asked for, by group
	room   [2]uint32        // of a short list of places
}

func (o *op) end(err error) {
	if o.write != nil {
		o.write.finish(err)
		return
	}
	o.finish(err)
}

// enqueue hands ops to the journal, in order, or fails them.
func (s *Store) enqueue(ops ...*op) {
	s.mu.Lock()
	err := s.refuses()
	if err == nil {
		for _, o := range ops {
			s.push(o)
		}
	}
	s.mu.Unlock()
	if err != nil {
		go endAll(ops, err)
	}
}

// enqueueOne is enqueue without a slice to allocate. It says whether o is held, where that is asked.
func (s *Store) enqueueOne(o *op, hold bool) bool {
	s.mu.Lock()
	err, held := s.refuses(), false
	if err == nil {
		held = hold && s.hasRoomFor(o)
		o.held = held
		s.push(o) // from here on o may be done, and another
	}
	s.mu.Unlock()
	if err != nil {
		go o.end(err)
	}
	return held
}

// hasRoomFor promises a write room, whatever is before it in the queue: at worst each of its blocks needs a chunk and a group of its own.
func (s *Store) hasRoomFor(o *op) bool {
	if s.replicas[o.Replica] == nil || min(s.space.free(), s.maxGroups()-s.groups) < s.heldBlocks+o.count {
		return false
	}
	s.heldBlocks += o.count
	return true
}

func (s *Store) push(o *op) {
	s.queue.push(o)
	s.queuedBlocks += o.blocks()
	if s.mayTake() {
		s.queued.Signal()
	}
}

func (s *Store) pop() *op {
	o := s.queue.pop()
	s.queuedBlocks -= o.blocks()
	if o.held {
		s.heldBlocks -= o.count
	}
	return o
}

func endAll(ops []*op, err error) {
	for _, o := range ops {
		o.end(err)
	}
}

// batch becomes one record.
type batch struct {
	ops     []*op
	list    []*entry // of the record
	entries int      // bytes
	blocks  uint32   // of data
	groups  uint32   // touched, at most
	volumes int      // promised for the first time
	barrier bool     // no batch is taken before this one is applied
	moves   bool     // an op does
	refused []refusal
	record  record
	header  int64 // bytes of the record's header
}

type refusal struct {
	op  *op
	err error
}

func (b *batch) reset() {
	clear(b.ops)
	clear(b.list)
	clear(b.refused)
	*b = batch{ops: b.ops[:0], list: b.list[:0], refused: b.refused[:0]}
}

// size is the bytes that the record takes of the journal.
func (b *batch) size() int64 { return b.header + int64(b.blocks)*blockSize }

func (s *Store) runJournal() {
	defer s.journals.Done()
	b := new(batch)
	for more := true; more; {
		b.reset()
		more = s.nextBatch(b)
		for _, r := range b.refused {
			r.op.end(r.err)
		}
		if len(b.ops) > 0 {
			s.commitBatch(b)
		}
	}
}

// nextBatch waits for work and takes it; false when there will be no more.
func (s *Store) nextBatch(b *batch) (more bool) {
	s.taking.Lock()
	defer s.taking.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.mayTake() && s.err == nil {
		if s.closing && s.queue.len() == 0 && s.passing == 0 {
			return false
		}
		s.queued.Wait()
	}
	s.takeBatch(b)
	if s.err != nil {
		for _, o := range b.ops {
			b.refused = append(b.refused, refusal{o, s.err})
		}
		b.ops = b.ops[:0]
		for s.queue.len() > 0 {
			b.refused = append(b.refused, refusal{s.pop(), s.err})
		}
		return false
	}
	s.place(b)
	return true
}

// mayTake says whether it is time for the next batch.
func (s *Store) mayTake() bool {
	n := len(s.flight)
	if n == 0 || s.queue.len() == 0 {
		return s.queue.len() > 0
	}
	return !s.flight[n-1].barrier && (s.queue.len() >= worthOperations || s.queuedBlocks >= worthBlocks)
}

// takeBatch takes from the queue what may share a record, and waits for room
// when not even the first does. mu is held, and released while it waits.
func (s *Store) takeBatch(b *batch) {
	for s.queue.len() > 0 && s.err == nil {
		o := s.queue.peek()
		if o.zero {
			s.cut(o)
		}
		idle := len(b.ops) == 0 && len(b.refused) == 0 // nobody waits for b
		if !s.joins(b, o) {
			return
		}
		if !s.hasRoom(b, o) {
			if !idle {
				return
			}
			s.wantCheckpoint()
			s.work.Wait()
			continue
		}
		err := s.accept(b, o)
		if errors.Is(err, errNeedsPage) {
			if !idle {
				return
			}
			if err = s.loadVersions(o); err == nil {
				continue
			}
		}
		s.pop()
		if err != nil && o.past {
			s.space.giveBack(o.places)
		}
		if err != nil || o.kind == 0 {
			b.refused = append(b.refused, refusal{o, err})
			continue
		}
		b.add(o)
	}
}

// cut finds the parts of a zero write that lie in groups which were ever given data. To zero the others
// is no change, except where the zeros are a copy of what another replica holds: that one had data there
// once, and a third replica that still has it learns only from the version that it is gone.
func (s *Store) cut(o *op) {
	o.runs = o.runs[:0]
	if o.versions != nil {
		o.runs = append(o.runs, o.entry)
		return
	}
	rep := s.replicas[o.Replica]
	if rep == nil {
		return
	}
	spans(o.block, o.count, func(p span) error {
		if !rep.isWritten(p.group) {
			return nil
		}
		n := len(o.runs)
		if n == 0 || o.runs[n-1].block+o.runs[n-1].count != o.block+p.skip {
			o.runs = append(o.runs, o.entry)
			o.runs[n].block, o.runs[n].count = o.block+p.skip, 0
			n++
		}
		run := &o.runs[n-1]
		run.count += p.last - p.first
		return nil
	})
}

// each calls f with the journal entries that o becomes.
func (o *op) each(f func(*entry)) {
	if !o.zero {
		f(&o.entry)
		return
	}
	for i := range o.runs {
		f(&o.runs[i])
	}
}

// needs is the bytes of o's journal entries, its blocks of data, and the groups it touches.
func (o *op) needs() (bytes int, blocks, groups uint32) {
	o.each(func(e *entry) {
		bytes += e.size()
		blocks += e.blocks()
		if e.kind == entryWrite {
			groups += spanCount(e.block, e.count)
		}
	})
	return bytes, blocks, groups
}

func (b *batch) add(o *op) {
	bytes, blocks, groups := o.needs()
	b.ops = append(b.ops, o)
	o.each(func(e *entry) { b.list = append(b.list, e) })
	b.entries += bytes
	b.blocks += blocks
	b.groups += groups
	// Zeros may free chunks, and a write past the journal move them, which a later write must not count on.
	b.barrier = b.barrier || o.kind != entryWrite || o.zero || o.moves
	b.moves = b.moves || o.moves
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
	if b.movesChunkOf(o) {
		return false
	}
	bytes, blocks, _ := o.needs()
	return b.entries+bytes <= s.maxEntries() && int64(b.blocks+blocks)*blockSize <= s.maxData()
}

// hasRoom says whether b and o fit the journal, the overlay's memory, and the pages a
// checkpoint may write, beside the records in flight.
func (s *Store) hasRoom(b *batch, o *op) bool {
	bytes, blocks, groups := o.needs()
	if bytes == 0 {
		return true
	}
	header, data := recordSize(b.entries+bytes+s.commitBytes(), b.blocks+blocks)
	waiting, dirty := s.dirty()
	if waiting > 0 && waiting+header+data > s.room() || dirty+b.groups+groups > s.spareSlots {
		return false
	}
	return s.position(header+data)+uint64(header+data)-s.tail <= uint64(s.journalSize)
}

// dirty is the bytes and, at most, the groups that the next overlay to be frozen has, with the records in flight.
func (s *Store) dirty() (bytes int64, groups uint32) {
	bytes, groups = s.active.bytes, uint32(len(s.active.deltas))
	for _, f := range s.flight {
		bytes += f.size()
		groups += f.groups
	}
	return bytes, groups
}

// position is where a record of n bytes goes: a record does not wrap.
func (s *Store) position(n int64) uint64 {
	size := uint64(s.journalSize)
	if left := size - s.placed%size; uint64(n) > left {
		return s.placed + left
	}
	return s.placed
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
		} else if !have {
			if b.volumes++; len(s.promises)+b.volumes > int(s.tableRows) {
				return ErrNoSpace
			}
		}
	}
	return nil
}

func (s *Store) acceptWrite(b *batch, o *op) error {
	rep, err := s.replica(o.Replica)
	if err == nil && o.past && o.instance != rep.instance {
		err = fmt.Errorf("%w: volume %d segment %d is another one by now", ErrNoReplica, o.Volume, o.Segment)
	}
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
	if o.zero && len(o.runs) == 0 {
		o.kind = 0
		return nil
	}
	if !o.zero || o.versions != nil {
		if err := s.allocate(rep, o.block, o.count, o.hasData() && !o.past, s.heldByOthers(o)); err != nil {
			return err
		}
	}
	switch {
	case o.past:
		o.acceptPlaces(rep)
	case !o.zero:
		o.findPlaces(rep)
	}
	o.each(func(e *entry) {
		e.instance = rep.instance
		raise(rep, e)
	})
	return nil
}

// findPlaces notes where o's chunks are.
func (o *op) findPlaces(rep *replica) {
	o.places = o.room[:0]
	o.eachChunk(func(_ int, group, c uint32) { o.places = append(o.places, rep.group(group).place[c]) })
}

// heldByOthers is what room, in chunks and in groups, a write has to leave.
func (s *Store) heldByOthers(o *op) uint32 {
	if o.held {
		return s.heldBlocks - o.count
	}
	return s.heldBlocks
}

// raise keeps group.max above every accepted version, and notes what is given data.
func raise(rep *replica, e *entry) {
	spans(e.block, e.count, func(p span) error {
		g := rep.group(p.group)
		g.written = true
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

// checkVersions compares block by block, with what is stored, with the records in flight, and with what b holds already.
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
	for _, f := range s.flight {
		if err == nil {
			err = f.checkVersions(o)
		}
	}
	if err == nil {
		err = b.checkVersions(o)
	}
	return err
}

func (b *batch) checkVersions(o *op) error {
	for _, e := range b.list {
		if e.kind != entryWrite || e.Replica != o.Replica {
			continue
		}
		first, last := max(o.block, e.block), min(o.block+o.count, e.block+e.count)
		for i := first; i < last; i++ {
			if o.versionOf(i - o.block).Less(e.versionOf(i - e.block)) {
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
// meanwhile; no record in flight ends a replica, so o's stays.
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
		pg, err := s.loadPage(rep, p.group, true)
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
	for rep := range s.commits {
		if left == 0 {
			break
		}
		left--
		b.entries += entryBytes
		b.list = append(b.list, &entry{kind: entryCommit, instance: rep.instance, Replica: rep.Replica, version: rep.commit})
		delete(s.commits, rep)
	}
	header, _ := recordSize(b.entries, b.blocks)
	b.header = header
	b.record = record{seq: s.placedSeq, at: s.position(b.size()), behind: uint32(len(s.flight)), entries: b.list}
	s.placed, s.placedSeq = b.record.at+uint64(b.size()), b.record.seq+1
	s.flight = append(s.flight, b)
}

// commitBatch makes b durable, applies it in its turn, and tells its callers.
func (s *Store) commitBatch(b *batch) {
	r := &b.record
	buffer := s.buffers.get(int(b.size()))
	clear(buffer[:b.header])
	r.data = buffer[b.header:b.header]
	for _, o := range b.ops {
		r.data = append(r.data, o.data...)
	}
	r.marshalHeader(buffer[:b.header], s.id.Nonce)
	if _, err := s.dev.WriteThrough(buffer, s.journal+int64(r.at%uint64(s.journalSize))); err != nil {
		s.fail(fmt.Errorf("journal: %w", err))
	}

	s.mu.Lock()
	for s.err == nil && s.flight[0] != b {
		s.work.Wait()
	}
	err := s.err
	if err == nil {
		s.active.buffers = append(s.active.buffers, buffer)
		s.applyBatch(b)
	}
	s.mu.Unlock()
	endAll(b.ops, err)
}

func (s *Store) applyBatch(b *batch) {
	if err := s.applyRecord(&b.record, b.size(), s.apply); err != nil {
		panic(err) // accept let through what apply does not know
	}
	s.flight = s.flight[:copy(s.flight, s.flight[1:])]
	s.stats.Batches++
	s.stats.Writes += uint64(len(b.ops))
	if s.half() {
		s.wantCheckpoint()
	}
	s.work.Broadcast()
	if s.mayTake() {
		s.queued.Signal()
	}
}

// movedChunks is how many chunks that have moved may wait for a checkpoint before one is due for them alone: writes past the
// journal would go round the whole device otherwise.
const movedChunks = 1024

// half says that the active overlay should be written back now, while there is room to go on meanwhile.
func (s *Store) half() bool {
	return s.active.bytes > s.o.DirtyBytes/2 || uint32(len(s.active.deltas)) > s.spareSlots/2 ||
		s.head-s.tail > uint64(s.journalSize/2) || s.space.moved > min(movedChunks, s.chunkCount/lowPart/2)
}
