package scsi

import "encoding/binary"

// sendDiagnostic is SEND DIAGNOSTIC (SPC-4 6.42). The default self-test passes on
// a unit that answers; there are no others, and no diagnostic pages.
func sendDiagnostic(t *Task) {
	const selfTest = 0x04
	if t.CDB[1]&^selfTest != 0 {
		t.check(badField(1))
		return
	}
	if binary.BigEndian.Uint16(t.CDB[3:]) != 0 {
		t.check(badField(3))
		return
	}
	t.good()
}

// logSense is LOG SENSE (SPC-4 6.10): which pages there are, and that there are
// no informational exceptions.
func logSense(t *Task) {
	const ppc, sp, subpages = 0x02, 0x01, 0xFF
	if t.CDB[1]&(ppc|sp) != 0 {
		t.check(badField(1))
		return
	}
	page, subpage := t.CDB[2]&0x3F, t.CDB[3]
	var list []byte
	switch {
	case page == 0 && subpage == 0:
		list = []byte{0x00, 0, 0, 2, 0x00, 0x2F}
	case page == 0 && subpage == subpages:
		list = []byte{0x40, subpages, 0, 6, 0x00, 0, 0x00, subpages, 0x2F, 0}
	case page == 0x2F && subpage == 0:
		// Parameter 0000h, in binary format: ASC, ASCQ, most recent temperature (unknown).
		list = []byte{0x2F, 0, 0, 8, 0, 0, 0x03, 4, 0, 0, 0xFF, 0}
	default:
		t.check(badField(2))
		return
	}
	if pointer := binary.BigEndian.Uint16(t.CDB[5:]); pointer != 0 {
		t.check(badField(5))
		return
	}
	t.reply(list, uint64(binary.BigEndian.Uint16(t.CDB[7:])))
}

// readDefects is READ DEFECT DATA (SBC-3 5.18): the lists asked for are there,
// and empty. Bad places are the nodes' own affair.
func readDefects(t *Task) {
	if len(t.command.usage) == 10 {
		t.reply([]byte{0, t.CDB[2] & 0x1F, 0, 0}, uint64(binary.BigEndian.Uint16(t.CDB[7:])))
		return
	}
	t.reply([]byte{0, t.CDB[1] & 0x1F, 0, 0, 0, 0, 0, 0}, t.allocation())
}
