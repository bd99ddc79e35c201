package sim

import (
	"container/heap"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
)

// Times of the world, ns. They have no relation to any node's clock.
const (
	microsecond = int64(1_000)
	millisecond = int64(1_000_000)
	second      = 1000 * millisecond
	never       = int64(math.MaxInt64)
)

// event is something that happens at a moment; of one moment in order of asking.
type event struct {
	at  int64
	seq uint64
	do  func()
}

type eventHeap []event

func (h eventHeap) Len() int { return len(h) }
func (h eventHeap) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].seq < h[j].seq
}
func (h eventHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *eventHeap) Push(x any)   { *h = append(*h, x.(event)) }
func (h *eventHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1].do = nil
	*h = old[:len(old)-1]
	return e
}

// timeline is the one queue of events, the one source of chance, and the trace:
// the same seed gives the same trace, byte for byte.
type timeline struct {
	now    int64
	seq    uint64
	queue  eventHeap
	rng    *rand.Rand
	hash   uint64
	events int
	trace  *strings.Builder // nil: only the hash is kept
}

func newTimeline(seed uint64) timeline {
	return timeline{rng: rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15)), hash: 14695981039346656037}
}

// after lets something happen d from now.
func (t *timeline) after(d int64, do func()) {
	t.seq++
	heap.Push(&t.queue, event{t.now + max(d, 0), t.seq, do})
}

// step carries out the next event; false: there is none up to the time until.
func (t *timeline) step(until int64) bool {
	if len(t.queue) == 0 || t.queue[0].at > until {
		t.now = max(t.now, until)
		return false
	}
	e := heap.Pop(&t.queue).(event)
	t.now = e.at
	t.events++
	e.do()
	return true
}

// note puts facts into the trace. What is written of them must be the same in
// every run, so no pointers.
func (t *timeline) note(what string, numbers ...int64) {
	h := t.hash
	for i := range len(what) {
		h = (h ^ uint64(what[i])) * 1099511628211
	}
	h = (h ^ uint64(t.now)) * 1099511628211
	for _, n := range numbers {
		h = (h ^ uint64(n)) * 1099511628211
	}
	t.hash = h
	if t.trace != nil {
		fmt.Fprintf(t.trace, "%10.4f %s %v\n", float64(t.now)/float64(second), what, numbers)
	}
}

// tell is for a reader of the trace only.
func (t *timeline) tell(format string, args ...any) {
	if t.trace != nil {
		fmt.Fprintf(t.trace, "%10.4f %s\n", float64(t.now)/float64(second), fmt.Sprintf(format, args...))
	}
}

// between is a random time of [low, high).
func (t *timeline) between(low, high int64) int64 {
	if high <= low {
		return low
	}
	return low + t.rng.Int64N(high-low)
}

func (t *timeline) chance(p float64) bool { return p > 0 && t.rng.Float64() < p }
