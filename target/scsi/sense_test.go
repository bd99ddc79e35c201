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
		{capacityChanged.sense(),
			"70 00 06 00000000 0a 00000000 2a 09 00 000000",
			"72 06 2a 09 00 00 00 00"},
	} {
		b := bytes.Repeat([]byte{0xEE}, 32)
		if got := c.sense.put(b, false); !bytes.Equal(got, raw(c.fixed)) {
			t.Errorf("%+v fixed: % x", c.sense, got)
		}
		if got := c.sense.put(b, true); !bytes.Equal(got, raw(c.descriptors)) {
			t.Errorf("%+v descriptors: % x", c.sense, got)
		}
	}
}
