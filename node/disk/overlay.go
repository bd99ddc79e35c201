package disk

import (
	"sync"
	"sync/atomic"
	"unsafe"

	"ashlar/target/pages"
)

// overlay holds what journal records changed and no checkpoint has yet: the
// store's memory on top of pages and chunks. Its data lies in the records' own buffers.
type overlay struct {
	deltas  map[deltaKey]*delta
	bytes   int64        // of the records whose buffers it keeps
	buffers [][]byte     // of records
	readers atomic.Int32 // reads that may be at its data
	spare   []*delta     // cleared
}

type deltaKey struct {
	rep   *replica
	group uint32
}

// delta holds the changed blocks of one group.
type delta struct {
	at     [groupBlocks]uint8 // index in blocks plus one; 0: not changed
	blocks []blockDelta
}

type blockDelta struct {
	version Version
	crc     uint32
	inPlace bool             // written past the journal
	data    *[blockSize]byte // nil: in place, or zeros
}

func newOverlay() *overlay { return &overlay{deltas: map[deltaKey]*delta{}} }

func (o *overlay) open(rep *replica, group uint32) *delta {
	key := deltaKey{rep, group}
	d := o.deltas[key]
	if d == nil {
		if n := len(o.spare); n > 0 {
			d, o.spare = o.spare[n-1], o.spare[:n-1]
		} else {
			d = new(delta)
		}
		o.deltas[key] = d
	}
	return d
}

// recycle empties an overlay that is written back, to be used again. No new read finds it; if old ones
// are still at its data, that is left to the garbage collector.
func (o *overlay) recycle(pool *bufferPool) {
	for _, d := range o.deltas {
		clear(d.blocks)
		d.at, d.blocks = [groupBlocks]uint8{}, d.blocks[:0]
		o.spare = append(o.spare, d)
	}
	clear(o.deltas)
	if o.readers.Load() == 0 {
		for _, b := range o.buffers {
			pool.put(b)
		}
	}
	clear(o.buffers)
	o.buffers, o.bytes = o.buffers[:0], 0
}

// bufferPool keeps buffers of records until the garbage collector wants the memory.
type bufferPool struct {
	byPages [1 + 512]sync.Pool // of *byte, by length in 4 KiB
}

// get returns n bytes at an address for direct I/O, with anything in them.
func (p *bufferPool) get(n int) []byte {
	if k := n / blockSize; k < len(p.byPages) {
		if first, _ := p.byPages[k].Get().(*byte); first != nil {
			return unsafe.Slice(first, n)
		}
	}
	return pages.Make(n)
}

func (p *bufferPool) put(b []byte) {
	if k := len(b) / blockSize; k < len(p.byPages) {
		p.byPages[k].Put(unsafe.SliceData(b))
	}
}

// get returns nil when the overlay does not change the block; o and d may be nil.
func (d *delta) get(block uint32) *blockDelta {
	if d == nil || d.at[block] == 0 {
		return nil
	}
	return &d.blocks[d.at[block]-1]
}

func (o *overlay) delta(rep *replica, group uint32) *delta {
	if o == nil {
		return nil
	}
	return o.deltas[deltaKey{rep, group}]
}

func (d *delta) set(block uint32, b blockDelta) {
	if i := d.at[block]; i != 0 {
		d.blocks[i-1] = b
		return
	}
	d.blocks = append(d.blocks, b)
	d.at[block] = uint8(len(d.blocks))
}

// drop forgets all of a replica.
func (o *overlay) drop(rep *replica) {
	for key := range o.deltas {
		if key.rep == rep {
			delete(o.deltas, key)
		}
	}
}

// pageCache keeps decoded metadata pages, bounded in number.
type pageCache struct {
	pages map[pageKey]*page
	limit int
}

type pageKey struct {
	instance uint64
	group    uint32
}

// get returns the page if the cache has exactly the one with CRC sum.
func (c *pageCache) get(instance uint64, group, sum uint32) *page {
	if p := c.pages[pageKey{instance, group}]; p != nil && p.sum == sum {
		return p
	}
	return nil
}

// put keeps p, in the place of any other page when the cache is full.
func (c *pageCache) put(p *page) {
	key := pageKey{p.instance, p.group}
	if _, have := c.pages[key]; !have && len(c.pages) >= c.limit {
		for victim := range c.pages {
			delete(c.pages, victim)
			break
		}
	}
	c.pages[key] = p
}
