package failover

import (
	"fmt"
	"slices"
	"time"

	"ashlar/node/cluster"
	"ashlar/replication/latency"
	"ashlar/replication/wire"
)

// What is slow, ns. Slowness is a matter of comparison: where all are slow, it is
// nobody's fault, and leaving copies out would not help.
const (
	slowTimes = 8 // as long as the median of the others,
	slowLeast = int64(50_000_000)
	slowFor   = int64(10_000_000_000) // and for so long
	stuckMax  = int64(2_000_000_000)  // or a single one that takes so long

	heardFor = int64(3_000_000_000) // what was reported before says nothing
	lookAt   = int64(250_000_000)   // between looks
	inFlight = int64(2_000_000_000) // before a command is proposed again
)

// A demoted copy stays out for the first of these times, ms, doubled with each
// demotion that follows, up to the second.
const (
	coolFirst = int64(30_000)
	coolMost  = int64(600_000)
)

// Report is what a node has measured in the last seconds. It comes with each
// renewal of the node's lease.
type Report struct {
	Disks []DiskFacts `json:",omitempty"` // of the node: durable writes
	Links []NodeFacts `json:",omitempty"` // small questions to other nodes, with their answers
	Hops  []NodeFacts `json:",omitempty"` // writes of all volumes whose head is here, by the node of the copy
	Waits []Wait      `json:",omitempty"` // what holds up writes of single volumes whose head is here
}

// DiskFacts are a disk's.
type DiskFacts struct {
	Disk cluster.DiskID
	latency.Facts
}

// NodeFacts are another node's, as the reporting one sees it.
type NodeFacts struct {
	Node wire.NodeID
	latency.Facts
}

// Wait is what a volume's head waits for on a node's copies.
type Wait struct {
	Volume   wire.VolumeID
	Epoch    uint64
	Node     wire.NodeID
	Promised bool  // Node has promised Epoch to the head
	Others   int64 // the median of the volume's other copies, ns; 0: there are none
	latency.Facts
}

// WaitLeast is the least that a Wait is reported for, ns.
const WaitLeast = slowLeast

// worst is the longest that one has to expect to wait, or just had to.
func worst(f latency.Facts) int64 {
	if f.Max > stuckMax {
		return max(f.Level(), f.Max)
	}
	return f.Level()
}

// Gray decides, on the leader, what becomes of copies and heads that are slow and
// yet alive. A new leader begins a new one.
type Gray struct {
	reports map[wire.NodeID]heard
	since   map[suspect]int64 // when a copy began to look slow
	acted   map[wire.VolumeID]int64
	looked  int64
}

type heard struct {
	Report
	at int64
}

type suspect struct {
	volume wire.VolumeID
	node   wire.NodeID
}

// NewGray knows nothing.
func NewGray() *Gray {
	return &Gray{reports: map[wire.NodeID]heard{}, since: map[suspect]int64{}, acted: map[wire.VolumeID]int64{}}
}

// Reported takes a node's report.
func (g *Gray) Reported(now int64, from wire.NodeID, r Report) { g.reports[from] = heard{r, now} }

// Tick decides. wall is the time in ms since 1970: how long copies stay out is
// remembered by it, from leader to leader. A clock that is wrong makes that longer or shorter.
func (g *Gray) Tick(now, wall int64, st *cluster.State) (out []cluster.Command) {
	if now-g.looked < lookAt {
		return nil
	}
	g.looked = now
	for n, r := range g.reports {
		if now-r.at > heardFor {
			delete(g.reports, n)
		}
	}
	e := g.evidence(st)
	suspects := map[suspect]bool{}
	type culprit struct {
		node wire.NodeID
		disk cluster.DiskID
	}
	demotes := map[culprit]*cluster.Demote{}
	for _, w := range g.waits(st) {
		b, ok := e.blame(w)
		if !ok {
			continue
		}
		s := suspect{w.Volume, w.Node}
		suspects[s] = true
		if g.since[s] == 0 {
			g.since[s] = now
		}
		v := st.Volumes[w.Volume]
		acted := g.acted[v.ID]
		switch {
		case worst(w.Facts) <= stuckMax && now-g.since[s] < slowFor:
		case acted != 0 && now-acted < inFlight:
		case b.head:
			if to := e.betterHead(v); to != 0 && (acted == 0 || now-acted >= cluster.DemoteEvery*1_000_000) {
				g.acted[v.ID] = now
				out = append(out, cluster.Command{MoveHead: &cluster.MoveHead{Volume: v.ID, Epoch: v.Epoch, To: to}})
			}
		case !w.Promised || st.DemotedLately(v.ID, wall) || !sparesAny(st, v, w.Node, b.disk):
		default:
			g.acted[v.ID] = now
			k := culprit{w.Node, b.disk}
			if demotes[k] == nil {
				demotes[k] = &cluster.Demote{Node: w.Node, Disk: b.disk, Why: b.why, At: wall}
				out = append(out, cluster.Command{Demote: demotes[k]})
			}
			demotes[k].Volumes = append(demotes[k].Volumes, cluster.VolumeEpoch{Volume: v.ID, Epoch: v.Epoch})
		}
	}
	for s := range g.since {
		if !suspects[s] {
			delete(g.since, s)
		}
	}
	out = append(out, g.follow(now, st, e)...)
	return append(out, g.readmit(now, wall, st, e)...)
}

