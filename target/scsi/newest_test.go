package scsi

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"ashlar/target"
	"ashlar/target/targettest"
)

// What the newest iscsi-test-cu asks beyond Debian's, of SCSI: each test is named
// for the tool's family and test.

func TestNewestCompareAndWriteMiscompareSense(t *testing.T) {
	for _, size := range []int{512, 4096} {
		r := newRig(t, targettest.Options{BlockSize: uint32(size)})
		all := func(x byte) []byte { return bytes.Repeat([]byte{x}, size) }
		r.good(ranged(0x8A, 0, 0, 1), all('A'))
		r.good(ranged(0x89, 0, 0, 1), append(all('A'), all('B')...))
		for at := range size {
			out := append(all('B'), all('C')...)
			out[at] = 'Z'
			r.expect(fmt.Sprintf("02 e/1d00 at %d", at), ranged(0x89, 0, 0, 1), out)
		}
		if got := r.good(ranged(0x88, 0, 0, 1), nil); !bytes.Equal(got, all('B')) {
			t.Error("a miscompare has written")
		}
	}
}

// portGroupsOf reads REPORT TARGET PORT GROUPS' groups and their states.
func portGroupsOf(list []byte, extended bool) (all []target.PortGroup) {
	start := 4
	if extended {
		start = 8
	}
	for d := list[start:]; len(d) >= 8; d = d[8+4*int(d[7]):] {
		all = append(all, target.PortGroup{ID: binary.BigEndian.Uint16(d[2:]), State: target.PathState(d[0] & 0x0F)})
	}
	return all
}

// TestNewestReportTargetPortGroups: both headers have the same groups in the same
// order, and each allocation length gets as much of the whole, whose length is told
// whatever is cut off.
func TestNewestReportTargetPortGroups(t *testing.T) {
	groups := []target.PortGroup{{ID: 1, State: target.NonOptimized}, {ID: 2, State: target.Optimized}, {ID: 7, State: target.NonOptimized}}
	r := newRig(t, targettest.Options{Groups: groups, Local: 1})
	for _, format := range []byte{0x00, 0x20} {
		whole := r.good([]byte{0xA3, 0x0A | format, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0}, nil)
		if got := portGroupsOf(whole, format != 0); fmt.Sprint(got) != fmt.Sprint(groups) {
			t.Errorf("format %#x: %v, want %v", format, got, groups)
		}
		if n := binary.BigEndian.Uint32(whole); int(n) != len(whole)-4 {
			t.Errorf("format %#x: RETURN DATA LENGTH %d of %d", format, n, len(whole))
		}
		if format != 0 && (whole[4] != 0x10 || whole[5] != transitionSeconds) {
			t.Errorf("extended header % x", whole[:8])
		}
		for n := range len(whole) + 8 {
			got := r.do([]byte{0xA3, 0x0A | format, 0, 0, 0, 0, 0, 0, 0, byte(n), 0, 0}, nil)
			if want := whole[:min(n, len(whole))]; got.Status != StatusGood || !bytes.Equal(got.Data, want) || got.Transfer != uint64(len(want)) {
				t.Errorf("format %#x, allocation length %d: %s, % x", format, n, verdict(got), got.Data)
			}
		}
	}
	for format := byte(2); format < 8; format++ {
		r.expect("02 5/2400", []byte{0xA3, 0x0A | format<<5, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0}, nil)
	}
}

func TestNewestInquirySupportedVPD(t *testing.T) {
	r := newRig(t, targettest.Options{})
	page := r.good(raw("12 01 00 04 00 00"), nil)
	if page[4] != 0 || int(page[3]) != len(page)-4 {
		t.Fatalf("% x", page)
	}
	for i := 5; i < len(page); i++ {
		if page[i] <= page[i-1] {
			t.Errorf("page %#x comes after %#x", page[i], page[i-1])
		}
	}
	for code := range 256 {
		listed := bytes.IndexByte(page[4:], byte(code)) >= 0
		if got := verdict(r.do([]byte{0x12, 1, byte(code), 4, 0, 0}, nil)); (got == "00") != listed || !listed && got != "02 5/2400" {
			t.Errorf("page %#x, listed %v: %s", code, listed, got)
		}
	}
}

