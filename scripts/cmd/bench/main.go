// Command bench measures our target, peers and the limits of the machine side by
// side, one after the other in each round, and prints one table. Absolute figures
// mean nothing on a machine that others share: the ratios of one run count.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"ashlar/scripts/internal/require"
)

// programs is what the benchmark calls.
var programs = []require.Program{
	{Name: "tgtd", Package: "tgt"},
	{Name: "iscsi-perf", Package: "libiscsi-bin"},
	{Name: "qemu-img", Package: "qemu-utils"},
	{Name: "/usr/lib/x86_64-linux-gnu/qemu/block-iscsi.so", Package: "qemu-block-extra"},
	{Name: "fio", Package: "fio"},
}

func main() {
	if len(os.Args) == 3 && os.Args[1] == responderWord {
		os.Exit(respond(os.Args[2]))
	}
	o := options{}
	flag.DurationVar(&o.length, "length", 800*time.Millisecond, "how long one measurement is")
	flag.IntVar(&o.rounds, "rounds", 5, "measurements of each, in turn")
	quick := flag.Bool("quick", false, "two short rounds: whether it works, rather than how fast")
	asJSON := flag.Bool("json", false, "print the results as JSON")
	only := flag.String("only", "", "only the cases whose names contain this")
	folder := flag.String("folder", ".", "where durable cases keep their disks: a real file system")
	flag.Parse()
	if *quick {
		o.length, o.rounds = 300*time.Millisecond, 2
	}
	err := require.Programs(programs)
	if err == nil && flag.NArg() > 0 {
		err = fmt.Errorf("what is %v?", flag.Args())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	if err := run(o, *folder, *only, *asJSON); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

type options struct {
	length time.Duration
	rounds int
}

func run(o options, folder, only string, asJSON bool) (err error) {
	b, err := newBench(o, folder)
	if err != nil {
		return err
	}
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-interrupted
		b.end()
		os.Exit(1)
	}()
	defer func() { err = errors.Join(err, b.end()) }()
	var results []result
	for _, c := range b.cases() {
		if !strings.Contains(c.name, only) {
			continue
		}
		fmt.Fprintf(os.Stderr, "%s: %s\n", c.name, c.about)
		r, err := b.measure(c)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		results = append(results, r)
	}
	if len(results) == 0 {
		return fmt.Errorf("no case is named %q", only)
	}
	if asJSON {
		e := json.NewEncoder(os.Stdout)
		e.SetIndent("", "  ")
		return e.Encode(results)
	}
	print(os.Stdout, results)
	return nil
}
