package disk_test

import (
	"bytes"
	"errors"
	"slices"
	"syscall"
	"testing"
	"time"

	"ashlar/node/disk"
	"ashlar/node/disk/disktest"
	"ashlar/replication/wire"
)

func TestDecayedBlockIsFoundAndTheOthersAreRead(t *testing.T) {
	dev, r := formatted(t), replica(1, 0)
	s := open(t, dev)
	check(t, s.Create(r))
	check(t, put(s, r, 0, 40, v(1, 1)))
	s.Checkpoint()
	place, _ := s.BlockPlace(r, 33)
	dev.Flip(place + 1000)
	read := get(s, r, 30, 6)
	var sum *disk.ChecksumError
	if !errors.As(read.Err, &sum) || !slices.Equal(sum.Blocks, []uint32{33}) {
		t.Fatalf("read over a flipped bit: %v", read.Err)
	}
	if !bytes.Equal(read.Data[4*4096:5*4096], content(r, 34, v(1, 1))) {
		t.Error("the block behind the bad one was not filled")
	}
	check(t, put(s, r, 33, 1, v(1, 2))) // overwriting repairs
	s.Checkpoint()
	holds(t, s, r, 33, 1, v(1, 2))
	check(t, s.Close())
}

func TestOneDecayedSuperblockOrControlSlotIsHealed(t *testing.T) {
	for part := range 8 {
		dev, r := formatted(t), replica(1, 0)
		s := open(t, dev)
		check(t, s.Create(r))
		check(t, put(s, r, 0, 40, v(1, 1)))
		s.Checkpoint()
		superblocks, control, slot, _, _ := s.Layout()
		s.Abandon()
		dev = dev.Again()
		if part < 4 {
			dev.Flip(superblocks[part] + 100)
		} else {
			dev.Flip(control + int64(part-4)*slot + 50)
		}
		s = open(t, dev)
		holds(t, s, r, 0, 40, v(1, 1))
		s.Abandon()
		dev = dev.Again()
		if part >= 4 { // the other copy of the same checkpoint may decay later
			dev.Flip(control + int64(part-4^1)*slot + 50)
		}
		s = open(t, dev)
		holds(t, s, r, 0, 40, v(1, 1))
		s.Abandon()
	}
}

func TestTwoDecayedControlSlotsAreNotGuessedAt(t *testing.T) {
	dev := formatted(t)
	s := open(t, dev)
	_, control, slot, _, _ := s.Layout()
	check(t, s.Close())
	dev = dev.Again()
	dev.Flip(control + 40)
	dev.Flip(control + slot + 40)
	_, err := disk.Open(dev, testIdentity, disk.Options{})
	wantError(t, err, disk.ErrDamaged)
}

func TestDecayedJournalRecordIsNotTakenForItsEnd(t *testing.T) {
	dev, r := formatted(t), replica(1, 0)
	s := open(t, dev)
	check(t, s.Create(r))
	_, _, _, _, second := s.Layout()
	check(t, put(s, r, 0, 1, v(1, 1)))
	_, _, _, _, third := s.Layout()
	check(t, put(s, r, 1, 1, v(1, 2)))
	s.Abandon()
	damaged := dev.Again().Clone()
	damaged.Flip(second + 5000) // in the data of the last record but one
	_, err := disk.Open(damaged, testIdentity, disk.Options{})
	wantError(t, err, disk.ErrDamaged)

	torn := dev.Again().Clone() // the last record may be one that a crash cut off
	torn.Flip(third + 5000)
	s = open(t, torn)
	holds(t, s, r, 0, 1, v(1, 1))
	isZero(t, s, r, 1, 1, v(0, 0))
	check(t, s.Close())
}

func TestFailedReadFailsThatReadAlone(t *testing.T) {
	r := replica(1, 0)
	dev := disktest.NewFaulty(formatted(t))
	s := open(t, dev)
	check(t, s.Create(r))
	check(t, put(s, r, 0, 8, v(1, 1)))
	s.Checkpoint()
	dev.FailReads(true)
	wantError(t, get(s, r, 0, 8).Err, syscall.EIO)
	check(t, put(s, r, 0, 1, v(1, 2)))
	holds(t, s, r, 0, 1, v(1, 2)) // in memory
	dev.FailReads(false)
	holds(t, s, r, 1, 7, v(1, 1))
	check(t, s.Err())
	check(t, s.Close())
}

