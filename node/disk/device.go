package disk

import (
	"io"
	"slices"
	"sync"
	"sync/atomic"

	"ashlar/target/pages"
)

// Device is what a store lies on: a block device, a file, a test's memory.
// Offsets and lengths are multiples of 4,096 bytes. All methods may be called
// from several goroutines; writes that overlap are never issued together.
type Device interface {
	// ReadAt fills p or fails.
	ReadAt(p []byte, off int64) (int, error)
	// WriteAt gives p to the device. After a crash any part of it may be there,
	// in units of 512 bytes, until a Sync that began after it returned has returned.
	WriteAt(p []byte, off int64) (int, error)
	// WriteThrough is WriteAt that returns when p is on stable storage. It says
	// nothing about other writes.
	WriteThrough(p []byte, off int64) (int, error)
	// Sync returns when all that WriteAt took before is on stable storage.
	Sync() error
	// Size is constant while the device is open, in bytes.
	Size() int64
	Close() error
}

// piece is a write of whole blocks that lie one after the other in the device, and anywhere in memory.
type piece struct {
	off    int64
	blocks []*[blockSize]byte
}

// unaligned says whether direct I/O would refuse it.
func (p piece) unaligned() bool {
	return slices.ContainsFunc(p.blocks, func(b *[blockSize]byte) bool { return !pages.Aligned(b[:]) })
}

// writeSideBySide writes pieces, so many at once, and returns the first error, after which no more are begun.
func writeSideBySide(write func([]byte, int64) (int, error), pieces []piece, atOnce int) (first error) {
	var mu sync.Mutex
	next := func() (p piece, ok bool) {
		mu.Lock()
		defer mu.Unlock()
		if len(pieces) == 0 || first != nil {
			return piece{}, false
		}
		p, pieces = pieces[0], pieces[1:]
		return p, true
	}
	var writers sync.WaitGroup
	for range min(atOnce, len(pieces)) {
		writers.Go(func() {
			buffer := pages.Make(chunkBytes)
			for p, ok := next(); ok; p, ok = next() {
				n := 0
				for _, b := range p.blocks {
					n += copy(buffer[n:], b[:])
				}
				if _, err := write(buffer[:n], p.off); err != nil {
					mu.Lock()
					if first == nil {
						first = err
					}
					mu.Unlock()
				}
			}
		})
	}
	writers.Wait()
	return first
}

// gate is the device as the store writes it: shut for writes by the first one that fails (I11).
type gate struct {
	Device
	shut  atomic.Bool
	pulse pulse
}

func (g *gate) ReadAt(p []byte, off int64) (int, error) {
	at := g.pulse.begin(reading)
	n, err := g.Device.ReadAt(p, off)
	g.pulse.end(reading, at)
	return n, err
}

func (g *gate) WriteAt(p []byte, off int64) (int, error) { return g.write(g.Device.WriteAt, p, off) }

func (g *gate) WriteThrough(p []byte, off int64) (int, error) {
	at := g.pulse.begin(writing)
	n, err := g.write(g.Device.WriteThrough, p, off)
	g.pulse.endDurable(at, err)
	return n, err
}

func (g *gate) write(write func([]byte, int64) (int, error), p []byte, off int64) (int, error) {
	if g.shut.Load() {
		return 0, ErrFailed
	}
	n, err := write(p, off)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	if err != nil {
		g.shut.Store(true)
	}
	return n, err
}

// writeEach is WriteAt of pieces of at most a chunk, in any order, so many at once.
func (g *gate) writeEach(pieces []piece, atOnce int) error {
	d, ok := g.Device.(interface{ writeEach([]piece, int) error })
	if !ok {
		return writeSideBySide(g.WriteAt, pieces, atOnce)
	}
	if g.shut.Load() {
		return ErrFailed
	}
	err := d.writeEach(pieces, atOnce)
	if err != nil {
		g.shut.Store(true)
	}
	return err
}

func (g *gate) Sync() error {
	if g.shut.Load() {
		return ErrFailed
	}
	at := g.pulse.begin(writing)
	err := g.Device.Sync()
	if err != nil {
		g.shut.Store(true)
	}
	g.pulse.endDurable(at, err)
	return err
}