// follow moves heads to where the copies are, once theirs have been demoted. Not
// before: a new head needs the promise of all that are in sync, and a disk that
// hangs makes none durable.
func (g *Gray) follow(now int64, st *cluster.State, e *evidence) (out []cluster.Command) {
	for _, id := range st.VolumeIDs() {
		v := st.Volumes[id]
		demoted, has := false, map[wire.NodeID]int{}
		for _, seg := range v.Segments {
			for _, r := range seg.Replicas {
				demoted = demoted || r.Demoted && r.Node == v.Head
				if r.InSync {
					has[r.Node]++
				}
			}
		}
		acted := g.acted[id]
		if !demoted || acted != 0 && now-acted < inFlight {
			continue
		}
		if to := e.betterHead(v); has[to] > has[v.Head] {
			g.acted[id] = now
			out = append(out, cluster.Command{MoveHead: &cluster.MoveHead{Volume: id, Epoch: v.Epoch, To: to}})
		}
	}
	return out
}

// waits are what heads that still reign wait for, in order.
func (g *Gray) waits(st *cluster.State) (list []Wait) {
	for _, id := range st.NodeIDs() {
		for _, w := range g.reports[id].Waits {
			if v := st.Volumes[w.Volume]; v != nil && v.Epoch == w.Epoch && v.Head == id && worst(w.Facts) > slowLeast {
				list = append(list, w)
			}
		}
	}
	slices.SortStableFunc(list, func(a, b Wait) int { return int(worst(b.Facts) - worst(a.Facts)) })
	return list
}

// evidence is what all reports together say.
type evidence struct {
	st    *cluster.State
	disks map[cluster.DiskID]finding
	nodes map[wire.NodeID]finding
	hops  map[pair]finding // from a head to a copy
	links map[pair]finding // from a node to another
}

// finding is how long something takes, and how long the others do.
type finding struct{ takes, others int64 }

func (f finding) slow() bool {
	return f.takes > slowLeast && f.others > 0 && f.takes > slowTimes*f.others
}

func (g *Gray) evidence(st *cluster.State) *evidence {
	e := &evidence{st: st, nodes: map[wire.NodeID]finding{}, hops: map[pair]finding{}, links: map[pair]finding{}}
	disks := map[cluster.DiskID]int64{}
	seen := map[wire.NodeID][]int64{} // by who sees it
	for from, r := range g.reports {
		for _, d := range r.Disks {
			if d.Known() && st.Disks[d.Disk] != nil {
				disks[d.Disk] = worst(d.Facts)
			}
		}
		for _, l := range r.Links {
			if n := st.Nodes[l.Node]; l.Known() && n != nil && n.Up && l.Node != from {
				seen[l.Node] = append(seen[l.Node], worst(l.Facts))
			}
		}
		compareOf(e.hops, from, r.Hops)
		compareOf(e.links, from, r.Links)
	}
	e.disks = compared(disks)
	nodes := map[wire.NodeID]int64{}
	for n, by := range seen {
		if len(by) > 1 { // of two nodes neither can say whose fault it is
			nodes[n] = median(by)
		}
	}
	e.nodes = compared(nodes)
	return e
}

func compareOf(into map[pair]finding, from wire.NodeID, facts []NodeFacts) {
	takes := map[wire.NodeID]int64{}
	for _, f := range facts {
		if f.Known() {
			takes[f.Node] = worst(f.Facts)
		}
	}
	for n, f := range compared(takes) {
		into[pair{from, n}] = f
	}
}

// compared holds each against the median of its peers.
func compared[K comparable](takes map[K]int64) map[K]finding {
	out := map[K]finding{}
	for k, t := range takes {
		var others []int64
		for o, x := range takes {
			if o != k {
				others = append(others, x)
			}
		}
		out[k] = finding{t, median(others)}
	}
	return out
}

// median is the lower one of two, so that a half must be slow at least before
// the others seem to be. 0 of none.
func median(list []int64) int64 {
	if len(list) == 0 {
		return 0
	}
	slices.Sort(list)
	return list[(len(list)-1)/2]
}

// blame is what is slow: the head, or a node's copies, of a disk or all of them.
type blame struct {
	head bool
	disk cluster.DiskID
	why  string
}

