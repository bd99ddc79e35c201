package disk_test

import (
	"runtime"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"

	"ashlar/node/disk"
	"ashlar/node/disk/disktest"
)

// overtaken is a device on which the second write-through passes the first, which waits to be let go.
type overtaken struct {
	disk.Device
	writes atomic.Int32
	begun  chan struct{} // closed when the first is issued
	passed chan struct{} // closed when the second is stable
	first  chan error    // what becomes of the first; nil: it is written
}

func (d *overtaken) WriteThrough(b []byte, off int64) (int, error) {
	switch d.writes.Add(1) {
	case 1:
		close(d.begun)
		if err := <-d.first; err != nil {
			return 0, err
		}
	case 2:
		defer close(d.passed)
	}
	return d.Device.WriteThrough(b, off)
}

// overtake has one record held in the device, with block 0, and the next one stable, with
// more and blocks 130 to 149. The journal is so large that no checkpoint is due.
func overtake(t *testing.T, r disk.Replica, more ...*disk.Write) (memory *disktest.Memory, dev *overtaken, s *disk.Store, results chan error) {
	memory = disktest.NewMemory(testDevice)
	check(t, disk.Format(memory, testIdentity, disk.FormatOptions{Journal: 1 << 20}))
	s = open(t, memory)
	check(t, s.Create(r))
	check(t, s.Close())
	memory = memory.Again()
	dev = &overtaken{Device: memory, begun: make(chan struct{}), passed: make(chan struct{}), first: make(chan error, 1)}
	s = open(t, dev)
	results = make(chan error, 21)
	send := func(w *disk.Write) {
		w.Done = func(w *disk.Write) { results <- w.Err }
		s.Write(w)
	}
	send(dataWrite(r, 0, 1, v(1, 1)))
	<-dev.begun
	for _, w := range more {
		s.Write(w)
	}
	for i := range uint32(20) {
		send(dataWrite(r, 130+i, 1, v(1, 1)))
	}
	<-dev.passed
	return memory, dev, s, results
}

func TestRecordThatOvertookALostOneNeverCounts(t *testing.T) {
	r := replica(1, 0)
	memory, dev, s, results := overtake(t, r)
	if len(results) > 0 {
		t.Error("a write was acknowledged before the record in front of it was stable")
	}
	crashed := memory.Clone()
	dev.first <- nil
	for range 21 {
		check(t, <-results)
	}
	s.Abandon()

	s = open(t, crashed)
	isZero(t, s, r, 0, testSegment, v(0, 0))
	check(t, put(s, r, 0, 1, v(1, 2))) // as long as the record that was lost
	s.Abandon()
	s = open(t, crashed.Again())
	holds(t, s, r, 0, 1, v(1, 2))
	isZero(t, s, r, 1, testSegment-1, v(0, 0))
	audit(t, s)
	check(t, s.Close())
}

func TestFailedRecordFailsThoseThatOvertookIt(t *testing.T) {
	r := replica(1, 0)
	memory, dev, s, results := overtake(t, r)
	dev.first <- syscall.EIO
	for range 21 {
		wantError(t, <-results, disk.ErrFailed)
	}
	s.Close()
	s = open(t, memory.Again())
	isZero(t, s, r, 0, testSegment, v(0, 0))
	check(t, s.Close())
}

func TestDecayOfARecordThatWasOvertakenIsFound(t *testing.T) {
	r := replica(1, 0)
	memory, dev, s, results := overtake(t, r)
	_, _, _, _, head := s.Layout()
	dev.first <- nil
	for range 21 {
		check(t, <-results)
	}
	check(t, put(s, r, 0, 1, v(1, 2))) // issued when all before it were stable
	s.Abandon()
	memory = memory.Again()
	memory.Flip(head + 5000)
	_, err := disk.Open(memory, testIdentity, disk.Options{})
	wantError(t, err, disk.ErrDamaged)
}

func TestOlderVersionIsRefusedWhileTheNewerOneIsInFlight(t *testing.T) {
	r := replica(1, 0)
	older := make(chan error, 1)
	w := dataWrite(r, 0, 1, v(1, 0))
	w.Done = func(w *disk.Write) { older <- w.Err }
	_, dev, s, results := overtake(t, r, w)
	wantError(t, <-older, disk.ErrVersion)
	dev.first <- nil
	for range 21 {
		check(t, <-results)
	}
	holds(t, s, r, 0, 1, v(1, 1))
	check(t, s.Close())
}

// A chunk that a record in flight frees is not one that a later record can count on.
func TestWritesBehindZerosGetTheirChunkAnew(t *testing.T) {
	r := replica(1, 0)
	dev := disktest.NewFaulty(formatted(t))
	s := open(t, dev)
	check(t, s.Create(r))
	check(t, put(s, r, 0, 32, v(1, 1)))
	s.Checkpoint()
	release := dev.Hold()
	results := make(chan error, 21)
	zeros := &disk.Write{Replica: r, Count: 32, Version: v(1, 2)}
	zeros.Done = func(w *disk.Write) { results <- w.Err }
	s.Write(zeros)
	for s.Waiting() > 0 {
		runtime.Gosched()
	}
	for i := range uint32(20) {
		w := dataWrite(r, i, 1, v(1, 3))
		w.Done = func(w *disk.Write) { results <- w.Err }
		s.Write(w)
	}
	for range 1000 {
		runtime.Gosched() // room for a mistake
	}
	release()
	for range 21 {
		check(t, <-results)
	}
	audit(t, s)
	s.DropCache()
	holds(t, s, r, 0, 20, v(1, 3))
	isZero(t, s, r, 20, 12, v(1, 2))
	check(t, s.Close())
}

// What a write left out because nothing was ever written there is left out too when it shares a record with
// what writes there first, whichever comes first.
func TestZeroWriteBesideTheFirstWriteOfItsGroup(t *testing.T) {
	r := replica(1, 0)
	memory := formatted(t)
	dev := disktest.NewFaulty(memory)
	s := open(t, dev)
	check(t, s.Create(r))
	release := dev.Hold()
	var all []*disk.Write
	done := make(chan *disk.Write, 5)
	for _, w := range []*disk.Write{
		dataWrite(r, 0, 1, v(1, 1)), // holds the device
		{Replica: r, Block: 120, Count: 16, Version: v(1, 9)},
		dataWrite(r, 130, 1, v(1, 2)), // older than the zeros, which left its group out
		{Replica: r, Block: 128, Count: 2, Version: v(1, 3)},
		{Replica: r, Block: 128, Count: 8, Version: v(1, 1)}, // older than what is queued
	} {
		w.Done = func(w *disk.Write) { done <- w }
		all = append(all, w)
		s.Write(w)
	}
	release()
	for range all {
		w := <-done
		if i := slices.Index(all, w); i == 4 {
			wantError(t, w.Err, disk.ErrVersion)
		} else if w.Err != nil {
			t.Errorf("write %d: %v", i, w.Err)
		}
	}
	for range 2 {
		isZero(t, s, r, 120, 8, v(1, 9))
		isZero(t, s, r, 128, 2, v(1, 3))
		holds(t, s, r, 130, 1, v(1, 2))
		isZero(t, s, r, 131, 5, v(0, 0))
		s.Abandon()
		memory = memory.Again()
		s = open(t, memory)
	}
	check(t, s.Close())
}
