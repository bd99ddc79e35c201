package sim

import (
	"cmp"
	"fmt"
	"slices"

	"ashlar/node/cluster"
	"ashlar/replication/latency"
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
	medium  []byte // what the device gives in its place, where decayed
	decayed bool   // a write was lost, or went astray
	bad     bool   // its data cannot be read
	lost    bool   // what is known of it cannot be read: it stands for a lost block of the store
}

func (k *block) String() string {
	return fmt.Sprintf("version %d.%d checksum %08x, zeros %v, decayed %v, bad %v, lost %v", k.version.Epoch, k.version.Seq, k.crc, k.data == nil,
		k.decayed, k.bad, k.lost)
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
	took     latency.Window // durable writes
	cached   []cachedWrite
	shape    *shape
	slow     int64 // up to so much is added to each job: 10 to 1000 times what it takes otherwise, and more
	failed   bool  // a write failed: nothing is written any more
	dead     bool  // and nothing is read
	missing  bool  // the node does not find it
	low      bool  // it is short of space
	full     bool  // it has none for blocks that have no data yet
	trick    trick // for the next write
	onBroken func(string)
	onDecay  func()
	count    func(kind string)
}

// pendingWrite is in the device's hands.
type pendingWrite struct {
	apply  func()
	refuse func() // it failed
	finish func() // it is done
	tear   func() // at a crash; nil: it cannot be torn
	done   bool
	began  int64
}

func (d *disk) create(id replicaID) {
	d.replicas[id] = &replica{blocks: make([]block, d.blocks)}
}

// crash leaves what was durable; of what was under way each may be there or not.
func (d *disk) crash() {
	for _, p := range d.pending {
		switch {
		case p.done:
		case d.chance(0.5):
			p.apply()
		case p.tear != nil && d.chance(0.5):
			p.tear()
		default:
			d.count("unflushed write")
		}
		p.done = true
	}
	d.pending = nil
	for i := len(d.cached) - 1; i >= 0; i-- {
		if x := d.cached[i]; d.now-x.at < cacheFlush {
			copy(x.r.blocks[x.block:], x.before)
		}
	}
	d.cached = nil
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

// cacheFlush is how long a volatile cache would keep a write.
const cacheFlush = second

// begin carries out a job; answer is called once, unless the node crashes before
// or the job has none. Of unknown segments it knows nothing. It says whether it holds a write
// that it will have room for.
func (d *disk) begin(job mirror.Job, unknown map[wire.Segment]bool, answer func(wire.Message)) (held bool) {
	switch m := job.Msg.(type) {
	case *wire.Prepare:
		if job.Promise {
			d.promise(m, answer)
		} else {
			d.after(d.latency()/2, func() { answer(d.tails(m, unknown)) })
		}
	case *wire.Write:
		held = d.write(m, answer)
	case *wire.Read:
		d.read(m, answer)
	case *wire.Commit:
		for _, c := range m.Segments {
			d.setCommit(replicaID{m.Volume, c.Segment}, c.Commit)
		}
	case *wire.Changes:
		d.after(d.latency()/2, func() { answer(d.changes(m, unknown)) })
	case *wire.Check:
		d.check(m, answer)
	case *wire.Reserve:
		d.after(d.latency()/2, func() { answer(d.reserve(m)) })
	case *wire.Extents:
		d.after(d.latency()/2, func() { answer(&wire.Runs{Req: m.Req, Status: wire.OK, Runs: []uint32{m.Count}}) })
	default:
		panic("sim: no job for a disk: " + m.String())
	}
	return held
}

func (d *disk) latency() int64 {
	l := d.between(50*microsecond, 500*microsecond)
	if most := d.slow + d.shape.disk; most > 0 {
		l += d.between(0, most)
	}
	return l
}

// durably applies a change after a while, or perhaps at a crash before.
func (d *disk) durably(p *pendingWrite, after func()) {
	p.began = d.now
	d.pending = append(d.pending, p)
	p.finish = func() {
		if p.done {
			return
		}
		p.done = true
		d.took.Add(d.now, d.now-p.began)
		d.pending = slices.DeleteFunc(d.pending, func(q *pendingWrite) bool { return q == p })
		p.apply()
		after()
	}
	d.after(d.latency(), p.finish)
}

func (d *disk) promise(m *wire.Prepare, answer func(wire.Message)) {
	refuse := func() { answer(&wire.Prepared{Req: m.Req, Status: wire.Failed}) }
	if d.bugs.WriteErrorIgnored {
		refuse = func() { answer(nil) }
	}
	higher := d.promises[m.Volume]
	switch {
	case d.failed:
		d.after(0, refuse)
		return
	case d.missing:
		d.after(0, func() { answer(nil) })
		return
	case higher > m.Epoch && !d.bugs.Mirror.NoPromise:
		d.after(0, func() { answer(&wire.Prepared{Req: m.Req, Status: wire.Stale, Epoch: higher}) })
		return
	}
	apply := func() { d.promises[m.Volume] = max(d.promises[m.Volume], m.Epoch) }
	d.durably(&pendingWrite{apply: apply, refuse: refuse}, func() { answer(nil) })
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
		if k := &r.blocks[b]; v.Less(k.shown()) {
			list = append(list, wire.Change{Block: uint32(b), Version: k.shown(), CRC: k.crc, Zero: k.data == nil})
		}
	}
	return list
}

