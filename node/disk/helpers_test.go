package disk_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"sync"
	"testing"

	"ashlar/node/disk"
	"ashlar/node/disk/disktest"
	"ashlar/replication/wire"
)

const (
	testSegment = 320 // blocks: two groups and a half
	testDevice  = 64 << 20
	testJournal = 256 << 10
)

var testIdentity = disk.Identity{Cluster: [16]byte{1}, Disk: [16]byte{2}, SegmentBlocks: testSegment, Nonce: [16]byte{3}}

func replica(volume, segment int) disk.Replica {
	return disk.Replica{Volume: wire.VolumeID(volume), Segment: wire.Segment(segment)}
}

func v(epoch, seq uint64) disk.Version { return disk.Version{Epoch: epoch, Seq: seq} }

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantError(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error %v, want %v", err, want)
	}
}

var emptyStore = sync.OnceValues(func() (*disktest.Memory, error) {
	dev := disktest.NewMemory(testDevice)
	return dev, disk.Format(dev, testIdentity, disk.FormatOptions{Journal: testJournal})
})

// formatted is a small empty store in memory.
func formatted(t testing.TB) *disktest.Memory {
	t.Helper()
	dev, err := emptyStore()
	check(t, err)
	return dev.Clone()
}

func open(t testing.TB, dev disk.Device) *disk.Store {
	t.Helper()
	s, err := disk.Open(dev, testIdentity, disk.Options{Readers: 2, Writers: 2})
	check(t, err)
	return s
}

// content is what the tests write to a block: it follows from place and version.
func content(r disk.Replica, block uint32, version disk.Version) []byte {
	b := make([]byte, wire.BlockSize)
	seed := contentSeed(r, block, version)
	for i := 0; i < len(b); i += 512 { // each sector differs from each other version's
		copy(b[i:], seed[:])
		b[i+28] = byte(i / 512)
	}
	return b
}

// isContent says whether each sector of b begins as content's. The store's checksum vouches for the rest.
func isContent(b []byte, r disk.Replica, block uint32, version disk.Version) bool {
	seed := contentSeed(r, block, version)
	for i := 0; i < len(b); i += 512 {
		if [28]byte(b[i:]) != seed || b[i+28] != byte(i/512) {
			return false
		}
	}
	return true
}

func contentSeed(r disk.Replica, block uint32, version disk.Version) (seed [28]byte) {
	binary.LittleEndian.PutUint64(seed[0:], uint64(r.Volume)<<32|uint64(r.Segment))
	binary.LittleEndian.PutUint32(seed[8:], block)
	binary.LittleEndian.PutUint64(seed[12:], version.Epoch)
	binary.LittleEndian.PutUint64(seed[20:], version.Seq)
	return seed
}

// dataWrite is a write of content; Done is to be set.
func dataWrite(r disk.Replica, block, count uint32, version disk.Version) *disk.Write {
	w := &disk.Write{Replica: r, Block: block, Count: count, Version: version}
	for i := range count {
		b := content(r, block+i, version)
		w.Data = append(w.Data, b...)
		w.CRC = append(w.CRC, wire.BlockCRC(r.Volume, r.Segment, block+i, b))
	}
	return w
}

// submit waits for a write.
func submit(s *disk.Store, w *disk.Write) error {
	var done sync.WaitGroup
	done.Add(1)
	w.Done = func(*disk.Write) { done.Done() }
	s.Write(w)
	done.Wait()
	return w.Err
}

func put(s *disk.Store, r disk.Replica, block, count uint32, version disk.Version) error {
	return submit(s, dataWrite(r, block, count, version))
}

func zero(s *disk.Store, r disk.Replica, block, count uint32, version disk.Version) error {
	return submit(s, &disk.Write{Replica: r, Block: block, Count: count, Version: version})
}

// get waits for a read.
func get(s *disk.Store, r disk.Replica, block, count uint32) *disk.Read {
	return getInto(s, r, block, count, make([]byte, count*wire.BlockSize))
}

func getInto(s *disk.Store, r disk.Replica, block, count uint32, data []byte) *disk.Read {
	read := &disk.Read{Replica: r, Block: block, Count: count, Data: data}
	var done sync.WaitGroup
	done.Add(1)
	read.Done = func(*disk.Read) { done.Done() }
	s.Read(read)
	done.Wait()
	return read
}

// holds fails unless the blocks have that version and its content.
func holds(t testing.TB, s *disk.Store, r disk.Replica, block, count uint32, version disk.Version) {
	t.Helper()
	read := get(s, r, block, count)
	check(t, read.Err)
	for i := range count {
		if read.Versions[i] != version || !bytes.Equal(read.Data[i*wire.BlockSize:][:wire.BlockSize], content(r, block+i, version)) {
			t.Fatalf("block %d has version %v, or other data than version %v", block+i, read.Versions[i], version)
		}
	}
}

// isZero fails unless the blocks have that version and read as zeros.
func isZero(t testing.TB, s *disk.Store, r disk.Replica, block, count uint32, version disk.Version) {
	t.Helper()
	read := get(s, r, block, count)
	check(t, read.Err)
	for i := range count {
		if read.Versions[i] != version {
			t.Fatalf("block %d has version %v, want %v", block+i, read.Versions[i], version)
		}
	}
	if len(bytes.Trim(read.Data, "\x00")) > 0 {
		t.Fatal("zeroed blocks are not zeros")
	}
}

func audit(t testing.TB, s *disk.Store) {
	t.Helper()
	s.Checkpoint()
	check(t, s.Audit())
}
