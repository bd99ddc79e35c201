package nvme

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"ashlar/target"
)

const manual = "docs/nvme.md"

var (
	quoted   = regexp.MustCompile("`([^`]+)`")
	testName = regexp.MustCompile(`^(Test|Fuzz)[A-Z]\w*$`)
	testFunc = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
)

// chapters are the manual's table rows by heading, without the tables' heads.
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
		if strings.HasPrefix(line, "| ") && !strings.HasSuffix(line, "| test |") {
			all[heading] = append(all[heading], line)
		}
	}
	return all
}

// inHex is the keys of a table as the manual writes them.
func inHex[K ~uint8, V any](table map[K]V, more ...K) map[string]bool {
	all := map[string]bool{}
	for k := range table {
		more = append(more, k)
	}
	for _, k := range more {
		all[fmt.Sprintf("%02x", uint8(k))] = true
	}
	return all
}

func TestTheManualHasARowForEverything(t *testing.T) {
	outcomesThere := map[string]bool{}
	for s := target.Busy; int(s) < len(outcomes); s++ {
		outcomesThere[s.String()] = true
	}
	rows := chapters(t)
	for heading, there := range map[string]map[string]bool{
		"Fabrics commands":                  inHex(fabricsCommands, Connect, AuthSend, AuthReceive, Disconnect),
		"Admin commands":                    inHex(adminCommands),
		"I/O commands":                      inHex(ioCommands),
		"Identify":                          inHex(identifications, 0x01),
		"Log pages":                         inHex(logPages),
		"Features":                          inHex(featureTable),
		"Statuses of what a volume answers": outcomesThere,
	} {
		written := map[string]bool{}
		for _, line := range rows[heading] {
			for _, m := range quoted.FindAllStringSubmatch(strings.Split(line, "|")[1], -1) {
				written[m[1]] = true
			}
		}
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
}

func TestTheManualCallsCommandsByTheirNames(t *testing.T) {
	rows := chapters(t)
	for heading, table := range map[string]map[Opcode]*command{"Admin commands": adminCommands, "I/O commands": ioCommands} {
		text := strings.Join(rows[heading], "\n")
		for op, c := range table {
			if !strings.Contains(text, fmt.Sprintf("`%02x` %s |", uint8(op), c.name)) {
				t.Errorf("%s does not call %02xh %s", manual, uint8(op), c.name)
			}
		}
	}
}

func TestEveryTestThatTheManualNamesIsThere(t *testing.T) {
	there := map[string]bool{}
	for _, folder := range []string{"..", "../../node", "../../scripts"} {
		err := filepath.WalkDir(folder, func(name string, _ fs.DirEntry, err error) error {
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
	for heading, lines := range chapters(t) {
		for _, line := range lines {
			named := 0
			for _, m := range quoted.FindAllStringSubmatch(line, -1) {
				if testName.MatchString(m[1]) {
					named++
					if !there[m[1]] {
						t.Errorf("%s names %s, and there is no such test", manual, m[1])
					}
				}
			}
			if named == 0 {
				t.Errorf("%s: a row below %q names no test: %s", manual, heading, line)
			}
		}
	}
}
