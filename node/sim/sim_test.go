package sim

import "testing"

func TestSchedulesEndWell(t *testing.T) {
	for seed := uint64(1); seed <= 20; seed++ {
		r := Run(Options{Seed: seed})
		if r.Bad() {
			t.Error(r)
		}
		t.Log(r.Operations, r.Events, r.Commands, r.Reigns, r.Busy, r.Faults)
	}
}
