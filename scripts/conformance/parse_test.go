package conformance

import (
	"errors"
	"testing"
)

const transcript = `
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

  Test: Last ...
`

func TestEachTestIsJudgedBySkipsAndFailures(t *testing.T) {
	got := problems([]string{"Good", "Loud", "Skipped", "InPart", "Bad", "Explained", "WantedFailure", "Cleaned", "CleanedBad", "Last", "Absent"}, transcript)
	for test, want := range map[string]string{
		"Good": "", "Loud": "", "WantedFailure": "", "Cleaned": "",
		"CleanedBad": "failed:\n1. test_example.c:51  - CU_ASSERT_EQUAL(_r,0)",
		"Skipped":    "skipped: WRITEATOMIC16 is not implemented.",
		"InPart":     "skipped: only one of its cases",
		"Bad":        "failed:\n1. test_example.c:52  - CU_ASSERT_EQUAL(ret,0)\n2. test_example.c:58  - CU_ASSERT_EQUAL(ret,0)",
		"Explained":  "failed: it should have failed with LBA_OUT_OF_RANGE\n1. test_example.c:38  - CU_ASSERT_EQUAL(ret,0)",
		"Last":       "it did not end",
		"Absent":     "it did not run",
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

func TestSuitesAreListedByTheTool(t *testing.T) {
	got := listed("ALL\nALL.Read6\nALL.Read6.Simple\nALL.Read6.BeyondEol\nALL.Read60.Other\nSCSI.Read6.Simple\n", "Read6")
	if len(got) != 2 || got[0] != "Simple" || got[1] != "BeyondEol" {
		t.Errorf("%q", got)
	}
}

func TestOnlyTheKnownReasonMakesATestInapplicable(t *testing.T) {
	skipped := errors.New("skipped: Media is not removable.")
	if applies("StartStopUnit", "Simple", skipped) {
		t.Error("a unit without removable media cannot eject it")
	}
	for _, problem := range []error{nil, errors.New("skipped: START STOP UNIT is not implemented."), errors.New("failed:")} {
		if !applies("StartStopUnit", "Simple", problem) {
			t.Errorf("%v is to be judged", problem)
		}
	}
	if !applies("Read6", "Simple", skipped) {
		t.Error("a skipped Read6.Simple is to be judged")
	}
}
