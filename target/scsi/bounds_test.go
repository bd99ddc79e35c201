package scsi

import (
	"encoding/binary"
	"fmt"
	"testing"

	"ashlar/target/targettest"
)

const capacity = 131072 // blocks of the rig's volume

// rangedCodes are the commands whose CDB has an LBA and a length.
func rangedCodes() (all []*command) {
	for _, c := range commands {
		if c.span != nil && c.name != "GET LBA STATUS" {
			all = append(all, c)
		}
	}
	return all
}

// outFor is the right data-out for a CDB, zeros.
func outFor(c *command, blocks uint64) []byte {
	if c.out == nil || c.direction != DataOut {
		return nil
	}
	return make([]byte, c.out(make([]byte, 16), blocks, 512))
}

func TestNoRangeGoesBeyondTheEnd(t *testing.T) {
	r := newRig(t, targettest.Options{})
	for _, c := range rangedCodes() {
		type span struct{ lba, blocks uint64 }
		inside := []span{{0, 1}, {capacity - 1, 1}, {capacity - 8, 8}, {capacity, 0}}
		beyond := []span{{capacity, 1}, {capacity - 1, 2}, {capacity + 1, 0}, {capacity + 1, 1}}
		if len(c.usage) >= 10 {
			beyond = append(beyond, span{1<<32 - 1, 1}, span{1 << 31, 0})
		}
		if len(c.usage) == 16 {
			beyond = append(beyond, span{1<<64 - 1, 0}, span{1<<64 - 1, 1}, span{1<<64 - 1, 2}, span{1<<64 - 8, 128}, span{1 << 63, 8})
		}
		if c.code() == 0x9C {
			inside = inside[2:] // aligned
		}
		for _, s := range inside {
			if len(c.usage) == 6 && s.blocks == 0 {
				continue // 256 blocks there
			}
			if got := verdict(r.do(ranged(c.code(), 0, s.lba, s.blocks), outFor(c, s.blocks))); got != "00" {
				t.Errorf("%s of %d blocks at %d: %s", c.name, s.blocks, s.lba, got)
			}
		}
		for _, s := range beyond {
			if got := verdict(r.do(ranged(c.code(), 0, s.lba, s.blocks), outFor(c, s.blocks))); got != "02 5/2100" {
				t.Errorf("%s of %d blocks at %d: %s, want 5/2100", c.name, s.blocks, s.lba, got)
			}
		}
	}
}

func TestEachLimitOfBlockLimitsIsEnforced(t *testing.T) {
	r := newRig(t, targettest.Options{Blocks: 8 << 21})
	page := r.good(raw("12 01 b0 04 00 00"), nil)
	transfer := uint64(binary.BigEndian.Uint32(page[8:]))
	unmapBlocks := binary.BigEndian.Uint32(page[20:])
	descriptors := int(binary.BigEndian.Uint32(page[24:]))
	same := binary.BigEndian.Uint64(page[36:])

	for _, code := range []byte{0x28, 0xA8, 0x88, 0x2A, 0xAA, 0x8A, 0x2E, 0xAE, 0x8E, 0x2F, 0xAF, 0x8F, 0x8B} {
		out := outFor(lookup([]byte{code, 0}), transfer)
		r.expect("00", ranged(code, 0, 0, transfer), out)
		r.expect("02 5/2400", ranged(code, 0, 0, transfer+1), out)
	}
	compare := uint64(page[5])
	r.expect("00", ranged(0x89, 0, 0, compare), make([]byte, 1024*compare))
	r.expect("02 5/2400", ranged(0x89, 0, 0, compare+1), make([]byte, 1024*(compare+1)))

	for _, flags := range []byte{0, unmap} {
		r.expect("00", ranged(0x93, flags, 3, same), make([]byte, 512))
		r.expect("02 5/2400", ranged(0x93, flags, 3, same+1), make([]byte, 512))
		r.expect("02 5/2400", ranged(0x93, flags, 3, 0), make([]byte, 512)) // to the end is too much
		r.expect("00", ranged(0x93, flags, 8<<21-same, 0), make([]byte, 512))
		r.expect("02 5/2400", ranged(0x93, flags, 8<<21-same-1, 0), make([]byte, 512))
	}

	list := unmapList([]extent{{0, uint64(unmapBlocks - 1)}, {0, 1}})
	r.expect("00", unmapCDB(list), list)
	list = unmapList([]extent{{0, uint64(unmapBlocks)}, {0, 1}})
	r.expect("02 5/2600", unmapCDB(list), list)
	list = unmapList(make([]extent, descriptors))
	r.expect("00", unmapCDB(list), list)
	list = unmapList(make([]extent, descriptors+1))
	r.expect("02 5/2600", unmapCDB(list), list)
}

