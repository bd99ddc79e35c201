package boottime

import (
	"testing"
	"time"
)

func TestTheClockGoesOn(t *testing.T) {
	began, first := time.Now(), Now()
	time.Sleep(20 * time.Millisecond)
	passed, limit := time.Duration(Now()-first), time.Since(began)
	if passed < 20*time.Millisecond || passed > limit {
		t.Errorf("%v passed, of at most %v", passed, limit)
	}
}

func TestReadingTheClockDoesNotAllocate(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() { Now() }); n != 0 {
		t.Errorf("%v allocations a reading", n)
	}
}

func BenchmarkNow(b *testing.B) {
	for b.Loop() {
		Now()
	}
}

// machine has the clocks of one whose time passes by 1 us with each reading.
type machine struct {
	wall, mono, up int64
	asked          int
	onBoot         func() // happens once, as the kernel is asked
}

func (m *machine) clock() *clock {
	return &clock{
		quick: func() (int64, int64) { m.pass(1000); return m.wall, m.mono },
		boot: func() int64 {
			m.asked++
			if f := m.onBoot; f != nil {
				m.onBoot = nil
				f()
			}
			m.pass(1000)
			return m.up
		},
	}
}

func (m *machine) pass(ns int64)    { m.wall, m.mono, m.up = m.wall+ns, m.mono+ns, m.up+ns }
func (m *machine) suspend(ns int64) { m.wall, m.up = m.wall+ns, m.up+ns }

func TestTheClockFollowsTheKernels(t *testing.T) {
	const second = int64(time.Second)
	m := &machine{wall: 1_700_000_000 * second, up: 500 * second}
	c, before := m.clock(), int64(0)
	now := func(what string) {
		t.Helper()
		n := c.now()
		if d := m.up - n; d < 0 || d > tolerance+10_000 {
			t.Errorf("%s: %d ns behind", what, d)
		}
		if n < before {
			t.Errorf("%s: it goes back by %d ns", what, before-n)
		}
		before = n
	}
	now("at first")
	for range 1000 {
		m.pass(second / 1000)
		now("as time passes")
	}
	if m.asked != 1 {
		t.Errorf("the kernel was asked %d times", m.asked)
	}
	for _, step := range []int64{3600 * second, -7200 * second, second / 500} {
		m.wall += step
		now("time is set")
	}
	m.suspend(40 * second)
	now("after a suspension")
	for range 10_000 {
		m.suspend(tolerance / 100)
	}
	now("after many short ones")
	m.onBoot = func() { m.suspend(30 * second) }
	m.wall += second
	now("suspended while the kernel was asked")
	now("and after it")
	m.wall -= 20 * second
	m.suspend(20*second + 2*tolerance)
	now("time is set back by as long as the machine was suspended")
	if m.asked > 9 {
		t.Errorf("the kernel was asked %d times", m.asked)
	}
}
