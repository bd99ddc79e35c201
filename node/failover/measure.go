package failover

import (
	"maps"
	"slices"

	"ashlar/replication/latency"
	"ashlar/replication/mirror"
	"ashlar/replication/wire"
)

// Links measures how long other nodes take to answer a small question. It asks
// each again when it has answered, 300 ms later at the earliest.
type Links struct {
	of   map[wire.NodeID]*link
	last uint64
}

type link struct {
	took  latency.Window
	asked int64
	id    uint64 // of the question that waits for its answer; 0: none does
}

const (
	askEvery = int64(300_000_000)
	askMax   = int64(4_000_000_000) // then the question, or its answer, was lost
)

// NewLinks knows nobody.
func NewLinks() *Links { return &Links{of: map[wire.NodeID]*link{}} }

// Question is to be answered with its ID.
type Question struct {
	To wire.NodeID
	ID uint64
}

// Tick gives what is to be asked now. reached are the nodes to which a session lives.
func (l *Links) Tick(now int64, reached []wire.NodeID) (ask []Question) {
	maps.DeleteFunc(l.of, func(n wire.NodeID, _ *link) bool { return !slices.Contains(reached, n) })
	for _, n := range reached {
		k := l.of[n]
		if k == nil {
			k = &link{asked: now - askEvery}
			l.of[n] = k
		}
		if waits := now - k.asked; waits >= askEvery && k.id == 0 || waits >= askMax {
			l.last++
			k.asked, k.id = now, l.last
			ask = append(ask, Question{n, k.id})
		}
	}
	return ask
}

// Answered takes a node's answer.
func (l *Links) Answered(now int64, from wire.NodeID, id uint64) {
	if k := l.of[from]; k != nil && k.id == id {
		k.took.Add(now, now-k.asked)
		k.id = 0
	}
}

// Recent are the facts of the last seconds; Minute, of the last minute.
func (l *Links) Recent(now int64) []NodeFacts {
	return l.facts(now, (*latency.Window).Recent)
}

// Minute are the facts of the last minute.
func (l *Links) Minute(now int64) []NodeFacts {
	return l.facts(now, (*latency.Window).Minute)
}

func (l *Links) facts(now int64, over func(*latency.Window, int64) latency.Sum) (list []NodeFacts) {
	for _, n := range slices.Sorted(maps.Keys(l.of)) {
		k := l.of[n]
		sum, oldest := over(&k.took, now), int64(0)
		if k.id != 0 {
			oldest = now - k.asked
		}
		list = append(list, NodeFacts{n, sum.Facts(oldest)})
	}
	return list
}

// Meter adds up what a node's heads measure.
type Meter struct {
	hops   map[wire.NodeID]latency.Sum
	oldest map[wire.NodeID]int64
	waits  []Wait
}

// waitsMax bounds how many volumes' troubles are reported at once; the worst ones are.
const waitsMax = 256

// Add counts a head's load.
func (m *Meter) Add(v wire.VolumeID, epoch uint64, l mirror.Load) {
	if m.hops == nil {
		m.hops, m.oldest = map[wire.NodeID]latency.Sum{}, map[wire.NodeID]int64{}
	}
	for i, h := range l.Hops {
		sum := m.hops[h.Node]
		sum.Add(h.Recent)
		m.hops[h.Node] = sum
		m.oldest[h.Node] = max(m.oldest[h.Node], h.Oldest)
		if f := h.Recent.Facts(h.Oldest); worst(f) > WaitLeast {
			m.waits = append(m.waits, Wait{Volume: v, Epoch: epoch, Node: h.Node, Promised: h.Promised, Others: othersOf(l.Hops, i), Facts: f})
		}
	}
}

// othersOf is the median of a head's other hops.
func othersOf(hops []mirror.Hop, but int) int64 {
	var levels []int64
	for i, h := range hops {
		if f := h.Recent.Facts(h.Oldest); i != but && f.Known() {
			levels = append(levels, worst(f))
		}
	}
	return median(levels)
}

// Fill puts it into a report.
func (m *Meter) Fill(r *Report) {
	for _, n := range slices.Sorted(maps.Keys(m.hops)) {
		if sum := m.hops[n]; sum.Count() > 0 || m.oldest[n] > 0 {
			r.Hops = append(r.Hops, NodeFacts{n, sum.Facts(m.oldest[n])})
		}
	}
	slices.SortStableFunc(m.waits, func(a, b Wait) int { return int(worst(b.Facts) - worst(a.Facts)) })
	r.Waits = m.waits[:min(len(m.waits), waitsMax)]
}
