package disk

import (
	"errors"
	"fmt"
	"slices"

	"ashlar/replication/wire"
	"ashlar/target/pages"
)

// Read fills r and calls r.Done, in any order with other reads. It sees every
// write whose Done was called before, and of each block one whole version.
func (s *Store) Read(r *Read) {
	s.mu.Lock()
	err := error(nil)
	if s.closing {
		err = ErrClosed
	} else if !s.inSegment(r.Block, r.Count) || len(r.Data) != int(r.Count)*blockSize {
		err = ErrRange
	} else {
		s.reads.push(r)
		s.readWork.Signal()
	}
	s.mu.Unlock()
	if err != nil {
		r.Err = err
		go r.Done(r)
	}
}

func (s *Store) runReads() {
	defer s.readers.Done()
	var sources []source
	var held held
	for {
		s.mu.Lock()
		for s.reads.len() == 0 && !s.stopping {
			s.readWork.Wait()
		}
		if s.reads.len() == 0 {
			s.mu.Unlock()
			return
		}
		r := s.reads.pop()
		s.mu.Unlock()
		sources = sized(sources, r.Count)
		r.Err = s.read(r, sources, &held)
		r.Done(r)
	}
}

// source is where a block's content is.
type source struct {
	version Version
	crc     uint32
	data    *[blockSize]byte // in memory
	at      int64            // on the device, if data is nil; 0: zeros
	bad     bool             // its metadata page was lost, or the device cannot read it
}

func (src *source) zero() bool { return src.data == nil && src.at == 0 && !src.bad }

func (s *Store) read(r *Read, sources []source, h *held) error {
	h.scrub = r.Scrub
	err := error(nil)
	if r.Scrub {
		err = s.scrubPages(r)
	}
	if err == nil {
		err = s.fetch(r.Replica, r.Block, r.Data, sources, h)
	}
	if err != nil {
		return fmt.Errorf("disk: read of volume %d segment %d: %w", r.Volume, r.Segment, err)
	}
	r.CRC, r.Versions = sized(r.CRC, r.Count), sized(r.Versions, r.Count)
	var bad []uint32
	for i := range sources {
		block, data := r.Block+uint32(i), r.Data[i*blockSize:][:blockSize]
		ok, err := s.verify(r.Replica, block, data, &sources[i], h)
		if err != nil {
			return err
		}
		if !ok {
			bad = append(bad, block)
		}
		r.CRC[i], r.Versions[i] = sources[i].crc, sources[i].version
	}
	if bad != nil {
		s.checksumErrors.Add(uint64(len(bad)))
		return &ChecksumError{r.Replica, bad}
	}
	return nil
}

func sized[T any](list []T, n uint32) []T {
	if cap(list) < int(n) {
		return make([]T, n)
	}
	return list[:n]
}

// verify checks one block that was read. What does not match may have been
// overwritten in place or given to another replica during the read: then it
// has another source by now, and is read again.
func (s *Store) verify(rep Replica, block uint32, data []byte, src *source, h *held) (bool, error) {
	for {
		crc := wire.BlockCRC(rep.Volume, rep.Segment, block, data)
		if src.bad {
			src.crc = ^crc
			return false, nil
		}
		if src.zero() {
			src.crc = crc
			return true, nil
		}
		if crc == src.crc {
			return true, nil
		}
		var again [1]source
		if err := s.fetch(rep, block, data, again[:], h); err != nil {
			return false, fmt.Errorf("disk: read of volume %d segment %d: %w", rep.Volume, rep.Segment, err)
		}
		if again[0] == *src {
			return wire.BlockCRC(rep.Volume, rep.Segment, block, data) == src.crc, nil
		}
		*src = again[0]
	}
}

// fetch finds the blocks and fills data.
func (s *Store) fetch(r Replica, block uint32, data []byte, out []source, h *held) error {
	defer h.release()
	if err := s.locate(r, block, out, h); err != nil {
		return err
	}
	return s.fill(data, out)
}

// held is what one read holds: overlays whose data is not used again before it is released.
type held struct {
	overlays []*overlay
	scrub    bool // the pages that it loads are not kept
}

func (h *held) hold(o *overlay) {
	if o != nil && !slices.Contains(h.overlays, o) {
		o.readers.Add(1)
		h.overlays = append(h.overlays, o)
	}
}

func (h *held) release() {
	for _, o := range h.overlays {
		o.readers.Add(-1)
	}
	h.overlays = h.overlays[:0]
}

