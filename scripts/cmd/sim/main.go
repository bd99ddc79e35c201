// Command sim runs schedules of the cluster's simulator: many seeds for figures,
// or one for its trace. It ends with status 1 when anything was lost, differs,
// is not linearizable or is stuck.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"ashlar/node/sim"
)

func main() {
	n := flag.Int("n", 2000, "schedules to run")
	seed := flag.Uint64("seed", 1, "the first seed; with -trace, the only one")
	trace := flag.Bool("trace", false, "print the trace of one schedule")
	bugs := flag.String("bugs", "", "plant bugs, each by itself until it is caught: NAME,... or all; with -trace, one")
	least := flag.Int("least", 0, "with -bugs: how many have to be caught")
	hasty := flag.Bool("hasty", false, "hosts go on with another path the moment that one breaks")
	flag.Parse()
	debug.SetGCPercent(1600) // a schedule is small, and over soon
	o := sim.Options{Seed: *seed, Hasty: *hasty}
	switch {
	case *trace:
		os.Exit(replay(o, *bugs))
	case *bugs != "":
		os.Exit(plantEach(o, *n, *bugs, *least))
	}
	os.Exit(run(o, *n))
}

func planted(name string) sim.Planted {
	p, ok := sim.Plant(name)
	if !ok {
		fmt.Fprintf(os.Stderr, "sim: no bug is named %q; there are %v\n", name, sim.BugNames())
		os.Exit(2)
	}
	return p
}

func replay(o sim.Options, bug string) int {
	o.Planted, o.Trace = planted(bug), true
	r := sim.Run(o)
	fmt.Print(r.Trace)
	fmt.Printf("%v\ntrace hash %016x\n", r, r.Hash)
	if r.Bad() {
		return 1
	}
	return 0
}

// each runs n schedules from o's seed on, on all processors, and hands over their
// results in the order of the seeds, until it is told to stop.
func each(o sim.Options, n int, take func(*sim.Result) (more bool)) {
	var (
		workers sync.WaitGroup
		next    atomic.Int64
		stopped atomic.Bool
		results = make([]chan *sim.Result, n)
	)
	for i := range results {
		results[i] = make(chan *sim.Result, 1)
	}
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for i := next.Add(1) - 1; i < int64(n) && !stopped.Load(); i = next.Add(1) - 1 {
				mine := o
				mine.Seed += uint64(i)
				results[i] <- sim.Run(mine)
			}
		})
	}
	for _, r := range results {
		if !take(<-r) {
			stopped.Store(true)
			break
		}
	}
	workers.Wait()
}

// run prints the figures of n schedules, or of those that were run when the person
// interrupts.
func run(o sim.Options, n int) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	began, told := time.Now(), time.Now()
	var total sim.Total
	each(o, n, func(r *sim.Result) bool {
		if r.Bad() {
			fmt.Println(r)
		}
		total.Add(r)
		if time.Since(told) >= time.Minute {
			told = time.Now()
			fmt.Fprintf(os.Stderr, "%d of %d, %d bad\n", total.Schedules, n, total.Bad)
		}
		return ctx.Err() == nil
	})
	fmt.Println(total.String())
	took := time.Since(began).Seconds()
	fmt.Printf("took %.1f s, %.1f schedules/s\n", took, float64(total.Schedules)/took)
	if total.Bad > 0 {
		fmt.Printf("replay one with: scripts/sim -seed %d -trace\n", total.FirstBad)
		return 1
	}
	if total.Schedules < n {
		fmt.Printf("interrupted after %d of %d\n", total.Schedules, n)
		return 1
	}
	return 0
}

// plantEach prints a table of bugs: which seed was the first to show each, and how.
func plantEach(o sim.Options, n int, bugs string, least int) int {
	names := strings.Split(bugs, ",")
	if bugs == "all" {
		names = sim.BugNames()
	}
	for _, name := range names {
		planted(name)
	}
	fmt.Printf("%-18s %6s %8s  %s\n", "BUG", "SEED", "SECONDS", "SEEN")
	caught := 0
	for _, name := range names {
		o.Planted = planted(name)
		began, first := time.Now(), (*sim.Result)(nil)
		each(o, n, func(r *sim.Result) bool {
			if r.Bad() {
				first = r
			}
			return first == nil
		})
		took := time.Since(began).Seconds()
		if first == nil {
			fmt.Printf("%-18s %6s %8.1f  not by %d schedules\n", name, "-", took, n)
			continue
		}
		caught++
		fmt.Printf("%-18s %6d %8.1f  %s\n", name, first.Seed, took, first.Seen())
	}
	fmt.Printf("%d of %d planted bugs caught by random schedules, %d for each at most\n", caught, len(names), n)
	if caught < least {
		fmt.Printf("they are fewer than %d\n", least)
		return 1
	}
	return 0
}
