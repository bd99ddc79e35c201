package conformance

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// listed are the tests of a family, as SUITE.TEST, from the output of
// iscsi-test-cu -l, whose lines are FAMILY, FAMILY.SUITE and FAMILY.SUITE.TEST.
func listed(list, family string) (tests []string) {
	for _, line := range strings.Fields(list) {
		if test, found := strings.CutPrefix(line, family+"."); found && strings.Contains(test, ".") {
			tests = append(tests, test)
		}
	}
	return tests
}

var (
	suiteLine = regexp.MustCompile(`^Suite: (\S+)$`)
	testLine  = regexp.MustCompile(`^  Test: (\S+) \.\.\.(.*)$`)
	// A verdict ends the test's line or begins one of its own. What follows on
	// the same line is said by the suite's clean-up.
	verdictLine = regexp.MustCompile(`^\s*(passed|FAILED)\b`)
	// An assertion that failed, as listed after the verdict.
	assertLine = regexp.MustCompile(`^\s+[0-9]+\. .*`)
	// The tool's own count: total, ran, passed, failed.
	summaryLine = regexp.MustCompile(`^\s+tests\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s`)
)

const (
	skipMark = "[SKIPPED]"
	failMark = "[FAILED]"
)

// transcript is what iscsi-test-cu printed, read line by line.
type transcript struct {
	suite, test     string
	skipped, failed string // what the test said of itself before its verdict
	judged          bool
	wrong           map[string]string // by SUITE.TEST; "" where nothing is
	verdicts        int               // that said FAILED
	summary         []string          // of summaryLine
}

// read says for each test what is wrong with it: "" for nothing. The tool calls a
// test that it skipped, as a whole or in part, a passed one; here it has failed.
func read(output string) *transcript {
	t := &transcript{judged: true, wrong: map[string]string{}}
	for _, line := range strings.Split(output, "\n") {
		t.line(line)
	}
	return t
}

func (t *transcript) line(line string) {
	if match := summaryLine.FindStringSubmatch(line); match != nil {
		t.summary = match
		return
	}
	if match := suiteLine.FindStringSubmatch(line); match != nil {
		t.suite = match[1]
		return
	}
	if match := testLine.FindStringSubmatch(line); match != nil {
		t.test, line, t.skipped, t.failed, t.judged = t.suite+"."+match[1], match[2], "", "", false
		t.wrong[t.test] = "it did not end"
	}
	verdict := verdictLine.FindStringSubmatch(line)
	switch {
	case t.judged && t.wrong[t.test] != "" && assertLine.MatchString(line):
		line, _, _ = strings.Cut(line, skipMark)
		t.wrong[t.test] += "\n" + strings.TrimSpace(line)
	case t.judged:
	case verdict != nil:
		t.judge(verdict[1] == "FAILED")
	case strings.Contains(line, failMark):
		t.failed = after(line, failMark) // also where the test wants a command to fail
	case strings.Contains(line, skipMark) && t.skipped == "":
		t.skipped = "skipped: " + after(line, skipMark)
	}
}

func (t *transcript) judge(failed bool) {
	t.judged, t.wrong[t.test] = true, t.skipped
	if failed {
		t.verdicts++
		t.wrong[t.test] = strings.TrimSpace("failed: " + t.failed)
	}
}

func after(line, mark string) string {
	_, rest, _ := strings.Cut(line, mark)
	return strings.TrimSpace(rest)
}

// problems compares what ran with what should have.
func (t *transcript) problems(tests []string) map[string]error {
	all := map[string]error{}
	for _, test := range tests {
		switch what, ran := t.wrong[test]; {
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

// check holds what was read against the tool's own count, so that nothing that
// failed is overlooked where its output has another form.
func (t *transcript) check(tests int) error {
	if t.summary == nil {
		return fmt.Errorf("the tool did not get to its end")
	}
	total, _ := strconv.Atoi(t.summary[1])
	failed, _ := strconv.Atoi(t.summary[4])
	if total != tests || len(t.wrong) != tests || failed != t.verdicts {
		return fmt.Errorf("%d tests are listed; the tool counts %d, of them %d failed; read were %d, of them %d failed",
			tests, total, failed, len(t.wrong), t.verdicts)
	}
	return nil
}
