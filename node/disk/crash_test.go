package disk_test

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"ashlar/node/disk"
	"ashlar/node/disk/disktest"
	"ashlar/replication/wire"
)

var (
	crashImages = flag.Int("crash.images", 800, "crash images to open, about")
	crashSeed   = flag.Uint64("crash.seed", 0, "seed of the crash test; 0: from the clock")
)

// What the crash test marks in the trace.
type (
	issued   struct{ w *disk.Write }
	acked    struct{ w *disk.Write }
	ordering struct { // Create, Remove, Reset; no writes are in flight meanwhile
		kind byte // 'c', 'd' or 'r'
		r    disk.Replica
	}
	ordered   struct{}
	promising struct{ epoch uint64 }
	promised  struct{ epoch uint64 }
)

// history is what a device may hold at a moment: of each block the last acknowledged version, and those issued after it.
type history struct {
	replicas    map[disk.Replica]*[testSegment]blockHistory
	changed     map[*disk.Write][]uint32 // blocks of writes in flight, without those where zeroing is no change
	maybe       *ordering                // in flight
	least, most uint64                   // promise
}

type blockHistory struct {
	acked blockState
	open  []blockState
}

func newHistory() *history {
	return &history{replicas: map[disk.Replica]*[testSegment]blockHistory{}, changed: map[*disk.Write][]uint32{}}
}