// fill copies from memory and reads what lies side by side on the device at once. Where the device fails, it is
// asked for each block: those that it cannot read are bad, unless it reads none at all.
func (s *Store) fill(data []byte, sources []source) error {
	var failure error
	read := 0 // blocks that the device gave
	for i := 0; i < len(sources); {
		src := &sources[i]
		switch {
		case src.data != nil:
			copy(data[i*blockSize:], src.data[:])
			i++
		case src.at == 0:
			clear(data[i*blockSize:][:blockSize])
			i++
		default:
			n := 1
			for i+n < len(sources) && sources[i+n].at == src.at+int64(n)*blockSize && sources[i+n].data == nil {
				n++
			}
			ok, err := s.readRun(data[i*blockSize:][:n*blockSize], sources[i:i+n])
			if err != nil {
				failure = err
			}
			read += ok
			i += n
		}
	}
	if read == 0 {
		return failure
	}
	return nil
}

// readRun reads blocks that lie side by side: how many it could, and why not the others, which it makes bad zeros.
func (s *Store) readRun(data []byte, sources []source) (ok int, err error) {
	if _, err = s.dev.ReadAt(data, sources[0].at); err == nil {
		return len(sources), nil
	}
	for i := range sources {
		block := data[i*blockSize:][:blockSize]
		if len(sources) > 1 {
			if _, err := s.dev.ReadAt(block, sources[i].at); err == nil {
				ok++
				continue
			}
		}
		clear(block)
		sources[i].bad = true
	}
	return ok, err
}

// locate finds the blocks from block on. All of one group are of one moment. It
// holds the overlays whose data out may name.
func (s *Store) locate(r Replica, block uint32, out []source, h *held) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return spans(block, uint32(len(out)), func(p span) error {
		var loaded *page
		for {
			rep, err := s.replica(r)
			if err != nil {
				return err
			}
			h.hold(s.active)
			h.hold(s.frozen)
			if s.locateGroup(rep, p, loaded, out[p.skip:]) {
				return nil
			}
			s.mu.Unlock()
			loaded, err = s.loadPage(rep, p.group, !h.scrub)
			s.mu.Lock()
			if err != nil && !rep.gone {
				return err
			}
		}
	})
}

// locateGroup is false when the group's page must be loaded first.
func (s *Store) locateGroup(rep *replica, p span, loaded *page, out []source) bool {
	g := rep.group(p.group)
	if g == nil {
		clear(out[:p.last-p.first])
		return true
	}
	active, frozen := s.active.delta(rep, p.group), s.frozen.delta(rep, p.group)
	var pg *page
	for i := p.first; i < p.last; i++ {
		d := active.get(i)
		if d == nil {
			d = frozen.get(i)
		}
		if d != nil {
			out[i-p.first] = source{version: d.version, crc: d.crc, data: d.data}
			if d.inPlace {
				out[i-p.first].at = s.blockAt(g.place[i/chunkBlocks], i)
			}
			continue
		}
		if g.paged && pg == nil {
			if pg = s.currentPage(rep, p.group, g.sum, loaded); pg == nil {
				return false
			}
		}
		out[i-p.first] = s.pageSource(pg, i)
	}
	return true
}

// currentPage is the page of a group with CRC sum, if it is loaded or cached.
func (s *Store) currentPage(rep *replica, group, sum uint32, loaded *page) *page {
	if loaded != nil && loaded.sum == sum && loaded.instance == rep.instance {
		return loaded
	}
	return s.cache.get(rep.instance, group, sum)
}

func (s *Store) pageSource(pg *page, block uint32) source {
	if pg == nil {
		return source{}
	}
	if pg.bad.has(block) {
		return source{bad: true}
	}
	c := block / chunkBlocks
	if pg.mapped[c]&(1<<(block%chunkBlocks)) == 0 {
		return source{version: pg.version[block]}
	}
	return source{version: pg.version[block], crc: pg.crc[block], at: s.blockAt(pg.place[c], block)}
}

