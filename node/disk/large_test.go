package disk_test

import (
	"sync"
	"testing"
	"time"

	"ashlar/node/disk"
	"ashlar/node/disk/disktest"
	"ashlar/replication/wire"
)

// heldUp is a device that holds writes up while it is told to.
type heldUp struct {
	disk.Device
	mu    sync.Mutex
	which func(off int64) bool // nil: none
	held  chan struct{}        // gets one for each
	goOn  chan struct{}
}

// hold begins to hold up what is chosen, until letGo.
func (d *heldUp) hold(which func(off int64) bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.which, d.held, d.goOn = which, make(chan struct{}, 1000), make(chan struct{})
}

func (d *heldUp) letGo() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.which != nil {
		close(d.goOn)
	}
	d.which = nil
}

func (d *heldUp) pass(off int64) {
	d.mu.Lock()
	holds, held, goOn := d.which != nil && d.which(off), d.held, d.goOn
	d.mu.Unlock()
	if holds {
		held <- struct{}{}
		<-goOn
	}
}

func (d *heldUp) WriteAt(b []byte, off int64) (int, error) {
	d.pass(off)
	return d.Device.WriteAt(b, off)
}

func (d *heldUp) WriteThrough(b []byte, off int64) (int, error) {
	d.pass(off)
	return d.Device.WriteThrough(b, off)
}

// begin submits a write whose result comes later.
func begin(s *disk.Store, w *disk.Write) chan error {
	done := make(chan error, 1)
	w.Done = func(w *disk.Write) { done <- w.Err }
	s.Write(w)
	return done
}

// waiting waits until so many operations wait for a record.
func waiting(t *testing.T, s *disk.Store, n int) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); s.Waiting() != n; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d operations wait, want %d", s.Waiting(), n)
		}
	}
}

// recovered is the store on what a crash leaves now, recovered with hardly any memory: by a checkpoint for each record.
func recovered(t *testing.T, memory *disktest.Memory) *disk.Store {
	t.Helper()
	s, err := disk.Open(memory.Clone(), testIdentity, disk.Options{Readers: 1, Writers: 1, DirtyBytes: 1})
	check(t, err)
	t.Cleanup(s.Abandon)
	return s
}

func withReplica(t *testing.T, r disk.Replica) (*disktest.Memory, *heldUp, *disk.Store) {
	memory := formatted(t)
	dev := &heldUp{Device: memory}
	s := open(t, dev)
	check(t, s.Create(r))
	t.Cleanup(func() { dev.letGo(); s.Abandon() })
	return memory, dev, s
}

func TestALargeWriteIsWrittenOnceAndDurable(t *testing.T) {
	r := replica(1, 0)
	memory, _, s := withReplica(t, r)
	before := s.Stats().JournalUsed
	check(t, put(s, r, 30, 200, v(1, 1))) // chunks 1 to 6, and some blocks at both ends
	if used := s.Stats().JournalUsed - before; used > 64<<10 {
		t.Errorf("%d bytes of the journal are used", used)
	}
	for _, s := range []*disk.Store{s, recovered(t, memory)} {
		holds(t, s, r, 30, 200, v(1, 1))
		isZero(t, s, r, 0, 30, v(0, 0))
		isZero(t, s, r, 230, testSegment-230, v(0, 0))
		audit(t, s)
		holds(t, s, r, 30, 200, v(1, 1))
	}
}

func TestWhatIsPromisedToBeAtomicIsOneRecord(t *testing.T) {
	r, memory := replica(1, 0), disktest.NewMemory(testDevice)
	check(t, disk.Format(memory, testIdentity, disk.FormatOptions{Journal: 16 << 20}))
	s := open(t, memory)
	defer s.Abandon()
	check(t, s.Create(r))
	for i, block := range []uint32{0, 1, 31, 32, 32} {
		before := s.Stats()
		check(t, put(s, r, block, disk.AtomicBytes/wire.BlockSize, v(1, uint64(i))))
		after := s.Stats()
		if bytes := after.JournalUsed - before.JournalUsed; after.Batches != before.Batches+1 || bytes < disk.AtomicBytes {
			t.Errorf("at block %d it is %d records, of %d bytes in all", block, after.Batches-before.Batches, bytes)
		}
	}
}

func TestRefusedLargeWriteGivesItsChunksBack(t *testing.T) {
	r := replica(1, 0)
	_, _, s := withReplica(t, r)
	check(t, put(s, r, 0, 64, v(1, 5)))
	used := s.Stats().Used
	wantError(t, put(s, r, 0, 64, v(1, 3)), disk.ErrVersion)
	if now := s.Stats().Used; now != used {
		t.Errorf("%d bytes are used, were %d", now, used)
	}
	holds(t, s, r, 0, 64, v(1, 5))
	audit(t, s)
}

