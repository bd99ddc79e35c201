package main

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// tally is the outcome of a step.
type tally struct {
	passed int
	failed []string // what failed, by name
	output string   // of what failed
	said   []string // what failed tests said themselves, one line each, beside what was logged
}

func (t *tally) add(more tally) {
	t.passed += more.passed
	t.failed = append(t.failed, more.failed...)
	t.output += more.output
	t.said = append(t.said, more.said...)
}

func (t tally) String() string {
	return fmt.Sprintf("%d passed, %d failed", t.passed, len(t.failed))
}

// event is a line of `go test -json` (cmd/test2json).
type event struct {
	Action, Package, ImportPath, Test, Output string
	FailedBuild                               string // of what the package could not be tested
}

// counter counts test events. A test with subtests is counted as these. A
// skipped test has checked nothing, so it counts as failed.
type counter struct {
	outcome map[string]string // of "package.test" or "package"
	output  map[string]*strings.Builder
	parents map[string]bool
}

func newCounter() *counter {
	return &counter{map[string]string{}, map[string]*strings.Builder{}, map[string]bool{}}
}

// event takes one line. A line that is none belongs to something that failed to
// start, which shows in the exit code.
func (c *counter) event(line []byte) {
	var e event
	if json.Unmarshal(line, &e) != nil {
		return
	}
	name := e.Package
	if e.Test != "" {
		name += "." + e.Test
		for at := strings.LastIndexByte(e.Test, '/'); at > 0; at = strings.LastIndexByte(e.Test[:at], '/') {
			c.parents[e.Package+"."+e.Test[:at]] = true
		}
	}
	switch e.Action {
	case "output", "build-output":
		if name == "" {
			name = e.ImportPath
		}
		if c.output[name] == nil {
			c.output[name] = &strings.Builder{}
		}
		c.output[name].WriteString(e.Output)
	case "run":
		c.outcome[name] = "unfinished"
	case "pass", "fail", "skip":
		if e.FailedBuild == "" { // else the build-fail counts
			c.outcome[name] = e.Action
		}
	case "build-fail":
		c.outcome[e.ImportPath] = "fail"
	}
}

// tally sums up. Packages count only where none of their tests tells why they
// failed (they do not build, or end in the midst).
func (c *counter) tally() tally {
	var t tally
	var names []string
	for name := range c.outcome {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		outcome := c.outcome[name]
		isTest := strings.Contains(name, ".Test") || strings.Contains(name, ".Fuzz") || strings.Contains(name, ".Example")
		switch {
		case !isTest && (outcome != "fail" || c.hasFailedTest(name)):
		case isTest && c.parents[name] && (outcome == "pass" || outcome == "fail" && c.hasFailedSubtest(name)):
		case outcome == "pass":
			t.passed++
		default:
			what := name
			if outcome != "fail" {
				what += " (" + outcome + ")"
			}
			t.failed = append(t.failed, what)
			if out := c.output[name]; out != nil {
				t.output += out.String()
				t.said = append(t.said, said(name, out.String())...)
			}
		}
	}
	return t
}

// testLine is what the testing package puts before what a test file says.
var testLine = regexp.MustCompile(`^ +[a-z0-9_]+_test\.go:[0-9]+: `)

// said are the last lines of a failed test's output that come from its own
// files: with the logs of many processes between them, they are hard to find.
func said(name, output string) (lines []string) {
	const most = 20
	for line := range strings.Lines(output) {
		if testLine.MatchString(line) {
			lines = append(lines, name+": "+strings.TrimSpace(line))
		}
	}
	return lines[max(0, len(lines)-most):]
}

func (c *counter) hasFailedTest(pkg string) bool {
	for name, outcome := range c.outcome {
		if strings.HasPrefix(name, pkg+".Test") && outcome != "pass" {
			return true
		}
	}
	return false
}

func (c *counter) hasFailedSubtest(test string) bool {
	for name, outcome := range c.outcome {
		if strings.HasPrefix(name, test+"/") && outcome != "pass" {
			return true
		}
	}
	return false
}
