package disk

import "math/bits"

// bitmap says which of n places are taken.
type bitmap struct {
	words []uint64
	n     uint32
	used  uint32
	hint  uint32 // no word before this one has a free bit
}

func newBitmap(n uint32) *bitmap {
	b := &bitmap{words: make([]uint64, (n+63)/64), n: n}
	if tail := n % 64; tail != 0 {
		b.words[len(b.words)-1] = ^uint64(0) << tail
	}
	return b
}

func (b *bitmap) has(i uint32) bool { return b.words[i/64]&(1<<(i%64)) != 0 }

func (b *bitmap) free() uint32 { return b.n - b.used }

// take returns the lowest free place.
func (b *bitmap) take() (uint32, bool) {
	for ; int(b.hint) < len(b.words); b.hint++ {
		if w := b.words[b.hint]; w != ^uint64(0) {
			bit := uint32(bits.TrailingZeros64(^w))
			b.words[b.hint] |= 1 << bit
			b.used++
			return b.hint*64 + bit, true
		}
	}
	return 0, false
}

// runSearch is how many words takeRun looks at, at most.
const runSearch = 4096

// takeRun takes n places side by side, at most 64, and gives the first: about the lowest of those that lie in one word.
func (b *bitmap) takeRun(n uint32) (first uint32, ok bool) {
	for at := int(b.hint); at < min(len(b.words), int(b.hint)+runSearch); at++ {
		starts := ^b.words[at]
		for i := uint32(1); i < n && starts != 0; i++ {
			starts &= ^b.words[at] >> i
		}
		if starts != 0 {
			bit := uint32(bits.TrailingZeros64(starts))
			b.words[at] |= (1<<n - 1) << bit
			b.used += n
			return uint32(at)*64 + bit, true
		}
	}
	return 0, false
}

// claim takes a given place; false if it is taken or does not exist.
func (b *bitmap) claim(i uint32) bool {
	if i >= b.n || b.words[i/64]&(1<<(i%64)) != 0 {
		return false
	}
	b.words[i/64] |= 1 << (i % 64)
	b.used++
	return true
}

func (b *bitmap) release(i uint32) {
	if b.words[i/64]&(1<<(i%64)) == 0 {
		panic("disk: a place was freed twice")
	}
	b.words[i/64] &^= 1 << (i % 64)
	b.used--
	b.hint = min(b.hint, i/64)
}
