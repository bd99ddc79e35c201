package targettest

import (
	"bytes"
	"slices"

	"ashlar/target"
	"ashlar/target/pages"
)

// perform carries out one operation.
func (m *memory) perform(op *target.Op) target.Status {
	info := m.Info()
	blocks := uint64(op.Blocks)
	if op.LBA > info.Blocks || blocks > info.Blocks-op.LBA {
		return target.OutOfRange
	}
	size := uint64(info.BlockSize)
	at, n := op.LBA*size, blocks*size
	modifies := op.Kind == target.Write || op.Kind == target.Zero || op.Kind == target.Unmap || op.Kind == target.CompareAndWrite
	if !modifies {
		m.dataMu.RLock()
		defer m.dataMu.RUnlock()
	} else {
		if info.ReadOnly {
			return target.Protected
		}
		m.dataMu.Lock()
		defer m.dataMu.Unlock()
	}
	if !m.Reservations().Allows(op.Nexus.Ports(), op.Kind.Access()) {
		return target.Conflict
	}
	op.Settle = nil
	if op.Kind != target.CompareAndWrite && modifies {
		m.claims.end(at, n)
	}
	switch op.Kind {
	case target.Read:
		m.read(at, op.Data[:n])
	case target.Write:
		m.write(at, op.Data[:n])
	case target.Zero, target.Unmap:
		m.zero(at, n, op.Kind == target.Unmap)
	case target.CompareAndWrite:
		if op.Offset, modifies = m.differs(at, op.Data[:n]); modifies && !m.claims.repeats(op) {
			return target.Miscompare
		}
		m.claims.end(at, n)
		m.write(at, op.Data[n:2*n])
		op.Settle = m.claim(op, at, n)
	case target.Verify:
		if op.Data != nil {
			if op.Offset, modifies = m.differs(at, op.Data[:n]); modifies {
				return target.Miscompare
			}
		}
	case target.LBAStatus:
		m.status(op, info)
	}
	return target.OK
}

// each calls f for every chunk that [at, at+n) touches, with the part of it.
func each(at, n uint64, f func(chunk, from, to uint64)) {
	for n > 0 {
		from := at % chunkBytes
		to := min(from+n, chunkBytes)
		f(at/chunkBytes, from, to)
		at, n = at+to-from, n-(to-from)
	}
}

// slab is neighbouring chunks, side by side in memory.
type slab struct {
	data []byte           // of all of them
	used [slabChunks]bool // the others were never written, or unmapped
	n    int              // that are used
}

const slabChunks = 256

// chunk is nil where nothing is kept.
func (m *memory) chunk(c uint64) *[chunkBytes]byte {
	if s := m.slabs[c/slabChunks]; s != nil && s.used[c%slabChunks] {
		return s.chunk(c)
	}
	return nil
}

// use is the chunk, of zeros at first.
func (m *memory) use(c uint64) *[chunkBytes]byte {
	s := m.slabs[c/slabChunks]
	if s == nil {
		s = &slab{data: pages.Long(slabChunks * chunkBytes)}
		m.slabs[c/slabChunks] = s
	}
	if !s.used[c%slabChunks] {
		s.used[c%slabChunks] = true
		s.n++
	}
	return s.chunk(c)
}

func (s *slab) chunk(c uint64) *[chunkBytes]byte {
	return (*[chunkBytes]byte)(s.data[c%slabChunks*chunkBytes:])
}

// drop gives a chunk back.
func (m *memory) drop(c uint64) {
	if m.chunk(c) == nil {
		return
	}
	s := m.slabs[c/slabChunks]
	clear(s.chunk(c)[:])
	s.used[c%slabChunks] = false
	if s.n--; s.n == 0 {
		delete(m.slabs, c/slabChunks)
	}
}

func (m *memory) read(at uint64, data []byte) {
	each(at, uint64(len(data)), func(c, from, to uint64) {
		if p := m.chunk(c); p != nil {
			copy(data, p[from:to])
		} else {
			clear(data[:to-from])
		}
		data = data[to-from:]
	})
}

func (m *memory) write(at uint64, data []byte) {
	each(at, uint64(len(data)), func(c, from, to uint64) {
		copy(m.use(c)[from:to], data)
		data = data[to-from:]
	})
}

// zero gives back whole chunks when asked to unmap.
func (m *memory) zero(at, n uint64, unmap bool) {
	each(at, n, func(c, from, to uint64) {
		switch p := m.chunk(c); {
		case unmap && to-from == chunkBytes:
			m.drop(c)
		case p != nil:
			clear(p[from:to])
		case !unmap:
			m.use(c)
		}
	})
}

// differs finds the byte offset of the first difference from what is stored.
func (m *memory) differs(at uint64, data []byte) (offset uint64, found bool) {
	var zeros [chunkBytes]byte
	each(at, uint64(len(data)), func(c, from, to uint64) {
		stored := &zeros
		if p := m.chunk(c); p != nil {
			stored = p
		}
		want := data[:to-from]
		data = data[to-from:]
		if found || bytes.Equal(want, stored[from:to]) {
			if !found {
				offset += to - from
			}
			return
		}
		for i, b := range want {
			if b != stored[from+uint64(i)] {
				offset, found = offset+uint64(i), true
				return
			}
		}
	})
	if !found {
		offset = 0
	}
	return offset, found
}

// status fills Extents with runs of one allocation state from LBA on.
func (m *memory) status(op *target.Op, info target.Info) {
	per := chunkBytes / uint64(info.BlockSize)
	var mapped []uint64
	for n, s := range m.slabs {
		for i, used := range s.used {
			if c := n*slabChunks + uint64(i); used && c >= op.LBA/per {
				mapped = append(mapped, c)
			}
		}
	}
	slices.Sort(mapped)
	op.Extents = op.Extents[:0]
	lba := op.LBA
	add := func(end uint64, state bool) (more bool) {
		end = min(end, info.Blocks)
		last := len(op.Extents) - 1
		switch {
		case end <= lba:
			return true
		case last >= 0 && op.Extents[last].Mapped == state:
			op.Extents[last].Blocks += end - lba
		case len(op.Extents) == cap(op.Extents):
			return false
		default:
			op.Extents = append(op.Extents, target.Extent{LBA: lba, Blocks: end - lba, Mapped: state})
		}
		lba = end
		return true
	}
	for _, c := range mapped {
		if !add(c*per, false) || !add((c+1)*per, true) {
			return
		}
	}
	add(info.Blocks, false)
}
