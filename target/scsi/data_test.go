package scsi

import (
	"bytes"
	"encoding/binary"
	"testing"

	"ashlar/target"
	"ashlar/target/targettest"
)

func (r *rig) block(lba uint64) []byte { return r.good(ranged(0x88, 0, lba, 1), nil) }

func TestEveryWriteIsReadByEveryRead(t *testing.T) {
	r := newRig(t, targettest.Options{})
	x := byte(0)
	for _, w := range []byte{0x0A, 0x2A, 0xAA, 0x8A, 0x2E, 0xAE, 0x8E} {
		for _, rd := range []byte{0x08, 0x28, 0xA8, 0x88} {
			x++
			r.expect("00", ranged(w, 0, 9, 3), blocksOf(x, 3))
			if got := r.good(ranged(rd, 0, 9, 3), nil); !bytes.Equal(got, blocksOf(x, 3)) {
				t.Errorf("%s, then %s: not what was written", lookup([]byte{w, 0}).name, lookup([]byte{rd, 0}).name)
			}
		}
	}
	r.expect("00", ranged(0x0A, 0, 100, 0), blocksOf(9, 256)) // length 0 is 256 blocks in six bytes
	if got := r.good(ranged(0x08, 0, 100, 0), nil); !bytes.Equal(got, blocksOf(9, 256)) {
		t.Error("READ(6) of length 0 is not 256 blocks")
	}
}

func TestTransferTellsTheWholeWhateverTheHostExpects(t *testing.T) {
	r := newRig(t, targettest.Options{})
	r.expect("00", ranged(0x2A, 0, 0, 2), blocksOf(1, 2))
	for _, limit := range []uint32{0, 1, 511, 512, 1000, 1024, 5000} {
		task := r.task(r.nexus, 0, ranged(0x28, 0, 0, 2), nil)
		task.Limit = limit
		r.run(task)
		if want := min(limit, 1024); task.Status != StatusGood || task.Transfer != 1024 || len(task.Data) != int(want) {
			t.Errorf("room for %d: status %#x, transfer %d, data %d", limit, task.Status, task.Transfer, len(task.Data))
		}
	}
	for _, code := range []byte{0x2A, 0x2E} {
		for sent, status := range map[int]byte{0: StatusGood, 200: StatusCheckCondition, 512: StatusGood, 800: StatusCheckCondition, 1024: StatusGood} {
			r.expect("00", ranged(0x2A, 0, 0, 2), blocksOf(1, 2))
			task := r.do(ranged(code, 0, 0, 2), blocksOf(2, 2)[:sent])
			want := append(blocksOf(2, sent/512), blocksOf(1, 2-sent/512)...)
			if status != StatusGood {
				want = blocksOf(1, 2) // a block can not be written in part
			}
			if task.Status != status || task.Transfer != 1024 || !bytes.Equal(r.good(ranged(0x28, 0, 0, 2), nil), want) {
				t.Errorf("%#x: %d bytes sent: %s, transfer %d", code, sent, verdict(task), task.Transfer)
			}
		}
	}
}

func TestDemandIsTheDataOutOfTheCDB(t *testing.T) {
	r := newRig(t, targettest.Options{})
	for _, c := range []struct {
		cdb       []byte
		direction Direction
		bytes     uint64
	}{
		{ranged(0x2A, 0, 0, 9), DataOut, 9 * 512},
		{ranged(0x0A, 0, 0, 0), DataOut, 256 * 512},
		{ranged(0x2A, 0, capacity, 1), DataOut, 0},
		{ranged(0x8A, 0, 0, 1<<32-1), DataOut, 0},
		{ranged(0x89, 0, 0, 2), DataOut, 2048},
		{ranged(0x93, 0, 0, 1000), DataOut, 512},
		{ranged(0x93, ndob, 0, 1000), DataOut, 0},
		{ranged(0x8F, 0, 0, 5), DataOut, 0},
		{ranged(0x8F, 2, 0, 5), DataOut, 5 * 512},
		{ranged(0x8F, 6, 0, 5), DataOut, 512},
		{ranged(0x28, 0, 0, 5), DataIn, 5 * 512},
		{raw("42 00 00 00 00 00 00 01 02 00"), DataOut, 0x102},
		{raw("15 10 00 00 18 00"), DataOut, 0x18},
		{raw("55 10 00 00 00 00 00 01 18 00"), DataOut, 0x118},
		{raw("12 00 00 00 ff 00"), DataIn, 0},
		{raw("00 00 00 00 00 00"), NoData, 0},
		{raw("ff 00 00 00 00 00"), NoData, 0},
		{raw("8a"), NoData, 0},
		{raw("8a 00 00"), NoData, 0},
		{nil, NoData, 0},
	} {
		if d, n := Demand(c.cdb, r.target, 0); d != c.direction || n != c.bytes {
			t.Errorf("% x: %d, %d bytes; want %d, %d", c.cdb, d, n, c.direction, c.bytes)
		}
	}
}

