package peer

import (
	"testing"
	"unsafe"

	"ashlar/target/pages"
)

// A payload's data, which is its end, can go to a disk from where it is; and it has no more memory than it needs.
func TestALongPayloadEndsWithAPage(t *testing.T) {
	for _, data := range []int{0, 1, 512, 4 << 10, 64<<10 - 1, 64 << 10, 128 << 10, 256 << 10, 1 << 20, 4 << 20} {
		for _, before := range []int{0, 8, 777, besideData, 2 << 10, besideLong} {
			b := newBuffer(before + data)
			if len(b.Bytes) != before+data {
				t.Fatalf("%d bytes for a payload of %d", len(b.Bytes), before+data)
			}
			if whole := len(b.whole); whole > 2*data+4*before+besideLong {
				t.Errorf("%d bytes of memory for a payload of %d", whole, before+data)
			}
			if end := uintptr(unsafe.Pointer(unsafe.SliceData(b.Bytes))) + uintptr(before+data); data >= 64<<10 && end%pages.Size != 0 {
				t.Errorf("a payload of %d bytes ends %d bytes into a page", before+data, end%pages.Size)
			}
			for i := range b.Bytes {
				b.Bytes[i] = byte(i)
			}
			if data >= 64<<10 && data&(data-1) == 0 && len(b.whole) != data+besideLong {
				t.Errorf("%d bytes of memory for %d of data and %d before", len(b.whole), data, before)
			}
			b.Release()
		}
	}
}
