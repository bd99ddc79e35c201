package iscsi

import (
	"fmt"
	"testing"

	"ashlar/target/targettest/initiator"
)

func Benchmark4K(b *testing.B) {
	for _, kind := range []string{"read", "write"} {
		for _, digests := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/digests=%t", kind, digests), func(b *testing.B) { benchmark4K(b, kind == "write", digests) })
		}
	}
}

// benchmark4K counts the allocations of host and target together.
func benchmark4K(b *testing.B, write, digests bool) {
	b.StopTimer()
	run := steady(b, write, digests)
	b.SetBytes(4096)
	b.ReportAllocs()
	b.StartTimer()
	run(b.N)
}

// steady logs a host in and gives a function that runs n commands of 4 KiB, 32
// at a time.
func steady(b testing.TB, write, digests bool) (run func(n int)) {
	r := newRig(b, nil)
	s, err := initiator.Dial(r.ctx, r.address, iqn, initiator.Options{HeaderDigest: digests, DataDigest: digests})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(s.Close)
	s.Do(r.ctx, &initiator.Command{CDB: make([]byte, 6)}) //nolint:errcheck // takes the unit attention
	idle := make(chan *initiator.Command, 32)
	for i := range 32 {
		c := &initiator.Command{Done: func(c *initiator.Command) { idle <- c }}
		if write {
			c.CDB, c.Out = initiator.CDB16(0x8a, uint64(i)*8, 8), make([]byte, 4096)
		} else {
			c.CDB, c.In = initiator.CDB16(0x88, uint64(i)*8, 8), make([]byte, 4096)
		}
		idle <- c
	}
	return func(n int) {
		for range n {
			c := <-idle
			if err := c.Result(); err != nil {
				b.Fatal(err)
			}
			s.Submit(c)
		}
		for range cap(idle) {
			c := <-idle
			defer func() { idle <- c }()
		}
	}
}

// Commands of 4 KiB cost host and target no allocation, so a count is a regression here or in the units.
func TestReadsAndWritesDoNotAllocate(t *testing.T) {
	for _, write := range []bool{false, true} {
		run := steady(t, write, false)
		run(2000)
		const n = 10000
		if perRun := testing.AllocsPerRun(1, func() { run(n) }); perRun > n/20 {
			t.Errorf("%.0f allocations in %d commands, write %t", perRun, n, write)
		}
	}
}
