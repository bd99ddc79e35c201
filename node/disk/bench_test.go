package disk_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ashlar/node/disk"
	"ashlar/replication/wire"
	"ashlar/target/pages"
)

const (
	benchDevice  = 1 << 30
	benchSegment = 64 << 10 // blocks: 256 MiB
)

// spread runs n operations, depth at a time, and reports their median and 99th percentile.
func spread(b *testing.B, depth int, operation func(r *rand.Rand, i uint64)) {
	times := make([]time.Duration, b.N)
	var next atomic.Int64
	var done sync.WaitGroup
	b.SetBytes(wire.BlockSize)
	b.ResetTimer()
	for worker := range depth {
		done.Go(func() {
			r := rand.New(rand.NewPCG(uint64(worker), 0))
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				start := time.Now()
				operation(r, uint64(i))
				times[i-1] = time.Since(start)
			}
		})
	}
	done.Wait()
	b.StopTimer()
	slices.Sort(times)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "IOPS")
	b.ReportMetric(float64(times[b.N/2].Microseconds()), "p50-us")
	b.ReportMetric(float64(times[b.N*99/100].Microseconds()), "p99-us")
}

// filledFile is a file whose blocks the file system has written once, so that
// no measured write waits for allocation.
func filledFile(b *testing.B) *disk.File {
	dev, err := disk.OpenFile(tempFile(b, benchDevice))
	check(b, err)
	chunk := make([]byte, 1<<20)
	for at := int64(0); at < benchDevice; at += int64(len(chunk)) {
		_, err := dev.WriteAt(chunk, at)
		check(b, err)
	}
	check(b, dev.Sync())
	return dev
}

// BenchmarkRandomWrite4K compares the store with the bare device, O_DIRECT|O_DSYNC.
func BenchmarkRandomWrite4K(b *testing.B) {
	for _, depth := range []int{1, 32} {
		b.Run(fmt.Sprintf("bare/QD%d", depth), func(b *testing.B) {
			dev := filledFile(b)
			data := content(replica(1, 0), 1, v(1, 1))
			spread(b, depth, func(r *rand.Rand, _ uint64) {
				if _, err := dev.WriteThrough(data, r.Int64N(benchDevice/4096)*4096); err != nil {
					b.Error(err)
				}
			})
			check(b, dev.Close())
		})
		b.Run(fmt.Sprintf("store/QD%d", depth), func(b *testing.B) {
			s, r := benchStore(b)
			data := content(r, 1, v(1, 1))
			spread(b, depth, func(rnd *rand.Rand, i uint64) {
				block := rnd.Uint32N(benchSegment)
				w := &disk.Write{Replica: r, Block: block, Count: 1, Version: v(1<<40+i, 0), Data: data,
					CRC: []uint32{wire.BlockCRC(r.Volume, r.Segment, block, data)}}
				if err := submit(s, w); err != nil && depth == 1 {
					b.Error(err)
				}
			})
			st := s.Stats()
			b.ReportMetric(float64(st.Writes)/float64(max(st.Batches, 1)), "writes/record")
			b.ReportMetric(float64(st.Checkpoints), "checkpoints")
			check(b, s.Close())
		})
	}
}

// BenchmarkLargeWrite compares writes in order of whole chunks with the bare device, O_DIRECT|O_DSYNC.
func BenchmarkLargeWrite(b *testing.B) {
	for _, blocks := range []uint32{32, 64, 128, 256} {
		for _, depth := range []int{1, 8} {
			places := benchSegment / blocks
			b.Run(fmt.Sprintf("bare/%dKiB/QD%d", 4*blocks, depth), func(b *testing.B) {
				dev := filledFile(b)
				data := alignedContent(replica(1, 0), blocks).Data
				spread(b, depth, func(_ *rand.Rand, i uint64) {
					if _, err := dev.WriteThrough(data, int64(uint32(i)%places)*int64(len(data))); err != nil {
						b.Error(err)
					}
				})
				b.SetBytes(int64(len(data)))
				check(b, dev.Close())
			})
			b.Run(fmt.Sprintf("store/%dKiB/QD%d", 4*blocks, depth), func(b *testing.B) {
				s, r := benchStore(b)
				var writes []*disk.Write
				for place := range places {
					w := alignedContent(r, blocks)
					w.Block = place * blocks
					for i := range w.CRC {
						w.CRC[i] = wire.BlockCRC(r.Volume, r.Segment, w.Block+uint32(i), w.Data[i*wire.BlockSize:][:wire.BlockSize])
					}
					writes = append(writes, w)
				}
				spread(b, depth, func(_ *rand.Rand, i uint64) {
					w := *writes[uint32(i)%places]
					w.Version = v(1<<40+i, 0)
					if err := submit(s, &w); err != nil {
						b.Error(err)
					}
				})
				b.SetBytes(int64(blocks) * wire.BlockSize)
				b.ReportMetric(float64(s.Stats().Checkpoints), "checkpoints")
				check(b, s.Close())
			})
		}
	}
}

var largeContent = filledBytes(1 << 20)

// alignedContent is a write whose data can go to the device as it is.
func alignedContent(r disk.Replica, blocks uint32) *disk.Write {
	return &disk.Write{Replica: r, Count: blocks, Data: largeContent[:blocks*wire.BlockSize], CRC: make([]uint32, blocks)}
}

// filledBytes is n bytes at an address that direct I/O accepts, not all zeros.
func filledBytes(n int) []byte {
	b := pages.Make(n)
	for i := range b {
		b[i] = byte(i >> 3)
	}
	return b
}

func benchStore(b *testing.B) (*disk.Store, disk.Replica) {
	dev, r := filledFile(b), replica(1, 0)
	id := testIdentity
	id.SegmentBlocks = benchSegment
	check(b, disk.Format(dev, id, disk.FormatOptions{}))
	s, err := disk.Open(dev, id, disk.Options{})
	check(b, err)
	check(b, s.Create(r))
	return s, r
}

// BenchmarkRandomRead4K reads what was written back, with its page in the cache.
func BenchmarkRandomRead4K(b *testing.B) {
	s, r := benchStore(b)
	for block := uint32(0); block < benchSegment; block += 256 {
		check(b, put(s, r, block, 256, v(1, 1)))
	}
	s.Checkpoint()
	for _, depth := range []int{1, 32} {
		b.Run(fmt.Sprintf("QD%d", depth), func(b *testing.B) {
			spread(b, depth, func(rnd *rand.Rand, _ uint64) {
				if read := get(s, r, rnd.Uint32N(benchSegment), 1); read.Err != nil {
					b.Error(read.Err)
				}
			})
		})
	}
	check(b, s.Close())
}

// BenchmarkSetLabel replaces the label of a file, a small one and the size that a big cluster needs.
func BenchmarkSetLabel(b *testing.B) {
	for _, size := range []int{4 << 10, 8 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s, _ := benchStore(b)
			label := make([]byte, size)
			b.SetBytes(int64(size))
			b.ResetTimer()
			for i := range b.N {
				label[0], label[1] = byte(i+1), byte(i>>8)
				check(b, s.SetLabel(label))
			}
			b.StopTimer()
			check(b, s.Close())
		})
	}
}
