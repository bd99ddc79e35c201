package scsi

import (
	"bytes"
	"encoding/binary"
	"testing"

	"ashlar/target/targettest"
)

// reported are the commands of REPORT SUPPORTED OPERATION CODES: code and
// service action, or -1.
func (r *rig) reported(flags byte) map[[2]int]int {
	d := r.good([]byte{0xA3, 0x0C, flags, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0, 0}, nil)
	if n := binary.BigEndian.Uint32(d); int(n) != len(d)-4 {
		r.Fatalf("command data length %d of %d", n, len(d))
	}
	all := make(map[[2]int]int)
	for d = d[4:]; len(d) > 0; {
		action := -1
		if d[5]&1 != 0 {
			action = int(binary.BigEndian.Uint16(d[2:]))
		} else if d[2]|d[3] != 0 {
			r.Errorf("code %#x: service action without SERVACTV", d[0])
		}
		all[[2]int{int(d[0]), action}] = int(binary.BigEndian.Uint16(d[6:]))
		size := 8
		if d[5]&2 != 0 {
			size = 20
		}
		if (size == 20) != (flags&0x80 != 0) {
			r.Errorf("code %#x: timeouts descriptor %v", d[0], size == 20)
		}
		d = d[size:]
	}
	return all
}

func TestExactlyTheReportedCommandsAreThere(t *testing.T) {
	r := newRig(t, targettest.Options{})
	all := r.reported(0)
	if with := r.reported(0x80); len(with) != len(all) || len(all) != len(commands) {
		t.Errorf("%d commands, %d with timeouts, %d in the table", len(all), len(with), len(commands))
	}
	for code := range 256 {
		for action := range 32 {
			_, plain := all[[2]int{code, -1}]
			_, served := all[[2]int{code, action}]
			cdb := make([]byte, 16)
			cdb[0], cdb[1] = byte(code), byte(action)
			got := verdict(r.do(cdb, nil))
			if (got != "02 5/2000") != (plain || actions[code] != nil) || actions[code] != nil && !served && got != "02 5/2400" {
				t.Errorf("code %#x, byte 1 %#x: %s, reported %v", code, action, got, plain || served)
			}
		}
	}
}

func TestOneCommandIsReportedAsTheTableHasIt(t *testing.T) {
	r := newRig(t, targettest.Options{})
	one := func(options, code byte, action uint16) []byte {
		return r.good([]byte{0xA3, 0x0C, options, code, byte(action >> 8), byte(action), 0, 0, 1, 0, 0, 0}, nil)
	}
	for _, c := range commands {
		want := append([]byte{0, 3, 0, byte(len(c.usage))}, c.usage...)
		action := uint16(c.serviceAction())
		options := []byte{1, 3}
		refused := raw("a3 0c 02 00 00 00 00 00 01 00 00 00")
		if c.action {
			options = []byte{2, 3}
			refused[2] = 1
		}
		for _, o := range options {
			if got := one(o, c.code(), action); !bytes.Equal(got, want) {
				t.Errorf("%s, option %d: % x, want % x", c.name, o, got, want)
			}
		}
		refused[3] = c.code()
		r.expect("02 5/2400", refused, nil)
		if !c.action {
			if got := one(3, c.code(), 1); got[1] != 1 {
				t.Errorf("%s with a service action: % x", c.name, got)
			}
		}
	}
	for _, x := range []struct {
		options, code byte
		action        uint16
	}{{1, 0xFF, 0}, {2, 0x9E, 0x11}, {2, 0xA3, 0x20}, {3, 0xA3, 0xFFFF}, {3, 0xFF, 0}, {3, 0xFF, 1}} {
		if got := one(x.options, x.code, x.action); !bytes.Equal(got, []byte{0, 1, 0, 0}) {
			t.Errorf("%+v: % x", x, got)
		}
	}
}

// TestABitThatMeansNothingChangesNothing: where the usage data has a zero, a
// one in the CDB is either refused or without effect.
func TestABitThatMeansNothingChangesNothing(t *testing.T) {
	for _, c := range commands {
		for at := 1; at < len(c.usage); at++ {
			for bit := byte(1); bit != 0; bit <<= 1 {
				if c.usage[at]&bit != 0 || c.action && at == 1 && bit < 0x20 {
					continue
				}
				r := newRig(t, targettest.Options{})
				cdb := make([]byte, len(c.usage))
				cdb[0], cdb[1] = c.code(), c.serviceAction()
				if c.code() == 0x1B {
					cdb[4] = 1 // a stop is refused
				}
				out := outFor(c, 0)
				want := r.do(cdb, out)
				wanted, data := verdict(want), bytes.Clone(want.Data)
				cdb[at] |= bit
				got := r.do(cdb, out)
				if v := verdict(got); v != "02 5/2400" && (v != wanted || !bytes.Equal(got.Data, data)) {
					t.Errorf("%s: byte %d, bit %#x: %s, without it %s", c.name, at, bit, v, wanted)
				}
			}
		}
	}
}
