package disk_test

import (
	"errors"
	"testing"

	"ashlar/node/disk"
)

// A block is copied with the checksum and the version that its source keeps, apart from it. So a bit that flips at
// the source, on the way or at the destination is found before, or whenever, the copy is read.
func TestABitThatFlipsWhileABlockIsCopiedIsFound(t *testing.T) {
	r := replica(1, 0)
	for _, where := range []string{"nowhere", "source", "way", "checksum on the way", "other block's place", "destination"} {
		t.Run(where, func(t *testing.T) {
			from, to := formatted(t), formatted(t)
			source, destination := open(t, from), open(t, to)
			check(t, source.Create(r))
			check(t, destination.Create(r))
			check(t, put(source, r, 20, 4, v(3, 7)))
			source.Checkpoint()
			var sum *disk.ChecksumError
			if where == "source" {
				place, _ := source.BlockPlace(r, 22)
				from.Flip(place + 77)
			}
			read := get(source, r, 20, 4)
			if where == "source" {
				if !errors.As(read.Err, &sum) {
					t.Fatalf("the source gives it: %v", read.Err)
				}
				return
			}
			check(t, read.Err)
			w := &disk.Write{Replica: r, Block: 20, Count: 4, Data: read.Data, CRC: read.CRC, Version: v(9, 1), Versions: read.Versions}
			switch where {
			case "way":
				w.Data[2*4096+77] ^= 1
			case "checksum on the way":
				w.CRC[3] ^= 1 << 31
			case "other block's place":
				w.Block++
			}
			err := submit(destination, w)
			if where == "way" || where == "checksum on the way" || where == "other block's place" {
				if !errors.As(err, &sum) {
					t.Fatalf("the destination takes it: %v", err)
				}
				isZero(t, destination, r, 20, 5, v(0, 0)) // none of it
				return
			}
			check(t, err)
			destination.Checkpoint()
			if where == "destination" {
				place, _ := destination.BlockPlace(r, 21)
				to.Flip(place + 77)
				if err := get(destination, r, 20, 4).Err; !errors.As(err, &sum) {
					t.Fatalf("the destination gives it: %v", err)
				}
				return
			}
			holds(t, destination, r, 20, 4, v(3, 7))
		})
	}
}
