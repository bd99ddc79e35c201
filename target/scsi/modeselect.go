package scsi

import (
	"bytes"
	"encoding/binary"
)

// modeSelect is MODE SELECT(6) and (10): D_SENSE and SWP may change, every
// other field must come as it is. Pages are never saved. Nothing changes unless
// the whole list is right.
func modeSelect(t *Task) {
	const pf, sp = 0x10, 0x01
	long := len(t.command.usage) == 10
	length := t.command.out(t.CDB, 0, 0)
	t.Transfer = length
	switch {
	case t.CDB[1]&sp != 0 || t.CDB[1]&pf == 0 && length > 0:
		t.check(badField(1))
	case length == 0:
		t.good()
	case uint64(len(t.Data)) < length:
		t.check(parameterListLength)
	default:
		m, s := t.parseModes(t.Data[:length], long)
		if s != noSense {
			t.check(s)
			return
		}
		t.Nexus.setModes(t.unit, m)
		t.good()
	}
}

// parseModes reads a mode parameter list into the modes that it asks for.
func (t *Task) parseModes(list []byte, long bool) (modes, sense) {
	m := t.modes
	at, s := t.skipDescriptors(list, long)
	if s != noSense {
		return m, s
	}
	for at < len(list) {
		p, size, s := findModePage(list, at)
		if s != noSense {
			return m, s
		}
		if s := t.checkPage(p, list[at:at+size], at); s != noSense {
			return m, s
		}
		if p.page == 0x0A && p.subpage == 0 {
			m.descriptorSense = list[at+2]&dSense != 0
			m.writeProtect = list[at+4]&swp != 0
		}
		at += size
	}
	return m, noSense
}

// skipDescriptors checks the header and returns where the pages begin. A block
// descriptor may come back as MODE SENSE gave it.
func (t *Task) skipDescriptors(list []byte, long bool) (int, sense) {
	header, descriptors, longLBA := 4, 0, false
	if long {
		header = 8
	}
	if len(list) < header {
		return 0, parameterListLength
	}
	if long {
		descriptors, longLBA = int(binary.BigEndian.Uint16(list[6:])), list[4]&1 != 0
	} else {
		descriptors = int(list[3])
	}
	if descriptors == 0 {
		return header, noSense
	}
	want := blockDescriptor(t, longLBA, false)
	if descriptors != len(want) {
		return 0, badParameter(header - 1)
	}
	if len(list) < header+descriptors {
		return 0, parameterListLength
	}
	if !bytes.Equal(list[header:header+descriptors], want) {
		return 0, badParameter(header)
	}
	return header + descriptors, noSense
}

// findModePage reads a page header at list[at:] and returns the page and its
// size, all of which is in the list.
func findModePage(list []byte, at int) (modePage, int, sense) {
	const subpageFormat = 0x40
	rest := list[at:]
	if len(rest) < 2 {
		return modePage{}, 0, parameterListLength
	}
	page, subpage, size := rest[0]&0x3F, byte(0), int(rest[1])+2
	if rest[0]&subpageFormat != 0 {
		if len(rest) < 4 {
			return modePage{}, 0, parameterListLength
		}
		subpage, size = rest[1], int(binary.BigEndian.Uint16(rest[2:]))+4
	}
	if len(rest) < size {
		return modePage{}, 0, parameterListLength
	}
	for _, p := range modePages {
		if p.page == page && p.subpage == subpage {
			return p, size, noSense
		}
	}
	return modePage{}, 0, badParameter(at)
}

// checkPage refuses a page whose length is not ours, or that differs from the
// current values in a bit that can not be changed.
func (t *Task) checkPage(p modePage, got []byte, at int) sense {
	current, mask := p.values(t, currentValues), p.values(t, changeableValues)
	if len(got) != len(current) {
		return badParameter(at + 1)
	}
	for i := range got {
		differs := got[i] ^ current[i]
		if i == 0 {
			differs &^= 0x80 // PS is reserved here
		} else if i == 1 || p.subpage != 0 && i < 4 {
			continue // the page's own header, matched above
		} else {
			differs &^= mask[i]
		}
		if differs != 0 {
			return badParameter(at + i)
		}
	}
	return noSense
}
