// Package latency counts how long things take: in histograms of a fixed size,
// over the last minute, without allocating. It is pure: times come in by calls.
package latency

import "math/bits"

// A Histogram has two buckets for each doubling, so a quantile of it is at most
// half too high: all below 16 µs is in the first, all from 137 s on in the last.
type Histogram [buckets]uint32

const (
	buckets = 48
	firstIs = 14 // the first bucket ends at 1 << firstIs ns
)

func bucket(ns int64) int {
	if ns < 1<<firstIs {
		return 0
	}
	k := bits.Len64(uint64(ns)) - 1
	half := int(ns>>(k-1)) & 1
	return min(1+2*(k-firstIs)+half, buckets-1)
}

// end is the lowest duration that is above bucket i, ns.
func end(i int) int64 {
	if i == 0 {
		return 1 << firstIs
	}
	k := firstIs + (i-1)/2
	return int64(2+(i-1)%2+1) << (k - 1)
}

// Add counts one duration, ns.
func (h *Histogram) Add(ns int64) { h[bucket(ns)]++ }

// Merge adds what o counted.
func (h *Histogram) Merge(o *Histogram) {
	for i, n := range o {
		h[i] += n
	}
}

// Count is how many durations were counted.
func (h *Histogram) Count() (n int) {
	for _, x := range h {
		n += int(x)
	}
	return n
}

// Quantile is a duration, ns, that at most the share 1-q of all took longer than;
// 0 where nothing was counted.
func (h *Histogram) Quantile(q float64) int64 {
	all := h.Count()
	if all == 0 {
		return 0
	}
	over := int(float64(all) * (1 - q)) // so many may have taken longer
	for i := buckets - 1; i > 0; i-- {
		if over -= int(h[i]); over < 0 {
			return end(i)
		}
	}
	return end(0)
}

// A Window keeps the last minute in slices of 3 s.
type Window struct {
	slices [sliceCount]slice
	newest int64 // number of the newest slice
	filled int64 // of the newest that is not empty
}

const (
	sliceNS    = int64(3_000_000_000)
	sliceCount = 20
	recent     = 2 // slices: from 3 to 6 s
)

type slice struct {
	Histogram
	max int64
}

// Add counts at now one duration, ns. Times never go back.
func (w *Window) Add(now, ns int64) {
	w.turn(now)
	w.filled = w.newest
	s := &w.slices[w.newest%sliceCount]
	s.Add(ns)
	s.max = max(s.max, ns)
}

// turn empties the slices that are over a minute old.
func (w *Window) turn(now int64) {
	n := now / sliceNS
	if n-w.newest >= sliceCount {
		*w = Window{newest: n}
		return
	}
	for w.newest < n {
		w.newest++
		w.slices[w.newest%sliceCount] = slice{}
	}
}

// Recent is what the last 3 to 6 s counted.
func (w *Window) Recent(now int64) Sum { return w.sum(now, recent) }

// Minute is what the last minute counted.
func (w *Window) Minute(now int64) Sum { return w.sum(now, sliceCount) }

func (w *Window) sum(now int64, slices int64) (s Sum) {
	w.turn(now)
	for i := max(0, w.newest-slices+1); i <= w.filled; i++ {
		x := &w.slices[i%sliceCount]
		s.Merge(&x.Histogram)
		s.Max = max(s.Max, x.max)
	}
	return s
}

// Sum is what was counted over a time.
type Sum struct {
	Histogram
	Max int64 // ns
}

// Add merges another one.
func (s *Sum) Add(o Sum) {
	s.Merge(&o.Histogram)
	s.Max = max(s.Max, o.Max)
}

// Facts are what is told of a Sum: durations in ns.
type Facts struct {
	Count  int   `json:",omitempty"`
	P50    int64 `json:",omitempty"`
	P99    int64 `json:",omitempty"`
	Max    int64 `json:",omitempty"`
	Oldest int64 `json:",omitempty"` // how long the one has waited that has no end yet
}

// Facts of it; oldest is the age of what has not ended, ns, 0: all has.
func (s *Sum) Facts(oldest int64) Facts {
	return Facts{Count: s.Count(), P50: min(s.Quantile(0.5), s.Max), P99: min(s.Quantile(0.99), s.Max), Max: s.Max, Oldest: oldest}
}

// Level is how long one has to expect to wait: what has not ended counts as well.
func (f Facts) Level() int64 { return max(f.P99, f.Oldest) }

// Known says whether there is anything to go by.
func (f Facts) Known() bool { return f.Count > 0 || f.Oldest > 0 }
