package scsi

import (
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"ashlar/target"
	"ashlar/target/targettest"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files in testdata")

// TestWhatHostsReadOfUs holds the bytes that hosts keep between logins and that
// may not change without a thought.
func TestWhatHostsReadOfUs(t *testing.T) {
	r := newRig(t, twoNodes())
	for name, cdb := range map[string]string{
		"inquiry":               "12 00 00 04 00 00",
		"vpd-00":                "12 01 00 04 00 00",
		"vpd-80":                "12 01 80 04 00 00",
		"vpd-83":                "12 01 83 04 00 00",
		"vpd-86":                "12 01 86 04 00 00",
		"vpd-87":                "12 01 87 04 00 00",
		"vpd-b0":                "12 01 b0 04 00 00",
		"vpd-b1":                "12 01 b1 04 00 00",
		"vpd-b2":                "12 01 b2 04 00 00",
		"report-luns":           "a0 00 02 00 00 00 00 00 04 00 00 00",
		"port-groups":           "a3 0a 00 00 00 00 00 00 04 00 00 00",
		"port-groups-extended":  "a3 2a 00 00 00 00 00 00 04 00 00 00",
		"opcodes":               "a3 0c 00 00 00 00 00 00 40 00 00 00",
		"opcode-with-timeouts":  "a3 0c 81 28 00 00 00 00 40 00 00 00",
		"opcode-not-here":       "a3 0c 03 ff 00 00 00 00 40 00 00 00",
		"functions":             "a3 0d 80 00 00 00 00 00 40 00 00 00",
		"capacity-10":           "25 00 00 00 00 00 00 00 00 00",
		"capacity-16":           "9e 10 00 00 00 00 00 00 00 00 00 00 00 20 00 00",
		"mode-sense-6-all":      "1a 00 3f ff ff 00",
		"mode-sense-10-all":     "5a 10 3f ff 00 00 00 04 00 00",
		"mode-sense-changeable": "1a 08 7f ff ff 00",
		"lba-status":            "9e 12 00 00 00 00 00 00 00 00 00 00 04 00 00 00",
		"sense":                 "03 00 00 00 ff 00",
		"sense-descriptors":     "03 01 00 00 ff 00",
	} {
		t.Run(name, func(t *testing.T) {
			compareGolden(t, name, (&rig{T: t, target: r.target, nexus: r.nexus}).good(raw(cdb), nil))
		})
	}
}

// TestABlockOf4096IsToldSo holds what differs with the larger logical block.
func TestABlockOf4096IsToldSo(t *testing.T) {
	r := newRig(t, targettest.Options{BlockSize: 4096})
	compareGolden(t, "vpd-b0-4096", r.good(raw("12 01 b0 04 00 00"), nil))
	compareGolden(t, "capacity-16-4096", r.good(raw("9e 10 00 00 00 00 00 00 00 00 00 00 00 20 00 00"), nil))
}

func compareGolden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name+".hex")
	text := hex.Dump(got)
	if *rewrite {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if text != string(want) {
		t.Errorf("%s:\n%swant\n%s", name, text, want)
	}
}

func TestEveryListedPageAnswersInAscendingOrder(t *testing.T) {
	r := newRig(t, targettest.Options{})
	codes := r.good(raw("12 01 00 04 00 00"), nil)[4:]
	for i, code := range codes {
		if i > 0 && codes[i-1] >= code {
			t.Errorf("page %#x after %#x", code, codes[i-1])
		}
		page := r.good([]byte{0x12, 1, code, 4, 0, 0}, nil)
		if page[1] != code || int(page[2])<<8|int(page[3]) != len(page)-4 {
			t.Errorf("page %#x: header % x of %d bytes", code, page[:4], len(page))
		}
	}
	r.expect("02 5/2400", raw("12 01 81 04 00 00"), nil)
	r.expect("02 5/2400", raw("12 00 80 04 00 00"), nil)
}

// TestTheUnitIsTheSameThroughEveryNode: hosts join paths by the unit's
// designators and tell them apart by the port's.
func TestTheUnitIsTheSameThroughEveryNode(t *testing.T) {
	memory := targettest.NewMemory(twoNodes())
	var pages [2][]byte
	for i := range pages {
		tg := NewTarget(Config{Name: targetName})
		if err := tg.Add(0, memory.Through(uint16(i+1))); err != nil {
			t.Fatal(err)
		}
		n := tg.Login(target.Nexus{Host: "h", Port: uint16(i + 1)}, "h")
		r := &rig{T: t, target: tg, nexus: n}
		pages[i] = r.good(raw("12 01 83 04 00 00"), nil)[4:]
	}
	for i := 0; i < len(pages[0]); {
		size := 4 + int(pages[0][i+3])
		a, b := string(pages[0][i:i+size]), string(pages[1][i:i+size])
		ofPort := a[1]&0x30 == 0x10
		if (a == b) == ofPort {
			t.Errorf("designator % x through the other node: % x", a, b)
		}
		i += size
	}
}

func TestParameterDataIsCutAtTheAllocationLengthOnly(t *testing.T) {
	r := newRig(t, twoNodes())
	for _, c := range []struct {
		cdb string
		at  int // of the length's low byte
	}{
		{"12 00 00 00 00 00", 4}, {"12 01 83 00 00 00", 4}, {"1a 00 3f ff 00 00", 4}, {"5a 00 3f ff 00 00 00 00 00 00", 8},
		{"a3 0a 00 00 00 00 00 00 00 00 00 00", 9}, {"a3 2a 00 00 00 00 00 00 00 00 00 00", 9},
		{"a0 00 00 00 00 00 00 00 00 00 00 00", 9}, {"9e 10 00 00 00 00 00 00 00 00 00 00 00 00 00 00", 13},
		{"9e 12 00 00 00 00 00 00 00 00 00 00 00 00 00 00", 13}, {"03 00 00 00 00 00", 4},
	} {
		cdb := raw(c.cdb)
		cdb[c.at] = 0xFF
		whole := r.good(cdb, nil)
		for n := range 256 {
			cdb[c.at] = byte(n)
			task := r.do(cdb, nil)
			want := whole[:min(n, len(whole))]
			if string(task.Data) != string(want) || task.Transfer != uint64(len(want)) {
				t.Fatalf("% x: % x of %d bytes, want % x", cdb, task.Data, task.Transfer, want)
			}
		}
	}
}
