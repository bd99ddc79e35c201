package clusters

import (
	"bytes"
	"encoding/binary"
	"sync"
)

// BlockBytes is the unit in which a Load writes and remembers.
const BlockBytes = 4096

// ledger knows how often each block was written, and up to which of the
// writings the volume has promised it.
type ledger struct {
	mu           sync.Mutex
	begun        map[uint64]uint64 // block: number of its last writing, from 1
	acknowledged map[uint64]uint64
}

// begin gives the content of the next writing of blocks.
func (l *ledger) begin(block uint64, p []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for b := block; len(p) > 0; b, p = b+1, p[BlockBytes:] {
		l.begun[b]++
		fill(p[:BlockBytes], b, l.begun[b])
	}
}

func (l *ledger) acknowledge(block uint64, blocks int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for b := block; b < block+uint64(blocks); b++ {
		l.acknowledged[b] = l.begun[b]
	}
}

// holds says whether a block as read is its last acknowledged writing, or a
// later one that was begun: zeros are the writing before the first.
func (l *ledger) holds(block uint64, p []byte) bool {
	l.mu.Lock()
	from, to := l.acknowledged[block], l.begun[block]
	l.mu.Unlock()
	want := make([]byte, BlockBytes)
	if from == 0 && bytes.Equal(p, want) {
		return true
	}
	n := binary.LittleEndian.Uint64(p[8:])
	if n < max(from, 1) || n > to {
		return false
	}
	fill(want, block, n)
	return bytes.Equal(p, want)
}

// fill makes the content of a block's nth writing, which no other has: a
// xorshift sequence from both, under the two numbers.
func fill(p []byte, block, n uint64) {
	x := block*0x9E3779B97F4A7C15 + n*0xD1B54A32D192ED03 + 1
	for i := 0; i < len(p); i += 8 {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		binary.LittleEndian.PutUint64(p[i:], x)
	}
	binary.LittleEndian.PutUint64(p, block)
	binary.LittleEndian.PutUint64(p[8:], n)
}
