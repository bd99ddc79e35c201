package nvmetcp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"ashlar/target/nvme"
	"ashlar/target/targettest"
	"ashlar/target/targettest/nvmehost"
)

func pattern(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 7))
	b := make([]byte, n)
	for i := 0; i+8 <= n; i += 8 {
		binary.LittleEndian.PutUint64(b[i:], r.Uint64())
	}
	return b
}

func TestWhatIsWrittenIsReadWithAnyTermsOfAConnection(t *testing.T) {
	r := newRig(t, nil)
	seed := uint64(0)
	for _, header := range []bool{false, true} {
		for _, data := range []bool{false, true} {
			for _, alignment := range []uint8{0, 3, 31} {
				for _, noFlow := range []bool{false, true} {
					o := nvmehost.Options{HeaderDigest: header, DataDigest: data, Alignment: alignment, NoFlow: noFlow, MaxData: 100 << 10}
					t.Run(fmt.Sprintf("header digest %t, data digest %t, HPDA %d, no flow control %t", header, data, alignment, noFlow), func(t *testing.T) {
						c := r.host(o)
						for _, n := range []int{512, 4096, 8192, 8704, 64 << 10, 1 << 20} {
							seed++
							want := pattern(seed, n)
							if err := c.IO[0].Write(r.ctx, 1, seed*8, want, 512); err != nil {
								t.Fatal(err)
							}
							got := make([]byte, n)
							if err := c.IO[0].Read(r.ctx, 1, seed*8, got, 512); err != nil {
								t.Fatal(err)
							}
							if !bytes.Equal(got, want) {
								t.Fatalf("%d bytes come back as others", n)
							}
						}
						c.Close()
					})
				}
			}
		}
	}
}

func TestManyQueuesWithManyCommandsKeepTheirDataApart(t *testing.T) {
	device := targettest.NewMemory(targettest.Options{BlockSize: 4096})
	r := newRigOn(t, device, func(c *Config) { c.Memory, c.ConnectionMemory = 4<<20, 2<<20 })
	c := r.host(nvmehost.Options{Queues: 4, DataDigest: true})
	var all sync.WaitGroup
	for i, q := range c.IO {
		for j := range 24 {
			all.Go(func() {
				lba := uint64(i*24+j) * 64
				for round := range 6 {
					want := pattern(lba+uint64(round), 64*4096)
					if err := q.Write(r.ctx, 1, lba, want, 4096); err != nil {
						t.Errorf("write: %v", err)
						return
					}
					got := make([]byte, len(want))
					if err := q.Read(r.ctx, 1, lba, got, 4096); err != nil || !bytes.Equal(got, want) {
						t.Errorf("read at %d: %v, equal %t", lba, err, bytes.Equal(got, want))
						return
					}
				}
			})
		}
	}
	all.Wait()
	r.eventually("all memory is back", func() bool { return r.server.pool.InUse() == 0 })
}

func TestSQHeadFollowsTheCommands(t *testing.T) {
	r := newRig(t, nil)
	c := r.host(nvmehost.Options{Size: 4})
	for i := range 9 {
		r.must(c.IO[0], nvmehost.New(nvme.Flush, 1))
		// The Connect was the queue's first.
		if want := uint16(i+2) % 4; c.IO[0].SQHead() != want {
			t.Fatalf("SQHD %d after %d commands, want %d", c.IO[0].SQHead(), i+1, want)
		}
	}
}
