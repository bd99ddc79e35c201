package disk_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"

	"ashlar/node/disk"
	"ashlar/replication/wire"
)

// What a test marks in the trace.
type (
	issued   struct{ w *disk.Write }
	acked    struct{ w *disk.Write }
	ordering struct { // Create, Remove, Reset; no writes are in flight meanwhile
		kind byte // 'c', 'd' or 'r'
		r    disk.Replica
	}
	ordered    struct{}
	promising  struct{ epoch uint64 }
	promised   struct{ epoch uint64 }
	labelling  struct{ number uint64 }
	labelled   struct{ number uint64 }
	committing struct {
		r disk.Replica
		v disk.Version
	}
)

// history is what a device may hold at a moment.
type history struct {
	replicas map[disk.Replica]*replicaHistory
	changed  map[*disk.Write][]uint32 // blocks of writes in flight, without those where zeroing is no change
	zeros    map[*disk.Write]struct{} // in flight
	maybe    *ordering                // in flight
	promise  between
	label    between
}

// between is the acknowledged value and the one issued last.
type between struct{ least, most uint64 }

// replicaHistory has of each block the last acknowledged version, and those issued after it.
type replicaHistory struct {
	commit disk.Version // the highest ever set
	blocks [testSegment]blockHistory
}

type blockHistory struct {
	acked     blockState
	open, may []blockState
}

// newHistory begins with what is found on an empty store.
func newHistory(base *found) *history {
	return &history{replicas: map[disk.Replica]*replicaHistory{}, changed: map[*disk.Write][]uint32{}, zeros: map[*disk.Write]struct{}{},
		promise: between{base.promise, base.promise}, label: between{base.label, base.label}}
}

func (h *history) note(mark any) {
	switch m := mark.(type) {
	case issued:
		h.issue(m.w)
	case acked:
		h.acknowledge(m.w)
	case ordering:
		h.maybe = &m
	case ordered:
		h.replicas = h.after()
		h.maybe = nil
	case promising:
		h.promise.most = m.epoch
	case promised:
		h.promise.least = m.epoch
	case labelling:
		h.label.most = m.number
	case labelled:
		h.label.least = m.number
	case committing:
		h.replicas[m.r].commit = m.v
	}
}

func (h *history) issue(w *disk.Write) {
	blocks := &h.replicas[w.Replica].blocks
	if w.Data == nil {
		h.zeros[w] = struct{}{}
	} else {
		h.mayZero(w)
	}
	for i := w.Block; i < w.Block+w.Count; i++ {
		if w.Data != nil || everIssued(blocks, i) {
			h.changed[w] = append(h.changed[w], i)
		}
	}
	for _, i := range h.changed[w] {
		blocks[i].open = append(blocks[i].open, stateOf(w))
	}
}

// mayZero notes that zeros in flight change blocks, or not, where data comes to their metadata page meanwhile for the first time.
func (h *history) mayZero(w *disk.Write) {
	blocks := &h.replicas[w.Replica].blocks
	for z := range h.zeros {
		for i := z.Block; i < z.Block+z.Count && z.Replica == w.Replica; i++ {
			if w.Block/128 <= i/128 && i/128 <= (w.Block+w.Count-1)/128 && !everIssued(blocks, i) {
				blocks[i].may = append(blocks[i].may, stateOf(z))
			}
		}
	}
}

func (h *history) acknowledge(w *disk.Write) {
	delete(h.zeros, w)
	for _, i := range h.changed[w] {
		b := &h.replicas[w.Replica].blocks[i]
		if s := stateOf(w); b.acked.version.Less(s.version) {
			b.acked = s
		}
		older := func(o blockState) bool { return !b.acked.version.Less(o.version) }
		b.open, b.may = slices.DeleteFunc(b.open, older), slices.DeleteFunc(b.may, older)
	}
	delete(h.changed, w)
}

func stateOf(w *disk.Write) blockState { return blockState{w.Version, w.Data != nil} }

// everIssued says whether a write of data was issued to a block, or to one that shares its metadata page.
func everIssued(blocks *[testSegment]blockHistory, block uint32) bool {
	first := block &^ 127
	return slices.ContainsFunc(blocks[first:min(first+128, testSegment)], func(b blockHistory) bool {
		return b.acked.version != disk.Version{} || len(b.open) > 0
	})
}

// after is the replicas once the order in flight is carried out.
func (h *history) after() map[disk.Replica]*replicaHistory {
	next := map[disk.Replica]*replicaHistory{}
	for r, replica := range h.replicas {
		if h.maybe == nil || r != h.maybe.r {
			next[r] = replica
		}
	}
	if h.maybe != nil && h.maybe.kind != 'd' {
		next[h.maybe.r] = new(replicaHistory)
	}
	return next
}

