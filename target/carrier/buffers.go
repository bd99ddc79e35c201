package carrier

import (
	"math/bits"
	"sync"

	"ashlar/target/pages"
)

const (
	smallestBuffer = 12 // log2 bytes
	largestBuffer  = 23
	keptBytes      = 64 << 20 // idle buffers above this go back to the runtime
)

// MaxBuffer is how much Buffers lends at once at most, bytes.
const MaxBuffer = 1 << largestBuffer

// OwnMemory is what a connection gets of Buffers whatever the others have, bytes.
const OwnMemory = 1 << 20

// Buffers lends data buffers, each of which begins with a page, within a budget.
type Buffers struct {
	freed chan struct{} // something came back after somebody was refused

	mu      sync.Mutex
	limit   int // bytes lent at most
	lent    int
	kept    int
	refused bool
	free    [largestBuffer + 1][][]byte // by log2 of the size
}

// NewBuffers lends so many bytes at most, but for what is owed.
func NewBuffers(limit int) *Buffers { return &Buffers{limit: limit, freed: make(chan struct{}, 1)} }

// Freed gets word when something comes back after somebody was refused.
func (p *Buffers) Freed() <-chan struct{} { return p.freed }

// SizeOf is how much a buffer of n bytes takes of the budget.
func SizeOf(n int) int { return 1 << classOf(n) }

func classOf(n int) int { return max(smallestBuffer, bits.Len(uint(n-1))) }

// Get lends n bytes, not zeroed; nil if there is no room, or n is none or over 8 MiB.
// Who has it owed gets it even beyond the budget.
func (p *Buffers) Get(n int, owed bool) []byte {
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
	return pages.Long(size)[:n]
}

// Put takes back what Get lent. What is kept is somebody else's from now on, and lent to nobody again.
func (p *Buffers) Put(b []byte, kept bool) {
	if b == nil {
		return
	}
	size := cap(b)
	class := classOf(size)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lent -= size
	if !kept && p.kept+size <= keptBytes {
		p.free[class] = append(p.free[class], b)
		p.kept += size
	}
	p.tell()
}

// Wanted asks to be told when something comes back: a connection has had its share.
func (p *Buffers) Wanted() {
	p.mu.Lock()
	p.refused = true
	p.mu.Unlock()
}

// tell says that something came back; mu is held.
func (p *Buffers) tell() {
	if !p.refused {
		return
	}
	select {
	case p.freed <- struct{}{}:
		p.refused = false
	default:
	}
}

// InUse is how many bytes are lent.
func (p *Buffers) InUse() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lent
}
