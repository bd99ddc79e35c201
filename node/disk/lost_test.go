package disk_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"

	"ashlar/node/disk"
	"ashlar/node/disk/disktest"
)

// wantLost fails unless just these blocks of a replica read as checksum errors, and Changes lists them.
func wantLost(t testing.TB, s *disk.Store, r disk.Replica, lost ...uint32) {
	t.Helper()
	var bad []uint32
	if read := get(s, r, 0, testSegment); read.Err != nil {
		var sum *disk.ChecksumError
		if !errors.As(read.Err, &sum) {
			t.Fatal(read.Err)
		}
		bad = sum.Blocks
	}
	if !slices.Equal(bad, lost) {
		t.Fatalf("bad blocks %v, want %v", bad, lost)
	}
	for _, state := range s.Replicas() {
		if state.Replica == r && (state.Damaged || state.Lost != uint64(len(lost))) {
			t.Fatalf("%+v, want %d lost blocks", state, len(lost))
		}
	}
	changes, _, err := s.Changes(r, v(1, 1<<40), 0, testSegment) // after all that tests write
	check(t, err)
	var listed []uint32
	for _, c := range changes {
		if listed = append(listed, c.Block); c.Version != disk.LostVersion || c.Zero {
			t.Errorf("change %+v of a lost block", c)
		}
	}
	if !slices.Equal(listed, lost) {
		t.Fatalf("changes are %v, want %v", listed, lost)
	}
}

func blocks(from, to uint32) (list []uint32) {
	for i := from; i < to; i++ {
		list = append(list, i)
	}
	return list
}

// losses are ways in which a metadata page at a place is lost; before is the device some checkpoints earlier.
var losses = map[string]func(dev, before *disktest.Memory, page int64){
	"decayed": func(dev, _ *disktest.Memory, page int64) { dev.Flip(page + 200) },
	"erased":  func(dev, _ *disktest.Memory, page int64) { dev.WriteAt(zeros, page) },
	"never written": func(dev, before *disktest.Memory, page int64) {
		b := make([]byte, len(zeros))
		before.ReadAt(b, page)
		dev.WriteAt(b, page)
	},
}

// Of every page in turn: its blocks are bad, each until it is overwritten, and all others are what they were.
func TestLostPageCostsItsOwnBlocksUntilTheyAreOverwritten(t *testing.T) {
	for name, lose := range losses {
		for _, group := range []uint32{0, 1, 2} {
			for _, stale := range []bool{false, true} { // whether an older page of the group is left on the disk
				t.Run(fmt.Sprintf("%s %d %v", name, group, stale), func(t *testing.T) {
					loseOnePage(t, lose, group, stale)
				})
			}
		}
	}
}

func loseOnePage(t *testing.T, lose func(dev, before *disktest.Memory, page int64), group uint32, stale bool) {
	dev, r, other := formatted(t), replica(1, 0), replica(1, 1)
	before := dev.Clone()
	s := open(t, dev)
	for _, r := range []disk.Replica{r, other} {
		check(t, s.Create(r))
		check(t, put(s, r, 0, testSegment, v(1, 1)))
	}
	for i := range 2 {
		s.Checkpoint()
		if stale {
			if i == 0 { // the next checkpoint but one takes the same slots again
				before = dev.Clone()
			}
			check(t, put(s, r, 0, testSegment, v(1, 1)))
		}
	}
	audit(t, s)
	first, last := group*128, min(group*128+128, testSegment)
	_, page := s.BlockPlace(r, first)
	s.Abandon()
	dev = dev.Again()
	lose(dev, before, page)

	for range 2 {
		s = open(t, dev)
		wantLost(t, s, r, blocks(first, last)...)
		wantLost(t, s, other)
		check(t, put(s, other, 0, 40, v(1, 2)))
		check(t, s.Close())
		dev = dev.Again()
	}
	s = open(t, dev)
	check(t, put(s, r, first+3, 7, v(1, 1)))
	check(t, zero(s, r, first+12, 1, v(1, 2)))
	for range 3 { // in the journal, written back, after a restart
		left := append(append(blocks(first, first+3), blocks(first+10, first+12)...), blocks(first+13, last)...)
		wantLost(t, s, r, left...)
		holds(t, s, r, first+3, 7, v(1, 1))
		isZero(t, s, r, first+12, 1, v(1, 2))
		check(t, s.Close())
		dev = dev.Again()
		s = open(t, dev)
	}
	check(t, put(s, r, first, last-first, v(1, 3)))
	wantLost(t, s, r)
	audit(t, s)
	check(t, s.Close())
	s = open(t, dev.Again())
	wantLost(t, s, r)
	holds(t, s, r, first, last-first, v(1, 3))
	check(t, s.Close())
}

