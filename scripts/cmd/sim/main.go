// Command sim runs schedules of the cluster's simulator: many seeds for figures,
// or one for its trace. It ends with status 1 when anything was lost, differs,
// is not linearizable or is stuck.
package main

import (
	"flag"
	"fmt"
	"os"
	"time"

	"ashlar/node/sim"
)

func main() {
	n := flag.Int("n", 2000, "schedules to run")
	seed := flag.Uint64("seed", 1, "the first seed; with -trace, the only one")
	trace := flag.Bool("trace", false, "print the trace of one schedule")
	bugs := flag.String("bugs", "", "plant a bug by name; all: each in turn, until it is caught")
	hasty := flag.Bool("hasty", false, "hosts go on with another path the moment that one breaks")
	flag.Parse()
	switch {
	case *bugs == "all":
		os.Exit(plantAll(*n, *seed))
	case *trace:
		os.Exit(replay(*seed, *bugs, *hasty))
	}
	os.Exit(run(*n, *seed, *bugs, *hasty))
}

func planted(name string) sim.Planted {
	p, ok := sim.Plant(name)
	if !ok {
		fmt.Fprintf(os.Stderr, "sim: no bug is named %q; there are %v\n", name, sim.BugNames())
		os.Exit(2)
	}
	return p
}

func replay(seed uint64, bug string, hasty bool) int {
	r := sim.Run(sim.Options{Seed: seed, Planted: planted(bug), Trace: true, Hasty: hasty})
	fmt.Print(r.Trace)
	fmt.Printf("%v\ntrace hash %016x\n", r, r.Hash)
	if r.Bad() {
		return 1
	}
	return 0
}

func run(n int, seed uint64, bug string, hasty bool) int {
	began := time.Now()
	var total sim.Total
	for s := seed; s < seed+uint64(n); s++ {
		r := sim.Run(sim.Options{Seed: s, Planted: planted(bug), Hasty: hasty})
		if r.Bad() {
			fmt.Println(r)
		}
		total.Add(r)
	}
	fmt.Println(total.String())
	fmt.Printf("took %.1f s\n", time.Since(began).Seconds())
	if total.Bad > 0 {
		fmt.Printf("replay one with: scripts/sim -seed %d -trace\n", total.FirstBad)
		return 1
	}
	return 0
}

func plantAll(n int, seed uint64) int {
	missed := 0
	for _, name := range sim.BugNames() {
		began := time.Now()
		caught := uint64(0)
		s := seed
		for ; s < seed+uint64(n) && caught == 0; s++ {
			if r := sim.Run(sim.Options{Seed: s, Planted: planted(name)}); r.Bad() {
				caught = s
				fmt.Printf("%-24s caught by seed %-6d in %6.1f s: %v\n", name, s, time.Since(began).Seconds(), r)
			}
		}
		if caught == 0 {
			missed++
			fmt.Printf("%-24s not caught by %d schedules in %6.1f s\n", name, n, time.Since(began).Seconds())
		}
	}
	fmt.Printf("%d of %d planted bugs caught by random schedules\n", len(sim.BugNames())-missed, len(sim.BugNames()))
	return 0
}
