package pages

import (
	"testing"
	"unsafe"
)

func TestMemoryBeginsWithAPage(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 512, Size, Size + 1, long - 1, long, long + Size + 1, 1 << 20, huge, slabs - 1, slabs, slabs + 1, 9 << 20} {
		for i := range 6 {
			b := []func(int) []byte{Make, Long}[i%2](n)
			if len(b) != n || cap(b) != n && i%2 > 0 || !Aligned(b) {
				t.Fatalf("%d bytes: length %d, capacity %d, at %p", n, len(b), cap(b), b)
			}
			for i := range b {
				if b[i] != 0 {
					t.Fatalf("byte %d of %d is %d", i, n, b[i])
				}
				b[i] = 0xFF
			}
		}
	}
	if Make(0) == nil || Aligned(Make(Size)[1:]) {
		t.Error("nothing begins with a page")
	}
}

// What is long lies in few huge pages, side by side, and no byte of it twice.
func TestLongMemoryIsCutFromSlabs(t *testing.T) {
	type place struct{ from, to uintptr }
	var all []place
	within := map[uintptr]bool{}
	kept := [][]byte{}
	for range 64 {
		b := Long(100 << 10)
		from := uintptr(unsafe.Pointer(unsafe.SliceData(b)))
		p := place{from, from + uintptr(len(b))}
		for _, o := range all {
			if p.from < o.to && o.from < p.to {
				t.Fatalf("%x to %x was given away as %x to %x", p.from, p.to, o.from, o.to)
			}
		}
		all, kept = append(all, p), append(kept, b)
		within[p.from/huge], within[(p.to-1)/huge] = true, true
	}
	if len(within) > 64*100<<10/huge+4 {
		t.Errorf("%d pieces lie in %d huge pages", len(kept), len(within))
	}
}