func TestTwoLostPagesDamageTheirReplicaUntilReset(t *testing.T) {
	for name, lose := range losses {
		dev, r, other := formatted(t), replica(1, 0), replica(1, 1)
		before := dev.Clone()
		s := open(t, dev)
		for _, r := range []disk.Replica{r, other} {
			check(t, s.Create(r))
			check(t, put(s, r, 0, 200, v(1, 1)))
		}
		s.Checkpoint()
		_, first := s.BlockPlace(r, 0)
		_, second := s.BlockPlace(r, 128)
		s.Abandon()
		dev = dev.Again()
		lose(dev, before, first)
		lose(dev, before, second)
		for range 2 {
			s = open(t, dev)
			wantError(t, get(s, r, 0, 1).Err, disk.ErrDamaged)
			wantError(t, put(s, r, 0, 1, v(1, 9)), disk.ErrDamaged)
			if list := s.Replicas(); !list[0].Damaged || list[1].Damaged {
				t.Fatalf("%s: damage was found elsewhere: %v", name, list)
			}
			holds(t, s, other, 0, 200, v(1, 1))
			check(t, put(s, other, 0, 40, v(1, 1)))
			check(t, s.Close())
			dev = dev.Again()
		}
		s = open(t, dev)
		check(t, s.Reset(r))
		check(t, put(s, r, 0, 8, v(1, 9)))
		audit(t, s)
		check(t, s.Close())
		s = open(t, dev.Again())
		holds(t, s, r, 0, 8, v(1, 9))
		check(t, s.Close())
	}
}

func TestPageThatDecaysWhileOpenCostsItsOwnBlocks(t *testing.T) {
	dev, r := formatted(t), replica(1, 0)
	s := open(t, dev)
	check(t, s.Create(r))
	check(t, put(s, r, 0, 140, v(1, 1)))
	s.Checkpoint()
	s.DropCache()
	_, page := s.BlockPlace(r, 0)
	dev.Flip(page + 200)
	check(t, put(s, r, 1, 1, v(1, 2))) // needs no page until it is written back
	for range 3 {
		wantLost(t, s, r, append([]uint32{0}, blocks(2, 128)...)...)
		holds(t, s, r, 1, 1, v(1, 2))
		holds(t, s, r, 128, 12, v(1, 1))
		check(t, s.Close())
		dev = dev.Again()
		s = open(t, dev)
	}
	check(t, put(s, r, 0, 1, v(1, 1))) // a copy of what was lost may be older than what was written since
	check(t, put(s, r, 2, 126, v(1, 1)))
	wantError(t, put(s, r, 1, 1, v(1, 0)), disk.ErrVersion)
	wantLost(t, s, r)
	audit(t, s)
	check(t, s.Close())
}

func TestPageThatTheDeviceCannotReadAtWriteBackIsLost(t *testing.T) {
	r := replica(1, 0)
	memory := formatted(t)
	dev := disktest.NewFaulty(memory)
	s := open(t, dev)
	check(t, s.Create(r))
	check(t, put(s, r, 0, 40, v(1, 1)))
	s.Checkpoint()
	s.DropCache()
	dev.FailReads(true)
	wantError(t, get(s, r, 0, 1).Err, syscall.EIO) // which may pass
	check(t, put(s, r, 1, 1, v(1, 2)))
	s.Checkpoint()
	dev.FailReads(false)
	for range 2 {
		wantLost(t, s, r, append([]uint32{0}, blocks(2, 128)...)...)
		holds(t, s, r, 1, 1, v(1, 2))
		check(t, s.Close())
		memory = memory.Again()
		s = open(t, memory)
	}
	check(t, s.Close())
}

// What a lost page's replica goes through afterwards leaves neither space nor blocks behind.
func TestReplicaWithALostPageIsResetRemovedAndWrittenAsOthers(t *testing.T) {
	r := replica(1, 0)
	for seed := range uint64(8) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		dev := formatted(t)
		s := open(t, dev)
		check(t, s.Create(r))
		check(t, put(s, r, 0, testSegment, v(1, 1)))
		s.Checkpoint()
		_, page := s.BlockPlace(r, 130)
		s.Abandon()
		dev = dev.Again()
		dev.Flip(page + 300)
		s = open(t, dev)
		bad := map[uint32]bool{}
		for _, i := range blocks(128, 256) {
			bad[i] = true
		}
		for seq := uint64(2); seq < 30; seq++ {
			block, count := rnd.Uint32N(testSegment-8), 1+rnd.Uint32N(8)
			if rnd.IntN(3) == 0 {
				check(t, zero(s, r, block, count, v(1, seq)))
			} else {
				check(t, put(s, r, block, count, v(1, seq)))
			}
			for i := range count {
				delete(bad, block+i)
			}
			switch rnd.IntN(8) {
			case 0:
				audit(t, s)
				s.DropCache()
			case 1:
				s.Abandon()
				dev = dev.Again()
				s = open(t, dev)
			}
			want := []uint32{}
			for _, i := range blocks(0, testSegment) {
				if bad[i] {
					want = append(want, i)
				}
			}
			wantLost(t, s, r, want...)
		}
		end := []func(disk.Replica) error{s.Reset, s.Remove}[seed%2]
		check(t, end(r))
		audit(t, s)
		check(t, s.Close())
		s = open(t, dev.Again())
		if used := s.Stats().Used; used != 0 {
			t.Errorf("%d bytes are used by nothing", used)
		}
		audit(t, s)
		check(t, s.Close())
	}
}

