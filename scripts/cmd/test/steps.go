package main

import (
	"strings"

	"ashlar/scripts/internal/house"
)

// step is one kind of check.
type step struct {
	name, about string
	run         func(r *runner) (tally, error)

	where place
}

// place is where a step runs. The steps of a place run one after the other.
type place int

const (
	// alone is before those of nodes and guests.
	alone place = iota
	// nodes and guests mostly wait, each for half of the machine at most, and so run
	// side by side; of the nodes' only the race detector's step works, a package at a time. When all those of nodes are done, two labs of guests do.
	nodes
	guests
	// beside is for steps in which no time is measured: they run beside all others, and
	// take what these leave of the processors.
	beside
)

// steps in the order of what they cost, so that a plain mistake shows first.
var steps = []step{
	{name: "format", about: "gofmt finds nothing to change", run: format},
	{name: "vet", about: "go vet of all packages and tests", run: func(r *runner) (tally, error) {
		return r.checks([]string{"go", "vet", "./..."}, []string{"go", "vet", "-tags", tags, "./scripts/..."},
			[]string{"go", "-C", "scripts/tools", "vet", "./..."}, []string{"go", "-C", "scripts/peers/gotgt", "vet", "./..."})
	}},
	{name: "staticcheck", about: "staticcheck, at the version of scripts/tools/go.mod", run: staticcheck, where: beside},
	{name: "house", about: "who imports whom, and what the pure packages do without", run: func(r *runner) (tally, error) {
		return r.goTest("-count=1", "./scripts/internal/house")
	}},
	{name: "build", about: "one static binary, without cgo", run: func(r *runner) (tally, error) {
		return r.checks([]string{"env", "CGO_ENABLED=0", "go", "build", "./..."})
	}},
	{name: "unit", about: "the tests of every package but the simulator's, and node's", run: func(r *runner) (tally, error) {
		packages, err := r.packages(func(pkg string) bool {
			return !isSimulator(pkg) && !strings.HasSuffix(pkg, "/house") && pkg != module+inProcess
		})
		if err != nil {
			return tally{}, err
		}
		result, err := r.goTest(append([]string{"-timeout=15m"}, packages...)...)
		if err != nil {
			return result, err
		}
		more, err := r.goTest("-run=^TestCommandsDoNotAllocate$", "./"+inProcess) // under the race detector they do
		result.add(more)
		return result, err
	}},
	{name: "race", about: "those that have goroutines, under the race detector", where: nodes, run: func(r *runner) (tally, error) {
		packages, err := r.packages(func(pkg string) bool {
			return !isSimulator(pkg) && !isPure(pkg) && !under(pkg, "scripts") && !under(pkg, store) && pkg != module+processes
		})
		if err != nil {
			return tally{}, err
		}
		return r.raceTest(packages...)
	}},
	{name: "store", about: "the disk store under the race detector", where: beside, run: func(r *runner) (tally, error) {
		return r.raceTest("./" + store + "/...")
	}},
	{name: "simulation", about: "the cluster under faults, from seeds; each planted bug is caught", where: beside, run: func(r *runner) (tally, error) {
		result, err := r.goTest("-count=1", "-timeout=30m", "./"+simulator+"/...")
		if err != nil {
			return result, err
		}
		schedules := "2000"
		if r.long {
			schedules = "20000"
		}
		more, err := r.checks([]string{"scripts/sim", "-n", schedules})
		result.add(more)
		return result, err
	}},
	{name: "fuzz", about: "each fuzz target looks for new input", where: beside, run: fuzz},
	{name: "demo", about: "three nodes, a volume, the death of its head", where: nodes, run: func(r *runner) (tally, error) {
		return r.checks([]string{"timeout", "120", "go", "run", "./appliance/ashlar", "demo"})
	}},
	{name: "conformance", about: "libiscsi's tests and QEMU on a cluster, through two nodes; a skipped test is a failed one", where: nodes, run: func(r *runner) (tally, error) {
		return r.goTest("-count=1", "-tags", conformanceTag, "-timeout=15m", "./scripts/conformance")
	}},
	{name: "faults", about: "real processes without copies, with hostile hosts, with wrong orders", where: nodes, run: func(r *runner) (tally, error) {
		return r.goTest("-count=1", "-tags", faultsTag, "-parallel=3", "-timeout=20m", "./scripts/faults") // nodes mostly wait
	}},
	{name: "power", about: "real processes lose their power, and all that they have not synced", where: nodes, run: func(r *runner) (tally, error) {
		return r.goTest("-count=1", "-tags", powerTag, "-timeout=15m", "./scripts/power")
	}},
	{name: "campaign", about: "real processes under faults from a seed; no write is lost, and histories are linearizable", where: nodes, run: func(r *runner) (tally, error) {
		faults := "20"
		if r.long {
			faults = "300"
		}
		return r.goTest("-count=1", "-tags", campaignTag, "-timeout=38m", "./scripts/campaigns", "-campaign.n", faults)
	}},
	{name: "lab", about: "the lab of real Linux hosts, with Debian's own target", where: guests, run: func(r *runner) (tally, error) {
		if r.long {
			return r.inLab("^Test(Long)?Lab")
		}
		return r.inLab("^TestLab")
	}},
	{name: "hosts", about: "real Linux hosts in the lab, with our target", where: guests, run: func(r *runner) (tally, error) {
		if r.long {
			return r.inLab("^Test((Long)?Host|NewKernel)")
		}
		return r.inLab("^Test(Host|NewKernel)")
	}},
}

// Tests that want a lab, or a program that is not Go's, are no part of
// `go test ./...`.
const (
	labTag         = "lab"
	conformanceTag = "conformance"
	faultsTag      = "faults"
	powerTag       = "power"
	campaignTag    = "campaign"
	tags           = labTag + "," + conformanceTag + "," + faultsTag + "," + powerTag + "," + campaignTag
)

const (
	simulator = "node/sim"
	store     = "node/disk"
	inProcess = "node"          // tests with whole clusters in one process: under the race detector only
	processes = "appliance/cli" // tests with nodes' processes: without it
)

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
	binary = strings.TrimSpace(binary)
	return r.checks([]string{binary, "./..."}, []string{binary, "-tags", tags, "./scripts/..."},
		[]string{"env", "-C", "scripts/tools", binary, "./..."})
}