// TestNewestReadOnly: whatever would change the medium is refused as the tool asks,
// also of no blocks; the rest works, and is reported like that of any unit.
func TestNewestReadOnly(t *testing.T) {
	r, writable := newRig(t, targettest.Options{ReadOnly: true}), newRig(t, targettest.Options{})
	zeros := make([]byte, 1024)
	for _, c := range rangedCodes() {
		if c.access != writes || len(c.usage) == 6 {
			continue
		}
		r.expect("02 7/2700", ranged(c.code(), 0, 0, 0), []byte{})
		r.expect("02 7/2700", ranged(c.code(), 0, 0, 1), zeros[:len(outFor(c, 1))])
	}
	for _, flags := range []byte{unmap, unmap | ndob} {
		r.expect("02 7/2700", ranged(0x93, flags, 0, 1), zeros[:512])
	}
	r.expect("02 7/2700", ranged(0x41, unmap, 0, 1), zeros[:512])
	list := unmapList([]extent{{0, 8}})
	r.expect("02 7/2700", unmapCDB(list), list)
	r.expect("02 7/2700", raw("42 00 00 00 00 00 00 00 00 00"), []byte{})
	cdb, list := copyCommand(copyTarget(r.memory), copySegment(0, 0, 0, 8, 8))
	r.expect("02 7/2700", cdb, list)

	r.expect("00", ranged(0x28, 0, 0, 1), nil)
	r.expect("00", ranged(0x2F, 0, 0, 1), nil)
	r.expect("00", ranged(0x35, 0, 0, 0), nil)
	r.expect("00", raw("16 00 00 00 00 00"), nil)
	for _, sense := range []string{"1a 00 3f 00 ff 00", "5a 00 3f 00 00 00 00 00 ff 00"} {
		at := 2 + int(raw(sense)[0]>>6) // the long header's is the fourth byte
		if d := r.good(raw(sense), nil); d[at]&0x80 == 0 {
			t.Errorf("%s: no WP in % x", sense, d[:8])
		}
		if d := writable.good(raw(sense), nil); d[at]&0x80 != 0 {
			t.Errorf("%s: WP in % x of a unit that can be written", sense, d[:8])
		}
	}
	all := "a3 0c 00 00 00 00 00 00 40 00 00 00"
	if !bytes.Equal(r.good(raw(all), nil), writable.good(raw(all), nil)) {
		t.Error("other commands are reported than of a unit that can be written")
	}
}

// TestNewestExtendedCopy: from the start of the unit to its end, as QEMU and the
// tool ask for it, in both block sizes, and read back whole.
func TestNewestExtendedCopy(t *testing.T) {
	for _, size := range []uint32{512, 4096} {
		r := newRig(t, targettest.Options{BlockSize: size})
		const n = 2048
		end := r.memory.Info().Blocks - n
		data := make([]byte, n*size)
		for i := range data {
			data[i] = byte(i >> 9)
		}
		r.good(ranged(0x8A, 0, 0, n), data)
		cdb, list := copyCommand(copyTarget(r.memory), copySegment(0, 0, 0, end, n))
		list[1] = 2 << 3 // the list identifier is used, and nothing is held
		r.expect("00", cdb, list)
		if !bytes.Equal(r.good(ranged(0x88, 0, end, n), nil), data) {
			t.Errorf("blocks of %d bytes: not the copy", size)
		}
		cdb, list = copyCommand(copyTarget(r.memory), copySegment(0, 0, 0, end+1, n))
		r.expect("02 a/0000", cdb, list)
	}
}

// TestNewestSanitize: the tool leaves out what is reported as not there.
func TestNewestSanitize(t *testing.T) {
	r := newRig(t, targettest.Options{})
	for action := range byte(32) {
		r.expect("02 5/2000", []byte{0x48, action, 0, 0, 0, 0, 0, 0, 0, 0}, nil)
		for _, options := range []byte{2, 3} {
			if d := r.good([]byte{0xA3, 0x0C, options, 0x48, 0, action, 0, 0, 1, 0, 0, 0}, nil); d[1]&7 != 1 {
				t.Errorf("service action %#x, option %d: % x", action, options, d)
			}
		}
	}
}

// TestNewestReportLUNs: each SELECT REPORT lists what it should, in every length.
func TestNewestReportLUNs(t *testing.T) {
	r := newRig(t, targettest.Options{})
	for lun := range uint16(3) {
		if err := r.target.Add(lun+1, targettest.NewMemory(targettest.Options{ID: uint64(lun + 2)})); err != nil {
			t.Fatal(err)
		}
	}
	for report, units := range []int{4, 1, 5} {
		whole := r.good([]byte{0xA0, 0, byte(report), 0, 0, 0, 0, 0, 4, 0, 0, 0}, nil)
		if n := binary.BigEndian.Uint32(whole); n != uint32(8*units) || len(whole) != 8+8*units {
			t.Errorf("select %d: %d bytes, LUN LIST LENGTH %d", report, len(whole), n)
		}
		for n := range len(whole) + 8 {
			if got := r.good([]byte{0xA0, 0, byte(report), 0, 0, 0, 0, 0, 0, byte(n), 0, 0}, nil); !bytes.Equal(got, whole[:min(n, len(whole))]) {
				t.Errorf("select %d, allocation length %d: % x", report, n, got)
			}
		}
	}
	for _, report := range []byte{3, 0x10, 0x12, 0xFF} {
		r.expect("02 5/2400", []byte{0xA0, 0, report, 0, 0, 0, 0, 0, 4, 0, 0, 0}, nil)
	}
}