// scrub reads a replica as a scrub does.
func scrub(s *disk.Store, r disk.Replica) error {
	done := make(chan error, 1)
	s.Read(&disk.Read{Replica: r, Count: testSegment, Data: make([]byte, testSegment*len(zeros)), Scrub: true,
		Done: func(r *disk.Read) { done <- r.Err }})
	return <-done
}

func TestScrubFindsAPageThatDecaysUnderItsCopyInMemory(t *testing.T) {
	dev, r := formatted(t), replica(1, 0)
	s := open(t, dev)
	check(t, s.Create(r))
	check(t, put(s, r, 0, testSegment, v(1, 1)))
	s.Checkpoint()
	_, page := s.BlockPlace(r, 130)
	dev.Flip(page + 300)
	check(t, get(s, r, 0, testSegment).Err)
	if n := s.Stats().PageErrors; n != 0 {
		t.Fatalf("%d page errors before the scrub", n)
	}
	check(t, scrub(s, r))
	if n := s.Stats().PageErrors; n != 1 {
		t.Errorf("%d page errors", n)
	}
	s.Checkpoint()
	audit(t, s)
	s.Abandon()
	s = open(t, dev.Again())
	wantLost(t, s, r)
	holds(t, s, r, 0, testSegment, v(1, 1))
	check(t, s.Close())
}

func TestScrubLeavesTheCopiesOfPagesInMemoryAlone(t *testing.T) {
	dev, r := formatted(t), replica(1, 0)
	s := open(t, dev)
	check(t, s.Create(r))
	check(t, put(s, r, 0, testSegment, v(1, 1)))
	s.Checkpoint()
	s.DropCache()
	check(t, get(s, r, 0, 1).Err)
	check(t, scrub(s, r))
	if n := s.CachedPages(); n != 1 {
		t.Errorf("%d pages in memory, want that of the read alone", n)
	}
	_, page := s.BlockPlace(r, 130)
	dev.Flip(page + 300)
	var sum *disk.ChecksumError
	if err := scrub(s, r); !errors.As(err, &sum) || !slices.Equal(sum.Blocks, blocks(128, 256)) {
		t.Errorf("scrub of a page that only the device had: %v", err)
	}
	wantLost(t, s, r, blocks(128, 256)...)
	check(t, s.Close())
}

// A device that has lost a page and takes no writes is still read.
func TestALostPageOnADeviceThatTakesNoWrites(t *testing.T) {
	r := replica(1, 0)
	memory, _, s := withReplica(t, r)
	check(t, put(s, r, 0, testSegment, v(1, 1)))
	s.Checkpoint()
	dev := disktest.NewFaulty(memory.Clone())
	_, page := s.BlockPlace(r, 0)
	dev.BadSector(page)
	dev.FailWrite(1, syscall.EIO)
	s = open(t, dev)
	defer s.Abandon()
	wantError(t, put(s, r, 0, 1, v(1, 2)), disk.ErrFailed)
	holds(t, s, r, 128, testSegment-128, v(1, 1))
	var sum *disk.ChecksumError
	if read := get(s, r, 0, 128); !errors.As(read.Err, &sum) {
		t.Errorf("the lost page's blocks: %v", read.Err)
	}
}

// A page that could not be read once, and can be again, is not believed: its chunks may have others' data since.
func TestPagesThatComeBackAreNotBelieved(t *testing.T) {
	for name, lost := range map[string][]uint32{"one": {0}, "two": {0, 128}} {
		t.Run(name, func(t *testing.T) {
			r, q := replica(1, 0), replica(1, 1)
			memory, _, s := withReplica(t, r)
			check(t, s.Create(q))
			check(t, put(s, r, 0, testSegment, v(1, 1)))
			s.Checkpoint()
			dev := disktest.NewFaulty(memory.Clone())
			for _, block := range lost {
				_, page := s.BlockPlace(r, block)
				dev.BadSector(page)
			}
			s = open(t, dev)
			writes := []*disk.Write{dataWrite(q, 0, testSegment, v(1, 2)), dataWrite(q, 7, 1, v(1, 3))}
			if len(lost) == 1 {
				writes = append(writes, dataWrite(r, 3, 1, v(1, 4)))
			}
			for _, w := range writes {
				check(t, submit(s, w))
			}
			s.Abandon()

			s = open(t, dev.Device.(*disktest.Memory).Again())
			defer s.Abandon()
			holds(t, s, q, 0, 7, v(1, 2))
			holds(t, s, q, 7, 1, v(1, 3))
			holds(t, s, q, 8, testSegment-8, v(1, 2))
			if len(lost) == 1 {
				holds(t, s, r, 3, 1, v(1, 4))
				holds(t, s, r, 128, testSegment-128, v(1, 1))
				var sum *disk.ChecksumError
				if read := get(s, r, 0, 128); !errors.As(read.Err, &sum) || len(sum.Blocks) != 127 {
					t.Errorf("the lost page's blocks: %v", read.Err)
				}
			} else {
				wantError(t, get(s, r, 0, 1).Err, disk.ErrDamaged)
			}
			audit(t, s)
		})
	}
}
