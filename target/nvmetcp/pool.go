package nvmetcp

import (
	"math/bits"
	"sync"
	"unsafe"
)

const (
	bufferAlign    = 4096
	smallestBuffer = 12 // log2 bytes
	largestBuffer  = 21
	ownMemory      = 1 << 20  // that a connection gets whatever the others have, bytes
	keptBytes      = 64 << 20 // idle buffers above this go back to the runtime
)

// pool lends data buffers, aligned to 4096 bytes, within a budget.
type pool struct {
	freed chan struct{} // something came back after somebody was refused

	mu      sync.Mutex
	limit   int // bytes lent at most
	lent    int
	kept    int
	refused bool
	free    [largestBuffer + 1][][]byte // by log2 of the size
}

func (p *pool) init(limit int) { p.limit, p.freed = limit, make(chan struct{}, 1) }

// sizeOf is how much a buffer of n bytes takes of the budget.
func sizeOf(n int) int { return 1 << classOf(n) }

func classOf(n int) int { return max(smallestBuffer, bits.Len(uint(n-1))) }

// get lends n bytes, 2 MiB at most, not zeroed; nil if there is no room. Who has
// it owed gets it even beyond the budget.
func (p *pool) get(n int, owed bool) []byte {
	class := classOf(n)
	size := 1 << class
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lent+size > p.limit && !owed {
		p.refused = true
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
	size := cap(b)
	class := classOf(size)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lent -= size
	if p.kept+size <= keptBytes {
		p.free[class] = append(p.free[class], b)
		p.kept += size
	}
	p.tell()
}

// wanted asks to be told when something comes back: a connection has had its share.
func (p *pool) wanted() {
	p.mu.Lock()
	p.refused = true
	p.mu.Unlock()
}

// tell says that something came back; mu is held.
func (p *pool) tell() {
	if !p.refused {
		return
	}
	select {
	case p.freed <- struct{}{}:
		p.refused = false
	default:
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