func TestVerifyComparesAsByteCheckSays(t *testing.T) {
	r := newRig(t, targettest.Options{})
	r.expect("00", ranged(0x8A, 0, 1000, 600), blocksOf(5, 600))
	wrong := blocksOf(5, 600)
	wrong[700] = 6
	for _, code := range []byte{0x2F, 0xAF, 0x8F} {
		r.expect("00", ranged(code, 0, 1000, 600), nil)
		r.expect("00", ranged(code, 2, 1000, 600), blocksOf(5, 600))
		r.expect("02 e/1d00 at 700", ranged(code, 2, 1000, 600), bytes.Clone(wrong))
		r.expect("00", ranged(code, 6, 1000, 600), blocksOf(5, 1))
		r.expect("02 e/1d00 at 0", ranged(code, 6, 1000, 601), blocksOf(5, 1))
		r.expect("02 e/1d00 at 188", ranged(code, 6, 1000, 600), bytes.Clone(wrong[512:1024]))
		r.expect("02 5/0e03", ranged(code, 6, 1000, 600), blocksOf(5, 2))
		r.expect("00", ranged(code, 6, 1000, 0), []byte{})
	}
	for _, code := range []byte{0x2E, 0xAE, 0x8E} {
		r.expect("00", ranged(code, 2, 1000, 2), blocksOf(8, 2))
		if !bytes.Equal(r.block(1001), blocksOf(8, 1)) {
			t.Errorf("%#x: not written", code)
		}
	}
}

func TestWriteAndVerifyTellsAWriteThatDidNotHold(t *testing.T) {
	r := newRig(t, targettest.Options{})
	r.memory.Intercept(func(o *target.Op) targettest.Verdict {
		if o.Kind == target.Verify {
			return targettest.Verdict{Status: target.MediumError}
		}
		return targettest.Verdict{}
	})
	r.expect("02 3/1100", ranged(0x2E, 0, 0, 1), blocksOf(1, 1))
}

func TestCompareAndWriteTellsTheFirstDifference(t *testing.T) {
	r := newRig(t, targettest.Options{})
	r.expect("00", ranged(0x89, 0, 3, 2), append(make([]byte, 1024), blocksOf(1, 2)...))
	for _, at := range []int{0, 1, 511, 512, 1023} {
		out := append(blocksOf(1, 2), blocksOf(2, 2)...)
		out[at] = 9
		task := r.do(ranged(0x89, 0, 3, 2), out)
		if task.Status != StatusCheckCondition || task.Sense[0] != 0xF0 || binary.BigEndian.Uint32(task.Sense[3:]) != uint32(at) {
			t.Errorf("difference at %d: %s", at, verdict(task))
		}
	}
	if !bytes.Equal(r.block(3), blocksOf(1, 1)) {
		t.Error("a miscompare wrote")
	}
	r.expect("00", ranged(0x89, 0, 3, 2), append(blocksOf(1, 2), blocksOf(2, 2)...))
	if !bytes.Equal(r.block(4), blocksOf(2, 1)) {
		t.Error("a match did not write")
	}
	for _, n := range []int{0, 1, 3, 4} {
		r.expect("02 5/2400", ranged(0x89, 0, 3, 1), blocksOf(2, n))
	}
	r.expect("02 5/2400", ranged(0x89, 0, 3, 256), blocksOf(2, 2)) // a length of 8 bits
	task := r.task(r.nexus, 0, ranged(0x89, 0, 3, 1), blocksOf(2, 2))
	task.Limit = 4 * 512 // the carrier collected no more than Demand said
	if got := verdict(r.run(task)); got != "02 5/2400" {
		t.Errorf("host with too much data: %s", got)
	}
}

