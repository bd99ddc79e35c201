package pace

import "testing"

const (
	mib    = 1 << 20
	second = int64(1_000_000_000)
	tick   = int64(50_000_000)
)

// device answers hosts the later the less of it is left to them: a queue with
// one server. Nothing is left above its capacity, bytes per second.
type device struct{ capacity, hosts float64 }

func (d device) p99(copied uint64) int64 {
	if d.hosts == 0 {
		return 0
	}
	left := 1 - (d.hosts+float64(copied))/d.capacity
	return int64(2_000_000 / max(left, 0.001))
}

// run has a pacer copy for a time on a device that hosts use, after a minute
// without copying, and gives the mean rate and the worst that hosts saw after the first seconds.
func run(t *testing.T, d device, l Limits, lasts int64) (mean float64, worst int64) {
	t.Helper()
	var p Pacer
	now, rate := int64(0), uint64(0)
	for ; now < 60*second; now += tick {
		if rate = p.Tick(now, Measure{P99: d.p99(0)}, l); rate != l.Floor {
			t.Fatalf("a rate of %d while nothing is copied", rate)
		}
	}
	var sum float64
	begun, seen := now, d.p99(0) // what was measured lags behind
	for n := 0; now < begun+lasts; now, n = now+tick, n+1 {
		if n%60 == 0 {
			seen = d.p99(rate)
		}
		rate = p.Tick(now, Measure{Copying: true, P99: seen}, l)
		if rate < l.Floor || rate > l.Ceiling {
			t.Fatalf("a rate of %d outside of %+v", rate, l)
		}
		sum += float64(rate) * float64(tick) / float64(second)
		worst = max(worst, d.p99(rate))
	}
	return sum / (float64(lasts) / float64(second)), worst
}

func TestWithoutHostsTheRateGoesToTheCeiling(t *testing.T) {
	mean, _ := run(t, device{capacity: 500 * mib}, Limits{4 * mib, 200 * mib}, 60*second)
	if mean < 0.8*200*mib {
		t.Errorf("%.0f MiB/s of 200", mean/mib)
	}
}

func TestHostsThatWaitPressTheRateToTheFloorAndNoFurther(t *testing.T) {
	mean, _ := run(t, device{capacity: 100 * mib, hosts: 99.5 * mib}, Limits{4 * mib, 200 * mib}, 60*second)
	if mean < 3.99*mib || mean > 8*mib {
		t.Errorf("%.1f MiB/s, the floor is 4", mean/mib)
	}
}

// With room beside the hosts it is used, and they wait longer, but not for long.
func TestTheRateFindsWhatHostsLeave(t *testing.T) {
	d := device{capacity: 200 * mib, hosts: 60 * mib}
	mean, _ := run(t, d, Limits{4 * mib, 1000 * mib}, 120*second)
	if mean < 40*mib {
		t.Errorf("%.0f MiB/s of the 140 that are left", mean/mib)
	}
	if got := d.p99(uint64(mean)); got > most {
		t.Errorf("at the mean rate hosts wait for %d ms", got/1_000_000)
	}
}

func TestHostsThatBeginToWaitAreYieldedToWithinSeconds(t *testing.T) {
	var p Pacer
	l := Limits{4 * mib, 400 * mib}
	now := int64(0)
	for ; now < 60*second; now += tick {
		p.Tick(now, Measure{Copying: true}, l)
	}
	p.Tick(now, Measure{Copying: true, P99: 300_000_000}, l)
	begun := now
	for p.Tick(now, Measure{Copying: true, P99: 300_000_000}, l) > l.Floor {
		now += tick
	}
	if took := now - begun; took > 6*second {
		t.Errorf("it took %d ms from the ceiling to the floor", took/1_000_000)
	}
}

func TestAFloorAboveTheCeilingIsTheRate(t *testing.T) {
	var p Pacer
	if got := p.Tick(0, Measure{Copying: true}, Limits{8 * mib, 4 * mib}); got != 8*mib {
		t.Errorf("%d", got)
	}
}
