package disk_test

import (
	"runtime"
	"testing"

	"ashlar/node/disk"
	"ashlar/replication/wire"
)

// flat is a device in memory that allocates nothing.
type flat []byte

func (f flat) ReadAt(b []byte, off int64) (int, error)       { return copy(b, f[off:]), nil }
func (f flat) WriteAt(b []byte, off int64) (int, error)      { return copy(f[off:], b), nil }
func (f flat) WriteThrough(b []byte, off int64) (int, error) { return copy(f[off:], b), nil }
func (f flat) Sync() error                                   { return nil }
func (f flat) Size() int64                                   { return int64(len(f)) }
func (f flat) Close() error                                  { return nil }

// Once its room is there, a store allocates nothing for a write of one block, or a read of it from memory or device.
func TestOneBlockIsWrittenAndReadWithoutAllocating(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // which AllocsPerRun does too, and which empties each sync.Pool
	dev, r := make(flat, testDevice), replica(1, 0)
	check(t, disk.Format(dev, testIdentity, disk.FormatOptions{Journal: 4 << 20}))
	s := open(t, dev)
	check(t, s.Create(r))
	done := make(chan error, 1)
	w := dataWrite(r, 5, 1, v(1, 0))
	w.Done = func(w *disk.Write) { done <- w.Err }
	read := &disk.Read{Replica: r, Block: 5, Count: 1, Data: make([]byte, wire.BlockSize), Done: func(r *disk.Read) { done <- r.Err }}
	for range 2 { // from memory, then from the device
		if n := testing.AllocsPerRun(10, func() { s.Read(read); check(t, <-done) }); n >= 1 {
			t.Errorf("%v allocations for a read", n)
		}
		s.Checkpoint()
	}
	for range 3 * 50 {
		s.Write(w)
		check(t, <-done)
	}
	s.Checkpoint()
	if n := testing.AllocsPerRun(20, func() { s.Write(w); check(t, <-done) }); n >= 1 {
		t.Errorf("%v allocations for a write", n)
	}
	check(t, s.Close())
}
