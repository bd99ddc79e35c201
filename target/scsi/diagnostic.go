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

// readDefects is READ DEFECT DATA (SBC-3 5.18): the lists asked for are there,
// and empty. Bad places are the nodes' own affair.
func readDefects(t *Task) {
	if len(t.command.usage) == 10 {
		t.reply([]byte{0, t.CDB[2] & 0x1F, 0, 0}, uint64(binary.BigEndian.Uint16(t.CDB[7:])))
		return
	}
	t.reply([]byte{0, t.CDB[1] & 0x1F, 0, 0, 0, 0, 0, 0}, t.allocation())
}
