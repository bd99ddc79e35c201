package scsi

import (
	"bytes"
	"testing"
)

func TestSenseDataInBothFormats(t *testing.T) {
	for _, c := range []struct {
		sense              sense
		fixed, descriptors string
	}{
		{noSense,
			"70 00 00 00000000 0a 00000000 00 00 00 000000",
			"72 00 00 00 00 00 00 00"},
		{lbaOutOfRange,
			"70 00 05 00000000 0a 00000000 21 00 00 000000",
			"72 05 21 00 00 00 00 00"},
		{badField(10),
			"70 00 05 00000000 0a 00000000 24 00 00 c0000a",
			"72 05 24 00 00 00 00 08 02 06 0000 c0000a 00"},
		{badParameter(0x123),
			"70 00 05 00000000 0a 00000000 26 00 00 800123",
			"72 05 26 00 00 00 00 08 02 06 0000 800123 00"},
		{miscompareAt(0x1FF),
			"f0 00 0e 000001ff 0a 00000000 1d 00 00 000000",
			"72 0e 1d 00 00 00 00 0c 00 0a 80 00 00000000000001ff"},
		{miscompareAt(0), // VALID says that there is an offset, even if it is zero
			"f0 00 0e 00000000 0a 00000000 1d 00 00 000000",
			"72 0e 1d 00 00 00 00 0c 00 0a 80 00 0000000000000000"},
		{miscompareAt(1 << 32), // too large for the fixed format
			"70 00 0e 00000000 0a 00000000 1d 00 00 000000",
			"72 0e 1d 00 00 00 00 0c 00 0a 80 00 0000000100000000"},
		{sense{key: keyCopyAborted, code: 0x0D01, specific: 0x0102, specified: true},
			"70 00 0a 00000000 0a 00000102 0d 01 00 000000",
			"72 0a 0d 01 00 00 00 0c 01 0a 00 00 0000000000000102"},
		{sense{key: 1, code: 0x0203, information: 4, informed: true, specific: 5, specified: true, pointer: 6, pointed: true}, // all that there can be
			"f0 00 01 00000004 0a 00000005 02 03 00 800006",
			"72 01 02 03 00 00 00 20 00 0a 80 00 0000000000000004 01 0a 00 00 0000000000000005 02 06 0000 800006 00"},
		{capacityChanged.sense(),
			"70 00 06 00000000 0a 00000000 2a 09 00 000000",
			"72 06 2a 09 00 00 00 00"},
	} {
		b := bytes.Repeat([]byte{0xEE}, senseRoom)
		if got := c.sense.put(b, false); !bytes.Equal(got, raw(c.fixed)) {
			t.Errorf("%+v fixed: % x", c.sense, got)
		}
		if got := c.sense.put(b, true); !bytes.Equal(got, raw(c.descriptors)) {
			t.Errorf("%+v descriptors: % x", c.sense, got)
		}
	}
}