// loadPage reads a group's page as of the last checkpoint. mu is not held. By the time that
// it returns, a checkpoint may have replaced the page: its sum tells.
func (s *Store) loadPage(rep *replica, gi uint32, keep bool) (*page, error) {
	for {
		s.mu.Lock()
		if rep.gone {
			s.mu.Unlock()
			return nil, ErrNoReplica
		}
		g := *rep.group(gi)
		s.mu.Unlock()
		var p *page
		err := ErrDamaged
		if !g.lost {
			p, err = s.readPage(rep.instance, gi, g.slot, g.sum)
		}

		s.mu.Lock()
		current := rep.group(gi).sum == g.sum && !rep.gone
		if current && errors.Is(err, ErrDamaged) {
			p, err = s.lostPage(rep.instance, gi, g.sum), nil
			s.setBad(rep, gi, p.bad)
			if !g.lost {
				s.stats.PageErrors++
			}
		}
		if err == nil && current && keep {
			s.cache.put(p)
		}
		s.mu.Unlock()
		if err == nil || current {
			return p, err
		}
	}
}

// readPage reads the page of a group that was written to slot with CRC sum. What is not
// that page is read once more: ErrDamaged if it still is not.
func (s *Store) readPage(instance uint64, gi, slot, sum uint32) (*page, error) {
	b := pages.Make(blockSize)
	for range 2 {
		if _, err := s.dev.ReadAt(b, s.pages+int64(slot)*blockSize); err != nil {
			return nil, fmt.Errorf("disk: read of a metadata page: %w", err)
		}
		p := new(page)
		if err := p.unmarshal(b, s.id.Nonce); err == nil && p.sum == sum && p.instance == instance && p.group == gi {
			return p, nil
		}
	}
	return nil, fmt.Errorf("%w: metadata page %d", ErrDamaged, slot)
}

// Changes lists, in block order, all blocks from block from on with a version higher than after,
// at most max of them. Lost blocks have LostVersion. next is where to go on, 0 at the end. It is cheap where nothing
// changed: memory knows the highest version of each 512 KiB.
func (s *Store) Changes(r Replica, after Version, from uint32, max int) (changes []Change, next uint32, err error) {
	if max <= 0 || from >= s.id.SegmentBlocks {
		return nil, 0, ErrRange
	}
	return s.changes(r, after, from, s.id.SegmentBlocks, max, &held{})
}

// Written lists, in block order, the blocks of a range that were ever written. The metadata pages that
// it reads do not take the place of others in memory.
func (s *Store) Written(r Replica, from, count uint32) ([]Change, error) {
	if !s.inSegment(from, count) {
		return nil, ErrRange
	}
	changes, _, err := s.changes(r, Version{}, from, from+count, int(count), &held{scrub: true})
	return changes, err
}

func (s *Store) changes(r Replica, after Version, from, end uint32, max int, held *held) (changes []Change, next uint32, err error) {
	var sources [groupBlocks]source
	defer held.release()
	for block := from; block < end; {
		n := min(groupBlocks-block%groupBlocks, end-block)
		changed, err := s.newer(r, block/groupBlocks, after)
		if err != nil {
			return nil, 0, err
		}
		if !changed {
			block += n
			continue
		}
		if err := s.locate(r, block, sources[:n], held); err != nil {
			return nil, 0, err
		}
		for i := range n {
			src := &sources[i]
			if src.bad {
				src.version, src.crc = LostVersion, 0
			}
			if !after.Less(src.version) {
				continue
			}
			if len(changes) == max {
				return changes, block + i, nil
			}
			changes = append(changes, Change{Block: block + i, Version: src.version, CRC: src.crc, Zero: src.zero()})
		}
		block += n
	}
	return changes, 0, nil
}

// newer says whether a group may have a block above after.
func (s *Store) newer(r Replica, gi uint32, after Version) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false, ErrClosed
	}
	rep, err := s.replica(r)
	if err != nil {
		return false, err
	}
	_, bad := rep.bad[gi]
	g := rep.group(gi)
	return bad || g != nil && after.Less(g.max), nil
}

// Extents says which blocks of the range hold data, or are lost, in runs. It needs no device.
func (s *Store) Extents(r Replica, from, count uint32) ([]Extent, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rep, err := s.replica(r)
	if err != nil {
		return nil, err
	}
	if !s.inSegment(from, count) {
		return nil, ErrRange
	}
	var list []Extent
	spans(from, count, func(p span) error {
		g := rep.group(p.group)
		for i := p.first; i < p.last; i++ {
			bad := rep.bad[p.group]
			mapped := bad.has(i) || g != nil && g.mapped[i/chunkBlocks]&(1<<(i%chunkBlocks)) != 0
			if n := len(list); n > 0 && list[n-1].Mapped == mapped {
				list[n-1].Count++
			} else {
				list = append(list, Extent{from + p.skip + i - p.first, 1, mapped})
			}
		}
		return nil
	})
	return list, nil
}