func TestWriteSameRepeatsItsBlock(t *testing.T) {
	r := newRig(t, targettest.Options{})
	pattern := make([]byte, 512)
	for i := range pattern {
		pattern[i] = byte(i)
	}
	for _, code := range []byte{0x41, 0x93} {
		for flags, repeated := range map[byte][]byte{0: pattern, unmap: make([]byte, 512)} {
			for _, n := range []uint64{1, 7, 512, 513, 3000} {
				r.expect("00", ranged(0x93, 0, 0, 4096), blocksOf(0xEE, 1))
				r.expect("00", ranged(code, flags, 5, n), bytes.Clone(pattern))
				got := r.good(ranged(0x88, 0, 0, 4096), nil)
				want := bytes.Repeat(blocksOf(0xEE, 1), 4096)
				copy(want[5*512:], bytes.Repeat(repeated, int(n)))
				if !bytes.Equal(got, want) {
					t.Fatalf("%#x, flags %#x, %d blocks: wrong", code, flags, n)
				}
			}
		}
	}
	for _, n := range []int{0, 256, 1024} {
		r.expect("02 5/0e03", ranged(0x41, unmap, 0, 1), make([]byte, n))
	}
	r.expect("02 5/0e03", ranged(0x93, ndob, 0, 1), make([]byte, 512))
}

func TestDiscardedBlocksReadAsZerosAndAreToldSo(t *testing.T) {
	r := newRig(t, targettest.Options{Blocks: 1 << 15})
	unmapAll := unmapList([]extent{{64, 1}, {65, 63}, {1 << 15, 0}, {200, 56}})
	for name, discard := range map[string]func() []byte{
		"write same unmap": func() []byte { r.good(ranged(0x93, unmap, 64, 64), make([]byte, 512)); return nil },
		"write same ndob":  func() []byte { r.good(ranged(0x93, unmap|ndob, 64, 64), []byte{}); return nil },
		"zero":             func() []byte { r.good(ranged(0x41, 0, 64, 64), make([]byte, 512)); return nil },
		"unmap":            func() []byte { return r.good(unmapCDB(unmapAll), unmapAll) },
		"to the end":       func() []byte { return r.good(ranged(0x93, unmap, 64, 0), make([]byte, 512)) },
	} {
		r.good(ranged(0x93, 0, 0, 256), blocksOf(3, 1))
		discard()
		for lba, want := range map[uint64]byte{63: 3, 64: 0, 100: 0, 127: 0} {
			if !bytes.Equal(r.block(lba), blocksOf(want, 1)) {
				t.Errorf("%s: block %d is not all %d", name, lba, want)
			}
		}
		status := func(lba byte) []byte {
			return r.good([]byte{0x9E, 0x12, 0, 0, 0, 0, 0, 0, 0, lba, 0, 0, 0, 24, 0, 0}, nil)
		}
		if s := status(60); binary.BigEndian.Uint64(s[8:]) != 60 || s[20] != 0 {
			t.Errorf("%s: status from a written block: % x", name, s)
		}
		if s := status(80); name != "zero" && (binary.BigEndian.Uint64(s[8:]) != 80 || s[20] != 1) {
			t.Errorf("%s: status from a discarded block: % x", name, s)
		}
	}
}

func TestUnmapChecksItsListBeforeItActs(t *testing.T) {
	r := newRig(t, targettest.Options{})
	r.good(ranged(0x2A, 0, 0, 1), blocksOf(1, 1))
	for _, bad := range []extent{{capacity, 1}, {capacity + 1, 0}, {1<<64 - 1, 2}, {capacity - 1, 2}} {
		list := unmapList([]extent{{0, 1}, bad})
		r.expect("02 5/2100", unmapCDB(list), list)
	}
	list := unmapList([]extent{{0, 1}})
	r.expect("02 5/1a00", unmapCDB(list), list[:20])
	r.expect("02 5/1a00", unmapCDB(list[:4]), list[:4])
	binary.BigEndian.PutUint16(list[2:], 32)
	r.expect("02 5/1a00", unmapCDB(list), list)
	r.expect("00", unmapCDB(nil), []byte{})
	list = unmapList(nil)
	r.expect("00", unmapCDB(list), list)
	list = unmapList([]extent{{capacity, 0}})
	r.expect("00", unmapCDB(list), list)
	if !bytes.Equal(r.block(0), blocksOf(1, 1)) {
		t.Error("a refused UNMAP took effect")
	}
}

