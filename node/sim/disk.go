package sim

import (
	"cmp"
	"slices"

	"ashlar/node/cluster"
	"ashlar/replication/mirror"
	"ashlar/replication/wire"
)

// pageChanges is how many changes fit a page: few, so that there are several.
const pageChanges = 5

// block is what stable storage holds of a block. Its data is never changed in place.
type block struct {
	version wire.Version
	crc     uint32
	data    []byte // nil: zeros
	bad     bool   // its data cannot be read
}

// replica is one copy of a segment on a disk.
type replica struct {
	blocks  []block
	commit  wire.Version
	durable wire.Version // the commit point that a crash leaves
}

type replicaID struct {
	volume  wire.VolumeID
	segment wire.Segment
}

// disk is a node's store: what is on it survives crashes of the node.
type disk struct {
	*timeline
	id       cluster.DiskID
	bugs     Planted
	blocks   int // of a segment
	replicas map[replicaID]*replica
	promises map[wire.VolumeID]uint64
	pending  []*pendingWrite
	slow     int64 // up to so much is added to each job
	failed   bool  // a write failed: nothing is written any more
	onBroken func(string)
}

// pendingWrite is in the device's hands.
type pendingWrite struct {
	apply func()
	done  bool
}

func newDisk(t *timeline, id cluster.DiskID, blocks int, bugs Planted, broken func(string)) *disk {
	return &disk{timeline: t, id: id, blocks: blocks, bugs: bugs, replicas: map[replicaID]*replica{},
		promises: map[wire.VolumeID]uint64{}, onBroken: broken}
}

func (d *disk) create(id replicaID) {
	d.replicas[id] = &replica{blocks: make([]block, d.blocks)}
}

// crash leaves what was durable; of what was under way each may be there or not.
func (d *disk) crash() {
	for _, p := range d.pending {
		if !p.done && d.chance(0.5) {
			p.apply()
		}
		p.done = true
	}
	d.pending = nil
	for _, id := range d.replicaIDs() {
		d.replicas[id].commit = d.replicas[id].durable
	}
}

func (d *disk) replicaIDs() []replicaID {
	ids := make([]replicaID, 0, len(d.replicas))
	for id := range d.replicas {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b replicaID) int {
		return cmp.Or(cmp.Compare(a.volume, b.volume), cmp.Compare(a.segment, b.segment))
	})
	return ids
}

// begin carries out a job; answer is called once, unless the node crashes before
// or the job has none. Of unknown segments it knows nothing.
func (d *disk) begin(job mirror.Job, unknown map[wire.Segment]bool, answer func(wire.Message)) {
	switch m := job.Msg.(type) {
	case *wire.Prepare:
		if job.Promise {
			d.promise(m, answer)
		} else {
			d.after(d.latency()/2, func() { answer(d.tails(m, unknown)) })
		}
	case *wire.Write:
		d.write(m, answer)
	case *wire.Read:
		d.read(m, answer)
	case *wire.Commit:
		for _, c := range m.Segments {
			d.setCommit(replicaID{m.Volume, c.Segment}, c.Commit)
		}
	case *wire.Changes:
		d.after(d.latency()/2, func() { answer(d.changes(m, unknown)) })
	case *wire.Reserve:
		d.after(d.latency()/2, func() { answer(&wire.Ack{Req: m.Req}) })
	case *wire.Extents:
		d.after(d.latency()/2, func() { answer(&wire.Runs{Req: m.Req, Status: wire.OK, Runs: []uint32{m.Count}}) })
	default:
		panic("sim: no job for a disk: " + m.String())
	}
}

func (d *disk) latency() int64 {
	l := d.between(50*microsecond, 500*microsecond)
	if d.slow > 0 {
		l += d.between(0, d.slow)
	}
	return l
}

// durably applies a change after a while, or perhaps at a crash before.
func (d *disk) durably(apply func(), after func()) {
	p := &pendingWrite{apply: apply}
	d.pending = append(d.pending, p)
	d.after(d.latency(), func() {
		if p.done {
			return
		}
		p.done = true
		d.pending = slices.DeleteFunc(d.pending, func(q *pendingWrite) bool { return q == p })
		apply()
		after()
	})
}

func (d *disk) promise(m *wire.Prepare, answer func(wire.Message)) {
	if d.failed {
		d.after(0, func() { answer(&wire.Prepared{Req: m.Req, Status: wire.Failed}) })
		return
	}
	d.durably(func() { d.promises[m.Volume] = max(d.promises[m.Volume], m.Epoch) }, func() { answer(nil) })
}

func (d *disk) tails(m *wire.Prepare, unknown map[wire.Segment]bool) wire.Message {
	p := &wire.Prepared{Req: m.Req, Epoch: m.Epoch}
	for _, s := range m.Segments {
		t := wire.Tail{Segment: s, Status: wire.Missing}
		if r := d.replicas[replicaID{m.Volume, s}]; r != nil && !unknown[s] {
			t.Status, t.Commit = wire.OK, r.commit
			t.Changes = r.above(r.commit, 0, len(r.blocks))
		}
		p.Segments = append(p.Segments, t)
	}
	return p
}

