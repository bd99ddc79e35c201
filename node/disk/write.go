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
// blocks has a newer version; one of more than 1 MiB, or with two whole chunks (32 blocks, aligned) in it, is several writes in this respect.
//
// With w.Cache it says whether w is held: then there will be room for it, and nothing but the end of the process, of the
// replica, or of the disk keeps it from stable storage. A read does not see it before it is Done.
func (s *Store) Write(w *Write) (held bool) {
	if err := s.checkWrite(w); err != nil {
		w.Err = err
		go w.Done(w)
		return false
	}
	if s.writeLarge(w) {
		return false
	}
	if n := s.partBlocks(w); w.Count > n {
		s.enqueue(parts(w, n)...)
		return false
	}
	w.op = op{entry: w.entry(0, w.Count), data: w.Data, write: w, runs: w.op.runs[:0]}
	return s.enqueueOne(&w.op, w.Cache)
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

// partBlocks is how many blocks of w one journal record is sure to take.
func (s *Store) partBlocks(w *Write) uint32 {
	switch {
	case w.Data != nil:
		return uint32(s.maxData() / blockSize)
	case w.Versions != nil:
		return zeroPart
	}
	return uint32(s.maxEntries()/entryBytes) * groupBlocks // at worst an entry for each group
}

const zeroPart = 512 // blocks of one part that zeroes with a version each

// entry is the part of w from its block at on.
func (w *Write) entry(at, count uint32) entry {
	e := entry{kind: entryWrite, Replica: w.Replica, zero: w.Data == nil, block: w.Block + at, count: count, version: w.Version}
	if w.Data != nil {
		e.crcs = w.CRC[at:][:count]
	}
	if w.Versions != nil {
		e.versions = w.Versions[at:][:count]
	}
	return e
}

// parts cuts a write into pieces of at most limit blocks.
func parts(w *Write, limit uint32) []*op {
	n := (w.Count + limit - 1) / limit
	finish := joined(int32(n), w.finish)
	ops := make([]*op, 0, n)
	for at := uint32(0); at < w.Count; at += limit {
		count := min(limit, w.Count-at)
		o := &op{entry: w.entry(at, count), finish: finish}
		if w.Data != nil {
			o.data = w.Data[at*blockSize:][:count*blockSize]
		}
		ops = append(ops, o)
	}
	return ops
}

func (w *Write) finish(err error) {
	w.Err = err
	w.Done(w)
}

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
	if err := s.allocate(rep, block, count, true, s.heldBlocks); err != nil {
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

// allocate gives a range its groups and, where it is to hold data, its chunks, all or nothing, and leaves so many of
// each. mu is held.
func (s *Store) allocate(rep *replica, block, count uint32, data bool, leave uint32) error {
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
	if groups > 0 && groups+leave > s.maxGroups()-s.groups || chunks > 0 && chunks+leave > s.space.free() {
		return ErrNoSpace
	}
	return spans(block, count, func(p span) error {
		g, made := rep.open(p.group)
		if made {
			s.groups++
		}
		for c := p.first / chunkBlocks; data && c <= (p.last-1)/chunkBlocks; c++ {
			if g.place[c] == noChunk {
				g.place[c], _ = s.space.take()
			}
		}
		return nil
	})
}
