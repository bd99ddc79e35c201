package iscsi

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"ashlar/target/iscsi/pdu"
	"ashlar/target/iscsi/session"
	"ashlar/target/targettest/initiator"
)

const manual = "docs/iscsi.md"

var (
	quoted   = regexp.MustCompile("`([^`]+)`")
	testName = regexp.MustCompile(`^(Test|Fuzz)[A-Z]\w*$`)
	testFunc = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
)

// chapters are the manual's lines by heading.
func chapters(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile("../../" + manual)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]string{}
	heading := ""
	for _, line := range strings.Split(string(text), "\n") {
		if h, ok := strings.CutPrefix(line, "## "); ok {
			heading = h
		}
		all[heading] = append(all[heading], line)
	}
	return all
}

// rows are the names in the first column of a chapter's table.
func rows(t *testing.T, heading string) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	for _, line := range chapters(t)[heading] {
		columns := strings.Split(line, "|")
		if len(columns) < 3 {
			continue
		}
		for _, m := range quoted.FindAllStringSubmatch(columns[1], -1) {
			found[m[1]] = true
		}
	}
	if len(found) == 0 {
		t.Fatalf("%s has no table below %q", manual, heading)
	}
	return found
}

// same holds a table against what there is.
func same(t *testing.T, heading string, there map[string]bool) {
	t.Helper()
	written := rows(t, heading)
	for name := range there {
		if !written[name] {
			t.Errorf("%s lacks a row for `%s` below %q", manual, name, heading)
		}
	}
	for name := range written {
		if !there[name] {
			t.Errorf("%s has a row for `%s` below %q, and there is no such thing", manual, name, heading)
		}
	}
}

func TestTheManualHasARowForEverything(t *testing.T) {
	keys := map[string]bool{"InitiatorName": true, "TargetName": true, "SessionType": true, "TargetPortalGroupTag": true, "TargetAddress": true, "SendTargets": true}
	for _, k := range session.Keys() {
		keys[k] = true
	}
	same(t, "Login and text keys", keys)
	opcodes := map[string]bool{}
	for op := range pdu.Opcode(64) {
		if pdu.New(op) != nil {
			opcodes[fmt.Sprintf("%02x", uint8(op))] = true
		}
	}
	same(t, "iSCSI opcodes", opcodes)
	functions := map[string]bool{}
	for f := session.AbortTask; f <= session.TaskReassign; f++ {
		functions[fmt.Sprint(f)] = true
	}
	same(t, "Task management functions", functions)

	r := newRig(t, nil)
	s := r.host(1, initiator.Options{})
	same(t, "SCSI commands", r.commands(s))
	same(t, "Vital product data", r.vitalPages(s))
	same(t, "Mode pages", r.modePages(s))
}

func (r *rig) ask(s *initiator.Session, cdb ...byte) []byte {
	r.Helper()
	c := &initiator.Command{CDB: cdb, In: make([]byte, 4096)}
	if err := s.Do(r.ctx, c); err != nil {
		r.Fatal(err)
	}
	return c.In[:c.Received]
}

// commands are what REPORT SUPPORTED OPERATION CODES tells (SPC-4 6.35).
func (r *rig) commands(s *initiator.Session) map[string]bool {
	all := map[string]bool{}
	list := r.ask(s, 0xa3, 0x0c, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0)
	for d := list[4:]; len(d) >= 8; d = d[8:] {
		name := fmt.Sprintf("%02x", d[0])
		if d[5]&1 != 0 {
			name += fmt.Sprintf("/%02x", binary.BigEndian.Uint16(d[2:]))
		}
		all[name] = true
	}
	return all
}

// vitalPages are what page 00h lists.
func (r *rig) vitalPages(s *initiator.Session) map[string]bool {
	all := map[string]bool{}
	for _, p := range r.ask(s, 0x12, 1, 0, 0x10, 0, 0)[4:] {
		all[fmt.Sprintf("%02x", p)] = true
	}
	return all
}

// modePages are all pages and subpages.
func (r *rig) modePages(s *initiator.Session) map[string]bool {
	all := map[string]bool{}
	list := r.ask(s, 0x5a, 0x08, 0x3f, 0xff, 0, 0, 0, 0x10, 0, 0)
	for p := list[8+binary.BigEndian.Uint16(list[6:]):]; len(p) > 4; {
		name, size := fmt.Sprintf("%02x", p[0]&0x3f), 2+int(p[1])
		if p[0]&0x40 != 0 {
			name += fmt.Sprintf("/%02x", p[1])
			size = 4 + int(binary.BigEndian.Uint16(p[2:]))
		}
		all[name] = true
		p = p[size:]
	}
	return all
}

func TestEveryTestThatTheManualNamesIsThere(t *testing.T) {
	there := map[string]bool{}
	for _, folder := range []string{"target", "node", "appliance"} {
		err := filepath.WalkDir("../../"+folder, func(name string, d fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(name, "_test.go") {
				return err
			}
			source, err := os.ReadFile(name)
			for _, m := range testFunc.FindAllSubmatch(source, -1) {
				there[string(m[1])] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	named := 0
	for heading, lines := range chapters(t) {
		for _, line := range lines {
			before := named
			for _, m := range quoted.FindAllStringSubmatch(line, -1) {
				if testName.MatchString(m[1]) {
					named++
					if !there[m[1]] {
						t.Errorf("%s names %s, and there is no such test", manual, m[1])
					}
				}
			}
			if strings.HasPrefix(line, "| ") && !strings.HasSuffix(line, "| test |") && named == before {
				t.Errorf("%s: a row below %q names no test: %s", manual, heading, line)
			}
		}
	}
	if named == 0 {
		t.Error("the manual names no test at all")
	}
}
