package cluster

import "testing"

func TestALevelOfThePoolIsNotedWhenItBeginsAndLeftALittleLater(t *testing.T) {
	r := newRig(t, 1, 1)
	r.good(Command{Set: &Set{Settings{PoolWarning: 70}}})
	for _, step := range []struct {
		percent int
		fill    Fill
		filled  int
	}{{69, Roomy, 0}, {70, FillWarning, 70}, {68, FillWarning, 70}, {66, Roomy, 66}, {95, FillCritical, 95}, {88, FillCritical, 95}, {86, FillWarning, 86}, {90, FillCritical, 90}, {10, Roomy, 10}} {
		r.good(Command{NoteFill: &NoteFill{Fill: r.FillAfter(step.percent), Percent: step.percent}})
		if r.Fill != step.fill || r.FilledTo != step.filled {
			t.Errorf("at %d %%: %q since %d %%, want %q since %d %%", step.percent, r.Fill, r.FilledTo, step.fill, step.filled)
		}
	}
	r.refuse(Invalid, Command{NoteFill: &NoteFill{Fill: "bursting", Percent: 99}})
	r.refuse(Invalid, Command{NoteFill: &NoteFill{Fill: FillWarning, Percent: 101}})
}
