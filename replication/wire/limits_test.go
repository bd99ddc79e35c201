package wire

import (
	"errors"
	"runtime"
	"testing"
)

func TestWhatIsMalformedIsRefused(t *testing.T) {
	data := block(1)
	crc := []uint32{1}
	for name, m := range map[string]Message{
		"more blocks than data":          &Write{Count: 2, CRC: []uint32{1, 2}, Data: data},
		"fewer blocks than data":         &Write{Count: 0, Data: data},
		"part of a block":                &Write{Count: 1, CRC: crc, Data: data[:4095]},
		"data without checksums":         &Write{Count: 1, Data: data},
		"more checksums than blocks":     &Write{Count: 1, CRC: []uint32{1, 2}, Data: data},
		"checksums without data":         &Write{Count: 1, CRC: crc},
		"fewer versions than blocks":     &Write{Count: 2, Versions: []Version{{1, 1}}},
		"more versions than blocks":      &Write{Count: 1, CRC: crc, Data: data, Versions: make([]Version, 2)},
		"a read of too much":             &Read{Count: DataMax/BlockSize + 1},
		"more generations than segments": &Prepare{Segments: []Segment{1}, Gens: []uint64{1, 2}},
		"segments without generations":   &Prepare{Segments: []Segment{1}},
		"too much data":                  &Submit{Data: make([]byte, DataMax+1)},
		"too much data in an answer":     &Done{Data: make([]byte, DataMax+1)},
		"too many blocks in an answer":   &Blocks{Data: make([]byte, DataMax+BlockSize)},
		"too long a list":                &Runs{Runs: make([]uint32, ListMax+1)},
		"too long a host's name":         &Fence{Nexus: Nexus{Host: string(make([]byte, HostMax+1))}},
		"an unknown operation":           &Submit{Op: OpReserve + 1},
		"an unknown scope":               &Fence{Scope: FenceTasks + 1},
		"an unknown scope to clear":      &Clear{Scope: FenceTasks + 1},
		"an unknown status":              &Ack{Status: CacheLost + 1},
		"an unknown status of a tail":    &Prepared{Segments: []Tail{{Status: 255}}},
	} {
		if got, err := Unmarshal(m.Kind(), Marshal(nil, m)); !errors.Is(err, ErrMalformed) || got != nil {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	for name, b := range map[string][]byte{
		"a flag of 2": {0, 0, 0, 0, 0, 0, 0, 1, 0, 2},
	} {
		if _, err := Unmarshal(KindAck, b); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, k := range []Kind{0, KindCleared + 1, 65535} {
		if _, err := Unmarshal(k, nil); !errors.Is(err, ErrMalformed) {
			t.Errorf("kind %d: %v", k, err)
		}
	}
}

func TestTheLargestMessagesPassAndFitAFrame(t *testing.T) {
	blocks := DataMax / BlockSize
	for name, m := range map[string]Message{
		"a write that copies": &Write{Count: uint32(blocks), Versions: make([]Version, blocks), CRC: make([]uint32, blocks), Data: make([]byte, DataMax)},
		"a write of zeros":    &Write{Count: ListMax, Versions: make([]Version, ListMax)},
		"an answer to a read": &Blocks{Versions: make([]Version, blocks), CRC: make([]uint32, blocks), Bad: make([]uint32, blocks), Data: make([]byte, DataMax)},
		"a page":              &Page{Changes: make([]Change, ListMax)},
		"a tail":              &Prepared{Segments: []Tail{{Changes: make([]Change, ListMax)}}},
		"a forwarded write":   &Submit{Nexus: Nexus{Host: string(make([]byte, HostMax))}, Length: DataMax, Data: make([]byte, DataMax)},
		"a read":              &Read{Count: uint32(blocks)},
	} {
		b := Marshal(nil, m)
		if len(b) > FrameMax {
			t.Errorf("%s has %d bytes", name, len(b))
		}
		if _, err := Unmarshal(m.Kind(), b); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestAFalseLengthAsksForNoMemory: what a few bytes claim is checked before it
// is allocated.
func TestAFalseLengthAsksForNoMemory(t *testing.T) {
	var before, after runtime.MemStats
	for _, s := range samples() {
		b := Marshal(nil, s.m)
		runtime.ReadMemStats(&before)
		for i := range len(b) - 3 {
			for _, claim := range []byte{0, 0x03, 0x7F, 0xFF} { // 0x03FFFF entries are within ListMax
				old := [4]byte(b[i:])
				copy(b[i:], []byte{0, claim, 0xFF, 0xFF})
				if claim > 3 {
					b[i] = claim
				}
				_, _ = Unmarshal(s.m.Kind(), b)
				copy(b[i:], old[:])
			}
		}
		runtime.ReadMemStats(&after)
		// Twice its size for its lists and half a KiB for the message and an error's text.
		if used, calls := after.TotalAlloc-before.TotalAlloc, uint64(4*(len(b)-3)); used > calls*uint64(2*len(b)+1024) {
			t.Errorf("%s of %d bytes: %d bytes allocated for each", s.name, len(b), used/calls)
		}
	}
}