func unmapList(extents []extent) []byte {
	list := make([]byte, 8+16*len(extents))
	binary.BigEndian.PutUint16(list, uint16(len(list)-2))
	binary.BigEndian.PutUint16(list[2:], uint16(16*len(extents)))
	for i, e := range extents {
		binary.BigEndian.PutUint64(list[8+16*i:], e.lba)
		binary.BigEndian.PutUint32(list[16+16*i:], uint32(e.blocks))
	}
	return list
}

func unmapCDB(list []byte) []byte {
	cdb := raw("42 00 00 00 00 00 00 00 00 00")
	binary.BigEndian.PutUint16(cdb[7:], uint16(len(list)))
	return cdb
}

func TestWhatIsNotHereIsRefused(t *testing.T) {
	r := newRig(t, targettest.Options{})
	for _, c := range rangedCodes() {
		if len(c.usage) == 6 || c.refuse&protect == 0 {
			continue
		}
		for p := byte(1); p < 8; p++ {
			task := r.expect("02 5/2400", ranged(c.code(), p<<5, 0, 1), outFor(c, 1))
			if s := task.Sense[15:18]; s[0] != 0xC0 || s[1] != 0 || s[2] != 1 {
				t.Errorf("%s: field pointer % x", c.name, s)
			}
		}
	}
	zeros := make([]byte, 512)
	for _, flags := range []byte{anchor, anchor | unmap, 0x02, 0x04} {
		r.expect("02 5/2400", ranged(0x41, flags, 0, 1), zeros)
		r.expect("02 5/2400", ranged(0x93, flags, 0, 1), zeros)
	}
	for _, cdb := range []string{
		"42 01 00 00 00 00 00 00 00 00",          // UNMAP with ANCHOR
		"2f 04 00 00 00 00 00 00 01 00",          // BYTCHK 2
		"2e 04 00 00 00 00 00 00 01 00",          //
		"28 00 00 00 00 00 00 00 01 04",          // NACA
		"1b 00 00 00 00 00",                      // stop
		"1b 00 00 00 03 00",                      // load
		"1b 00 00 00 11 00",                      // power condition
		"a0 00 03 00 00 00 00 00 00 ff 00 00",    // SELECT REPORT
		"a3 4a 00 00 00 00 00 00 00 ff 00 00",    // parameter data format 2
		"a3 0c 04 00 00 00 00 00 00 ff 00 00",    // REPORTING OPTIONS
		"1a 00 02 00 ff 00", "1a 00 0a 02 ff 00", // mode pages
		"15 11 00 00 00 00", "55 11 00 00 00 00 00 00 00 00", // SP
		"a3 1f 00 00 00 00 00 00 00 00 00 00", "9e 11 00 00 00 00 00 00 00 00 00 00 00 00 00 00", // service actions
		"5e 04 00 00 00 00 00 00 ff 00",
	} {
		r.expect("02 5/2400", raw(cdb), nil)
	}
	r.expect("02 5/3900", raw("1a 00 ca 00 ff 00"), nil)
	for _, code := range []string{"48 00", "9d 00", "ff 00"} {
		r.expect("02 5/2000", append(raw(code), make([]byte, 14)...), nil)
	}
}

