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

// steady logs a host in and gives a function that runs n commands of 4 KiB.
func steady(b testing.TB, write, digests bool) (run func(n int)) {
	r := newRig(b, nil)
	s, err := initiator.Dial(r.ctx, r.address, iqn, initiator.Options{HeaderDigest: digests, DataDigest: digests})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(s.Close)
	s.Do(r.ctx, &initiator.Command{CDB: make([]byte, 6)}) //nolint:errcheck // takes the unit attention
	load := s.Load(write)
	return func(n int) {
		if err := load(n); err != nil {
			b.Fatal(err)
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
