package iscsi

import (
	"math/bits"
	"sync"
	"unsafe"
)

const (
	bufferAlign    = 4096
	smallestBuffer = 12 // log2 bytes
	largestBuffer  = 23
	ownMemory      = 1 << 20  // that a session gets whatever the others have, bytes
	keptBytes      = 64 << 20 // idle buffers above this go back to the runtime
)

// pool lends data buffers, aligned to 4096 bytes, within a budget.
type pool struct {
	mu    sync.Mutex
	limit int // bytes lent at most
	lent  int
	kept  int
	free  [largestBuffer + 1][][]byte // by log2 of the size
}

func classOf(n int) int { return max(smallestBuffer, bits.Len(uint(n-1))) }

// get lends n bytes, not zeroed; nil if there is no room or n is over 8 MiB. Who
// has it owed gets it even beyond the budget.
func (p *pool) get(n int, owed bool) []byte {
	if n <= 0 {
		return nil
	}
	class := classOf(n)
	if class > largestBuffer {
		return nil
	}
	size := 1 << class
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lent+size > p.limit && !owed {
		return nil
	}
	p.lent += size
	if list := p.free[class]; len(list) > 0 {
		b := list[len(list)-1]
		p.free[class] = list[:len(list)-1]
		p.kept -= size
		return b[:n]
	}
	return aligned(size)[:n]
}

// put takes back what get lent.
func (p *pool) put(b []byte) {
	if b == nil {
		return
	}
	size := cap(b)
	class := classOf(size)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lent -= size
	if p.kept+size <= keptBytes {
		p.free[class] = append(p.free[class], b)
		p.kept += size
	}
}

// inUse is how many bytes are lent.
func (p *pool) inUse() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lent
}

func aligned(size int) []byte {
	b := make([]byte, size+bufferAlign)
	skip := int(-uintptr(unsafe.Pointer(unsafe.SliceData(b))) & (bufferAlign - 1))
	return b[skip : skip+size : skip+size]
}
