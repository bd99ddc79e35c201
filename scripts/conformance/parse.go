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
	var remark string // what the test said of itself before its verdict
	judged := true
	for _, line := range strings.Split(output, "\n") {
		if match := testLine.FindStringSubmatch(line); match != nil {
			test, line, remark, judged = match[1], match[2], "", false
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
			wrong[test] = remark
			if verdict[1] == "FAILED" && !strings.HasPrefix(remark, "failed:") {
				wrong[test] = "failed:"
			}
		case strings.Contains(line, failMark):
			remark = "failed: " + after(line, failMark)
		case strings.Contains(line, skipMark) && remark == "":
			remark = "skipped: " + after(line, skipMark)
		}
	}
	return wrong
}

func after(line, mark string) string {
	_, rest, _ := strings.Cut(line, mark)
	return strings.TrimSpace(rest)
}

// inapplicable are the tests that a unit without removable media cannot run,
// with the reason that libiscsi gives.
var inapplicable = map[string]string{
	"StartStopUnit.Simple": "Media is not removable.",
}

// applies tells whether a test of a suite has anything to test.
func applies(suite, test string, problem error) bool {
	reason, known := inapplicable[suite+"."+test]
	return !known || problem == nil || problem.Error() != "skipped: "+reason
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
