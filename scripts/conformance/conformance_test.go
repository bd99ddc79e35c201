//go:build conformance

package conformance

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"testing"
	"time"

	"ashlar/scripts/internal/memory"
)

// suites of libiscsi that have to pass whole, every test of them.
var suites = []string{
	"Mandatory", "Inquiry", "TestUnitReady", "ReadCapacity10", "ReadCapacity16",
	"Read6", "Read10", "Read12", "Read16", "Write10", "Write12", "Write16",
	"WriteSame10", "WriteSame16", "Unmap", "CompareAndWrite", "GetLBAStatus",
	"Verify10", "Verify12", "Verify16", "WriteVerify10", "WriteVerify12", "WriteVerify16",
	"Prefetch10", "Prefetch16", "ModeSense6", "ReportSupportedOpcodes", "StartStopUnit",
	"iSCSIResiduals", "iSCSIcmdsn", "iSCSIdatasn", "iSCSITMF",
}

// suiteTimeout is far beyond what any takes.
const suiteTimeout = 2 * time.Minute

// The logical unit is $ASHLAR_CONFORMANCE_URL (iscsi://ADDRESS/IQN/LUN; its data
// is lost), or a memory device that the test serves itself.
func TestLibiscsi(t *testing.T) {
	url := os.Getenv("ASHLAR_CONFORMANCE_URL")
	if url == "" {
		url = memory.Serve(t, exec.Command, "-listen", "127.0.0.1:0")
	}
	runSuites(t, url)
}

// runSuites runs every suite as a subtest, and each of its tests as one of that.
func runSuites(t *testing.T, url string) {
	list, err := exec.Command("iscsi-test-cu", "-l").Output()
	if err != nil {
		t.Fatalf("iscsi-test-cu -l: %v", err)
	}
	for _, suite := range suites {
		t.Run(suite, func(t *testing.T) {
			tests := listed(string(list), suite)
			if len(tests) == 0 {
				t.Fatal("iscsi-test-cu has no such suite")
			}
			output := runSuite(t, suite, url)
			found := problems(tests, output)
			for _, test := range tests {
				if !applies(suite, test, found[test]) {
					t.Logf("%s does not apply: %v", test, found[test])
					continue
				}
				t.Run(test, func(t *testing.T) {
					if err := found[test]; err != nil {
						t.Error(err)
					}
				})
			}
		})
	}
}

// runSuite returns what the tool printed, from which its tests are judged: its
// exit code tells of no skipped one.
func runSuite(t *testing.T, suite, url string) string {
	ctx, cancel := context.WithTimeout(t.Context(), suiteTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, "iscsi-test-cu", "--dataloss", "--verbose", "--test", "ALL."+suite, url).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("iscsi-test-cu: %v", err)
	}
	return string(out)
}
