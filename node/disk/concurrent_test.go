package disk_test

import (
	"bytes"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ashlar/node/disk"
	"ashlar/node/disk/disktest"
	"ashlar/replication/wire"
)

// Reads go on while blocks are overwritten in place, chunks change hands and pages move. Each sees
// one whole version of each block, not older than what was acknowledged before it began.
func TestReadsDuringWriteBackSeeWholeAndFreshBlocks(t *testing.T) {
	r := replica(1, 0)
	dev := disktest.NewFaulty(formatted(t))
	s, err := disk.Open(dev, testIdentity, disk.Options{Readers: 4, Writers: 4, CachePages: 1})
	check(t, err)
	check(t, s.Create(r))
	check(t, put(s, r, 0, testSegment, v(1, 0)))
	dev.Slow(20 * time.Microsecond)
	var acked [testSegment]atomic.Uint64
	var ended atomic.Bool
	var all sync.WaitGroup
	all.Go(func() {
		rnd := rand.New(rand.NewPCG(1, 1))
		for seq := uint64(1); seq <= 600; seq++ {
			block := rnd.Uint32N(testSegment - 8)
			if rnd.IntN(4) == 0 {
				err = zero(s, r, block, 8, v(1, seq))
			} else {
				err = put(s, r, block, 8, v(1, seq))
			}
			if err != nil {
				t.Error(err)
			}
			for i := range uint32(8) {
				acked[block+i].Store(seq)
			}
		}
		ended.Store(true)
	})
	for worker := range 3 {
		all.Go(func() {
			rnd := rand.New(rand.NewPCG(2, uint64(worker)))
			for !ended.Load() {
				block := rnd.Uint32N(testSegment - 40)
				var least [40]uint64
				for i := range least {
					least[i] = acked[int(block)+i].Load()
				}
				wantFresh(t, r, get(s, r, block, 40), least[:])
			}
		})
	}
	all.Wait()
	if st := s.Stats(); st.Checkpoints < 20 || st.ChecksumErrors != 0 {
		t.Errorf("%d checkpoints, %d checksum errors", st.Checkpoints, st.ChecksumErrors)
	}
	audit(t, s)
	check(t, s.Close())
}

func wantFresh(t *testing.T, r disk.Replica, read *disk.Read, least []uint64) {
	if read.Err != nil {
		t.Error(read.Err)
		return
	}
	for i, least := range least {
		block, data := read.Block+uint32(i), read.Data[i*wire.BlockSize:][:wire.BlockSize]
		if read.Versions[i].Seq < least {
			t.Errorf("block %d: read version %v, %d was acknowledged before", block, read.Versions[i], least)
		}
		if !bytes.Equal(data, content(r, block, read.Versions[i])) && !bytes.Equal(data, zeros) {
			t.Errorf("block %d: data is not of version %v", block, read.Versions[i])
		}
	}
}
