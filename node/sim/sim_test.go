package sim

import (
	"fmt"
	"testing"
)

// TestSchedulesEndWell runs random schedules. A failing one is replayed with
// scripts/sim -seed S -trace.
func TestSchedulesEndWell(t *testing.T) {
	var total Total
	for seed := uint64(1); seed <= 250; seed++ {
		r := Run(Options{Seed: seed})
		if r.Bad() {
			t.Error(r)
		}
		total.Add(r)
	}
	t.Log(total.String())
	if total.Operations < 50_000 || total.Reigns < 250*3 {
		t.Error("the schedules hardly did anything")
	}
}

// TestTheSameSeedGivesTheSameTrace byte for byte, with and without a reader.
func TestTheSameSeedGivesTheSameTrace(t *testing.T) {
	for seed := uint64(1001); seed < 1006; seed++ {
		a, b := Run(Options{Seed: seed, Trace: true}), Run(Options{Seed: seed, Trace: true})
		if a.Trace != b.Trace || a.Trace == "" {
			t.Errorf("seed %d has two traces", seed)
		}
		if c := Run(Options{Seed: seed}); a.Hash != b.Hash || a.Hash != c.Hash {
			t.Errorf("seed %d: the hashes are %x, %x and %x", seed, a.Hash, b.Hash, c.Hash)
		}
	}
}

// easy are planted bugs with seeds that show them, so that a simulator which
// has become blind is noticed.
var easy = map[string]uint64{"AckEarly": 1, "NoDelta": 20, "JoinEarly": 20, "CommitJoiner": 60, "JoinNoShadow": 300}

func TestPlantedBugsAreCaught(t *testing.T) {
	for bug, within := range easy {
		t.Run(bug, func(t *testing.T) {
			p, ok := Plant(bug)
			if !ok {
				t.Fatalf("no bug is named %q", bug)
			}
			for seed := uint64(1); seed <= within; seed++ {
				if Run(Options{Seed: seed, Planted: p}).Bad() {
					return
				}
			}
			t.Errorf("not caught by %d schedules", within)
		})
	}
}

func ExampleRun() {
	r := Run(Options{Seed: 7})
	fmt.Println(r.Bad())
	// Output: false
}
