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
	failAt    int // 0: none
	fault     Fault
	failReads atomic.Bool
	sectors   map[int64]bool // blocks of 4,096 bytes that cannot be read until they are written
	delay     atomic.Int64   // of each write, ns
	held      chan struct{}
}

// NewFaulty wraps dev without a fault.
func NewFaulty(dev disk.Device) *Faulty { return &Faulty{Device: dev} }

// Fault is what becomes of a write or sync.
type Fault struct {
	Err   error                // nil: a short write that is not reported
	Reach func(length int) int // bytes of the write that reach the device, in units of 512; nil: half of it, in units of 4,096
	Once  bool                 // later writes succeed
	Lie   bool                 // the device says that all of it was done, and did nothing
}

// FailWrite makes the n-th write or sync from now on (1: the next) and all later ones fail.
// The failing write reaches the device by half.
func (f *Faulty) FailWrite(n int, err error) { f.Fail(n, Fault{Err: err}) }

// Fail gives the n-th write or sync from now on (1: the next) a fault, and all later ones unless it is
// for once. What comes later does not reach the device. A sync that is to be short fails with EIO.
func (f *Faulty) Fail(n int, fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failAt, f.fault = f.writes+n, fault
}

// FailReads makes reads fail with EIO, or work again.
func (f *Faulty) FailReads(fail bool) { f.failReads.Store(fail) }

// BadSector makes the 4,096 bytes at off fail each read with EIO, until they are written.
func (f *Faulty) BadSector(off int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.sectors == nil {
		f.sectors = map[int64]bool{}
	}
	f.sectors[off] = true
}

// touches says whether a range has a bad sector; heal makes those in it good.
func (f *Faulty) touches(b []byte, off int64, heal bool) (bad bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for at := range f.sectors {
		if off <= at && at < off+int64(len(b)) {
			bad = true
			if heal {
				delete(f.sectors, at)
			}
		}
	}
	return bad
}

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

// next counts a write. It gives back the fault that hits it, if one does; first says that none was hit before.
func (f *Faulty) next() (fault *Fault, first bool) {
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
	first = f.writes == f.failAt
	if first || f.failAt > 0 && f.writes > f.failAt && !f.fault.Once {
		return &f.fault, first
	}
	return nil, false
}

func (f *Faulty) WriteAt(b []byte, off int64) (int, error) { return f.write(b, off, f.Device.WriteAt) }

func (f *Faulty) WriteThrough(b []byte, off int64) (int, error) {
	return f.write(b, off, f.Device.WriteThrough)
}

func (f *Faulty) write(b []byte, off int64, write func([]byte, int64) (int, error)) (int, error) {
	fault, first := f.next()
	if fault == nil {
		f.touches(b, off, true)
		return write(b, off)
	}
	if fault.Lie {
		return len(b), nil
	}
	if !first {
		return 0, fault.Err
	}
	n := len(b) / 2 &^ (pageSize - 1)
	if fault.Reach != nil {
		n = fault.Reach(len(b)) &^ 511
	}
	if n == 0 {
		return 0, fault.Err
	}
	torn := make([]byte, (n+pageSize-1)&^(pageSize-1))
	if _, err := f.Device.ReadAt(torn, off); err != nil {
		return 0, err
	}
	copy(torn, b[:n])
	if _, err := write(torn, off); err != nil {
		return 0, err
	}
	return n, fault.Err
}

func (f *Faulty) Sync() error {
	fault, _ := f.next()
	switch {
	case fault == nil:
		return f.Device.Sync()
	case fault.Lie:
		return nil
	case fault.Err == nil:
		return syscall.EIO
	}
	return fault.Err
}

func (f *Faulty) ReadAt(b []byte, off int64) (int, error) {
	if f.failReads.Load() || f.touches(b, off, false) {
		return 0, syscall.EIO
	}
	return f.Device.ReadAt(b, off)
}
