package disk

import "fmt"

// applyRecord makes memory what the durable record says; bytes is what the record's
// buffers keep in memory. Recovery comes the same way, with checks before each apply. mu is held.
func (s *Store) applyRecord(r *record, bytes int64, apply func(*entry, []byte) error) error {
	s.active.bytes += bytes
	s.head, s.nextSeq = r.at+uint64(bytes), r.seq+1
	data := r.data
	for _, e := range r.entries {
		n := int(e.blocks()) * blockSize
		if err := apply(e, data[:n]); err != nil {
			return fmt.Errorf("journal record %d: %w", r.seq, err)
		}
		data = data[n:]
	}
	s.freeEmptied()
	return nil
}

func (s *Store) apply(e *entry, data []byte) error {
	rep := s.replicas[e.Replica]
	switch e.kind {
	case entryWrite:
		s.applyWrite(rep, e, data)
	case entryCreate:
		s.replicas[e.Replica] = newReplica(e.Replica, e.instance, s.id.SegmentBlocks)
		s.nextInstance = e.instance + 1
	case entryRemove:
		s.forget(rep)
		delete(s.replicas, e.Replica)
	case entryReset:
		s.forget(rep)
		s.replicas[e.Replica] = newReplica(e.Replica, e.version.Seq, s.id.SegmentBlocks)
		s.nextInstance = e.version.Seq + 1
	case entryPromise:
		s.promises[e.Volume] = max(s.promises[e.Volume], e.version.Epoch)
	case entryCommit:
		if rep != nil && rep.instance == e.instance && rep.commit.Less(e.version) {
			rep.commit = e.version
		}
	default:
		return fmt.Errorf("%w: journal entry of kind %d", ErrTooNew, e.kind)
	}
	return nil
}

func (s *Store) applyWrite(rep *replica, e *entry, data []byte) {
	if len(e.places) > 0 {
		s.applyPlaces(rep, e)
	}
	spans(e.block, e.count, func(p span) error {
		if !rep.isWritten(p.group) {
			return nil
		}
		g, d := rep.group(p.group), s.active.open(rep, p.group)
		for i := p.first; i < p.last; i++ {
			n := p.skip + i - p.first
			b := blockDelta{version: e.versionOf(n)}
			if !e.zero {
				b.crc, b.inPlace = e.crcs[n], e.past
				if !e.past {
					b.data = (*[blockSize]byte)(data[n*blockSize:])
				}
			}
			d.set(i, b)
			rep.heal(p.group, i)
			s.setMapped(rep, g, p.group, i, !e.zero)
		}
		return nil
	})
}

// applyPlaces gives chunks that were written anew elsewhere their new places, and their old ones back.
func (s *Store) applyPlaces(rep *replica, e *entry) {
	e.eachChunk(func(i int, group, c uint32) {
		g := rep.group(group)
		if old := g.place[c]; old != e.places[i] {
			g.place[c] = e.places[i]
			if old != noChunk {
				s.space.release(old)
				s.space.moved++
			}
		}
	})
}

// setMapped counts a block in or out, and notes its chunk when that was the last one.
func (s *Store) setMapped(rep *replica, g *group, group, block uint32, data bool) {
	c, bit := block/chunkBlocks, uint32(1)<<(block%chunkBlocks)
	was := g.mapped[c]&bit != 0
	switch {
	case data && !was:
		g.mapped[c] |= bit
		g.reserved &^= 1 << c
		rep.mapped++
	case !data && was:
		g.mapped[c] &^= bit
		rep.mapped--
	}
	if g.mapped[c] == 0 && g.place[c] != noChunk {
		s.emptied = append(s.emptied, emptied{rep, group, c})
	}
}

// emptied is a chunk that may hold no data any more.
type emptied struct {
	rep          *replica
	group, chunk uint32
}

// freeEmptied gives chunks back after a whole record was applied: a later write of
// the same record may count on the place that an earlier one emptied.
func (s *Store) freeEmptied() {
	for _, e := range s.emptied {
		g := e.rep.group(e.group)
		if g != nil && g.mapped[e.chunk] == 0 && g.place[e.chunk] != noChunk && g.reserved&(1<<e.chunk) == 0 {
			s.space.release(g.place[e.chunk])
			g.place[e.chunk] = noChunk
		}
	}
	s.emptied = s.emptied[:0]
}

// forget gives all of a replica's space back, its pages too, although the last
// checkpoint counts them: a crash that finds them overwritten takes the
// replica for damaged, until the record that is being applied here ends it again.
func (s *Store) forget(rep *replica) {
	rep.gone = true
	s.active.drop(rep)
	delete(s.commits, rep)
	rep.each(func(i uint32, g *group) {
		for _, place := range g.place {
			if place != noChunk {
				s.space.release(place)
			}
		}
		if g.paged && !g.lost {
			s.slotMap.release(g.slot)
		}
		delete(s.cache.pages, pageKey{rep.instance, i})
		s.groups--
	})
}
