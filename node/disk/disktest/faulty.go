package disktest

import (
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"ashlar/node/disk"
)

// Faulty passes calls on to a device, and fails some.
type Faulty struct {
	disk.Device
	mu        sync.Mutex
	writes    int // writes and syncs so far
	failAt    int // from this one on all fail; 0: none
	err       error
	failReads atomic.Bool
	delay     atomic.Int64 // of each write, ns
	held      chan struct{}
}

// NewFaulty wraps dev without a fault.
func NewFaulty(dev disk.Device) *Faulty { return &Faulty{Device: dev} }

// FailWrite makes the n-th write or sync from now on (1: the next) and all later ones fail.
// The failing write reaches the device by half.
func (f *Faulty) FailWrite(n int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failAt, f.err = f.writes+n, err
}

// FailReads makes reads fail with EIO, or work again.
func (f *Faulty) FailReads(fail bool) { f.failReads.Store(fail) }

// Slow delays each write.
func (f *Faulty) Slow(delay time.Duration) { f.delay.Store(int64(delay)) }

// Hold makes writes wait until release is called.
func (f *Faulty) Hold() (release func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	held := make(chan struct{})
	f.held = held
	return func() {
		f.mu.Lock()
		f.held = nil
		f.mu.Unlock()
		close(held)
	}
}

// Writes is how many writes and syncs there were.
func (f *Faulty) Writes() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.writes
}

// next counts a write; first says that it is the first to fail.
func (f *Faulty) next() (first bool, err error) {
	time.Sleep(time.Duration(f.delay.Load()))
	f.mu.Lock()
	held := f.held
	f.mu.Unlock()
	if held != nil {
		<-held
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.writes++
	if f.failAt > 0 && f.writes >= f.failAt {
		return f.writes == f.failAt, f.err
	}
	return false, nil
}

func (f *Faulty) WriteAt(b []byte, off int64) (int, error) { return f.write(b, off, f.Device.WriteAt) }

func (f *Faulty) WriteThrough(b []byte, off int64) (int, error) {
	return f.write(b, off, f.Device.WriteThrough)
}

func (f *Faulty) write(b []byte, off int64, write func([]byte, int64) (int, error)) (int, error) {
	first, err := f.next()
	if err == nil {
		return write(b, off)
	}
	if half := len(b) / 2 &^ (pageSize - 1); first && half > 0 {
		write(b[:half], off)
	}
	return 0, err
}

func (f *Faulty) Sync() error {
	if _, err := f.next(); err != nil {
		return err
	}
	return f.Device.Sync()
}

func (f *Faulty) ReadAt(b []byte, off int64) (int, error) {
	if f.failReads.Load() {
		return 0, syscall.EIO
	}
	return f.Device.ReadAt(b, off)
}
