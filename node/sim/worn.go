package sim

import (
	"slices"

	"ashlar/node/cluster"
	"ashlar/replication/wire"
)

// countBad has the cluster count the places that a disk here could not give. All that
// is lost of a segment is one place: a page.
func (p *process) countBad(v wire.VolumeID, asked, answer wire.Message) {
	var bad []uint32
	var segment wire.Segment
	switch m := answer.(type) {
	case *wire.Blocks:
		bad, segment = m.Bad, asked.(*wire.Read).Segment
	case *wire.Checked:
		bad, segment = m.Bad, asked.(*wire.Check).Segment
	}
	r := p.s.disk.replicas[replicaID{v, segment}]
	c := &cluster.BadBlocks{Disk: p.s.diskID}
	for _, b := range bad {
		if r != nil && r.blocks[b].lost {
			b = 0
		}
		x := cluster.BadBlock{Volume: v, Segment: segment, Block: b, At: p.wall()}
		if d := p.st.Disks[c.Disk]; d != nil && !d.Failed && !d.Counted(x) {
			c.Blocks = append(c.Blocks, x)
		}
	}
	if len(c.Blocks) > 0 {
		p.propose(cluster.Command{BadBlocks: c}, func(cluster.Result) {})
	}
}

// eject is a leader's: the disks that have to go.
func (p *process) eject() []cluster.Command {
	if p.w.bugs.EjectLast {
		for _, id := range p.st.DiskIDs() {
			if d := p.st.Disks[id]; d.Worn && !d.Failed {
				return []cluster.Command{{EjectDisk: &cluster.EjectDisk{ID: id}}}
			}
		}
	}
	return p.worn.Tick(p.now(), p.st)
}

// retire has a disk that the cluster has ejected written to no more.
func (p *process) retire() {
	s := p.s
	if d := p.st.Disks[s.diskID]; d == nil || !d.Failed || s.disk.failed {
		return
	}
	p.w.note("disk ejected", int64(s.id))
	s.disk.fail()
	s.disk.dead = false
	s.w.after(second+s.w.outage(), s.replaceDisk)
}

// ejects says whether a disk is about to leave the pool.
func (w *world) ejects() bool {
	st := w.raft.last()
	return slices.ContainsFunc(st.DiskIDs(), st.CanEject)
}
