package main

import (
	"fmt"
	"strings"
	"time"
)

// fuzzTime is how long each fuzz target runs, unless somebody says otherwise.
func fuzzTime(long bool) time.Duration {
	if long {
		return 10 * time.Minute
	}
	return 2 * time.Second
}

// fuzzTarget is one, in the package of its import path.
type fuzzTarget struct{ pkg, name string }

// fuzzTargets reads what `go test -list ^Fuzz` says: names, then their package.
func fuzzTargets(said string) (all []fuzzTarget) {
	var names []string
	for _, line := range strings.Split(said, "\n") {
		fields := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, "Fuzz"):
			names = append(names, fields[0])
		case len(fields) > 1 && fields[0] == "ok":
			for _, name := range names {
				all = append(all, fuzzTarget{fields[1], name})
			}
			names = nil
		}
	}
	return all
}

// fuzz looks for input that breaks a fuzz target, with each in turn. What is found
// lies in the package's testdata: it is kept there, and every run of the tests
// tries it from then on.
func fuzz(r *runner) (tally, error) {
	said, err := r.output("go", "test", "-list", "^Fuzz", "./...")
	if err != nil {
		return tally{}, err
	}
	var result tally
	for _, t := range fuzzTargets(said) {
		one, err := r.checks([]string{"go", "test", t.pkg, "-run=^$", fmt.Sprintf("-fuzz=^%s$", t.name), fmt.Sprintf("-fuzztime=%v", r.fuzzTime),
			"-fuzzminimizetime=100x"}) // else a minute goes into each new input, and looking for others waits
		if err != nil {
			return result, err
		}
		result.add(one)
		if r.ctx.Err() != nil {
			break
		}
	}
	return result, nil
}
