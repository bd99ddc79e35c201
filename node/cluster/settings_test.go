package cluster

import "testing"

func TestASettingHoldsUntilAnotherOrderOfItself(t *testing.T) {
	r := newRig(t, 1, 1)
	if got, want := r.Effective(), (Settings{30, 120}); got != want {
		t.Errorf("without orders %+v holds, want %+v", got, want)
	}
	r.good(Command{Set: &Set{Settings{RebuildAfterNode: 600}}})
	before := r.State
	r.good(Command{Set: &Set{Settings{RebuildAfterDisk: 5}}})
	if got, want := r.Effective(), (Settings{5, 600}); got != want {
		t.Errorf("%+v holds, want %+v", got, want)
	}
	if got, want := before.Effective(), (Settings{30, 600}); got != want {
		t.Errorf("a state that somebody holds says %+v now, and was %+v", got, want)
	}
}

func TestNoSettingLeavesItsRange(t *testing.T) {
	r := newRig(t, 1, 1)
	for _, bad := range []Settings{{}, {RebuildAfterDisk: -1}, {RebuildAfterNode: rebuildAfterMax + 1}, {5, -1}} {
		if got := r.do(Command{Set: &Set{bad}}); got.Code != Invalid {
			t.Errorf("%+v: %+v", bad, got)
		}
	}
	if got, want := r.Effective(), (Settings{30, 120}); got != want {
		t.Errorf("refused orders left %+v, want %+v", got, want)
	}
}
