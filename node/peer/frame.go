package peer

import (
	"encoding/binary"
	"math/bits"
	"sync"

	"ashlar/replication/wire"
	"ashlar/target/pages"
)

// A frame on the wire, big endian:
//
//	+----------------+----------+---------
//	| payload length | kind     | payload
//	| 4 bytes        | 2 bytes  |
//	+----------------+----------+---------
const frameHeader = 6

// MaxPayload is the largest message, bytes, with the number of its volume before it.
const MaxPayload = wire.FrameMax + 8

// Frame is a message to send: Head and Body, one after the other, are its
// payload. Either may be empty.
type Frame struct {
	Kind       uint16
	Head, Body []byte

	// Done, if not nil, is called exactly once, whatever becomes of the frame: from
	// then on nobody reads Head and Body. It must not block.
	Done func()
}

func (f *Frame) bytes() int { return frameHeader + len(f.Head) + len(f.Body) }

func (f *Frame) putHeader(h *[frameHeader]byte) {
	binary.BigEndian.PutUint32(h[:], uint32(len(f.Head)+len(f.Body)))
	binary.BigEndian.PutUint16(h[4:], f.Kind)
}

func (f *Frame) done() {
	if f.Done != nil {
		f.Done()
	}
}

// Buffer is a payload that its handler took over.
type Buffer struct {
	Bytes []byte
	whole []byte
	class int
}

// Buffers come in powers of two, with room for what goes with so much data. Data is what a payload ends with: the
// end of a long one is the end of a page of memory, so that its blocks can go to a disk from where they are.
const (
	smallestBuffer = 9  // 512 bytes
	largestBuffer  = 25 // 32 MiB
	besideData     = 1 << 10
	longBuffer     = 16 // 64 KiB
	besideLong     = pages.Size
)

var buffers [largestBuffer + 1]sync.Pool

func newBuffer(length int) *Buffer {
	class, memory := classOf(length-besideData), short
	if class >= longBuffer {
		class, memory = max(longBuffer, classOf(length-besideLong)), whole
	}
	b, _ := buffers[class].Get().(*Buffer)
	if b == nil {
		b = &Buffer{whole: memory(1 << class), class: class}
	}
	b.Bytes = b.whole[len(b.whole)-length:]
	return b
}

// classOf is the power of two that has room for so many bytes.
func classOf(bytes int) int { return max(smallestBuffer, bits.Len(uint(max(bytes, 1)-1))) }

func short(data int) []byte { return make([]byte, data+besideData) }

// whole is memory that ends with a page.
func whole(data int) []byte { return pages.Long(data + besideLong) }

// Release gives the buffer back. Nobody may touch Bytes after it.
func (b *Buffer) Release() {
	b.Bytes = nil
	buffers[b.class].Put(b)
}