// A replica that was begun anew does not get what was on its way to the one before.
func TestLargeWriteDoesNotReachTheNextReplica(t *testing.T) {
	r := replica(1, 0)
	_, dev, s := withReplica(t, r)
	check(t, put(s, r, 0, 64, v(1, 1)))
	dev.hold(func(off int64) bool { return off >= s.DataStart() })
	late := begin(s, dataWrite(r, 0, 64, v(1, 2)))
	<-dev.held
	check(t, s.Reset(r))
	dev.letGo()
	wantError(t, <-late, disk.ErrNoReplica)
	isZero(t, s, r, 0, testSegment, v(0, 0))
	audit(t, s)
}

// A small write that follows a large one into the same record goes to the chunk's new place.
func TestSmallWriteFollowsALargeOneToItsPlace(t *testing.T) {
	r := replica(1, 0)
	memory, dev, s := withReplica(t, r)
	check(t, put(s, r, 0, 64, v(1, 1)))
	_, _, _, journal, _ := s.Layout()
	dev.hold(func(off int64) bool { return off >= journal && off < journal+testJournal })
	first := begin(s, dataWrite(r, 200, 1, v(1, 1)))
	<-dev.held
	large := begin(s, dataWrite(r, 0, 64, v(1, 2)))
	waiting(t, s, 1)
	small := begin(s, dataWrite(r, 3, 1, v(1, 3)))
	waiting(t, s, 2)
	dev.letGo()
	for _, done := range []chan error{first, large, small} {
		check(t, <-done)
	}
	right := func(s *disk.Store) {
		t.Helper()
		holds(t, s, r, 0, 3, v(1, 2))
		holds(t, s, r, 3, 1, v(1, 3))
		holds(t, s, r, 4, 60, v(1, 2))
	}
	right(s)
	right(recovered(t, memory))
	audit(t, s)
	s.DropCache()
	right(s)
}

// A recovery may write a block that the journal has to a chunk whose owner has changed since. So what is written past the
// journal goes there only once the journal has forgotten the owner before.
func TestLargeWriteGoesNowhereThatTheJournalSpeaksOf(t *testing.T) {
	r := replica(1, 0)
	memory, dev, s := withReplica(t, r)
	check(t, put(s, r, 0, 64, v(1, 1)))
	place, _ := s.BlockPlace(r, 0)
	s.Checkpoint()
	check(t, put(s, r, 3, 1, v(1, 2)))  // in the journal, for the first chunk's place
	check(t, put(s, r, 0, 64, v(1, 3))) // moves the chunk
	check(t, put(s, r, 64, 64, v(1, 4)))
	right := func(s *disk.Store) {
		t.Helper()
		holds(t, s, r, 0, 64, v(1, 3))
		holds(t, s, r, 64, 64, v(1, 4))
	}
	right(recovered(t, memory))

	// Nor while the checkpoint that forgets it can still be cut off by a crash.
	_, control, slot, _, _ := s.Layout()
	dev.hold(func(off int64) bool { return off >= control && off < control+4*slot })
	made := make(chan struct{})
	go func() { s.Checkpoint(); close(made) }()
	<-dev.held
	check(t, put(s, r, 128, 64, v(1, 5)))
	again := recovered(t, memory)
	right(again)
	holds(t, again, r, 128, 64, v(1, 5))
	dev.letGo()
	<-made

	// But then it does.
	check(t, put(s, r, 192, 64, v(1, 6)))
	if now, _ := s.BlockPlace(r, 192); now != place {
		t.Errorf("the free chunk at %d is not used again: %d is", place, now)
	}
	right(s)
	audit(t, s)
}

// On a disk that is nearly full large writes go through the journal, to the chunks that they have.
func TestLargeWritesTakeNoRoomFromANearlyFullDisk(t *testing.T) {
	_, _, s := withReplica(t, replica(1, 0))
	full, last := 0, disk.Replica{}
	for ; !s.Stats().Low; full++ {
		last = replica(2, full)
		check(t, s.Create(last))
		check(t, put(s, last, 0, testSegment, v(1, 1)))
	}
	place, _ := s.BlockPlace(last, 0)
	for seq := uint64(2); seq < 6; seq++ {
		check(t, put(s, last, 0, 64, v(1, seq)))
	}
	if now, _ := s.BlockPlace(last, 0); now != place {
		t.Error("it was moved")
	}
	holds(t, s, last, 0, 64, v(1, 5))
	audit(t, s)
}

func TestCloseWaitsForALargeWrite(t *testing.T) {
	r := replica(1, 0)
	memory, dev, s := withReplica(t, r)
	dev.hold(func(off int64) bool { return off >= s.DataStart() })
	large := begin(s, dataWrite(r, 0, 64, v(1, 1)))
	<-dev.held
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	select {
	case <-closed:
		t.Fatal("the store closed under a write")
	case <-time.After(20 * time.Millisecond):
	}
	dev.letGo()
	check(t, <-large)
	check(t, <-closed)
	holds(t, recovered(t, memory.Again()), r, 0, 64, v(1, 1))
}
