package sim

import (
	"bytes"
	"maps"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"

	"ashlar/replication/wire"
)

// cell is a sector of a volume, by number: what the checker takes for a register.
type cell struct {
	volume wire.VolumeID
	sector uint64
}

// access is what an operation does to one cell.
type access struct {
	kind     wire.OpKind
	tag      tag // written
	expected tag
	cut      bool // a reset has ended it
	repeated bool // an earlier attempt, of which the host never heard, may have been carried out
}

// outcome of an access: what was read, or whether a comparison held; known is
// false where the host never heard.
type outcome struct {
	tag   tag
	miss  bool
	known bool
}

// step is what a sector does. Each attempt of a write is a write of its own, which may
// take effect from its sending until the host heard that the operation is done,
// and so is each time that a portal sent it again to another head;
// it is no error to take it for one that has taken effect, since it can always
// be ordered next to the last attempt, which did. Only one that a reset has ended
// may have had no effect, and has none after that. A comparison that is repeated
// may find what an earlier attempt of its own has written.
func step(state, input, output any) []any {
	s, in, out := state.(tag), input.(access), output.(outcome)
	switch in.kind {
	case wire.OpRead:
		if s != out.tag {
			return nil
		}
		return []any{s}
	case wire.OpCompareAndWrite:
		if out.known && !out.miss && in.repeated && s == in.tag {
			return []any{s}
		}
		if out.known && out.miss != (s != in.expected) {
			return nil
		}
		if s != in.expected {
			return []any{s}
		}
	}
	if in.cut && !out.known && s != in.tag {
		return []any{s, in.tag}
	}
	return []any{in.tag}
}

func initial() any { return tag(0) }

func equal(a, b any) bool { return a == b }

// register judges histories without resets, which take fewer guesses.
var register = porcupine.Model{
	Init: initial,
	Step: func(state, input, output any) (bool, any) {
		next := step(state, input, output)
		if next == nil {
			return false, nil
		}
		return true, next[0]
	},
	Equal: equal,
}

var cutRegister = (&porcupine.NondeterministicModel{
	Init:  func() []any { return []any{initial()} },
	Step:  step,
	Equal: equal,
}).ToModel()

// judge looks at what hosts saw and what the copies hold.
func (w *world) judge(r *Result) {
	for _, op := range w.operations {
		if op.ended == 0 {
			r.Stuck++
			w.tell("STUCK: %v", op)
		}
	}
	if w.moving() {
		r.Stuck++
		w.tell("STUCK: a copy that moves, or a disk that is drained")
	}
	if n := w.unsynced(); n > 0 {
		r.Stuck += n
		w.tell("STUCK: %d copies are out of their sets", n)
		for _, s := range w.servers {
			if p := s.process; p != nil {
				w.tell("  node %d: incarnation %d, active %v, applied %d of %d, lease for %d ms, sessions to %v", s.id, p.incarnation, p.active,
					p.applied, len(w.raft.states)-1, (p.until-p.now())/millisecond, slices.Sorted(maps.Keys(p.out)))
			}
		}
	}
	if n := w.unsound(); n > 0 {
		r.Stuck += n
		w.tell("STUCK: %d blocks are bad, and no scrub has mended them", n)
	}
	r.Differing = w.differing()
	w.judgeTwins()
	for v := range w.volumes {
		volume := wire.VolumeID(v + 1)
		for b := range uint64(w.volumes[v].segments * segmentBlocks) {
			w.judgeBlock(r, volume, b)
		}
	}
}

// differing counts the blocks that are not the same, with version and checksum,
// on all in-sync copies.
func (w *world) differing() (n int) {
	st := w.raft.last()
	for _, v := range st.VolumeIDs() {
		for i, g := range st.Volumes[v].Segments {
			nodes := g.InSync()
			for b := range segmentBlocks {
				if !w.alike(replicaID{v, wire.Segment(i)}, uint32(b), nodes) {
					n++
					w.tell("DIFFERS: volume %d segment %d block %d on nodes %v", v, i, b, nodes)
					for _, k := range nodes {
						if r := w.server(k).disk.replicas[replicaID{v, wire.Segment(i)}]; r != nil {
							w.tell("  node %d: %v", k, &r.blocks[b])
						}
					}
				}
			}
		}
	}
	return n
}

// alike says whether all nodes' copies of a block are the same, but for those that
// know that theirs is bad. One must be good.
func (w *world) alike(id replicaID, b uint32, nodes []wire.NodeID) bool {
	var first *block
	for _, n := range nodes {
		r := w.server(n).disk.replicas[id]
		if r == nil {
			return false
		}
		k := &r.blocks[b]
		switch {
		case !k.sound(id.volume, id.segment, b):
		case first == nil:
			first = k
		case !same(first, k):
			return false
		}
	}
	return first != nil
}

func same(a, b *block) bool {
	return a.version == b.version && (a.crc == b.crc || (a.version == wire.Version{})) && bytes.Equal(a.gives(), b.gives())
}