func TestAnAbsentUnitAnswersInquiryAndReportLUNsOnly(t *testing.T) {
	r := newRig(t, targettest.Options{})
	at := func(lun uint64, cdb string) *Task { return r.run(r.task(r.nexus, lun, raw(cdb), nil)) }
	for _, lun := range []uint64{FormatLUN(1), FormatLUN(300), 1, 0x0100 << 48, 0x8000 << 48, 0xC102 << 48} {
		if got := verdict(at(lun, "00 00 00 00 00 00")); got != "02 5/2500" {
			t.Errorf("LUN %x: TEST UNIT READY: %s", lun, got)
		}
		if d := at(lun, "12 00 00 00 ff 00").Data; d[0] != noUnit {
			t.Errorf("LUN %x: INQUIRY: %#x", lun, d[0])
		}
		if d := at(lun, "03 00 00 00 ff 00").Data; d[2] != keyIllegalRequest || d[12] != 0x25 {
			t.Errorf("LUN %x: REQUEST SENSE: % x", lun, d)
		}
		if d := at(lun, "a0 00 00 00 00 00 00 00 00 ff 00 00").Data; len(d) != 16 {
			t.Errorf("LUN %x: REPORT LUNS: % x", lun, d)
		}
	}
	if got := verdict(at(reportLUNsUnit, "00 00 00 00 00 00")); got != "00" {
		t.Errorf("well known unit: TEST UNIT READY: %s", got)
	}
	if d := at(reportLUNsUnit, "12 00 00 00 ff 00").Data; d[0] != wellKnownUnit {
		t.Errorf("well known unit: INQUIRY: %#x", d[0])
	}
}

func TestLUNsAreFormattedAsTheyAreParsed(t *testing.T) {
	for lun := range uint16(maxLUN + 1) {
		if got, ok := parseLUN(FormatLUN(lun)); !ok || got != lun {
			t.Fatalf("%d became %d, %v", lun, got, ok)
		}
	}
}

func TestReportLUNsSelects(t *testing.T) {
	r := newRig(t, targettest.Options{})
	for lun, id := range map[uint16]uint64{5: 2, 300: 3} {
		if err := r.target.Add(lun, targettest.NewMemory(targettest.Options{ID: id})); err != nil {
			t.Fatal(err)
		}
	}
	units, known := "[0 5000000000000 412c000000000000]", "c101000000000000"
	for report, want := range map[byte]string{0: units, 1: "[" + known + "]", 2: "[" + known + " " + units[1:]} {
		d := r.good([]byte{0xA0, 0, report, 0, 0, 0, 0, 0, 4, 0, 0, 0}, nil)
		var luns []uint64
		for at := 8; at < len(d); at += 8 {
			luns = append(luns, binary.BigEndian.Uint64(d[at:]))
		}
		if got := fmt.Sprintf("%x", luns); got != want {
			t.Errorf("select %d: %s, want %s", report, got, want)
		}
	}
}

func TestALargeUnitSendsHostsToReadCapacity16(t *testing.T) {
	r := newRig(t, targettest.Options{Blocks: 1 << 33})
	if d := r.good(raw("25 00 00 00 00 00 00 00 00 00"), nil); binary.BigEndian.Uint32(d) != 0xFFFFFFFF {
		t.Errorf("READ CAPACITY(10): % x", d)
	}
	if d := r.good(raw("9e 10 00 00 00 00 00 00 00 00 00 00 00 20 00 00"), nil); binary.BigEndian.Uint64(d) != 1<<33-1 {
		t.Errorf("READ CAPACITY(16): % x", d)
	}
	if d := r.good(raw("1a 00 3f 00 ff 00"), nil); binary.BigEndian.Uint32(d[4:]) != 0xFFFFFFFF {
		t.Errorf("block descriptor: % x", d[4:12])
	}
	if d := r.good(raw("5a 10 3f 00 00 00 00 00 ff 00"), nil); binary.BigEndian.Uint64(d[8:]) != 1<<33 {
		t.Errorf("long block descriptor: % x", d[8:24])
	}
	last := uint64(1<<33 - 1)
	r.expect("00", ranged(0x8A, 0, last, 1), blocksOf(7, 1))
	r.expect("02 5/2100", ranged(0x8A, 0, last, 2), blocksOf(7, 2))
	if d := r.good(ranged(0x88, 0, last, 1), nil); string(d) != string(blocksOf(7, 1)) {
		t.Error("the last block is not what was written")
	}
}
