package disk_test

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"ashlar/node/disk"
	"ashlar/node/disk/disktest"
	"ashlar/replication/wire"
)

// One bit decays anywhere on the disk, or one sector cannot be read any more: the store does not open, and says that it is
// damaged, or each block reads as what was acknowledged or as an error. Never as older data, zeros, or another's.
func TestWhatDecaysIsNeverServedAsData(t *testing.T) {
	for name, closed := range map[string]bool{"all written back": true, "most in the journal": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			decayEverywhere(t, closed)
		})
	}
}

func decayEverywhere(t *testing.T, closed bool) {
	dev, want, dataStart := storeThatDecays(t, closed)
	offsets := dev.Offsets()
	metadata, _ := slices.BinarySearch(offsets, dataStart)
	r := rand.New(rand.NewPCG(11, 12))
	var refused, flagged, unharmed int
	for i := range 240 {
		image := disktest.NewFaulty(dev.Clone())
		at := offsets[r.IntN(len(offsets))]
		if i%3 > 0 { // there is much more data
			at = offsets[r.IntN(metadata)]
		}
		if i%2 == 0 {
			image.BadSector(at)
		} else {
			image.Device.(*disktest.Memory).Flip(at + r.Int64N(wire.BlockSize))
		}
		s, err := disk.Open(image, testIdentity, disk.Options{Readers: 1, Writers: 1})
		if err != nil {
			wantError(t, err, disk.ErrDamaged)
			refused++
			continue
		}
		if harmed(t, s, want) {
			flagged++
		} else {
			unharmed++
		}
		s.Abandon()
		if t.Failed() {
			t.Fatalf("%d, at %d, decayed", i, at)
		}
	}
	t.Logf("%d blocks, %d of metadata: %d stores refused to open, %d told of harm, %d were unharmed", len(offsets), metadata, refused, flagged, unharmed)
	if flagged == 0 || unharmed == 0 || closed != (refused == 0) {
		t.Error("not all outcomes were met")
	}
}

// storeThatDecays has replicas, a label and promises; what they hold; and where data begins on the device.
func storeThatDecays(t *testing.T, closed bool) (*disktest.Memory, *found, int64) {
	dev := formatted(t)
	s := open(t, dev)
	for i := range 3 {
		check(t, s.Create(replica(1, i)))
		check(t, put(s, replica(1, i), uint32(i)*40, 200, v(1, 1)))
	}
	check(t, s.Promise(1, 3))
	check(t, s.SetLabel(numberedLabel(4)))
	s.Checkpoint()
	// So little that no checkpoint is due.
	check(t, put(s, replica(1, 0), 100, 3, v(1, 2)))
	check(t, zero(s, replica(1, 1), 40, 20, v(1, 3)))
	check(t, put(s, replica(1, 1), 64, 64, v(1, 3))) // past the journal
	check(t, put(s, replica(1, 2), 290, 4, v(1, 4)))
	check(t, s.Promise(1, 5))
	want, err := inspect(s)
	check(t, err)
	if closed {
		check(t, s.Close())
	} else {
		for range 2 { // a last record that is not whole is taken for one that a crash cut off
			check(t, s.Promise(2, s.Promised(2)+1))
		}
		s.Abandon()
	}
	return dev.Again(), want, s.DataStart()
}

// harmed compares a store with what it held, and says whether it tells of any harm.
func harmed(t *testing.T, s *disk.Store, want *found) (told bool) {
	t.Helper()
	if s.Promised(1) != want.promise || len(s.Replicas()) != len(want.replicas) {
		t.Fatalf("promised %d, %d replicas", s.Promised(1), len(s.Replicas()))
	}
	label, err := s.Label()
	if number, mixed := labelNumber(label); mixed != nil || err == nil && number != want.label {
		t.Fatalf("label %d, %v", number, mixed)
	}
	told = err != nil
	for r, f := range want.replicas {
		read := get(s, r, 0, testSegment)
		var sum *disk.ChecksumError
		bad := map[uint32]bool{}
		switch {
		case errors.As(read.Err, &sum):
			for _, i := range sum.Blocks {
				bad[i] = true
			}
		case errors.Is(read.Err, disk.ErrDamaged): // all of the copy is: it is made anew from another
			told = true
			continue
		case read.Err != nil:
			t.Fatal(read.Err)
		}
		told = told || sum != nil
		for i := range uint32(testSegment) {
			if !bad[i] && (read.Versions[i] != f.blocks[i].version || read.CRC[i] != f.crcs[i]) {
				t.Fatalf("%v block %d has version %v, want %v", r, i, read.Versions[i], f.blocks[i].version)
			}
		}
	}
	return told
}
