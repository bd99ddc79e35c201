package disk_test

import (
	"sync/atomic"
	"testing"
	"time"

	"ashlar/node/disk"
	"ashlar/node/disk/disktest"
)

// rationed is a device that writes in place only so often as it is let.
type rationed struct {
	disk.Device
	tokens chan struct{}
}

func (d *rationed) WriteAt(b []byte, off int64) (int, error) {
	<-d.tokens
	return d.Device.WriteAt(b, off)
}

// Writes go on beside a write-back, in the second half of their room no faster than that.
func TestWritesFollowTheWriteBack(t *testing.T) {
	id := testIdentity
	id.SegmentBlocks = 8192
	memory := disktest.NewMemory(256 << 20)
	check(t, disk.Format(memory, id, disk.FormatOptions{Journal: 64 << 20}))
	dev := &rationed{memory, make(chan struct{}, 1<<20)}
	for range 1000 {
		dev.tokens <- struct{}{} // to open the store, and make a replica
	}
	s, err := disk.Open(dev, id, disk.Options{Readers: 1, Writers: 4, DirtyBytes: 8 << 20})
	check(t, err)
	r := replica(1, 0)
	check(t, s.Create(r))
	for len(dev.tokens) > 0 {
		<-dev.tokens
	}
	const all = 3000
	var done atomic.Int64
	ended := make(chan error, 1)
	go func() {
		for i := range uint32(all) {
			if err := put(s, r, i*2%8192, 1, v(1, uint64(i+1))); err != nil {
				ended <- err
				return
			}
			done.Add(1)
		}
		ended <- nil
	}()
	await := func(what string, ok func() bool) {
		for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("not in a minute: %s", what)
			}
		}
		time.Sleep(200 * time.Millisecond) // for what must not follow
	}
	// Half is frozen, and beside it the other half becomes full.
	await("both halves are full", func() bool { return s.Stats().Dirty >= 7<<20 })
	if bytes := s.Stats().Dirty; bytes > 9<<20 {
		t.Errorf("%d bytes wait in memory while nothing is written back, 8 MiB are expected", bytes)
	}
	first := done.Load()
	for range first / 4 {
		dev.tokens <- struct{}{}
	}
	await("writes go on when half of the first half is written back", func() bool { return done.Load() > first+first/16 })
	if more := done.Load() - first; more > first/3 {
		t.Errorf("%d of %d writes more are done when half of the first half is written back", more, first)
	}
	close(dev.tokens)
	check(t, <-ended)
	check(t, s.Close())
}