// above lists up to limit blocks from one on whose version is above v.
func (r *replica) above(v wire.Version, from uint32, limit int) (list []wire.Change) {
	for b := int(from); b < len(r.blocks) && len(list) < limit; b++ {
		if k := &r.blocks[b]; v.Less(k.version) {
			list = append(list, wire.Change{Block: uint32(b), Version: k.version, CRC: k.crc, Zero: k.data == nil})
		}
	}
	return list
}

func (d *disk) changes(m *wire.Changes, unknown map[wire.Segment]bool) wire.Message {
	r := d.replicas[replicaID{m.Volume, m.Segment}]
	if r == nil || unknown[m.Segment] {
		return &wire.Page{Req: m.Req, Status: wire.Missing}
	}
	after := m.After
	if m.Own {
		after = r.commit
	}
	p := &wire.Page{Req: m.Req, Commit: r.commit, Changes: r.above(after, m.From, pageChanges)}
	if n := len(p.Changes); n == pageChanges && int(p.Changes[n-1].Block)+1 < len(r.blocks) {
		p.Next = p.Changes[n-1].Block + 1
	}
	return p
}

// setCommit is at once in memory and some time later on the disk.
func (d *disk) setCommit(id replicaID, v wire.Version) {
	r := d.replicas[id]
	if r == nil || !r.commit.Less(v) {
		return
	}
	r.commit = v
	d.after(d.between(100*millisecond, 2*second), func() {
		if r.durable.Less(v) && !r.commit.Less(v) && !d.failed {
			r.durable = v
		}
	})
}

func (d *disk) write(m *wire.Write, answer func(wire.Message)) {
	id := replicaID{m.Volume, m.Segment}
	r := d.replicas[id]
	switch {
	case d.failed:
		d.after(0, func() { answer(&wire.Ack{Req: m.Req, Status: wire.Failed}) })
		return
	case r == nil:
		d.after(0, func() { answer(&wire.Ack{Req: m.Req, Status: wire.Missing}) })
		return
	}
	if (m.Commit != wire.Version{}) {
		d.setCommit(id, m.Commit)
	}
	status := wire.OK
	d.durably(func() { status = d.put(r, m) }, func() { answer(&wire.Ack{Req: m.Req, Status: status}) })
}

// put is the moment in which a write becomes durable, all of it or nothing.
func (d *disk) put(r *replica, m *wire.Write) wire.Status {
	version := func(i uint32) wire.Version {
		if m.Versions != nil {
			return m.Versions[i]
		}
		return wire.Version{Epoch: m.Epoch, Seq: m.Seq}
	}
	for i := range m.Count {
		if version(i).Less(r.blocks[m.Block+i].version) {
			return wire.Failed
		}
	}
	for i := range m.Count {
		k := block{version: version(i), crc: wire.BlockCRC(m.Volume, m.Segment, m.Block+i, zeroBlock[:])}
		if m.Data != nil {
			k.data = m.Data[i*wire.BlockSize:][:wire.BlockSize]
			k.crc = m.CRC[i]
		}
		old := &r.blocks[m.Block+i]
		if old.version == k.version && (k.version != wire.Version{}) && (old.crc != k.crc) {
			d.onBroken("two contents of one version of a block")
		}
		r.blocks[m.Block+i] = k
	}
	return wire.OK
}

var zeroBlock [wire.BlockSize]byte

func (d *disk) read(m *wire.Read, answer func(wire.Message)) {
	r := d.replicas[replicaID{m.Volume, m.Segment}]
	if r == nil {
		d.after(0, func() { answer(&wire.Blocks{Req: m.Req, Status: wire.Missing}) })
		return
	}
	// The device may look at the blocks at the beginning of the job or at its end.
	var b *wire.Blocks
	early := d.chance(0.5)
	if early {
		b = d.look(r, m)
	}
	d.after(d.latency(), func() {
		if !early {
			b = d.look(r, m)
		}
		answer(b)
	})
}

func (d *disk) look(r *replica, m *wire.Read) *wire.Blocks {
	b := &wire.Blocks{Req: m.Req, Data: make([]byte, m.Count*wire.BlockSize)}
	for i := range m.Count {
		k := &r.blocks[m.Block+i]
		b.Versions = append(b.Versions, k.version)
		crc := k.crc
		if k.data == nil {
			crc = wire.BlockCRC(m.Volume, m.Segment, m.Block+i, zeroBlock[:])
		}
		b.CRC = append(b.CRC, crc)
		if k.bad {
			b.Status = wire.Corrupt
			b.Bad = append(b.Bad, m.Block+i)
			continue
		}
		copy(b.Data[i*wire.BlockSize:], k.data)
	}
	return b
}
