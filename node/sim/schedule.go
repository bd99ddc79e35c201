package sim

import (
	"fmt"
	"strings"

	"ashlar/node/cluster"
	"ashlar/replication/mirror"
	"ashlar/replication/wire"
)

// Sizes: few blocks, so that operations meet.
const (
	segmentBlocks = 8
	segmentBytes  = segmentBlocks * wire.BlockSize
)

// volumePlan is a volume of the world.
type volumePlan struct {
	segments, copies int
	cache            bool // writes are answered from memory
}

// Options choose a schedule and what is watched of it.
type Options struct {
	Seed    uint64
	Planted Planted
	Trace   bool
	Hasty   bool // hosts go on with another path the moment that one breaks
}

// Result is what a schedule came to.
type Result struct {
	Seed        uint64
	Hash        uint64 // of the trace
	Trace       string
	Events      int
	Operations  int
	Commands    int // committed
	Reigns      int
	Faults      map[string]int
	Busy        int
	Mended      int // blocks, by scrubs
	Lost        int // cells whose last acknowledged write is not what the copies hold
	NotLinear   int // cells with an impossible history
	Undecided   int // cells whose history was too hard to judge
	Differing   int // blocks that differ between copies
	Stuck       int // operations without an end, and sets that are not whole
	Violations  []string
	SimulatedNS int64
}

// Bad says whether anything is wrong.
func (r *Result) Bad() bool {
	return r.Lost+r.NotLinear+r.Differing+r.Stuck+len(r.Violations) > 0
}

func (r *Result) String() string {
	return fmt.Sprintf("seed %d: lost %d, not linearizable %d, differing %d, stuck %d, broken invariants %q",
		r.Seed, r.Lost, r.NotLinear, r.Differing, r.Stuck, r.Violations)
}

// Seen says in a few words what is wrong.
func (r *Result) Seen() string {
	var seen []string
	for _, n := range []struct {
		of    string
		count int
	}{{"lost", r.Lost}, {"not linearizable", r.NotLinear}, {"differing", r.Differing}, {"stuck", r.Stuck}} {
		if n.count > 0 {
			seen = append(seen, fmt.Sprintf("%s %d", n.of, n.count))
		}
	}
	if len(r.Violations) > 0 {
		seen = append(seen, strings.SplitN(r.Violations[0], "\n", 2)[0])
	}
	return strings.Join(seen, ", ")
}

// world is everything there is.
type world struct {
	timeline
	bugs       Planted
	planted    *planted
	net        *network
	raft       *raft
	servers    []*server
	hosts      []*host
	volumes    []volumePlan
	faults     faults
	shape      shape
	aim        []wire.NodeID // at whom faults are aimed for the moment
	growing    bool          // volumes do
	drains     bool          // copies are leaving a disk: one at a time, since of three with two drained none could
	scrubEvery int64         // heads compare a segment's copies so often; 0: not yet
	counts     struct{ busy, reigns, mended int }
	genesis    bool
	runs       int // processes ever

	operations []*operation
	waiting    []*operation // for any path
	resets     []*resetting
	lastTag    tag
	calm       bool  // no fault is under way and none will come
	healed     int64 // when the last of what was sent before that has come
	working    bool  // hosts begin operations
	ended      bool

	heads      map[[2]uint64]headOf
	fenced     map[wire.Portal]int64 // when an incarnation of a node was
	violations []string
	kinds      map[string]int
}

type headOf struct {
	node        wire.NodeID
	incarnation wire.Incarnation
	run         int
}

