package latency

import (
	"math/rand/v2"
	"slices"
	"testing"
)

const ms = int64(1_000_000)

func TestAQuantileIsAtMostHalfTooHighAndNeverTooLow(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		var s Sum
		var all []int64
		for range 1 + r.IntN(500) {
			ns := 1 + r.Int64N(1<<(15+r.IntN(20)))
			s.Histogram.Add(ns)
			s.Max = max(s.Max, ns)
			all = append(all, ns)
		}
		slices.Sort(all)
		f := s.Facts(0)
		for _, q := range []struct {
			share float64
			got   int64
		}{{0.5, f.P50}, {0.99, f.P99}} {
			at := len(all) - 1 - int(float64(len(all))*(1-q.share))
			if want := all[at]; q.got < want || q.got > max(want*3/2+1, 1<<firstIs) {
				t.Fatalf("%v of %d: %d, want %d", q.share, len(all), q.got, want)
			}
		}
	}
}

func TestEveryDurationHasABucketThatEndsAboveIt(t *testing.T) {
	for i := 1; i < buckets-1; i++ {
		if a, b := bucket(end(i)-1), bucket(end(i)); a != i || b != i+1 {
			t.Errorf("round the end of bucket %d: %d and %d", i, a, b)
		}
	}
	for _, ns := range []int64{-1, 0, 1, 1 << 62} {
		var h Histogram
		if h.Add(ns); h.Count() != 1 {
			t.Errorf("%d was not counted", ns)
		}
	}
}

func TestAWindowForgetsAfterAMinute(t *testing.T) {
	var w Window
	start := 1000 * sliceNS
	w.Add(start, 300*ms)
	for at, want := range map[int64][2]int{0: {1, 1}, sliceNS: {1, 1}, 2 * sliceNS: {0, 1}, 19 * sliceNS: {0, 1}, 20 * sliceNS: {0, 0}, 500 * sliceNS: {0, 0}} {
		x := w
		recent, minute := x.Recent(start+at), x.Minute(start+at)
		if got := [2]int{recent.Count(), minute.Count()}; got != want {
			t.Errorf("after %d s: %v, want %v", at/1000/ms, got, want)
		}
		if (minute.Max == 300*ms) != (want[1] == 1) {
			t.Errorf("after %d s the longest is %d", at/1000/ms, minute.Max)
		}
	}
}

func TestCountingAllocatesNothing(t *testing.T) {
	var w Window
	now := int64(0)
	if n := testing.AllocsPerRun(1000, func() { now += ms; w.Add(now, now%(50*ms)) }); n != 0 {
		t.Errorf("%v allocations for each", n)
	}
}

func BenchmarkAdd(b *testing.B) {
	var w Window
	for i := range b.N {
		w.Add(int64(i)*1000, int64(i)%(50*ms))
	}
}
