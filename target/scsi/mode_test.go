package scsi

import (
	"bytes"
	"testing"

	"ashlar/target/targettest"
)

// control is a parameter list of MODE SELECT(6) with the control mode page.
func (r *rig) control(change func(page []byte)) []byte {
	r.Helper()
	list := bytes.Clone(r.good(raw("1a 08 0a 00 ff 00"), nil))
	list[0] = 0
	change(list[4:])
	return list
}

func selectSix(list []byte) []byte { return []byte{0x15, 0x10, 0, 0, byte(len(list)), 0} }

func TestDescriptorSenseIsSwitchedByModeSelect(t *testing.T) {
	r := newRig(t, targettest.Options{})
	list := r.control(func(p []byte) { p[2] |= dSense })
	r.expect("00", selectSix(list), list)
	if p := r.good(raw("1a 08 0a 00 ff 00"), nil)[4:]; p[2]&dSense == 0 {
		t.Errorf("control mode page % x", p)
	}
	r.expect("02 5/2100 descriptors", ranged(0x28, 0, capacity, 1), nil)
	list = r.control(func(p []byte) { p[2] &^= dSense })
	r.expect("00", selectSix(list), list)
	r.expect("02 5/2100", ranged(0x28, 0, capacity, 1), nil)
}

func TestSoftwareWriteProtectIsTheNexussOwn(t *testing.T) {
	r := newRig(t, targettest.Options{})
	other := r.login("b")
	list := r.control(func(p []byte) { p[4] |= swp })
	r.expect("00", selectSix(list), list)
	r.expect("02 7/2700", ranged(0x2A, 0, 0, 1), blocksOf(1, 1))
	r.expect("00", ranged(0x28, 0, 0, 1), nil)
	if got := verdict(r.run(r.task(other, 0, ranged(0x2A, 0, 0, 1), blocksOf(1, 1)))); got != "00" {
		t.Errorf("another host's write: %s", got)
	}
	if d := r.good(raw("1a 00 3f 00 ff 00"), nil); d[2]&0x80 == 0 {
		t.Errorf("device-specific parameter %#x, want WP", d[2])
	}
	list = r.control(func(p []byte) { p[4] &^= swp })
	r.expect("00", selectSix(list), list)
	r.expect("00", ranged(0x2A, 0, 0, 1), blocksOf(1, 1))
}

func TestModeSelectTakesBackWhatModeSenseGave(t *testing.T) {
	r := newRig(t, targettest.Options{})
	list := r.good(raw("1a 00 3f ff ff 00"), nil)
	list[0], list[2] = 0, 0
	r.expect("00", selectSix(list), list)
	for _, flags := range []string{"00", "08", "10", "18"} {
		long := r.good(raw("5a "+flags+" 3f ff 00 00 00 04 00 00"), nil)
		long[0], long[1], long[3] = 0, 0, 0
		r.expect("00", []byte{0x55, 0x10, 0, 0, 0, 0, 0, byte(len(long) >> 8), byte(len(long)), 0}, long)
	}
	r.expect("00", raw("15 10 00 00 00 00"), []byte{})
}

func TestNothingElseCanBeChanged(t *testing.T) {
	r := newRig(t, targettest.Options{})
	pages := r.good(raw("1a 08 3f ff ff 00"), nil)
	mask := r.good(raw("1a 08 7f ff ff 00"), nil)
	if len(mask) != len(pages) {
		t.Fatalf("changeable values of %d bytes, current ones of %d", len(mask), len(pages))
	}
	clear(pages[:4])
	for at := 4; at < len(pages); at++ {
		for bit := byte(1); bit != 0; bit <<= 1 {
			list := bytes.Clone(pages)
			list[at] ^= bit
			got := r.do(selectSix(list), list)
			header := mask[at] == pages[at] && mask[at] != 0
			if changeable := mask[at]&bit != 0 && !header; changeable != (got.Status == StatusGood) {
				if header && bit == 0x80 && got.Status == StatusGood {
					continue // PS is reserved in MODE SELECT
				}
				t.Errorf("byte %d, bit %#x of % x: %s", at, bit, pages, verdict(got))
			}
			r.good(selectSix(pages), pages)
		}
	}
	for n := 1; n < len(pages); n++ {
		if v := verdict(r.do(selectSix(pages[:n]), pages[:n])); v != "00" && v != "02 5/1a00" {
			t.Errorf("list of %d bytes: %s", n, v)
		}
	}
	r.expect("02 5/1a00", selectSix(pages), pages[:10])
}

func TestAllPagesAreTheSinglePages(t *testing.T) {
	r := newRig(t, targettest.Options{WriteCache: true})
	for _, control := range []byte{currentValues, changeableValues, defaultValues} {
		var each []byte
		for _, p := range modePages {
			each = append(each, r.good([]byte{0x1A, 0x08, control<<6 | p.page, p.subpage, 0xFF, 0}, nil)[4:]...)
		}
		if all := r.good([]byte{0x1A, 0x08, control<<6 | 0x3F, 0xFF, 0xFF, 0}, nil)[4:]; !bytes.Equal(all, each) {
			t.Errorf("page control %d: all pages % x, one by one % x", control, all, each)
		}
	}
	if p := r.good(raw("1a 08 08 00 ff 00"), nil)[4:]; p[2] != 0x04 {
		t.Errorf("caching page % x, want WCE", p)
	}
}
