package sim

import (
	"ashlar/replication/mirror"
	"ashlar/replication/wire"
)

// scrubbing is a head's way round its volume, again and again: the segments in
// turn, by what is known of blocks and with their data in turn.
type scrubbing struct {
	next  int64 // when
	at    wire.Segment
	data  bool
	under bool // one is under way
}

// scrub has a head compare a segment's copies now and then.
func (p *process) scrub(r *reign) {
	k := &r.scrub
	if r.over || k.under || p.now() < k.next || p.w.scrubEvery == 0 || p.w.bugs.ScrubNothing {
		return
	}
	k.under, k.next = true, p.now()+p.w.scrubEvery
	segments := wire.Segment(len(p.st.Volumes[r.volume].Segments))
	if k.at >= segments {
		k.at, k.data = 0, !k.data
	}
	r.head.Scrub(p.now(), mirror.Range{Segment: k.at, Count: segmentBlocks, Data: k.data, Mend: true}, nil)
	k.at++
}

func (p *process) scrubbed(r *reign, x mirror.Scrubbed) {
	r.scrub.under = false
	p.w.note("scrubbed", int64(r.volume), int64(x.Segment), int64(len(x.Found)), int64(x.Mended))
	p.w.counts.mended += x.Mended
	for _, f := range x.Found {
		p.w.tell("scrub of volume %d segment %d by node %d: %+v", r.volume, x.Segment, p.s.id, f)
		if len(f.Bad) == 0 && p.w.kinds["forgotten write"] == 0 {
			// No disk did that: copies in the set were let differ.
			p.w.violate("copies of volume %d segment %d differ in block %d: %+v", r.volume, x.Segment, f.Block, f)
		}
	}
}

// unsound counts the blocks of in-sync copies that cannot be given.
func (w *world) unsound() (n int) {
	st := w.raft.last()
	for _, v := range st.VolumeIDs() {
		for i, g := range st.Volumes[v].Segments {
			for _, node := range g.InSync() {
				r := w.server(node).disk.replicas[replicaID{v, wire.Segment(i)}]
				for b := 0; r != nil && b < len(r.blocks); b++ {
					if !r.blocks[b].sound(v, wire.Segment(i), uint32(b)) {
						n++
					}
				}
			}
		}
	}
	return n
}