func (d *disk) changes(m *wire.Changes, unknown map[wire.Segment]bool) wire.Message {
	if d.dead {
		return &wire.Page{Req: m.Req, Status: wire.Failed}
	}
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

func (d *disk) write(m *wire.Write, answer func(wire.Message)) (held bool) {
	id := replicaID{m.Volume, m.Segment}
	r := d.replicas[id]
	refuse := func() { answer(&wire.Ack{Req: m.Req, Status: wire.Failed}) }
	if d.bugs.WriteErrorIgnored {
		refuse = func() { answer(&wire.Ack{Req: m.Req}) }
	}
	switch {
	case d.failed:
		d.after(0, refuse)
		return false
	case r == nil:
		d.after(0, func() { answer(&wire.Ack{Req: m.Req, Status: wire.Missing}) })
		return false
	}
	if (m.Commit != wire.Version{}) {
		d.setCommit(id, m.Commit)
	}
	status := wire.OK
	held = m.Cache && !d.low && !d.full
	p := &pendingWrite{apply: func() { status = d.put(r, m, held) }, refuse: refuse}
	if m.Data != nil {
		p.tear = func() { d.tear(r, m) }
	}
	d.durably(p, func() { answer(&wire.Ack{Req: m.Req, Status: status, Low: d.low}) })
	return held
}

// put is the moment in which a write becomes durable, all of it or nothing; room says that there was some for it.
func (d *disk) put(r *replica, m *wire.Write, room bool) wire.Status {
	version := func(i uint32) wire.Version {
		if m.Versions != nil {
			return m.Versions[i]
		}
		return wire.Version{Epoch: m.Epoch, Seq: m.Seq}
	}
	for i := range m.Count {
		if k := &r.blocks[m.Block+i]; version(i).Less(k.version) && !k.lost {
			return wire.Failed
		}
	}
	if m.Data != nil && !room && !d.holds(r, m.Block, m.Count) {
		return wire.NoSpace
	}
	if d.bugs.VolatileCache {
		d.cached = append(d.cached, cachedWrite{r, m.Block, slices.Clone(r.blocks[m.Block:][:m.Count]), d.now})
	}
	if d.trick == forget {
		d.trick = honest
		d.count("forgotten write")
		return wire.OK
	}
	first := r.blocks[m.Block]
	for i := range m.Count {
		k := block{version: version(i), crc: wire.BlockCRC(m.Volume, m.Segment, m.Block+i, zeroBlock[:])}
		if m.Data != nil {
			k.data = slices.Clone(m.Data[i*wire.BlockSize:][:wire.BlockSize])
			k.crc = m.CRC[i]
			if wire.BlockCRC(m.Volume, m.Segment, m.Block+i, k.data) != k.crc {
				d.onBroken("the data of a write changed on its way")
			}
		}
		old := &r.blocks[m.Block+i]
		if !old.lost && old.version == k.version && (k.version != wire.Version{}) && (old.crc != k.crc) {
			d.onBroken("two contents of one version of a block")
		}
		r.blocks[m.Block+i] = k
	}
	if m.Data != nil && d.trick != honest {
		d.deceive(replicaID{m.Volume, m.Segment}, m.Block, first)
	}
	return wire.OK
}

// holds says whether blocks can be given data.
func (d *disk) holds(r *replica, block, count uint32) bool {
	for i := range count {
		if d.full && r.blocks[block+i].data == nil {
			return false
		}
	}
	return true
}

func (d *disk) reserve(m *wire.Reserve) *wire.Ack {
	a := &wire.Ack{Req: m.Req, Low: d.low}
	switch r := d.replicas[replicaID{m.Volume, m.Segment}]; {
	case r == nil:
		a.Status = wire.Missing
	case !d.holds(r, m.Block, m.Count):
		a.Status = wire.NoSpace
	}
	return a
}

// check lists a range, and reads it where that is asked for, at its beginning or at its end.
func (d *disk) check(m *wire.Check, answer func(wire.Message)) {
	r := d.replicas[replicaID{m.Volume, m.Segment}]
	switch {
	case d.dead:
		d.after(0, func() { answer(&wire.Checked{Req: m.Req, Status: wire.Failed}) })
		return
	case r == nil:
		d.after(0, func() { answer(&wire.Checked{Req: m.Req, Status: wire.Missing}) })
		return
	}
	look := func() *wire.Checked {
		c := &wire.Checked{Req: m.Req}
		for _, k := range r.above(wire.Version{}, m.Block, len(r.blocks)) {
			if k.Block >= m.Block+m.Count {
				break
			}
			c.Changes = append(c.Changes, k)
			if b := &r.blocks[k.Block]; m.Data && !b.sound(m.Volume, m.Segment, k.Block) {
				c.Bad = append(c.Bad, k.Block)
			}
		}
		return c
	}
	var c *wire.Checked
	if early := d.chance(0.5); early {
		c = look()
	}
	d.after(d.latency(), func() {
		if c == nil {
			c = look()
		}
		answer(c)
	})
}

var zeroBlock [wire.BlockSize]byte

func (d *disk) read(m *wire.Read, answer func(wire.Message)) {
	r := d.replicas[replicaID{m.Volume, m.Segment}]
	switch {
	case d.dead:
		d.after(0, func() { answer(&wire.Blocks{Req: m.Req, Status: wire.Failed}) })
		return
	case r == nil:
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
		if m.Into != nil {
			copy(m.Into, b.Data)
			b.Data = m.Into
		}
		answer(b)
	})
}

func (d *disk) look(r *replica, m *wire.Read) *wire.Blocks {
	b := &wire.Blocks{Req: m.Req, Data: make([]byte, m.Count*wire.BlockSize)}
	for i := range m.Count {
		k := &r.blocks[m.Block+i]
		b.Versions = append(b.Versions, k.shown())
		crc := k.crc
		if k.data == nil {
			crc = wire.BlockCRC(m.Volume, m.Segment, m.Block+i, zeroBlock[:])
		}
		b.CRC = append(b.CRC, crc)
		if k.bad || k.lost || !d.bugs.ReadUnverified && !k.sound(m.Volume, m.Segment, m.Block+i) {
			b.Status = wire.Corrupt
			b.Bad = append(b.Bad, m.Block+i)
			continue
		}
		copy(b.Data[i*wire.BlockSize:], k.gives())
	}
	return b
}
