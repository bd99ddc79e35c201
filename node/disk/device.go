package disk

import (
	"io"
	"sync/atomic"
	"unsafe"
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

// alignedBytes returns n zero bytes at an address that direct I/O accepts.
func alignedBytes(n int) []byte {
	b := make([]byte, n) // whole pages of memory mostly are aligned
	if n == 0 || isAligned(b) {
		return b
	}
	b = make([]byte, n+blockSize)
	skip := 0
	if r := int(uintptr(unsafe.Pointer(unsafe.SliceData(b))) % blockSize); r != 0 {
		skip = blockSize - r
	}
	return b[skip : skip+n : skip+n]
}

func isAligned(b []byte) bool {
	return uintptr(unsafe.Pointer(unsafe.SliceData(b)))%blockSize == 0
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
	g.pulse.end(reading, at, err)
	return n, err
}

func (g *gate) WriteAt(p []byte, off int64) (int, error) { return g.write(g.Device.WriteAt, p, off) }

func (g *gate) WriteThrough(p []byte, off int64) (int, error) {
	at := g.pulse.begin(writing)
	n, err := g.write(g.Device.WriteThrough, p, off)
	g.pulse.end(writing, at, err)
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

func (g *gate) Sync() error {
	if g.shut.Load() {
		return ErrFailed
	}
	at := g.pulse.begin(writing)
	err := g.Device.Sync()
	if err != nil {
		g.shut.Store(true)
	}
	g.pulse.end(writing, at, err)
	return err
}
