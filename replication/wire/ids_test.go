package wire

import (
	"hash/crc32"
	"math/rand/v2"
	"testing"
)

// TestChecksumIsOfDataAndPlace pins it: it is on disks and on the wire.
func TestChecksumIsOfDataAndPlace(t *testing.T) {
	data := block(0x30)
	want := BlockCRC(1, 2, 3, data)
	place := []byte{0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3}
	if plain := crc32.Checksum(append(place, data...), crc32.MakeTable(crc32.Castagnoli)); want != plain {
		t.Errorf("%#x is not the CRC32C of place and data, %#x", want, plain)
	}
	data[4095] ^= 1
	for what, other := range map[string]uint32{
		"a flipped bit":   BlockCRC(1, 2, 3, data),
		"another volume":  BlockCRC(2, 2, 3, block(0x30)),
		"another segment": BlockCRC(1, 3, 3, block(0x30)),
		"another block":   BlockCRC(1, 2, 4, block(0x30)),
	} {
		if other == want {
			t.Errorf("%s has the same checksum", what)
		}
	}
}

func TestVersionsAreOrderedByReignThenSequence(t *testing.T) {
	rising := []Version{{}, {0, 1}, {1, 0}, {1, 1}, {1, 1 << 63}, {2, 0}, {1 << 63, 0}, {1<<64 - 1, 1<<64 - 1}}
	for i, a := range rising {
		for j, b := range rising {
			if a.Less(b) != (i < j) {
				t.Errorf("%v < %v is %v", a, b, a.Less(b))
			}
		}
	}
	r := rand.New(rand.NewPCG(1, 1))
	for range 1000 {
		a, b := Version{r.Uint64N(3), r.Uint64N(3)}, Version{r.Uint64N(3), r.Uint64N(3)}
		if a == b && (a.Less(b) || b.Less(a)) || a != b && a.Less(b) == b.Less(a) {
			t.Fatalf("%v and %v are not in one order", a, b)
		}
	}
}