// judgeBlock checks the history of a block's sectors. Sectors that were only
// ever written with all of their block have one history between them.
func (w *world) judgeBlock(r *Result, v wire.VolumeID, b uint64) {
	var touching []*operation
	var partly [sectors]bool
	first := b * sectors
	for _, op := range w.operations {
		from, to := op.offset/sector, (op.offset+op.length)/sector
		if op.volume != v || to <= first || from >= first+sectors {
			continue
		}
		touching = append(touching, op)
		for s := range partly {
			at := first + uint64(s)
			partly[s] = partly[s] || at >= from && at < to && (from > first || to < first+sectors)
		}
	}
	if len(touching) == 0 {
		return
	}
	whole := slices.Index(partly[:], false)
	for s := range partly {
		if partly[s] || s == whole {
			w.judgeCell(r, cell{v, first + uint64(s)}, touching)
		}
	}
	for _, op := range touching {
		if op.kind == wire.OpRead && op.ended != 0 && whole >= 0 && len(op.read) > 0 {
			for s := range partly {
				if !partly[s] && op.sees(first+uint64(s)) != op.sees(first+uint64(whole)) {
					w.violate("operation %d read two writes in block %d of volume %d", op.id, b, v)
				}
			}
		}
	}
}

func (op *operation) sees(s uint64) tag { return op.read[s-op.offset/sector] }

func (op *operation) covers(s uint64) bool {
	return s >= op.offset/sector && s < (op.offset+op.length)/sector
}

func (w *world) judgeCell(r *Result, c cell, touching []*operation) {
	var history []porcupine.Operation
	for _, op := range touching {
		if op.covers(c.sector) {
			history = append(history, op.history(c.sector, w.now)...)
		}
	}
	if w.raft.last().Volumes[c.volume].Losses > 0 {
		w.judgeFlushed(r, c, touching)
		return
	}
	final := porcupine.Operation{Input: access{kind: wire.OpRead}, Call: w.now + 1, Return: w.now + 2, Output: outcome{tag: w.holds(c)}}
	model := register
	if slices.ContainsFunc(history, func(o porcupine.Operation) bool { return o.Input.(access).cut }) {
		model = cutRegister
	}
	switch porcupine.CheckOperationsTimeout(model, append(slices.Clone(history), final), 2*time.Second) {
	case porcupine.Ok:
		return
	case porcupine.Unknown:
		r.Undecided++
		return
	}
	if porcupine.CheckOperations(model, history) {
		r.Lost++
		w.tell("LOST: %+v holds %d", c, w.holds(c))
	} else {
		r.NotLinear++
		w.tell("NOT LINEARIZABLE: %+v", c)
	}
	for _, op := range touching {
		if op.covers(c.sector) {
			w.tell("  %v", op)
		}
	}
}

// judgeFlushed is what is left to ask of a volume whose write cache was lost: what a cell holds is not older than
// what hosts know to be on stable storage.
func (w *world) judgeFlushed(r *Result, c cell, touching []*operation) {
	holds := w.holds(c)
	for _, must := range touching {
		if !must.covers(c.sector) || !must.mayWrite() || must.status == wire.Miscompare || must.ended == 0 || !w.stored(must) {
			continue
		}
		if holds != must.tag && !slices.ContainsFunc(touching, func(op *operation) bool {
			return op.covers(c.sector) && op.mayWrite() && op.tag == holds && (op.ended == 0 || op.ended >= must.attempts[0])
		}) {
			r.Lost++
			w.tell("LOST although flushed: %+v holds %d, after\n  %v", c, holds, must)
		}
	}
}

// mayWrite says whether an operation may have changed what it covers: a comparison that failed may have held in an
// attempt before, of which the host never heard.
func (op *operation) mayWrite() bool {
	return op.kind == wire.OpWrite || op.kind == wire.OpZero || op.kind == wire.OpCompareAndWrite && (op.status != wire.Miscompare || len(op.attempts) > 1)
}

// stored says whether a host knows that a write is on stable storage: it was told so at once, or a FLUSH that began
// later has ended well, on a session that was there when the write ended.
func (w *world) stored(op *operation) bool {
	if op.fua || op.kind == wire.OpCompareAndWrite {
		return true
	}
	return slices.ContainsFunc(w.operations, func(f *operation) bool {
		return f.kind == wire.OpFlush && f.volume == op.volume && f.ended != 0 && f.status == wire.OK && f.attempts[len(f.attempts)-1] > op.ended &&
			f.from.since < op.ended
	})
}

// history is an operation as the checker sees it.
func (op *operation) history(s uint64, end int64) (list []porcupine.Operation) {
	ended := op.ended
	if ended == 0 {
		ended = end
	}
	for i, sent := range op.attempts {
		until := op.before(i+1, ended)
		last := i == len(op.attempts)-1 && op.ended != 0
		a := access{kind: op.kind, tag: op.tag, expected: op.expected, repeated: op.repeated(), cut: until < ended}
		out := outcome{known: last, miss: op.status == wire.Miscompare}
		if op.kind == wire.OpRead {
			if !last {
				continue
			}
			out.tag = op.sees(s)
		}
		list = append(list, porcupine.Operation{ClientId: op.id, Input: a, Call: sent, Output: out, Return: until})
	}
	for _, x := range op.resent {
		until := max(x.at, op.before(x.attempt, ended))
		list = append(list, porcupine.Operation{ClientId: op.id, Input: access{kind: op.kind, tag: op.tag, cut: until < ended}, Call: x.at,
			Output: outcome{}, Return: until})
	}
	return list
}

// holds is what the copies of a cell hold in the end.
func (w *world) holds(c cell) tag {
	b := c.sector / sectors
	segment := wire.Segment(b / segmentBlocks)
	for _, node := range w.raft.last().Volumes[c.volume].Segments[segment].InSync() {
		r := w.server(node).disk.replicas[replicaID{c.volume, segment}]
		if r == nil {
			return 0
		}
		if k := &r.blocks[b%segmentBlocks]; k.sound(c.volume, segment, uint32(b%segmentBlocks)) {
			t, _ := tagOf(k.gives()[c.sector%sectors*sector:])
			return t
		}
	}
	return 0
}
