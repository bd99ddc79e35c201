package disk_test

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ashlar/node/disk"
	"ashlar/node/disk/disktest"
	"ashlar/replication/wire"
)

var (
	crashImages = flag.Int("crash.images", 600, "crash images to open, about")
	crashSeed   = flag.Uint64("crash.seed", 0, "seed of the crash test; 0: from the clock")
)

// trace runs random operations on a store, several at a time, and records what
// reaches the device. It goes round the journal many times.
func trace(t *testing.T, r *rand.Rand, dev *disktest.Memory, base *found, writes int) *disktest.Trace {
	tr := dev.Record()
	s := open(t, dev)
	defer s.Abandon()
	var flying sync.WaitGroup
	slots := make(chan struct{}, 40)
	have := map[disk.Replica]bool{}
	epoch, label := base.promise, base.label
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
			tr.Mark(committing{rep, v(1, seq)})
			s.SetCommit(rep, v(1, seq))
		case n == 3:
			flying.Wait()
		case n == 4:
			label++
			tr.Mark(labelling{label})
			check(t, s.SetLabel(numberedLabel(label)))
			tr.Mark(labelled{label})
		default:
			block := r.Uint32N(testSegment)
			w := &disk.Write{Replica: rep, Block: block, Count: 1 + r.Uint32N(min(200, testSegment-block)), Version: v(1, seq)}
			switch {
			case n > 15:
				w = dataWrite(rep, block, 1+r.Uint32N(min(8, testSegment-block)), v(1, seq))
			case n > 9:
				w = largeWrite(r, rep, v(1, seq))
			}
			slots <- struct{}{}
			flying.Add(1)
			w.Done = func(w *disk.Write) {
				if w.Err == nil {
					tr.Mark(acked{w})
				} else if !errors.Is(w.Err, disk.ErrVersion) || w.Count < 64 { // a later one has overtaken a large one
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

// largeWrite has whole chunks of content, and mostly some blocks beside them.
func largeWrite(r *rand.Rand, rep disk.Replica, version disk.Version) *disk.Write {
	const chunk = 32
	first, count := chunk*r.Uint32N(testSegment/chunk), chunk*(2+r.Uint32N(2))
	if r.IntN(2) == 0 {
		first += r.Uint32N(chunk)
		count += r.Uint32N(chunk)
	}
	return dataWrite(rep, first, min(count, testSegment-first), version)
}

// crashes counts what the crash test did.
type crashes struct {
	images, moments, events, pairs atomic.Int64
	start                          time.Time
}

func (d *crashes) String() string {
	took := time.Since(d.start).Seconds()
	return fmt.Sprintf("%d crash images, recovered twice each, at %d moments of %d; at %d of them two journal records were in flight; %.0f s, %.0f images/s",
		d.images.Load(), d.moments.Load(), d.events.Load(), d.pairs.Load(), took, float64(d.images.Load())/took)
}

// The store is opened on what a crash at each moment could have left: of the writes in
// flight all subsets when they are few, some when they are many, whole and torn.
func TestCrashAtEveryMomentKeepsWhatWasAcknowledged(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		*crashImages = min(*crashImages, 150)
	}
	seed := *crashSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	done := &crashes{start: time.Now()}
	t.Cleanup(func() { t.Logf("seed %d: %v", seed, done) })
	for worker := range runtime.GOMAXPROCS(0) {
		t.Run(fmt.Sprint("worker", worker), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(seed, uint64(worker)))
			for told := time.Now(); done.images.Load() < int64(*crashImages) && !t.Failed(); {
				crashOneTrace(t, r, done)
				if worker == 0 && time.Since(told) > time.Minute {
					told = time.Now()
					t.Log(done)
				}
			}
		})
	}
}

// crashOneTrace makes a trace and crashes it at a third of its moments.
func crashOneTrace(t *testing.T, r *rand.Rand, done *crashes) {
	dev, journal := formatted(t), journalStart(t)
	if r.IntN(3) == 0 {
		dev = storeWithAPast(t, r, dev)
	}
	base, _, err := recoverOnce(dev.Clone(), nil)
	check(t, err)
	tr := trace(t, r, dev, base, 250)
	done.events.Add(int64(tr.Len()))
	h := newHistory(base)
	for c := tr.Start(); ; {
		if r.IntN(3) == 0 {
			done.moments.Add(1)
			if c.InFlightIn(journal, journal+testJournal) > 1 {
				done.pairs.Add(1)
			}
			crashHere(t, r, c, h, done)
		}
		mark, ok := c.Step()
		if !ok || done.images.Load() >= int64(*crashImages) || t.Failed() {
			return
		}
		h.note(mark)
	}
}

// storeWithAPast holds nothing, but its free slots and its journal are not zeros.
func storeWithAPast(t *testing.T, r *rand.Rand, dev *disktest.Memory) *disktest.Memory {
	trace(t, r, dev, &found{}, 200)
	dev = dev.Again()
	s := open(t, dev)
	for _, state := range s.Replicas() {
		check(t, s.Remove(state.Replica))
	}
	check(t, s.Close())
	return dev.Again()
}

func journalStart(t *testing.T) int64 {
	s := open(t, formatted(t))
	defer s.Abandon()
	_, _, _, journal, _ := s.Layout()
	return journal
}

