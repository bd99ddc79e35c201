package main

import (
	"strings"

	"ashlar/scripts/internal/house"
)

// step is one kind of check.
type step struct {
	name, about string
	run         func(r *runner) (tally, error)
}

// steps in the order of what they cost, so that a plain mistake shows first.
var steps = []step{
	{"format", "gofmt finds nothing to change", format},
	{"vet", "go vet of all packages and tests", func(r *runner) (tally, error) {
		return r.checks([]string{"go", "vet", "./..."}, []string{"go", "vet", "-tags", tags, "./scripts/..."})
	}},
	{"staticcheck", "staticcheck, at the version of scripts/tools/go.mod", staticcheck},
	{"house", "who imports whom, and what the pure packages do without", func(r *runner) (tally, error) {
		return r.goTest("-count=1", "./scripts/internal/house")
	}},
	{"build", "one static binary, without cgo", func(r *runner) (tally, error) {
		return r.checks([]string{"env", "CGO_ENABLED=0", "go", "build", "./..."})
	}},
	{"unit", "the tests of every package but the simulator's", func(r *runner) (tally, error) {
		packages, err := r.packages(func(pkg string) bool { return !isSimulator(pkg) && !strings.HasSuffix(pkg, "/house") })
		if err != nil {
			return tally{}, err
		}
		return r.goTest(append([]string{"-timeout=15m"}, packages...)...)
	}},
	{"race", "the same under the race detector, where goroutines are", func(r *runner) (tally, error) {
		packages, err := r.packages(func(pkg string) bool { return !isSimulator(pkg) && !isPure(pkg) && !under(pkg, "scripts") })
		if err != nil {
			return tally{}, err
		}
		args := []string{"-race", "-timeout=20m"}
		if !r.long {
			args = append(args, "-short")
		}
		return r.goTest(append(args, packages...)...)
	}},
	{"simulation", "the replicated volume under faults, from seeds", func(r *runner) (tally, error) {
		return r.goTest("-count=1", "-timeout=30m", "./"+simulator+"/...")
	}},
	{"conformance", "libiscsi's tests against the target; a skipped test is a failed one", func(r *runner) (tally, error) {
		return r.goTest("-count=1", "-tags", conformanceTag, "-timeout=15m", "./scripts/conformance")
	}},
	{"lab", "the lab of real Linux hosts, with Debian's own target", func(r *runner) (tally, error) {
		return r.inLab("^TestLab")
	}},
	{"hosts", "real Linux hosts in the lab, with our target", func(r *runner) (tally, error) {
		return r.inLab("^TestHost")
	}},
}

// Tests that want a lab, or a program that is not Go's, are no part of
// `go test ./...`.
const (
	labTag         = "lab"
	conformanceTag = "conformance"
	tags           = labTag + "," + conformanceTag
)

const simulator = "replication/sim"

func isSimulator(pkg string) bool { return under(pkg, simulator) }

func isPure(pkg string) bool {
	for _, pure := range house.Pure {
		if pkg == module+pure {
			return true
		}
	}
	return false
}

const module = "ashlar/"

func under(pkg, folder string) bool {
	return pkg == module+folder || strings.HasPrefix(pkg, module+folder+"/")
}

func format(r *runner) (tally, error) {
	out, err := r.output("gofmt", "-l", ".")
	if err != nil {
		return tally{}, err
	}
	if out != "" {
		return tally{failed: []string{"format: gofmt -l"}, output: out}, nil
	}
	return tally{passed: 1}, nil
}

// staticcheck is built from a module of its own, so that ours does not depend on
// what its tools depend on.
func staticcheck(r *runner) (tally, error) {
	binary, err := r.output("go", "-C", "scripts/tools", "tool", "-n", "staticcheck")
	if err != nil {
		return tally{}, err
	}
	return r.checks([]string{strings.TrimSpace(binary), "./..."}, []string{strings.TrimSpace(binary), "-tags", tags, "./scripts/..."})
}