func TestADeviceStatusIsToldAsTheStandardHasIt(t *testing.T) {
	r := newRig(t, targettest.Options{})
	var inject target.Status
	r.memory.Intercept(func(*target.Op) targettest.Verdict { return targettest.Verdict{Status: inject} })
	for status, want := range map[target.Status]string{
		target.Busy: "08", target.Full: "28", target.Aborted: "08", target.Conflict: "18",
		target.OutOfRange: "02 5/2100", target.NoSpace: "02 7/2707", target.MediumError: "02 3/1100", target.CacheLost: "02 3/0c00",
		target.Protected: "02 7/2700", target.Gone: "02 5/2500", target.Miscompare: "02 e/1d00 at 0",
	} {
		inject = status
		for _, code := range []byte{0x28, 0x2A, 0x8F, 0x93, 0x35} {
			task := r.expect(want, ranged(code, 0, 0, 1), outFor(lookup([]byte{code, 0}), 1))
			if task.Transfer != 0 || task.command != nil {
				t.Errorf("%v: transfer %d", status, task.Transfer)
			}
		}
	}
}

func TestForceUnitAccessReachesTheDevice(t *testing.T) {
	r := newRig(t, targettest.Options{})
	var seen target.Op
	r.memory.Intercept(func(o *target.Op) targettest.Verdict { seen = *o; return targettest.Verdict{} })
	for _, code := range []byte{0x28, 0x2A, 0xA8, 0xAA, 0x88, 0x8A, 0x89} {
		for flags, want := range map[byte]bool{0: false, 0x08: true, 0x10: false, 0x18: true} {
			r.do(ranged(code, flags, 0, 1), outFor(lookup([]byte{code, 0}), 1))
			if seen.FUA != want || seen.Nexus != r.nexus.ID() || seen.Stamp.Epoch != 1 {
				t.Errorf("%#x, flags %#x: %+v", code, flags, seen)
			}
		}
	}
}

func TestAReadOnlyUnitRefusesEveryWriteAndNothingElse(t *testing.T) {
	r := newRig(t, targettest.Options{ReadOnly: true})
	for _, c := range rangedCodes() {
		want := "00"
		if c.access == writes {
			want = "02 7/2700"
		}
		r.expect(want, ranged(c.code(), 0, 0, 1), outFor(c, 1))
	}
	list := unmapList([]extent{{0, 1}})
	r.expect("02 7/2700", unmapCDB(list), list)
	if d := r.good(raw("1a 00 3f 00 ff 00"), nil); d[2] != 0x90 {
		t.Errorf("device-specific parameter %#x, want WP and DPOFUA", d[2])
	}
}

// TestReadAndWriteDoNotAllocate is the steady state of a carrier that reuses
// its tasks and their buffers.
func TestReadAndWriteDoNotAllocate(t *testing.T) {
	r := newRig(t, targettest.Options{})
	for _, cdb := range [][]byte{ranged(0x2A, 0, 8, 8), ranged(0x28, 0, 8, 8)} {
		buffer := make([]byte, 4096)
		task := &Task{}
		done := 0
		finish := func(*Task) { done++ }
		got := testing.AllocsPerRun(1000, func() {
			task.Reset()
			task.Nexus, task.CDB, task.Limit, task.Done = r.nexus, cdb, 4096, finish
			direction, n := Demand(cdb, r.target, 0)
			task.Data = buffer[:0]
			if direction == DataOut {
				task.Data = buffer[:n]
			}
			r.target.Execute(task)
		})
		if got != 0 || done != 1001 || task.Status != StatusGood || task.Transfer != 4096 {
			t.Errorf("% x: %v allocations, done %d times, status %#x, transfer %d", cdb, got, done, task.Status, task.Transfer)
		}
	}
}

func BenchmarkRead4K(b *testing.B) { benchmark(b, 0x28) }

func BenchmarkWrite4K(b *testing.B) { benchmark(b, 0x2A) }

func benchmark(b *testing.B, code byte) {
	tg := NewTarget(Config{Name: targetName})
	if err := tg.Add(0, targettest.NewMemory(targettest.Options{})); err != nil {
		b.Fatal(err)
	}
	n := tg.Login(target.Nexus{Host: "h", Port: 1}, "h")
	n.takeAttention(tg.unit(0))
	cdb, buffer := ranged(code, 0, 8, 8), make([]byte, 4096)
	task := &Task{}
	finish := func(t *Task) {
		if t.Status != StatusGood {
			b.Fatal(verdict(t))
		}
	}
	b.SetBytes(4096)
	b.ReportAllocs()
	for b.Loop() {
		task.Reset()
		task.Nexus, task.CDB, task.Limit, task.Done, task.Data = n, cdb, 4096, finish, buffer
		if code == 0x28 {
			task.Data = buffer[:0]
		}
		tg.Execute(task)
	}
}