func (h *history) note(mark any) {
	switch m := mark.(type) {
	case issued:
		blocks := h.replicas[m.w.Replica]
		for i := m.w.Block; i < m.w.Block+m.w.Count; i++ {
			if m.w.Data != nil || everIssued(blocks, i) {
				h.changed[m.w] = append(h.changed[m.w], i)
			}
		}
		for _, i := range h.changed[m.w] {
			blocks[i].open = append(blocks[i].open, stateOf(m.w))
		}
	case acked:
		for _, i := range h.changed[m.w] {
			b := &h.replicas[m.w.Replica][i]
			if s := stateOf(m.w); b.acked.version.Less(s.version) {
				b.acked = s
			}
			b.open = slices.DeleteFunc(b.open, func(o blockState) bool { return !b.acked.version.Less(o.version) })
		}
		delete(h.changed, m.w)
	case ordering:
		h.maybe = &m
	case ordered:
		h.replicas = h.after()
		h.maybe = nil
	case promising:
		h.most = m.epoch
	case promised:
		h.least = m.epoch
	}
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
func (h *history) after() map[disk.Replica]*[testSegment]blockHistory {
	next := map[disk.Replica]*[testSegment]blockHistory{}
	for r, blocks := range h.replicas {
		if h.maybe == nil || r != h.maybe.r {
			next[r] = blocks
		}
	}
	if h.maybe != nil && h.maybe.kind != 'd' {
		next[h.maybe.r] = new([testSegment]blockHistory)
	}
	return next
}

// found is what a recovered store holds.
type found struct {
	replicas map[disk.Replica][]blockState
	crcs     map[disk.Replica][]uint32
	promise  uint64
}

var zeros = make([]byte, wire.BlockSize)

// inspect reads everything, and checks that no block is a mixture.
func inspect(s *disk.Store) (*found, error) {
	f := &found{map[disk.Replica][]blockState{}, map[disk.Replica][]uint32{}, s.Promised(1)}
	if err := s.Audit(); err != nil {
		return nil, err
	}
	for _, state := range s.Replicas() {
		r := state.Replica
		if state.Damaged {
			return nil, fmt.Errorf("replica %v is damaged", r)
		}
		read := get(s, r, 0, testSegment)
		if read.Err != nil {
			return nil, read.Err
		}
		changes, _, err := s.Changes(r, disk.Version{}, 0, testSegment)
		if err != nil {
			return nil, err
		}
		blocks := make([]blockState, testSegment)
		for _, c := range changes {
			blocks[c.Block] = blockState{c.Version, !c.Zero}
		}
		for i, b := range blocks {
			want := zeros
			if b.data {
				want = content(r, uint32(i), b.version)
			}
			if read.Versions[i] != b.version || !bytes.Equal(want, read.Data[i*wire.BlockSize:][:wire.BlockSize]) {
				return nil, fmt.Errorf("%v block %d: data of version %v is not what was written", r, i, b.version)
			}
		}
		f.replicas[r], f.crcs[r] = blocks, slices.Clone(read.CRC)
	}
	return f, nil
}

// allows says why h does not allow what was found.
func (h *history) allows(f *found) error {
	if f.promise < h.least || f.promise > h.most {
		return fmt.Errorf("promise %d, want %d to %d", f.promise, h.least, h.most)
	}
	err := matches(h.replicas, f)
	if err != nil && h.maybe != nil {
		err = matches(h.after(), f)
	}
	return err
}

func matches(replicas map[disk.Replica]*[testSegment]blockHistory, f *found) error {
	if len(replicas) != len(f.replicas) {
		return fmt.Errorf("%d replicas, want %d", len(f.replicas), len(replicas))
	}
	for r, blocks := range replicas {
		if f.replicas[r] == nil {
			return fmt.Errorf("replica %v is lost", r)
		}
		for i, got := range f.replicas[r] {
			if b := &blocks[i]; got != b.acked && !slices.Contains(b.open, got) {
				return fmt.Errorf("%v block %d: found %v, acknowledged %v, in flight %v", r, i, got, b.acked, b.open)
			}
		}
	}
	return nil
}

// trace runs random operations on a store, several at a time, and records what
// reaches the device. It goes round the journal many times.
func trace(t *testing.T, r *rand.Rand, dev *disktest.Memory, writes int) *disktest.Trace {
	tr := dev.Record()
	s := open(t, dev)
	defer s.Abandon()
	var flying sync.WaitGroup
	slots := make(chan struct{}, 40)
	have := map[disk.Replica]bool{}
	epoch := uint64(0)
	for seq := uint64(1); seq < uint64(writes); seq++ {
		rep := replica(1, r.IntN(3))
		switch n := r.IntN(40); {
		case !have[rep] || n == 0:
			flying.Wait()
			kind := byte('c')
			if have[rep] {
				kind = "dr"[r.IntN(2)]
			}
			tr.Mark(ordering{kind, rep})
			check(t, map[byte]func(disk.Replica) error{'c': s.Create, 'd': s.Remove, 'r': s.Reset}[kind](rep))
			have[rep] = kind != 'd'
			tr.Mark(ordered{})
		case n == 1:
			epoch++
			tr.Mark(promising{epoch})
			check(t, s.Promise(1, epoch))
			tr.Mark(promised{epoch})
		case n == 2:
			s.SetCommit(rep, v(1, seq))
		case n == 3:
			flying.Wait()
		default:
			block := r.Uint32N(testSegment)
			w := &disk.Write{Replica: rep, Block: block, Count: 1 + r.Uint32N(min(200, testSegment-block)), Version: v(1, seq)}
			if n > 8 {
				w = dataWrite(rep, block, 1+r.Uint32N(min(8, testSegment-block)), v(1, seq))
			}
			slots <- struct{}{}
			flying.Add(1)
			w.Done = func(w *disk.Write) {
				if w.Err == nil {
					tr.Mark(acked{w})
				} else {
					t.Error(w.Err)
				}
				<-slots
				flying.Done()
			}
			tr.Mark(issued{w})
			s.Write(w)
		}
	}
	flying.Wait()
	return tr
}

// The store is opened on what a crash at each moment could have left: of the
// writes in flight all subsets when they are few, some when they are many, whole and torn.
func TestCrashAtEveryMomentKeepsWhatWasAcknowledged(t *testing.T) {
	t.Parallel()
	seed := *crashSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	r := rand.New(rand.NewPCG(seed, 0))
	images, moments, records, pairs := 0, 0, 0, 0
	defer func() {
		t.Logf("seed %d: %d crash images at %d moments of %d, at %d of them two journal records were in flight",
			seed, images, moments, records, pairs)
	}()
	journal := journalStart(t)
	for images < *crashImages {
		dev := formatted(t)
		if r.IntN(3) == 0 { // from a store with a past, whose free slots and journal are not zeros
			trace(t, r, dev, 200)
			dev = dev.Again()
			s := open(t, dev)
			for _, state := range s.Replicas() {
				check(t, s.Remove(state.Replica))
			}
			check(t, s.Close())
			dev = dev.Again()
		}
		base := basePromise(t, dev)
		tr := trace(t, r, dev, 250)
		records += tr.Len()
		h := newHistory()
		h.least, h.most = base, max(base, h.most)
		for c := tr.Start(); ; {
			if r.IntN(3) == 0 {
				moments++
				images += crashHere(t, r, c, h)
				if c.InFlightIn(journal, journal+testJournal) > 1 {
					pairs++
				}
			}
			mark, ok := c.Step()
			if !ok || images >= *crashImages || t.Failed() {
				break
			}
			h.note(mark)
			h.least, h.most = max(h.least, base), max(h.most, base)
		}
		if t.Failed() {
			return
		}
	}
}

func journalStart(t *testing.T) int64 {
	s := open(t, formatted(t))
	defer s.Abandon()
	_, _, _, journal, _ := s.Layout()
	return journal
}

func basePromise(t *testing.T, dev *disktest.Memory) uint64 {
	s := open(t, dev.Clone())
	defer s.Abandon()
	return s.Promised(1)
}

// crashHere opens images of one moment.
func crashHere(t *testing.T, r *rand.Rand, c *disktest.Crash, h *history) (images int) {
	open := func(keep uint64, torn *rand.Rand) {
		images++
		if err := recoverImage(r, c.Image(keep, torn), h); err != nil {
			t.Errorf("crash at moment %d with writes in flight %b of %d, torn %v: %v", c.Moment(), keep, c.InFlight(), torn != nil, err)
		}
	}
	n := c.InFlight()
	if n <= 2 {
		for keep := range uint64(1) << n {
			open(keep, nil)
		}
	} else {
		open(0, nil)
		open(^uint64(0), nil)
		open(r.Uint64(), nil)
	}
	for range min(n, 3) {
		open(r.Uint64(), r)
	}
	return images
}

// recoverImage recovers twice, which must give the same, and sometimes goes on: a
// store that recovered must survive its next life too, even if that ends in a crash.
func recoverImage(r *rand.Rand, image *disktest.Memory, h *history) error {
	tr := image.Record()
	first, image, err := recoverOnce(image, nil)
	if err != nil {
		return err
	}
	if err := h.allows(first); err != nil {
		return err
	}
	if r.IntN(3) > 0 {
		return nil
	}
	again := image
	if r.IntN(2) == 0 { // crash in recovery, or when it has just ended
		c := tr.Start()
		for range r.IntN(tr.Len()) {
			c.Step()
		}
		again = c.Image(r.Uint64(), r)
	}
	second, _, err := recoverOnce(again, nil)
	if err != nil {
		return fmt.Errorf("second recovery: %w", err)
	}
	if !first.equal(second) {
		return fmt.Errorf("the second recovery differs from the first")
	}
	return secondLife(r, image.Clone(), first)
}

func (f *found) equal(g *found) bool {
	if len(f.replicas) != len(g.replicas) || f.promise != g.promise {
		return false
	}
	for r := range f.replicas {
		if !slices.Equal(f.replicas[r], g.replicas[r]) || !slices.Equal(f.crcs[r], g.crcs[r]) {
			return false
		}
	}
	return true
}

// lowMemory is less than the store had that crashed, so that recovery must make checkpoints on its way.
const lowMemory = 16 << 10

func recoverOnce(image *disktest.Memory, then func(*disk.Store) error) (*found, *disktest.Memory, error) {
	s, err := disk.Open(image, testIdentity, disk.Options{Readers: 1, Writers: 2, DirtyBytes: lowMemory})
	if err != nil {
		return nil, nil, err
	}
	f, err := inspect(s)
	if dirty := s.Stats().Dirty; dirty > lowMemory+testJournal/4 {
		err = fmt.Errorf("recovery keeps %d bytes in memory", dirty)
	}
	if err == nil && then != nil {
		err = then(s)
	}
	s.Abandon()
	return f, image.Again(), err
}

// secondLife writes on, makes a checkpoint or not, crashes, and recovers.
func secondLife(r *rand.Rand, image *disktest.Memory, f *found) error {
	replicas := make([]disk.Replica, 0, len(f.replicas))
	for rep := range f.replicas {
		replicas = append(replicas, rep)
	}
	if len(replicas) == 0 {
		return nil
	}
	_, image, err := recoverOnce(image, func(s *disk.Store) error {
		for seq := range uint64(1 + r.IntN(6)) {
			rep, block := replicas[r.IntN(len(replicas))], r.Uint32N(testSegment-8)
			if err := put(s, rep, block, 8, v(2, seq)); err != nil {
				return err
			}
			for i := range uint32(8) {
				f.replicas[rep][block+i] = blockState{v(2, seq), true}
			}
			if r.IntN(3) == 0 {
				s.Checkpoint()
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	last, _, err := recoverOnce(image, nil)
	if err != nil {
		return fmt.Errorf("after a second life: %w", err)
	}
	f.crcs = last.crcs
	if !f.equal(last) {
		return fmt.Errorf("a second life's writes are lost")
	}
	return nil
}
