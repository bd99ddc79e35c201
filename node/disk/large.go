package disk

import (
	"fmt"
	"slices"
)

// A write of whole chunks goes past the journal: its data is written once, to chunks that nothing refers to, and when it is
// on stable storage there a record says so. Until then the blocks are what they were, and a crash leaves chunks that are free.

// At least so many whole chunks go past the journal: fewer are stored sooner by one wait for the device than by two. And
// at most so many go to the device at once, and become one entry.
const (
	largeLeast = 2
	largeMost  = 8
)

// AtomicBytes is how long a write may be so that a crash leaves all of it or nothing: a large one is an entry for each run of
// chunks and each end, and not all of them may be in one record. The journal is to be of 1 MiB at least, which Format's own is.
const AtomicBytes = (largeLeast - 1) * chunkBytes

// writeLarge cuts a write with whole chunks in it into what goes past the journal and what does not. False if none can.
func (s *Store) writeLarge(w *Write) bool {
	first, end := roundUp(int64(w.Block), chunkBlocks), int64(w.Block+w.Count)&^(chunkBlocks-1)
	if w.Data == nil || w.Cache || end-first < largeLeast*chunkBlocks {
		return false
	}
	chunks := uint32(end-first) / chunkBlocks
	s.mu.Lock()
	defer s.mu.Unlock()
	rep, err := s.replica(w.Replica)
	if err != nil || s.refuses() != nil || !s.mayPass(chunks) {
		return false
	}
	if s.allocate(rep, w.Block, w.Count, false, s.heldBlocks) != nil {
		return false
	}
	places := s.space.takeUnspoken(chunks)
	if places == nil {
		return false
	}
	// Zeros that come to the journal first are to have their version, so that this write is older then.
	spans(w.Block, w.Count, func(p span) error { rep.group(p.group).written = true; return nil })
	var ops []*op
	for at := uint32(0); at < w.Count; {
		o := new(op)
		if block := w.Block + at; int64(block) < first || int64(block) >= end {
			n := w.Count - at
			if int64(block) < first {
				n = uint32(first) - block
			}
			o.entry = w.entry(at, min(n, s.partBlocks(w)))
		} else {
			n := s.largePart(places, w.Versions != nil)
			o.entry = w.entry(at, n*chunkBlocks)
			o.past, o.instance, o.places, places = true, rep.instance, places[:n:n], places[n:]
		}
		o.data = w.Data[at*blockSize:][:o.count*blockSize]
		at += o.count
		ops = append(ops, o)
	}
	finish := w.finish
	if len(ops) > 1 {
		finish = joined(int32(len(ops)), w.finish)
	}
	for _, o := range ops {
		o.finish = finish
		if !o.past {
			s.push(o)
			continue
		}
		s.passing++
		s.large.push(o)
		s.largeWork.Signal()
	}
	return true
}

// mayPass says whether there is room for n chunks beside those that stand for them now: a disk that is nearly full is
// written through the journal, or writes that take no room in the end could be refused for want of it.
func (s *Store) mayPass(n uint32) bool {
	return s.space.free() >= s.heldBlocks+n+s.chunkCount/lowPart
}

// largePart is how many of the chunks one device write, and one entry, is for.
func (s *Store) largePart(places []uint32, versions bool) uint32 {
	perBlock := 4
	if versions {
		perBlock += 16
	}
	most := min(largeMost, (s.maxEntries()-entryBytes)/(perBlock*chunkBlocks+4), len(places))
	n := 1
	for n < most && places[n] == places[n-1]+1 {
		n++
	}
	return uint32(n)
}

// runLarge writes data to its places. Whoever has written while nobody flushes does so, for all that is written by then.
func (s *Store) runLarge() {
	defer s.passers.Done()
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		for s.large.len() == 0 && !s.stopping {
			s.largeWork.Wait()
		}
		if s.large.len() == 0 {
			return
		}
		o := s.large.pop()
		s.mu.Unlock()
		at := s.dev.pulse.begin(writing)
		_, err := s.dev.WriteAt(o.data, s.blockAt(o.places[0], 0))
		s.dev.pulse.end(writing, at)
		s.failIf(err)
		s.mu.Lock()
		s.written = append(s.written, o)
		if s.flushing {
			continue
		}
		for s.flushing = true; len(s.written) > 0; {
			s.flushLarge()
		}
		s.flushing = false
	}
}

// flushLarge makes the data that is written durable, and hands it to the journal. mu is held, and released meanwhile.
func (s *Store) flushLarge() {
	list := s.written
	s.written = nil
	s.mu.Unlock()
	s.failIf(s.dev.Sync())
	s.mu.Lock()
	s.passing -= len(list)
	for _, o := range list {
		if o.data = nil; s.err == nil {
			s.push(o)
		} else {
			go o.end(s.err)
		}
	}
}

func (s *Store) failIf(err error) {
	if err != nil {
		s.fail(fmt.Errorf("data past the journal: %w", err))
	}
}

// acceptPlaces gives o's chunks their places, or says that they move, which counts once o is applied. mu is held.
func (o *op) acceptPlaces(rep *replica) {
	o.eachChunk(func(i int, group, c uint32) {
		if g := rep.group(group); g.place[c] == noChunk {
			g.place[c] = o.places[i]
		} else {
			o.moves = true
		}
	})
}

// movesChunkOf says whether b holds a write that moves a chunk which o writes to: o's place is known after it.
func (b *batch) movesChunkOf(o *op) bool {
	return b.moves && o.hasData() && !o.past && slices.ContainsFunc(b.list, func(e *entry) bool {
		return e.past && e.Replica == o.Replica && e.block < o.block+o.count && o.block < e.block+e.count
	})
}