// A slow device makes writers wait for room in the journal; none fails.
func TestFullJournalHoldsWritesBack(t *testing.T) {
	r := replica(1, 0)
	dev := disktest.NewFaulty(formatted(t))
	s := open(t, dev)
	check(t, s.Create(r))
	dev.Slow(200 * time.Microsecond)
	const writes = 400
	results := make(chan error, writes)
	for i := range uint64(writes) {
		w := dataWrite(r, uint32(i*4%testSegment), 4, v(1, i+1))
		w.Done = func(w *disk.Write) { results <- w.Err }
		s.Write(w)
	}
	for range writes {
		check(t, <-results)
		if st := s.Stats(); st.JournalUsed > st.JournalSize || st.Dirty > st.JournalSize {
			t.Fatalf("journal %d of %d, dirty %d", st.JournalUsed, st.JournalSize, st.Dirty)
		}
	}
	if st := s.Stats(); st.Batches == st.Writes {
		t.Error("no two writes shared a record")
	}
	check(t, s.Close())
}

// Behind a decayed page an older one of the same group may be left, which claims a
// chunk that has another owner by now. The owner must not suffer.
func TestStalePageOfALostOneHarmsNoOther(t *testing.T) {
	for range 4 {
		dev, r, owner := formatted(t), replica(2, 0), replica(3, 0)
		s := open(t, dev)
		for i := range 8 { // chunks and page slots 0 to 7
			check(t, s.Create(replica(1, i)))
			check(t, put(s, replica(1, i), 0, 1, v(1, 1)))
		}
		check(t, s.Create(r))
		check(t, put(s, r, 0, 1, v(1, 1))) // chunk and slot 8
		s.Checkpoint()
		check(t, s.Remove(replica(1, 0)))
		check(t, zero(s, r, 0, 1, v(1, 2)))
		s.Checkpoint() // r's page moves to slot 0, the old one stays behind in slot 8
		_, page := s.BlockPlace(r, 0)
		for i := range 7 {
			check(t, s.Remove(replica(1, i+1)))
		}
		check(t, s.Create(owner))
		check(t, put(s, owner, 0, 288, v(1, 1))) // takes chunks 0 to 8, and slots below 8
		check(t, s.Close())
		dev = dev.Again()
		dev.Flip(page + 200)
		s = open(t, dev)
		wantLost(t, s, r, blocks(0, 128)...)
		holds(t, s, owner, 0, 288, v(1, 1))
		audit(t, s)
		check(t, s.Close())
	}
}

func TestSectorThatCannotBeReadIsABadBlockAmongGoodOnes(t *testing.T) {
	r := replica(1, 0)
	dev := disktest.NewFaulty(formatted(t))
	s := open(t, dev)
	check(t, s.Create(r))
	check(t, put(s, r, 0, 128, v(1, 1)))
	check(t, put(s, r, 140, 1, v(1, 2)))
	s.Checkpoint()
	for _, block := range []uint32{33, 34, 70} {
		place, _ := s.BlockPlace(r, block)
		dev.BadSector(place)
	}
	read := get(s, r, 0, 141)
	var sum *disk.ChecksumError
	if !errors.As(read.Err, &sum) || !slices.Equal(sum.Blocks, []uint32{33, 34, 70}) {
		t.Fatalf("read over bad sectors: %v", read.Err)
	}
	for i, version := range read.Versions {
		block := read.Data[i*4096:][:4096]
		switch {
		case i < 128 && version != v(1, 1):
			t.Errorf("block %d has version %v", i, version)
		case slices.Contains(sum.Blocks, uint32(i)):
			if crc := wire.BlockCRC(r.Volume, r.Segment, uint32(i), block); crc == read.CRC[i] {
				t.Errorf("what stands for bad block %d has the checksum that the read tells", i)
			}
		case i < 128 && !bytes.Equal(block, content(r, uint32(i), v(1, 1))):
			t.Errorf("block %d beside the bad ones was not filled", i)
		}
	}
	wantError(t, get(s, r, 33, 2).Err, syscall.EIO) // nothing tells it from a disk that is dead
	check(t, put(s, r, 33, 2, v(1, 1)))
	check(t, put(s, r, 70, 1, v(1, 3)))
	s.Checkpoint()
	holds(t, s, r, 0, 70, v(1, 1))
	holds(t, s, r, 70, 1, v(1, 3))
	check(t, s.Close())
}
