package scsi

import "encoding/binary"

// reportLUNsUnit is the well known logical unit of REPORT LUNS (SAM-5 4.7.7.5.1).
const reportLUNsUnit = 0xC101_0000_0000_0000

// parseLUN reads a LUN as on the wire: peripheral device or flat space
// addressing, in one level (SAM-5 4.7.7).
func parseLUN(wire uint64) (uint16, bool) {
	if wire<<16 != 0 {
		return 0, false
	}
	first := uint16(wire >> 48)
	switch first >> 14 {
	case 0: // peripheral device addressing; the bus is zero
		return first, first <= 0xFF
	case 1: // flat space addressing
		return first & maxLUN, true
	}
	return 0, false
}

// FormatLUN is a logical unit number as on the wire: peripheral device
// addressing below 256, flat space addressing above. It is at most 16383.
func FormatLUN(lun uint16) uint64 {
	if lun > 0xFF {
		lun |= 0x4000
	}
	return uint64(lun) << 48
}

// reportLUNs is REPORT LUNS (SPC-4 6.33). It clears the condition that sent
// the host here.
func reportLUNs(t *Task) {
	var luns []uint64
	report := t.CDB[2]
	if report > 2 {
		t.check(badField(2))
		return
	}
	if report != 0 {
		luns = append(luns, reportLUNsUnit)
	}
	if report != 1 {
		t.Nexus.inventoryReported()
		for _, n := range t.Nexus.target.numbers() {
			luns = append(luns, FormatLUN(n))
		}
	}
	list := make([]byte, 8, 8+8*len(luns))
	binary.BigEndian.PutUint32(list, uint32(8*len(luns)))
	for _, l := range luns {
		list = binary.BigEndian.AppendUint64(list, l)
	}
	t.reply(list, t.allocation())
}

// requestSense is REQUEST SENSE: a pending unit attention is told, and cleared,
// as parameter data with status GOOD (SPC-4 6.37).
func requestSense(t *Task) {
	s := noSense
	if t.unit == nil {
		if t.LUN != reportLUNsUnit {
			s = noLogicalUnit
		}
	} else if a, ok := t.Nexus.takeAttention(t.unit); ok {
		s = a.sense()
	}
	var list [senseRoom]byte
	t.reply(s.put(list[:], t.CDB[1]&0x01 != 0), uint64(t.CDB[4]))
}
