// Test runs every check of the project, step by step, each of them a command
// that a person can run by hand.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"ashlar/scripts/internal/require"
)

func main() {
	long := flag.Bool("long", false, "bigger counts: ASHLAR_TEST_LONG=1 for the tests, and no -short")
	only := flag.String("only", "", "run only these `STEPS` (names with commas between)")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "scripts/test [--long] [--only STEP,...]")
		flag.PrintDefaults()
		for _, s := range steps {
			fmt.Fprintf(os.Stderr, "  %-12s %s\n", s.name, s.about)
		}
	}
	flag.Parse()
	chosen, err := choose(*only)
	if err == nil && flag.NArg() > 0 {
		err = fmt.Errorf("what is %v?", flag.Args())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "test:", err)
		os.Exit(2)
	}
	if err := require.Programs(append(require.Lab, require.Tests...)); err != nil {
		fmt.Fprintln(os.Stderr, "test:", err)
		os.Exit(2)
	}
	logs, err := os.MkdirTemp("", "ashlar-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "test:", err)
		os.Exit(2)
	}
	if !runAll(chosen, logs, *long) {
		os.Exit(1)
	}
}

// choose returns the named steps, in their own order.
func choose(only string) ([]step, error) {
	if only == "" {
		return steps, nil
	}
	wanted := map[string]bool{}
	for _, name := range strings.Split(only, ",") {
		wanted[name] = true
	}
	var chosen []step
	for _, s := range steps {
		if wanted[s.name] {
			chosen = append(chosen, s)
			delete(wanted, s.name)
		}
	}
	for name := range wanted {
		return nil, fmt.Errorf("no step %q", name)
	}
	return chosen, nil
}

// runAll prints each step's outcome as it comes and the sums at the end. It
// returns whether all passed.
func runAll(chosen []step, logs string, long bool) bool {
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	var lines []string
	var sum tally
	begin := time.Now()
	for _, s := range chosen {
		fmt.Printf("== %s: %s\n", s.name, s.about)
		r := &runner{log: filepath.Join(logs, s.name+".log"), long: long, scratch: filepath.Join(logs, "scratch"), interrupted: interrupted}
		stepBegin := time.Now()
		result := r.run(s)
		sum.add(result)
		line := fmt.Sprintf("%-12s %6.1f s  %s", s.name, time.Since(stepBegin).Seconds(), result)
		lines = append(lines, line)
		if len(result.failed) > 0 {
			fmt.Print(r.excerpt(result))
		}
		fmt.Println(line)
		if r.stop.Load() {
			break
		}
	}
	fmt.Printf("\n== %.0f s in all; logs in %s\n%s\n", time.Since(begin).Seconds(), logs, strings.Join(lines, "\n"))
	for _, name := range sum.failed {
		fmt.Println("failed:", name)
	}
	for _, line := range sum.said {
		fmt.Println("said:", line)
	}
	os.RemoveAll(filepath.Join(logs, "scratch"))
	fmt.Printf("%d passed, %d failed\n", sum.passed, len(sum.failed))
	return len(sum.failed) == 0 && sum.passed > 0
}