// allows says why h does not allow what was found.
func (h *history) allows(f *found) error {
	if !h.promise.has(f.promise) || !h.label.has(f.label) {
		return fmt.Errorf("promise %d, want %v; label %d, want %v", f.promise, h.promise, f.label, h.label)
	}
	err := matches(h.replicas, f)
	if err != nil && h.maybe != nil {
		err = matches(h.after(), f)
	}
	return err
}

func (b between) has(n uint64) bool { return b.least <= n && n <= b.most }

func matches(replicas map[disk.Replica]*replicaHistory, f *found) error {
	if len(replicas) != len(f.replicas) {
		return fmt.Errorf("%d replicas, want %d", len(f.replicas), len(replicas))
	}
	for r, want := range replicas {
		got := f.replicas[r]
		if got == nil {
			return fmt.Errorf("replica %v is lost", r)
		}
		if want.commit.Less(got.commit) {
			return fmt.Errorf("%v has commit point %v, set was %v", r, got.commit, want.commit)
		}
		for i, got := range got.blocks {
			if b := &want.blocks[i]; got != b.acked && !slices.Contains(b.open, got) && !slices.Contains(b.may, got) {
				return fmt.Errorf("%v block %d: found %v, acknowledged %v, in flight %v", r, i, got, b.acked, b.open)
			}
		}
	}
	return nil
}

// found is what a recovered store holds.
type found struct {
	replicas map[disk.Replica]*foundReplica
	promise  uint64 // of volume 1
	label    uint64
}

type foundReplica struct {
	commit disk.Version
	blocks [testSegment]blockState
	crcs   [testSegment]uint32
}

func (f *found) equal(g *found) bool {
	if len(f.replicas) != len(g.replicas) || f.promise != g.promise || f.label != g.label {
		return false
	}
	for r := range f.replicas {
		if g.replicas[r] == nil || *f.replicas[r] != *g.replicas[r] {
			return false
		}
	}
	return true
}

var (
	zeros     = make([]byte, wire.BlockSize)
	wholeRead = sync.Pool{New: func() any { b := make([]byte, testSegment*wire.BlockSize); return &b }}
)

// inspect reads everything, and checks that no block is a mixture.
func inspect(s *disk.Store) (*found, error) {
	if err := s.Audit(); err != nil {
		return nil, err
	}
	f := &found{replicas: map[disk.Replica]*foundReplica{}, promise: s.Promised(1)}
	label, err := s.Label()
	if err != nil {
		return nil, err
	}
	if f.label, err = labelNumber(label); err != nil {
		return nil, err
	}
	for _, state := range s.Replicas() {
		if state.Damaged {
			return nil, fmt.Errorf("replica %v is damaged", state.Replica)
		}
		if f.replicas[state.Replica], err = inspectReplica(s, state); err != nil {
			return nil, err
		}
	}
	return f, nil
}

func inspectReplica(s *disk.Store, state disk.ReplicaState) (*foundReplica, error) {
	room := wholeRead.Get().(*[]byte)
	defer wholeRead.Put(room)
	data := *room
	read := getInto(s, state.Replica, 0, testSegment, data)
	if read.Err != nil {
		return nil, read.Err
	}
	changes, _, err := s.Changes(state.Replica, disk.Version{}, 0, testSegment)
	if err != nil {
		return nil, err
	}
	f := &foundReplica{commit: state.Commit}
	mapped := uint64(0)
	for _, c := range changes {
		f.blocks[c.Block] = blockState{c.Version, !c.Zero}
		if !c.Zero {
			mapped++
		}
	}
	if mapped != state.Mapped {
		return nil, fmt.Errorf("%v: %d blocks mapped, want %d", state.Replica, state.Mapped, mapped)
	}
	for i, b := range f.blocks {
		got := data[i*wire.BlockSize:][:wire.BlockSize]
		if read.Versions[i] != b.version || b.data && !isContent(got, state.Replica, uint32(i), b.version) || !b.data && !bytes.Equal(got, zeros) {
			return nil, fmt.Errorf("%v block %d: data of version %v is not what was written", state.Replica, i, b.version)
		}
	}
	copy(f.crcs[:], read.CRC)
	return f, nil
}

// numberedLabel is the test's label with a number; 0 is that of a store whose label was never set.
func numberedLabel(number uint64) []byte {
	if number == 0 {
		return nil
	}
	b := make([]byte, 8+number*2311%30000)
	for at := 0; at+8 <= len(b); at += 8 {
		binary.LittleEndian.PutUint64(b[at:], number)
	}
	return b
}

func labelNumber(label []byte) (number uint64, err error) {
	if len(label) >= 8 {
		number = binary.LittleEndian.Uint64(label)
	}
	if !bytes.Equal(label, numberedLabel(number)) {
		return 0, fmt.Errorf("the label is a mixture, number %d", number)
	}
	return number, nil
}