// crashHere opens images of one moment.
func crashHere(t *testing.T, r *rand.Rand, c *disktest.Crash, h *history, done *crashes) {
	open := func(keep uint64, torn *rand.Rand) {
		done.images.Add(1)
		image := c.Image(keep, torn)
		before := image.Clone()
		if err := recoverImage(r, image, h); err != nil {
			t.Errorf("crash at moment %d with writes in flight %b of %d, torn %v: %v", c.Moment(), keep, c.InFlight(), torn != nil, err)
			path := filepath.Join(t.ArtifactDir(), fmt.Sprintf("image%d", done.images.Load()))
			t.Logf("the image is kept with -artifacts: %s %v", path, before.Save(path))
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
}

// recoverImage recovers twice, which must give the same, the second time on what a crash during the first or
// just after it left; and sometimes goes on, for a store that recovered must survive its next life too.
func recoverImage(r *rand.Rand, image *disktest.Memory, h *history) error {
	if r.IntN(16) == 0 {
		if err := inspectionAgrees(image.Clone()); err != nil {
			return err
		}
	}
	tr := image.Record()
	first, image, err := recoverOnce(image, nil)
	if err != nil {
		return err
	}
	if err := h.allows(first); err != nil {
		return err
	}
	again := image
	if r.IntN(2) == 0 {
		c := tr.Start()
		for range r.IntN(tr.Len()) {
			c.Step()
		}
		again = c.Image(r.Uint64(), r)
	}
	second, again, err := recoverOnce(again, nil)
	if err != nil {
		return fmt.Errorf("second recovery: %w", err)
	}
	if !first.equal(second) {
		return fmt.Errorf("the second recovery differs from the first")
	}
	switch r.IntN(8) {
	case 0, 1:
		return secondLife(r, again, second)
	case 2:
		return lostPageCostsItsGroup(r, again, second)
	}
	return nil
}

// lostPageCostsItsGroup recovers once more after a metadata page has decayed.
func lostPageCostsItsGroup(r *rand.Rand, image *disktest.Memory, f *found) error {
	var pages []disk.LivePage
	_, image, err := recoverOnce(image, func(s *disk.Store) error { pages = s.LivePages(); return nil })
	if err != nil || len(pages) == 0 {
		return err
	}
	lost := pages[r.IntN(len(pages))]
	image.Flip(lost.At + r.Int64N(wire.BlockSize))
	s, err := disk.Open(image, testIdentity, disk.Options{Readers: 1, Writers: 2, DirtyBytes: lowMemory})
	if err != nil {
		return fmt.Errorf("open with a lost page: %w", err)
	}
	defer s.Abandon()
	for rep, want := range f.replicas {
		read := get(s, rep, 0, testSegment)
		var sum *disk.ChecksumError
		if read.Err != nil && (rep != lost.Replica || !errors.As(read.Err, &sum)) {
			return fmt.Errorf("%v, when group %d of %v was lost: %w", rep, lost.Group, lost.Replica, read.Err)
		}
		for i := range uint32(testSegment) {
			same := read.Versions[i] == want.blocks[i].version && read.CRC[i] == want.crcs[i]
			bad := sum != nil && slices.Contains(sum.Blocks, i)
			if bad && i/128 != lost.Group || !bad && !same {
				return fmt.Errorf("%v block %d, when group %d of %v was lost: bad %v, same %v", rep, i, lost.Group, lost.Replica, bad, same)
			}
		}
	}
	return s.Audit()
}

// inspectionAgrees compares what an inspection says with the store that a recovery opens.
func inspectionAgrees(image *disktest.Memory) error {
	in, err := disk.Inspect(image)
	if err != nil {
		return err
	}
	s, err := disk.Open(image, testIdentity, disk.Options{Readers: 1, Writers: 2})
	if err != nil {
		return err
	}
	defer s.Abandon()
	return inspectedAs(in, s)
}

// lowMemory is less than the store had that crashed, so that recovery must make checkpoints on its way.
const lowMemory = 16 << 10

func recoverOnce(image *disktest.Memory, then func(*disk.Store) error) (*found, *disktest.Memory, error) {
	s, err := disk.Open(image, testIdentity, disk.Options{Readers: 1, Writers: 2, DirtyBytes: lowMemory})
	if err != nil {
		return nil, nil, err
	}
	f, err := inspect(s)
	if dirty := s.Stats().Dirty; err == nil && dirty > lowMemory+testJournal/4 {
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
				f.replicas[rep].blocks[block+i] = blockState{v(2, seq), true}
			}
			if r.IntN(3) == 0 {
				s.Checkpoint()
			}
		}
		f.label++
		return s.SetLabel(numberedLabel(f.label))
	})
	if err != nil {
		return err
	}
	last, _, err := recoverOnce(image, nil)
	if err != nil {
		return fmt.Errorf("after a second life: %w", err)
	}
	for rep := range f.replicas {
		if last.replicas[rep] != nil {
			f.replicas[rep].crcs = last.replicas[rep].crcs
		}
	}
	if !f.equal(last) {
		return fmt.Errorf("a second life's writes are lost")
	}
	return nil
}
