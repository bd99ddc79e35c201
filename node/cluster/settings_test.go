package cluster

import "testing"

func TestASettingHoldsUntilAnotherOrderOfItself(t *testing.T) {
	r := newRig(t, 1, 1)
	if got, want := r.Effective(), withDefaultSpeeds(30, 120); got != want {
		t.Errorf("without orders %+v holds, want %+v", got, want)
	}
	r.good(Command{Set: &Set{Settings{RebuildAfterNode: 600}}})
	before := r.State
	r.good(Command{Set: &Set{Settings{RebuildAfterDisk: 5}}})
	if got, want := r.Effective(), withDefaultSpeeds(5, 600); got != want {
		t.Errorf("%+v holds, want %+v", got, want)
	}
	if got, want := before.Effective(), withDefaultSpeeds(30, 600); got != want {
		t.Errorf("a state that somebody holds says %+v now, and was %+v", got, want)
	}
}

func TestNoSettingLeavesItsRange(t *testing.T) {
	r := newRig(t, 1, 1)
	for _, bad := range []Settings{{}, {PoolWarning: -1}, {PoolWarning: 100}, {ScrubLight: -1}, {ScrubDeep: scrubMax + 1}, {RebuildAfterDisk: -1}, {RebuildAfterNode: rebuildAfterMax + 1}, {RebuildAfterDisk: 5, RebuildAfterNode: -1}, {RebuildFloor: 1}, {Rebalance: "maybe"}, {RebuildCeiling: 1 << 50}, {RebuildFloor: 2 << 30}, {RebuildCeiling: 8 << 20}, {RebuildFloor: 20 << 20, RebuildCeiling: 10 << 20}} {
		if got := r.do(Command{Set: &Set{bad}}); got.Code != Invalid {
			t.Errorf("%+v: %+v", bad, got)
		}
	}
	if got, want := r.Effective(), withDefaultSpeeds(30, 120); got != want {
		t.Errorf("refused orders left %+v, want %+v", got, want)
	}
}

func withDefaultSpeeds(disk, node int) Settings {
	return Settings{RebuildAfterDisk: disk, RebuildAfterNode: node, RebuildFloor: rebuildFloor, RebuildCeiling: rebuildCeiling, Rebalance: On, ScrubLight: scrubLight, ScrubDeep: scrubDeep, PoolWarning: poolWarning}
}

func TestTheSpeedOfRebuildsIsSetFromItsFloorToItsCeiling(t *testing.T) {
	r := newRig(t, 1, 1)
	r.good(Command{Set: &Set{Settings{RebuildFloor: 1 << 20}}})
	r.good(Command{Set: &Set{Settings{RebuildCeiling: 8 << 20}}})
	r.refuse(Invalid, Command{Set: &Set{Settings{RebuildFloor: 9 << 20}}})
	if got := r.Effective(); got.RebuildFloor != 1<<20 || got.RebuildCeiling != 8<<20 {
		t.Errorf("%+v", got)
	}
}
