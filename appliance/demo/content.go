package demo

import (
	"bytes"
	"encoding/binary"
	"sync"
)

// blockBytes is the unit in which the demo writes and remembers.
const blockBytes = 4096

// fill makes the content of a block's nth writing: no other block and no other
// writing has the same.
func fill(p []byte, block, n uint64) {
	x := block*0x9E3779B97F4A7C15 + n*0xD1B54A32D192ED03 + 1
	for i := 0; i < len(p); i += 8 {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		binary.LittleEndian.PutUint64(p[i:], x)
	}
	binary.LittleEndian.PutUint64(p[0:], block)
	binary.LittleEndian.PutUint64(p[8:], n)
}

// ledger knows how often each block was written and acknowledged.
type ledger struct {
	mu           sync.Mutex
	acknowledged map[uint64]uint64 // block: number of its last acknowledged writing, from 1
	begun        map[uint64]uint64 // and of the last one that was begun
	bytes        uint64            // acknowledged in all
	writes       uint64
}

func newLedger() *ledger {
	return &ledger{acknowledged: map[uint64]uint64{}, begun: map[uint64]uint64{}}
}

// begin gives the content of the blocks' next writing.
func (l *ledger) begin(block uint64, p []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := 0; i < len(p); i += blockBytes {
		b := block + uint64(i/blockBytes)
		l.begun[b]++
		fill(p[i:i+blockBytes], b, l.begun[b])
	}
}

// acknowledge notes that the host was told of the end of the writing.
func (l *ledger) acknowledge(block uint64, bytes int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range uint64(bytes / blockBytes) {
		l.acknowledged[block+i] = l.begun[block+i]
	}
	l.bytes += uint64(bytes)
	l.writes++
}

// intact says whether a block as read holds its last acknowledged writing, or a
// later one that was begun. A block that was never written is zeros.
func (l *ledger) intact(block uint64, p []byte) bool {
	l.mu.Lock()
	from, to := l.acknowledged[block], l.begun[block]
	l.mu.Unlock()
	want := make([]byte, blockBytes)
	if from == 0 && bytes.Equal(p, want) {
		return true
	}
	for n := max(from, 1); n <= to; n++ {
		fill(want, block, n)
		if bytes.Equal(p, want) {
			return true
		}
	}
	return false
}

func (l *ledger) totals() (writes, bytes, blocks uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.writes, l.bytes, uint64(len(l.acknowledged))
}
