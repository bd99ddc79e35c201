package disk

import (
	"sync/atomic"

	"ashlar/replication/wire"
)

// Write puts blocks on stable storage and calls w.Done, in any order with other
// writes. Writes that are queued together share one device write. Of two writes
// to the same block in flight the one with the lower version may be refused.
//
// A write is atomic per block. It is refused as a whole, with ErrVersion, when any of its
// blocks has a newer version; one of more than 1 MiB is several writes in this respect.
func (s *Store) Write(w *Write) {
	if err := s.checkWrite(w); err != nil {
		w.Err = err
		go w.Done(w)
		return
	}
	s.enqueue(s.parts(w)...)
}

// checkWrite verifies form and checksums.
func (s *Store) checkWrite(w *Write) error {
	if !s.inSegment(w.Block, w.Count) || w.Versions != nil && len(w.Versions) != int(w.Count) {
		return ErrRange
	}
	if w.Data == nil {
		if w.CRC != nil {
			return ErrRange
		}
		return nil
	}
	if len(w.Data) != int(w.Count)*blockSize || len(w.CRC) != int(w.Count) {
		return ErrRange
	}
	var bad []uint32
	for i := range w.Count {
		if wire.BlockCRC(w.Volume, w.Segment, w.Block+i, w.Data[i*blockSize:][:blockSize]) != w.CRC[i] {
			bad = append(bad, w.Block+i)
		}
	}
	if bad != nil {
		return &ChecksumError{w.Replica, bad}
	}
	return nil
}

// parts cuts a write into pieces that fit a journal record.
func (s *Store) parts(w *Write) []*op {
	limit := w.Count
	if w.Data != nil {
		limit = uint32(s.maxData() / blockSize)
	} else if w.Versions != nil {
		limit = zeroPart
	}
	n := (w.Count + limit - 1) / limit
	finish := func(err error) { w.Err = err; w.Done(w) }
	if n > 1 {
		finish = joined(int32(n), finish)
	}
	ops := make([]*op, 0, n)
	for at := uint32(0); at < w.Count; at += limit {
		count := min(limit, w.Count-at)
		o := &op{entry: entry{kind: entryWrite, Replica: w.Replica, zero: w.Data == nil,
			block: w.Block + at, count: count, version: w.Version}, finish: finish}
		if w.Data != nil {
			o.data, o.crcs = w.Data[at*blockSize:][:count*blockSize], w.CRC[at:][:count]
		}
		if w.Versions != nil {
			o.versions = w.Versions[at:][:count]
		}
		ops = append(ops, o)
	}
	return ops
}

const zeroPart = 512 // blocks of one journal entry that zeroes with a version each

// joined calls finish once, after n calls, with the first error.
func joined(n int32, finish func(error)) func(error) {
	var left atomic.Int32
	var first atomic.Pointer[error]
	left.Store(n)
	return func(err error) {
		if err != nil {
			first.CompareAndSwap(nil, &err)
		}
		if left.Add(-1) > 0 {
			return
		}
		if p := first.Load(); p != nil {
			finish(*p)
			return
		}
		finish(nil)
	}
}

// Reserve makes sure that a later write there does not fail with ErrNoSpace. It
// lasts until the blocks' chunk is written and zeroed again, or the store closes.
func (s *Store) Reserve(r Replica, block, count uint32) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.refuses(); err != nil {
		return err
	}
	rep, err := s.replica(r)
	if err != nil {
		return err
	}
	if !s.inSegment(block, count) {
		return ErrRange
	}
	if err := s.allocate(rep, block, count, true); err != nil {
		return err
	}
	return spans(block, count, func(p span) error {
		g := rep.group(p.group)
		for c := p.first / chunkBlocks; c <= (p.last-1)/chunkBlocks; c++ {
			if g.mapped[c] == 0 {
				g.reserved |= 1 << c
			}
		}
		return nil
	})
}

// allocate gives the range its groups and, if it is to hold data, its chunks; all or
// nothing. Zeros may use half of the pages, which leaves enough for chunks full
// of data: a host that unmaps a large empty volume does not fill the disk. mu is held.
func (s *Store) allocate(rep *replica, block, count uint32, data bool) error {
	var groups, chunks uint32
	spans(block, count, func(p span) error {
		g := rep.group(p.group)
		if g == nil {
			groups++
		}
		for c := p.first / chunkBlocks; data && c <= (p.last-1)/chunkBlocks; c++ {
			if g == nil || g.place[c] == noChunk {
				chunks++
			}
		}
		return nil
	})
	limit := s.maxGroups()
	if !data {
		limit /= 2
	}
	if groups > 0 && s.groups+groups > limit || chunks > s.chunkMap.free() {
		return ErrNoSpace
	}
	return spans(block, count, func(p span) error {
		g, made := rep.open(p.group)
		if made {
			s.groups++
		}
		for c := p.first / chunkBlocks; data && c <= (p.last-1)/chunkBlocks; c++ {
			if g.place[c] == noChunk {
				g.place[c], _ = s.chunkMap.take()
			}
		}
		return nil
	})
}
