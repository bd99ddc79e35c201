package mirror

import "testing"

func TestAReleasedClaimIsKeptByNobody(t *testing.T) {
	granted := map[*lock]bool{}
	table := lockTable{buckets: map[uint64][]*lock{}}
	claim := func(first, last uint64) *lock {
		l := &lock{first: first, last: last}
		l.granted = func() { granted[l] = true }
		table.acquire(l)
		return l
	}
	holder := claim(10, 3*bucketBlocks)
	for i := range uint64(10) {
		table.release(claim(i*bucketBlocks/4, i*bucketBlocks)) // waited for in vain, in one bucket or several
	}
	if len(holder.blocks) != 0 {
		t.Errorf("%d claims that were given up are still to be granted", len(holder.blocks))
	}
	first, second := claim(20, 30), claim(25, 40)
	table.release(holder)
	if !granted[first] || granted[second] {
		t.Error("the first that waits is not granted, or one that overlaps it is")
	}
	table.release(first)
	if !granted[second] {
		t.Error("the second is not granted")
	}
	table.release(second)
	if len(table.buckets) != 0 {
		t.Errorf("%d buckets are left", len(table.buckets))
	}
}
