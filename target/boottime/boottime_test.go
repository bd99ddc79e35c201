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