func newWorld(o Options, nodes, voters, witnesses, hosts int, volumes []volumePlan) *world {
	w := &world{timeline: newTimeline(o.Seed), bugs: o.Planted, volumes: volumes, shape: plain(), heads: map[[2]uint64]headOf{}, fenced: map[wire.Portal]int64{}, kinds: map[string]int{}}
	if o.Trace {
		w.trace = &strings.Builder{}
	}
	w.planted = &planted{w: w}
	w.net = newNetwork(&w.timeline, &w.shape)
	w.raft = &raft{w: w}
	for i := range nodes {
		s := &server{w: w, id: wire.NodeID(i + 1), at: place(i), up: true, diskID: cluster.DiskID(fmt.Sprintf("d%d", i+1))}
		s.witness = i >= nodes-witnesses
		s.drift = w.between(-45_000, 45_000)
		s.offset = w.between(0, 1000*second)
		s.disk = w.newDisk(s.diskID)
		w.servers = append(w.servers, s)
		if i < voters {
			w.raft.voters = append(w.raft.voters, s.id)
		}
	}
	w.raft.states = []*cluster.State{cluster.New(), w.firstState(voters)}
	w.genesis = true
	for _, s := range w.servers {
		s.applied = 1
		s.start()
	}
	w.genesis = false
	w.raft.watch()
	for i := range hosts {
		w.addHost(i, nodes, nodes-witnesses, o.Hasty)
	}
	return w
}

func (w *world) server(id wire.NodeID) *server { return w.servers[id-1] }

// firstState is a cluster in which all nodes are up and the volumes are there.
func (w *world) firstState(voters int) *cluster.State {
	st := cluster.New()
	do := func(c cluster.Command) {
		next, r := st.Apply(1, c)
		if r.Problem != "" {
			panic("sim: " + r.Problem)
		}
		st = next
	}
	for _, s := range w.servers {
		add := cluster.AddNode{Name: fmt.Sprintf("n%d", s.id), Peer: fmt.Sprintf("p%d", s.id), Witness: s.witness}
		if s.id == 1 {
			do(cluster.Command{Create: &cluster.Create{ID: "sim", Name: "sim", SegmentBytes: 1 << 20, Node: add}})
			st.SegmentBytes = segmentBytes
		} else {
			do(cluster.Command{AddNode: &add})
		}
		do(cluster.Command{SetVoter: &cluster.SetVoter{Node: s.id, Voter: int(s.id) <= voters}})
		do(cluster.Command{Register: &cluster.Register{Node: s.id, Peer: add.Peer}})
		if !s.witness {
			do(cluster.Command{AddDisk: &cluster.AddDisk{ID: s.diskID, Node: s.id, Size: 1 << 40}})
		}
	}
	for i, v := range w.volumes {
		do(cluster.Command{CreateVolume: &cluster.CreateVolume{Name: fmt.Sprintf("v%d", i+1),
			Bytes: uint64(v.segments) * segmentBytes, Copies: v.copies, WriteCache: v.cache}})
	}
	return st
}

func (w *world) addHost(i, nodes, portals int, hasty bool) {
	h := &host{w: w, name: fmt.Sprintf("h%d", i+1), at: place(nodes + i), known: map[cell]tag{}, hasty: hasty, both: w.chance(0.2)}
	for v := range w.volumes {
		var paths []*path
		first := w.rng.IntN(portals)
		for k := range min(portals, 2+w.rng.IntN(2)) {
			paths = append(paths, &path{h: h, volume: wire.VolumeID(v + 1), s: w.servers[(first+k)%portals], waiting: map[int]*operation{}})
		}
		h.paths = append(h.paths, paths)
		for _, x := range paths {
			w.after(w.between(0, 100*millisecond), x.connect)
		}
	}
	w.hosts = append(w.hosts, h)
}

func (w *world) strand(op *operation) { w.waiting = append(w.waiting, op) }

func (w *world) stranded(h *host, v wire.VolumeID) (list []*operation) {
	kept := w.waiting[:0:0]
	for _, op := range w.waiting {
		if op.h == h && op.volume == v {
			list = append(list, op)
		} else {
			kept = append(kept, op)
		}
	}
	w.waiting = kept
	return list
}

// violate records a broken invariant.
func (w *world) violate(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	w.tell("VIOLATION: %s", text)
	if len(w.violations) < 10 {
		w.violations = append(w.violations, text)
	}
}

// until runs the world until a condition holds, or for a time.
func (w *world) until(limit int64, holds func() bool) bool {
	end := w.now + limit
	for {
		if holds() {
			return true
		}
		if !w.step(end) {
			return holds()
		}
	}
}

