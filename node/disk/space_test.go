package disk

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// Chunks for a large write lie side by side where there is room for that, and none is given twice.
func TestRunsAreTakenWhereTheyFit(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		n := 1 + r.Uint32N(300)
		b, taken := newBitmap(n), make([]bool, n)
		for range r.Uint32N(n) {
			if i := r.Uint32N(n); b.claim(i) {
				taken[i] = true
			}
		}
		for range 40 {
			length := 1 + r.Uint32N(9)
			first, ok := b.takeRun(length)
			fits := func(at uint32) bool {
				return at+length <= n && at/64 == (at+length-1)/64 && !slices.Contains(taken[at:at+length], true)
			}
			if !ok {
				for at := range n {
					if fits(at) {
						t.Fatalf("%d places at %d of %d are free, and not found", length, at, n)
					}
				}
				continue
			}
			if !fits(first) {
				t.Fatalf("%d places at %d of %d are given, and are not free", length, first, n)
			}
			for i := range length {
				taken[first+i] = true
			}
		}
		if used := len(slices.DeleteFunc(slices.Clone(taken), func(x bool) bool { return !x })); int(b.used) != used {
			t.Fatalf("%d are used, counted are %d", used, b.used)
		}
	}
}

func TestScatteredChunksAreTakenInTheEnd(t *testing.T) {
	s := newSpace(64)
	for i := uint32(0); i < 64; i += 2 {
		s.claim(i)
	}
	if list := s.takeUnspoken(33); list != nil || s.free() != 32 {
		t.Errorf("of 32 chunks 33 are given: %v, %d are free", list, s.free())
	}
	if list := s.takeUnspoken(32); len(list) != 32 || s.free() != 0 {
		t.Errorf("of 32 chunks these are given: %v, %d are free", list, s.free())
	}
}
