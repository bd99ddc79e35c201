// Test runs every check of the project, step by step, each of them a command
// that a person can run by hand.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"ashlar/scripts/internal/require"
)

func main() {
	long := flag.Bool("long", false, "bigger counts: ASHLAR_TEST_LONG=1 for the tests, and no -short")
	each := flag.Duration("fuzz", 0, "`TIME` for each fuzz target in the step of that name (2s; 10m with --long)")
	only := flag.String("only", "", "run only these `STEPS` (names with commas between)")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "scripts/test [--long] [--fuzz TIME] [--only STEP,...]")
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
	if err := require.Programs(slices.Concat(require.Lab, require.Tests, require.Servers)); err != nil {
		fmt.Fprintln(os.Stderr, "test:", err)
		os.Exit(2)
	}
	logs, err := os.MkdirTemp("", "ashlar-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "test:", err)
		os.Exit(2)
	}
	if *each == 0 {
		*each = fuzzTime(*long)
	}
	if !runAll(chosen, logs, *long, *each) {
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
func runAll(chosen []step, logs string, long bool, fuzzTime time.Duration) bool {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b := board{outcome: map[string]string{}}
	begin := time.Now()
	nodesDone := make(chan struct{})
	inTurn := func(where place) {
		for _, s := range chosen {
			if s.where != where {
				continue
			}
			if ctx.Err() != nil {
				return
			}
			b.say("== %s: %s\n", s.name, s.about)
			r := &runner{ctx: ctx, log: filepath.Join(logs, s.name+".log"), long: long, fuzzTime: fuzzTime, scratch: filepath.Join(logs, "scratch"), idle: where == beside, spare: nodesDone}
			stepBegin := time.Now()
			result := r.run(s)
			b.add(s.name, time.Since(stepBegin), result, r)
		}
	}
	var all sync.WaitGroup
	all.Go(func() { inTurn(beside) })
	all.Go(func() {
		inTurn(alone)
		all.Go(func() {
			inTurn(nodes)
			close(nodesDone)
		})
		all.Go(func() { inTurn(guests) })
	})
	all.Wait()
	fmt.Printf("\n== %.0f s in all; logs in %s\n", time.Since(begin).Seconds(), logs)
	for _, s := range chosen {
		fmt.Println(b.outcome[s.name])
	}
	for _, name := range b.sum.failed {
		fmt.Println("failed:", name)
	}
	for _, line := range b.sum.said {
		fmt.Println("said:", line)
	}
	os.RemoveAll(filepath.Join(logs, "scratch"))
	fmt.Printf("%d passed, %d failed\n", b.sum.passed, len(b.sum.failed))
	return ctx.Err() == nil && len(b.sum.failed) == 0 && b.sum.passed > 0
}

// board is where steps that run side by side put what came of them.
type board struct {
	mu      sync.Mutex
	sum     tally
	outcome map[string]string // by step: a line
}

func (b *board) say(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	fmt.Printf(format, args...)
}

func (b *board) add(name string, took time.Duration, result tally, r *runner) {
	line := fmt.Sprintf("%-12s %6.1f s  %s", name, took.Seconds(), result)
	text := line + "\n"
	if len(result.failed) > 0 {
		text = r.excerpt(result) + text
	}
	b.say("%s", text)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sum.add(result)
	b.outcome[name] = line
}
