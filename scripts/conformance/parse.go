// Package conformance runs libiscsi's test suite against the target. Its tests
// want the tag "conformance" and the program iscsi-test-cu (libiscsi-bin).
package conformance

import (
	"fmt"
	"regexp"
	"strings"
)

// listed are the tests of a suite, from the output of iscsi-test-cu -l, whose
// lines are FAMILY, FAMILY.SUITE and FAMILY.SUITE.TEST.
func listed(list, suite string) (tests []string) {
	for _, line := range strings.Fields(list) {
		if test, found := strings.CutPrefix(line, "ALL."+suite+"."); found {
			tests = append(tests, test)
		}
	}
	return tests
}

var (
	testLine = regexp.MustCompile(`^  Test: (\S+) \.\.\.(.*)$`)
	// A verdict ends the test's line or begins one of its own. What follows on
	// the same line is said by the suite's clean-up.
	verdictLine = regexp.MustCompile(`^\s*(passed|FAILED)\b`)
	// An assertion that failed, as listed after the verdict.
	assertLine = regexp.MustCompile(`^\s+[0-9]+\. .*`)
)

const (
	skipMark = "[SKIPPED]"
	failMark = "[FAILED]"
)

// outcomes reads what iscsi-test-cu prints and says for each test what is wrong
// with it: "" for nothing. The tool calls a test that it skipped, as a whole or
// in part, a passed one; here it has failed.
func outcomes(output string) map[string]string {
	wrong := map[string]string{}
	var test string
	var skipped, failed string // what the test said of itself before its verdict
	judged := true
	for _, line := range strings.Split(output, "\n") {
		if match := testLine.FindStringSubmatch(line); match != nil {
			test, line, skipped, failed, judged = match[1], match[2], "", "", false
			wrong[test] = "it did not end"
		}
		verdict := verdictLine.FindStringSubmatch(line)
		switch {
		case judged && wrong[test] != "" && assertLine.MatchString(line):
			line, _, _ = strings.Cut(line, skipMark)
			wrong[test] += "\n" + strings.TrimSpace(line)
		case judged:
		case verdict != nil:
			judged = true
			wrong[test] = skipped
			if verdict[1] == "FAILED" {
				wrong[test] = strings.TrimSpace("failed: " + failed)
			}
		case strings.Contains(line, failMark):
			failed = after(line, failMark) // also where the test wants a command to fail
		case strings.Contains(line, skipMark) && skipped == "":
			skipped = "skipped: " + after(line, skipMark)
		}
	}
	return wrong
}

func after(line, mark string) string {
	_, rest, _ := strings.Cut(line, mark)
	return strings.TrimSpace(rest)
}

// inapplicable are the tests that do not fit our unit, with how what they say begins.
var inapplicable = map[string]string{
	// A unit without removable media has nothing to eject.
	"StartStopUnit.Simple": "skipped: Media is not removable.",
	// It asks from the second logical block of a physical one on, and wants the
	// answer to begin with the next physical one; SBC-3 5.8.2 lets it begin with the
	// block that was asked for. Its first half has passed then.
	"GetLBAStatus.UnmapSingle": "failed:\n1. test_get_lba_status_unmap_single.c:135 ",
}

// applies tells whether a test of a suite has anything to say of us.
func applies(suite, test string, problem error) bool {
	says, known := inapplicable[suite+"."+test]
	return !known || problem == nil || !strings.HasPrefix(problem.Error(), says)
}

// problems compares what ran with what should have.
func problems(tests []string, output string) map[string]error {
	wrong := outcomes(output)
	all := map[string]error{}
	for _, test := range tests {
		switch what, ran := wrong[test]; {
		case !ran:
			all[test] = fmt.Errorf("it did not run")
		case what != "":
			all[test] = fmt.Errorf("%s", what)
		default:
			all[test] = nil
		}
	}
	return all
}