func (w *world) run(d int64) { w.until(d, func() bool { return false }) }

// Run carries out the schedule of a seed.
func Run(o Options) (r *Result) {
	r = &Result{Seed: o.Seed}
	w := swarm(o)
	defer func() {
		if x := recover(); x != nil {
			if o.Trace {
				fmt.Println(w.trace)
			}
			if o.Planted == (Planted{}) {
				panic(fmt.Sprintf("seed %d: %v", o.Seed, x))
			}
			// A planted bug that trips an assertion is caught.
			w.violate("panic: %v", x)
			w.report(r)
		}
	}()
	w.live()
	w.judge(r)
	w.report(r)
	return r
}

func (w *world) report(r *Result) {
	for _, v := range w.raft.last().Volumes {
		if v.Losses > 0 {
			w.kinds["write cache lost"]++
		}
	}
	r.Hash, r.Events, r.Operations, r.Commands = w.hash, w.events, len(w.operations), w.raft.commands
	r.Faults, r.Busy, r.Mended, r.Reigns, r.SimulatedNS, r.Violations = w.kinds, w.counts.busy, w.counts.mended, w.counts.reigns, w.now, w.violations
	if w.trace != nil {
		r.Trace = w.trace.String()
	}
}

// crowned asserts that an epoch has one head (invariant I1).
func (w *world) crowned(p *process, v *cluster.Volume) {
	w.counts.reigns++
	w.note("head", int64(p.s.id), int64(p.incarnation), int64(v.ID), int64(v.Epoch))
	key := [2]uint64{uint64(v.ID), v.Epoch}
	if h, ok := w.heads[key]; ok && h.run != p.number {
		w.violate("epoch %d of volume %d has the heads %+v and node %d in incarnation %d", v.Epoch, v.ID, h, p.s.id, p.incarnation)
	}
	w.heads[key] = headOf{p.s.id, p.incarnation, p.number}
	w.tap(append(v.Segments[0].InSync(), p.s.id)...)
}

// concluded asserts of an acknowledged write that each copy which the cluster
// counts on has it on stable storage (invariants I2, I3).
func (w *world) concluded(p *process, r *reign, op *mirror.Op) {
	w.note("done", int64(p.s.id), int64(op.Kind), int64(op.Status), int64(op.Offset))
	if op.Kind != wire.OpWrite || op.Status != wire.OK || op.Offset%wire.BlockSize != 0 || op.Length%wire.BlockSize != 0 {
		return
	}
	v := w.raft.last().Volumes[r.volume]
	if v.Epoch != r.epoch || v.WriteCache && !op.FUA {
		return
	}
	for at := uint64(0); at < op.Length; at += wire.BlockSize {
		b := (op.Offset + at) / wire.BlockSize
		segment := wire.Segment(b / segmentBlocks)
		for _, n := range v.Segments[segment].InSync() {
			c := w.server(n).disk.replicas[replicaID{v.ID, segment}]
			if c == nil || c.blocks[b%segmentBlocks].version.Epoch < r.epoch {
				w.violate("node %d is counted on for segment %d of volume %d and lacks an acknowledged write of block %d in epoch %d",
					n, segment, v.ID, b, r.epoch)
			}
		}
	}
}

// agreed is called with each new state.
func (w *world) agreed(before, st *cluster.State) {
	for id, n := range before.Nodes {
		if now := st.Nodes[id]; n.Up && (now == nil || !now.Up || now.Incarnation != n.Incarnation) {
			w.fenced[wire.Portal{Node: id, Incarnation: n.Incarnation}] = w.now
		}
	}
	w.saveLast(st)
	w.reviveLast(st)
	for i := range w.volumes { // hosts use what is new, whether or not heads know of it
		if v := st.Volumes[wire.VolumeID(i+1)]; v != nil {
			w.volumes[i].segments = len(v.Segments)
		}
	}
}

// ballot is called with each ballot that is cast.
func (w *world) ballot(q *process, d cluster.Dead) {
	w.note("ballot", int64(q.s.id), int64(d.Node), int64(d.Incarnation))
}
