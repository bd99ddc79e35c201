package scsi

import (
	"bytes"
	"encoding/binary"
	"sync"
	"testing"

	"ashlar/target"
	"ashlar/target/targettest"
)

// TestWriteAtomicKeepsToItsPage: what VPD page B0h states is taken, as one write
// of the device, and nothing else.
func TestWriteAtomicKeepsToItsPage(t *testing.T) {
	r := newRig(t, targettest.Options{})
	page := r.good(raw("12 01 b0 04 00 00"), nil)
	longest, alignment := uint64(binary.BigEndian.Uint32(page[44:])), uint64(binary.BigEndian.Uint32(page[48:]))
	if longest != 256 || alignment != 8 || binary.BigEndian.Uint32(page[52:]) != 8 {
		t.Fatalf("% x", page[44:])
	}
	var writes []uint32
	r.memory.Intercept(func(o *target.Op) targettest.Verdict {
		writes = append(writes, o.Blocks)
		return targettest.Verdict{}
	})
	r.expect("00", ranged(0x9C, 0, 0, longest), blocksOf(1, int(longest)))
	r.expect("00", ranged(0x9C, 0, 8, 16), blocksOf(2, 16))
	if len(writes) != 2 || writes[0] != 256 || writes[1] != 16 {
		t.Errorf("writes of %v blocks", writes)
	}
	r.expect("02 5/2400", ranged(0x9C, 0, 0, longest+8), blocksOf(1, int(longest)+8))
	r.expect("02 5/2400", ranged(0x9C, 0, 1, 8), blocksOf(1, 8))
	r.expect("02 5/2400", ranged(0x9C, 0, 0, 9), blocksOf(1, 9))
	r.expect("02 5/2400", ranged(0x9C, 0, 248, 16), blocksOf(1, 16))
	bounded := ranged(0x9C, 0, 0, 8)
	bounded[11] = 8
	r.expect("02 5/2400", bounded, blocksOf(1, 8))
	r.expect("02 5/0e03", ranged(0x9C, 0, 0, 8), blocksOf(1, 7))
}

// TestOrWritesOfTwoHostsAddUp: none is lost to the other's.
func TestOrWritesOfTwoHostsAddUp(t *testing.T) {
	r := newRig(t, targettest.Options{})
	var wait sync.WaitGroup
	for half := range 2 {
		n := r.login(string(rune('p' + half)))
		wait.Go(func() {
			for bit := range 4 {
				task := r.task(n, 0, ranged(0x8B, 0, 3, 2), blocksOf(1<<(4*half+bit), 2))
				task.Done = func(*Task) {}
				for r.target.Execute(task); task.Status == StatusBusy; r.target.Execute(task) {
				}
			}
		})
	}
	wait.Wait()
	if got := r.good(ranged(0x28, 0, 3, 2), nil); !bytes.Equal(got, blocksOf(0xFF, 2)) {
		t.Errorf("% x", got[:16])
	}
}

// TestALongOrWriteIsWholeAndGivesUpWhenOthersAreAlwaysFaster goes step by step.
func TestALongOrWriteIsWholeAndGivesUpWhenOthersAreAlwaysFaster(t *testing.T) {
	for _, size := range []uint32{512, 4096} {
		r := newRig(t, targettest.Options{BlockSize: size})
		n := maxTransfer(uint64(size))
		data := make([]byte, n*uint64(size))
		for i := range data {
			data[i] = byte(i >> 9 * 7)
		}
		r.expect("00", ranged(0x93, 0, 0, n), bytes.Repeat([]byte{0x11}, int(size)))
		between := 3
		r.memory.Intercept(func(o *target.Op) (v targettest.Verdict) {
			if uint64(len(o.Data)) > 2*patternPieceBytes {
				t.Errorf("an operation of %d bytes", len(o.Data))
			}
			if o.Kind == target.CompareAndWrite && o.LBA > 0 && between > 0 {
				between--
				v.Status = target.Miscompare
			}
			return v
		})
		r.expect("00", ranged(0x8B, 0, 0, n), data)
		r.memory.Intercept(nil)
		got := r.good(ranged(0x88, 0, 0, n), nil)
		for i := range data {
			if got[i] != data[i]|0x11 {
				t.Fatalf("byte %d of blocks of %d is %#x", i, size, got[i])
			}
		}
		r.expect("02 5/2400", ranged(0x8B, 0, 0, n+1), make([]byte, len(data)+int(size)))
		r.memory.Intercept(func(o *target.Op) (v targettest.Verdict) {
			if o.Kind == target.CompareAndWrite {
				v.Status = target.Miscompare
			}
			return v
		})
		r.expect("08", ranged(0x8B, 0, 0, 1), make([]byte, size))
	}
}

func TestDiagnosticsAndLogsSayThatAllIsWell(t *testing.T) {
	r := newRig(t, targettest.Options{})
	r.expect("00", raw("1d 04 00 00 00 00"), nil)
	for _, cdb := range []string{"1d 24 00 00 00 00", "1d 04 00 00 08 00", "4d 01 00 00 00 00 00 00 ff 00", "4d 00 0c 00 00 00 00 00 ff 00"} {
		r.expect("02 5/2400", raw(cdb), nil)
	}
	list := r.good(raw("4d 00 00 00 00 00 00 00 ff 00"), nil)
	with := r.good(raw("4d 00 00 ff 00 00 00 00 ff 00"), nil)
	if want := raw("40 ff 00 08 00 00 00 ff 19 00 2f 00"); !bytes.Equal(with, want) {
		t.Errorf("pages and subpages % x", with)
	}
	if !bytes.Equal(list[4:], []byte{0x00, 0x19, 0x2F}) {
		t.Errorf("pages % x", list)
	}
	for _, page := range list[4:] {
		d := r.good([]byte{0x4D, 0, page, 0, 0, 0, 0, 0, 0xFF, 0}, nil)
		if d[0]&0x3F != page || int(binary.BigEndian.Uint16(d[2:])) != len(d)-4 {
			t.Errorf("page %#x: % x", page, d)
		}
		r.expect("02 5/2400", []byte{0x4D, 0, page, 1, 0, 0, 0, 0, 0xFF, 0}, nil)
		r.expect("02 5/2400", []byte{0x4D, 0, page, 0, 0, 0, 4, 0, 0xFF, 0}, nil)
	}
	if d := r.good(raw("4d 00 6f 00 00 00 00 00 ff 00"), nil); !bytes.Equal(d, raw("2f 00 00 08 00 00 03 04 00 00 ff 00")) {
		t.Errorf("informational exceptions % x", d)
	}
	if d := r.good(raw("4d 00 59 00 00 00 03 00 ff 00"), nil); !bytes.Equal(d, raw("19 00 00 0c 00 03 03 08 00 00 00 06 00 00 00 01")) {
		t.Errorf("time interval % x", d)
	}
	for _, cdb := range []string{"37 00 1d 00 00 00 00 00 ff 00", "b7 1d 00 00 00 00 00 00 00 ff 00 00"} {
		d := r.good(raw(cdb), nil)
		if d[1] != 0x1D || !bytes.Equal(d[2:], make([]byte, len(d)-2)) {
			t.Errorf("defects: % x", d)
		}
	}
}