// blame says what a head's wait for a node comes from. A head that all find slow
// sees slowness wherever it looks, so it is looked at first.
func (e *evidence) blame(w Wait) (blame, bool) {
	v := e.st.Volumes[w.Volume]
	own := w.Node == v.Head
	if f := e.nodes[v.Head]; f.slow() {
		return blame{head: true, why: e.nodeWhy(v.Head, f)}, true
	}
	if !(finding{worst(w.Facts), w.Others}).slow() {
		return blame{}, false // the volume's others are as slow: to do without this one would not help
	}
	if f := e.nodes[w.Node]; f.slow() {
		return blame{head: own, why: e.nodeWhy(w.Node, f)}, true
	}
	for _, g := range v.Segments {
		r := g.On(w.Node)
		if r == nil || !r.InSync {
			continue
		}
		if f := e.disks[r.Disk]; f.slow() {
			return blame{false, r.Disk, fmt.Sprintf("writes to its disk %s take %s, to others %s", e.st.Disks[r.Disk].Path, text(f.takes), text(f.others))}, true
		}
	}
	if f := e.hops[pair{v.Head, w.Node}]; f.slow() {
		return blame{head: own, why: fmt.Sprintf("writes take %s from node %s to it, to other copies %s", text(f.takes), e.name(v.Head), text(f.others))}, true
	}
	return blame{}, false
}

func (e *evidence) nodeWhy(n wire.NodeID, f finding) string {
	return fmt.Sprintf("node %s takes %s to answer most others, they take %s", e.name(n), text(f.takes), text(f.others))
}

func (e *evidence) name(n wire.NodeID) string { return e.st.Nodes[n].Name }

func text(ns int64) string {
	d := time.Duration(ns)
	switch {
	case d >= time.Second:
		d = d.Round(100 * time.Millisecond)
	case d >= time.Millisecond:
		d = d.Round(time.Millisecond)
	default:
		d = d.Round(10 * time.Microsecond)
	}
	return d.String()
}

// slow says whether a node, or its disk, looks slow to anybody who counts, or to
// the head that would copy to it.
func (e *evidence) slow(head wire.NodeID, r cluster.Replica) bool {
	return e.nodes[r.Node].slow() || e.disks[r.Disk].slow() || e.links[pair{head, r.Node}].slow()
}

// betterHead is the node with the most in-sync copies of a volume on open disks among those
// that do not look slow; 0 if there is none.
func (e *evidence) betterHead(v *cluster.Volume) (best wire.NodeID) {
	copies, bad := map[wire.NodeID]int{}, map[wire.NodeID]bool{}
	for _, g := range v.Segments {
		for _, r := range g.Replicas {
			if r.InSync && e.st.Opened(r) {
				copies[r.Node]++
			}
			bad[r.Node] = bad[r.Node] || e.slow(0, r)
		}
	}
	for _, n := range e.st.NodeIDs() {
		switch {
		case n == v.Head || copies[n] == 0 || bad[n] || e.st.Nodes[n].Drained:
		case best == 0 || copies[n] > copies[best]:
			best = n
		}
	}
	return best
}

// sparesAny says whether any set of a volume has a copy of a node's and can do without it.
func sparesAny(st *cluster.State, v *cluster.Volume, n wire.NodeID, disk cluster.DiskID) bool {
	return slices.ContainsFunc(v.Segments, func(g cluster.Segment) bool {
		r := g.On(n)
		return r != nil && r.InSync && (disk == "" || r.Disk == disk) && st.Spares(v, g, n)
	})
}

// readmit lets copies catch up again once they have been out for their time and
// look well; at once where a set has too few copies without them.
func (g *Gray) readmit(now, wall int64, st *cluster.State, e *evidence) (out []cluster.Command) {
	for _, id := range st.VolumeIDs() {
		v := st.Volumes[id]
		var done []wire.NodeID
		for _, seg := range v.Segments {
			for _, r := range seg.Replicas {
				if !r.Demoted || !st.Usable(r) || slices.Contains(done, r.Node) {
					continue
				}
				rested := Rested(st, id, r.Node, wall) && !e.slow(v.Head, r)
				if acted := g.acted[id]; (rested || !st.Spares(v, seg, r.Node)) && (acted == 0 || now-acted >= inFlight) {
					done = append(done, r.Node)
					out = append(out, cluster.Command{Readmit: &cluster.Readmit{Volume: id, Node: r.Node}})
				}
			}
		}
		if len(done) > 0 {
			g.acted[id] = now
		}
	}
	return out
}

// Rested says whether a node's demoted copies of a volume have been out for as
// long as they have to. The time, ms since 1970, may have been another node's.
func Rested(st *cluster.State, v wire.VolumeID, n wire.NodeID, wall int64) bool {
	d := st.DemotionOf(v, n)
	return d == nil || wall-d.At >= Cooling(d.Times) || d.At-wall > coolMost
}

// Cooling is how long copies stay out that were demoted so many times, ms.
func Cooling(times int) int64 {
	return min(coolFirst<<min(max(times-1, 0), 10), coolMost)
}
