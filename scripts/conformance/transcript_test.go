package conformance

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

const example = `skipping non-LU designator: 1


     CUnit - A unit testing framework for C - Version 2.1-3
     http://cunit.sourceforge.net/


Suite: Example
  Test: Good ...passed
  Test: Loud ...
    some remark
passed
  Test: Skipped ...    [SKIPPED] WRITEATOMIC16 is not implemented.
    [SKIPPED] WRITEATOMIC16 is not implemented.
passed
  Test: InPart ...
    [SKIPPED] only one of its cases
passed
  Test: Bad ...FAILED
    1. test_example.c:52  - CU_ASSERT_EQUAL(ret,0)
    2. test_example.c:58  - CU_ASSERT_EQUAL(ret,0)
  Test: Explained ...    [FAILED] it should have failed with LBA_OUT_OF_RANGE
FAILED
    1. test_example.c:38  - CU_ASSERT_EQUAL(ret,0)
  Test: WantedFailure ...    [FAILED] WRITE10 command failed, as the test wants it to
passed
  Test: Cleaned ...passed    [SKIPPED] said by the clean-up of the suite

Suite: Another
  Test: CleanedBad ...FAILED
    1. test_example.c:51  - CU_ASSERT_EQUAL(_r,0)    [SKIPPED] said by the clean-up

  Test: Good ...passed
`

const summary = `
Run Summary:    Type  Total    Ran Passed Failed Inactive
              suites      2      2    n/a      0        0
               tests     10     10      7      3        0
             asserts   1000   1000    997      3      n/a
`

var exampleTests = []string{"Example.Good", "Example.Loud", "Example.Skipped", "Example.InPart", "Example.Bad", "Example.Explained",
	"Example.WantedFailure", "Example.Cleaned", "Another.CleanedBad", "Another.Good"}

func TestEachTestIsJudgedBySkipsAndFailures(t *testing.T) {
	got := read(example + "  Test: Last ...\n").problems(append(exampleTests, "Another.Last", "Another.Absent"))
	for test, want := range map[string]string{
		"Example.Good": "", "Example.Loud": "", "Example.WantedFailure": "", "Example.Cleaned": "", "Another.Good": "",
		"Example.Skipped":    "skipped: WRITEATOMIC16 is not implemented.",
		"Example.InPart":     "skipped: only one of its cases",
		"Example.Bad":        "failed:\n1. test_example.c:52  - CU_ASSERT_EQUAL(ret,0)\n2. test_example.c:58  - CU_ASSERT_EQUAL(ret,0)",
		"Example.Explained":  "failed: it should have failed with LBA_OUT_OF_RANGE\n1. test_example.c:38  - CU_ASSERT_EQUAL(ret,0)",
		"Another.CleanedBad": "failed:\n1. test_example.c:51  - CU_ASSERT_EQUAL(_r,0)",
		"Another.Last":       "it did not end",
		"Another.Absent":     "it did not run",
	} {
		have := ""
		if got[test] != nil {
			have = got[test].Error()
		}
		if have != want {
			t.Errorf("%s: %q, want %q", test, have, want)
		}
	}
}

func TestWhatWasReadIsHeldAgainstTheToolsOwnCount(t *testing.T) {
	if err := read(example + summary).check(len(exampleTests)); err != nil {
		t.Error(err)
	}
	for what, output := range map[string]string{
		"the tool died":        example,
		"a failure unseen":     strings.Replace(example, "FAILED\n    1. test_example.c:38", "FEHLER\n", 1) + summary,
		"a test unseen":        strings.Replace(example, "  Test: Loud", "  Probe: Loud", 1) + summary,
		"a test that vanished": strings.Replace(example+summary, "tests     10", "tests      9", 1),
	} {
		if read(output).check(len(exampleTests)) == nil {
			t.Errorf("%s: nobody notices", what)
		}
	}
}

func TestTestsAreListedByTheTool(t *testing.T) {
	got := listed("ALL\nALL.Read6\nALL.Read6.Simple\nALL.Read60.BeyondEol\nSCSI.Read6.Other\n", "ALL")
	if !slices.Equal(got, []string{"Read6.Simple", "Read60.BeyondEol"}) {
		t.Errorf("%q", got)
	}
}

func TestOnlyTheKnownReasonExcusesATest(t *testing.T) {
	removable := errors.New("skipped: Media is not removable. Skipping test.")
	status := errors.New("failed:\n1. test_get_lba_status_unmap_single.c:135  - CU_FAIL(...)")
	for _, c := range []struct {
		unit    unit
		test    string
		problem error
		want    bool
	}{
		{writable512, "StartStopUnit.Simple", removable, true},
		{writable512, "StartStopUnit.Simple", nil, false},
		{writable512, "StartStopUnit.Simple", errors.New("skipped: START STOP UNIT is not implemented."), false},
		{writable512, "StartStopUnit.NoLoej", removable, false},
		{writable512, "Read6.Simple", removable, false},
		{writable512, "PreventAllow.Eject", errors.New("skipped: Logical unit is not removable. Skipping test."), true},
		{writable512, "GetLBAStatus.UnmapSingle", status, true},
		{writable4096, "GetLBAStatus.UnmapSingle", status, false},
		{writable512, "GetLBAStatus.UnmapSingle", errors.New("failed:\n1. test_get_lba_status_unmap_single.c:88  - CU_FAIL(...)"), false},
		{writable4096, "WriteSame10.UnmapUnaligned", errors.New("skipped: LBPPB < 2. Skipping test"), true},
		{writable512, "WriteSame10.UnmapUnaligned", errors.New("skipped: LBPPB < 2. Skipping test"), false},
	} {
		if got := excused(excuses, c.unit, c.test, c.problem); got != c.want {
			t.Errorf("%s: %v: excused: %v", c.test, c.problem, got)
		}
	}
}
