//go:build conformance

package conformance

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// libiscsiIQNs are the two hosts that iscsi-test-cu is.
var libiscsiIQNs = []string{"iqn.2026-11.com.example:libiscsi-1", "iqn.2026-11.com.example:libiscsi-2"}

// tool is iscsi-test-cu, and which of its tests do not fit.
type tool struct {
	path    string
	excuses []excuse
}

// installed is the tool that the machine has.
var installed = &tool{"iscsi-test-cu", excuses}

// newerTool is the tool that was built, nil where it was not.
func newerTool() *tool {
	if path := os.Getenv(newerVariable); path != "" {
		return &tool{path, append(slices.Clone(excuses), newerExcuses...)}
	}
	return nil
}

// runTimeout is far beyond what a whole run takes.
const runTimeout = 5 * time.Minute

// list is what the tool says that it has.
func (p *tool) list(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), p.path, "--list").Output()
	if err != nil {
		t.Fatalf("%s: %v", p.path, err)
	}
	return string(out)
}

// run runs what a pattern (FAMILY[.SUITE[.TEST]]) names on one unit through one
// or two of its paths, and each of the tests as a subtest. Its hosts are iqns.
func (p *tool) run(t *testing.T, u unit, iqns []string, pattern string, urls ...string) {
	t.Helper()
	family, named, _ := strings.Cut(pattern, ".")
	var tests []string
	for _, test := range listed(p.list(t), family) {
		if named == "" || test == named || strings.HasPrefix(test, named+".") {
			tests = append(tests, test)
		}
	}
	if len(tests) == 0 {
		t.Fatalf("%s has no %s", p.path, pattern)
	}
	seen := read(p.output(t, iqns, pattern, urls))
	if err := seen.check(len(tests)); err != nil {
		t.Error(err)
	}
	problems, outside := seen.problems(tests), 0
	for _, test := range tests {
		if excused(p.excuses, u, test, problems[test]) {
			outside++
			continue
		}
		t.Run(strings.Replace(test, ".", "/", 1), func(t *testing.T) {
			if err := problems[test]; err != nil {
				t.Error(err)
			}
		})
	}
	t.Logf("%s: %d tests, of them %d do not apply", pattern, len(tests), outside)
}

// output returns what the tool printed, from which its tests are judged: its exit
// code tells of no skipped one.
func (p *tool) output(t *testing.T, iqns []string, pattern string, urls []string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), runTimeout)
	defer cancel()
	args := append([]string{"--dataloss", "--allow-sanitize", "--verbose", "--initiator-name", iqns[0], "--initiator-name-2", iqns[1], "--test", pattern}, urls...)
	out, err := exec.CommandContext(ctx, p.path, args...).CombinedOutput()
	t.Logf("%s %s\n%s", p.path, strings.Join(args, " "), out)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", p.path, err)
	}
	return string(out)
}
