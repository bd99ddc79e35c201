package disk

// space says which chunks of the data area are taken, by number. Some that are free are still spoken of by the
// journal, from its tail on, as an earlier owner's: a replay writes that owner's data there, and so may a write-back under way. They
// are given to writes whose data comes there from the journal, too, and thus later, but not to those that write past it.
type space struct {
	used            *bitmap             // owned by a replica, or by a write on its way past the journal
	spoken          *bitmap             // used, freed or freezing
	freed, freezing map[uint32]struct{} // since the last freeze; before it, and the journal still has it
	moved           uint32              // of freed, because they got another place
}

func newSpace(chunks uint32) space {
	return space{used: newBitmap(chunks), spoken: newBitmap(chunks), freed: map[uint32]struct{}{}, freezing: map[uint32]struct{}{}}
}

func (s *space) free() uint32 { return s.used.free() }

// take gives a chunk to a write that goes through the journal.
func (s *space) take() (uint32, bool) {
	i, ok := s.used.take()
	if ok {
		s.spoken.claim(i)
	}
	return i, ok
}

// takeUnspoken gives n chunks to a write past the journal, in order, or none: where it can so many side by side as go to the device at once.
func (s *space) takeUnspoken(n uint32) []uint32 {
	list := make([]uint32, 0, n)
	for have := uint32(0); have < n; have = uint32(len(list)) {
		run := min(n-have, largeMost)
		first, ok := s.spoken.takeRun(run)
		if !ok {
			run = 1
			first, ok = s.spoken.take()
		}
		if !ok {
			s.giveBack(list)
			return nil
		}
		for i := range run {
			s.used.claim(first + i)
			list = append(list, first+i)
		}
	}
	return list
}

// giveBack frees chunks of which no record was made.
func (s *space) giveBack(list []uint32) {
	for _, i := range list {
		s.used.release(i)
		s.spoken.release(i)
	}
}

// claim takes a given chunk; false if it is taken or does not exist.
func (s *space) claim(i uint32) bool {
	s.spoken.claim(i)
	return s.used.claim(i)
}

// release frees a chunk by a record that was applied.
func (s *space) release(i uint32) {
	s.used.release(i)
	s.freed[i] = struct{}{}
}

// freeze begins a checkpoint, and settle ends it: the journal has forgotten what was freed before the freeze.
func (s *space) freeze() { s.freed, s.freezing, s.moved = s.freezing, s.freed, 0 }

func (s *space) settle() {
	for i := range s.freezing {
		if _, again := s.freed[i]; !again && !s.used.has(i) {
			s.spoken.release(i)
		}
	}
	clear(s.freezing)
}
