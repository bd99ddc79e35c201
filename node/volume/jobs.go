package volume

import (
	"errors"
	"slices"

	"ashlar/node/disk"
	"ashlar/replication/mirror"
	"ashlar/replication/wire"
	"ashlar/target/pages"
)

// pageChanges bounds one page of changes.
const pageChanges = 8192

// tailChanges bounds the changes that come with a promise; of longer tails the
// rest is asked for in pages.
const tailChanges = 128 << 10

// work has the store do a job; the answer comes back as an event. What may wait
// for the disk runs in a goroutine of its own.
func (v *Volume) work(j mirror.Job) {
	if v.outranked(j.Msg) {
		v.done(j, mirror.RefuseStale(j.Msg))
		return
	}
	if v.silent(j.Msg) {
		v.held = append(v.held, j)
		return
	}
	switch m := j.Msg.(type) {
	case *wire.Write:
		v.write(j, m)
		return
	case *wire.Read:
		v.read(j, m)
		return
	}
	done := func(m wire.Message) { v.done(j, m) }
	switch m := j.Msg.(type) {
	case *wire.Prepare:
		if j.Promise {
			stores := v.stores()
			go func() { done(v.promise(m, stores)) }()
			return
		}
		stores := make([]*disk.Store, len(m.Segments))
		for i, s := range m.Segments {
			if !v.behind(s, m.Gens[i]) && !v.ahead(s, m.Gens[i]) {
				stores[i] = v.store(s)
			}
		}
		go func() { done(v.tails(m, stores)) }()
	case *wire.Commit:
		for _, c := range m.Segments {
			if s := v.store(c.Segment); s != nil && v.counts(c.Segment) && m.Epoch >= s.Promised(v.id) {
				s.SetCommit(disk.Replica{Volume: v.id, Segment: c.Segment}, c.Commit)
			}
		}
	case *wire.Changes:
		var s *disk.Store
		if !v.behind(m.Segment, m.Gen) {
			s = v.store(m.Segment)
		}
		outside := !v.inSync(m.Segment)
		go func() { done(v.changes(s, m, outside)) }()
	case *wire.Check:
		if !v.counts(m.Segment) {
			done(mirror.Refuse(m))
			return
		}
		s := v.store(m.Segment)
		if s == nil || s.Err() != nil && !v.last(m.Segment) {
			done(&wire.Checked{Req: m.Req, Status: wire.Failed})
			return
		}
		go func() { v.check(s, m, done) }()
	case *wire.Reserve:
		s := v.store(m.Segment)
		go func() { done(v.reserve(s, m)) }()
	case *wire.Extents:
		s := v.store(m.Segment)
		go func() { done(v.extents(s, m)) }()
	}
}

// done brings a job's answer back.
func (v *Volume) done(j mirror.Job, m wire.Message) { v.do(event{kind: evJob, job: j, msg: m}) }

// worker is memory of a job of a common kind. Its answer lies in it.
type worker interface {
	// recycle is called when the answer has been told.
	recycle(v *Volume)
}

// silent says whether a request is for a copy whose disk is suspended. A promise
// is not held: it is answered when all disks have it.
func (v *Volume) silent(m wire.Message) bool {
	seg, _, ok := wire.CopyOf(m)
	if !ok || v.agreed == nil || int(seg) >= len(v.agreed.Segments) {
		return false
	}
	r := v.agreed.Segments[seg].On(v.self)
	return r != nil && v.node.Suspended(r.Disk)
}

// unhold begins what was held for disks that were silent; what is, is held again.
func (v *Volume) unhold() {
	held := v.held
	v.held = nil
	for _, j := range held {
		v.work(j)
	}
}

// outranked says whether a disk that was opened since the promises were read
// has promised a higher epoch than a request is of.
func (v *Volume) outranked(m wire.Message) bool {
	seg, epoch, ok := wire.CopyOf(m)
	if !ok {
		return false
	}
	s := v.store(seg)
	return s != nil && epoch < s.Promised(v.id)
}

// behind says whether this node does not know yet what the cluster agreed on of
// a segment's copies up to gen: the copy here may be about to be another one.
func (v *Volume) behind(i wire.Segment, gen uint64) bool {
	return v.agreed == nil || int(i) >= len(v.agreed.Segments) || v.agreed.Segments[i].Gen < gen
}

// ahead says, with a write cache, whether who asks does not know yet what the cluster agreed on of a
// segment's copies; then it may count on what this run of the node has forgotten. So it may where this node itself
// does not know yet that the run has begun.
func (v *Volume) ahead(i wire.Segment, gen uint64) bool {
	return v.agreed.WriteCache && (v.state.Nodes[v.self].Incarnation < v.incarnation || v.agreed.Segments[i].Gen > gen)
}

// store is the disk that the cluster has placed this node's copy on, nil if it
// has none or the disk is not open.
func (v *Volume) store(i wire.Segment) *disk.Store {
	if v.agreed == nil || int(i) >= len(v.agreed.Segments) {
		return nil
	}
	r := v.agreed.Segments[i].On(v.self)
	if r == nil {
		return nil
	}
	return v.node.Store(r.Disk)
}

// stores are the open disks that hold this node's copies of the volume. What
// another disk does, or does not do any more, is not this volume's matter.
func (v *Volume) stores() (list []*disk.Store) {
	if v.agreed == nil {
		return nil
	}
	for i := range v.agreed.Segments {
		if s := v.store(wire.Segment(i)); s != nil && !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	return list
}

// inSync says whether this node's copy of a segment is in its in-sync set.
func (v *Volume) inSync(i wire.Segment) bool {
	if v.agreed == nil || int(i) >= len(v.agreed.Segments) {
		return true // unknown: nothing may be given up
	}
	r := v.agreed.Segments[i].On(v.self)
	return r == nil || r.InSync
}

// counts says whether the cluster is known to count on this node's copy of a segment.
// Only such a copy is read, and takes a commit point: what comes late, or from a head that
// has not heard, may be meant for the copy that another one has replaced, and would have
// this one pass for whole.
func (v *Volume) counts(i wire.Segment) bool {
	if v.agreed == nil || int(i) >= len(v.agreed.Segments) {
		return false
	}
	r := v.agreed.Segments[i].On(v.self)
	return r != nil && r.InSync
}

// last says whether the cluster has agreed that this node's copy is on a failed
// disk and yet in sync: there is no other.
func (v *Volume) last(i wire.Segment) bool {
	r := v.agreed.Segments[i].On(v.self)
	d := v.state.Disks[r.Disk]
	return r.InSync && d != nil && d.Failed
}

// promise makes an epoch durable on every disk that holds a copy. A disk that is
// opened later is given the promise before its copies are used (see ensure).
func (v *Volume) promise(m *wire.Prepare, stores []*disk.Store) wire.Message {
	for _, s := range stores {
		if s.Err() != nil {
			continue // a failed disk holds no copy that is still obeyed
		}
		if higher := s.Promised(v.id); higher > m.Epoch {
			return &wire.Prepared{Req: m.Req, Status: wire.Stale, Epoch: higher}
		}
		if err := s.Promise(v.id, m.Epoch); err != nil {
			v.log.Warn("promise", "volume", v.id, "epoch", m.Epoch, "error", err)
			return &wire.Prepared{Req: m.Req, Status: wire.Failed}
		}
	}
	return nil
}

// tails looks up what may differ. A copy that the cluster has placed here and
// that was never written is made now.
func (v *Volume) tails(m *wire.Prepare, stores []*disk.Store) wire.Message {
	out := &wire.Prepared{Req: m.Req, Epoch: m.Epoch}
	room := tailChanges
	for i, seg := range m.Segments {
		t := v.tail(stores[i], seg, m.Epoch, room)
		room -= len(t.Changes)
		out.Segments = append(out.Segments, t)
	}
	return out
}

// tail is one copy's, cut after about room changes.
func (v *Volume) tail(s *disk.Store, seg wire.Segment, epoch uint64, room int) wire.Tail {
	r := disk.Replica{Volume: v.id, Segment: seg}
	t := wire.Tail{Segment: seg}
	if s == nil {
		t.Status = wire.Missing
		return t
	}
	if err := v.ensure(s, r, epoch); err != nil {
		t.Status = status(err)
		return t
	}
	t.Commit = s.Commit(r)
	for from := uint32(0); ; {
		changes, next, err := s.Changes(r, t.Commit, from, pageChanges)
		if err != nil {
			t.Status = status(err)
			t.Changes = nil
			return t
		}
		t.Changes = appendChanges(t.Changes, changes)
		if t.Next = next; next == 0 || len(t.Changes) >= room {
			return t
		}
		from = next
	}
}

// ensure makes the copy if it is not there, on a disk that knows the promise.
func (v *Volume) ensure(s *disk.Store, r disk.Replica, epoch uint64) error {
	if s.Promised(r.Volume) < epoch {
		if err := s.Promise(r.Volume, epoch); err != nil {
			return err
		}
	}
	return v.node.Create(s, r)
}

func appendChanges(to []wire.Change, from []disk.Change) []wire.Change {
	for _, c := range from {
		to = append(to, wire.Change{Block: c.Block, Version: c.Version, CRC: c.CRC, Zero: c.Zero})
	}
	return to
}

// storing is a write on its way through the store.
type storing struct {
	disk.Write
	volume *Volume
	store  *disk.Store
	job    mirror.Job
	ack    wire.Ack
}

func (v *Volume) write(j mirror.Job, m *wire.Write) {
	s := v.store(m.Segment)
	if s == nil {
		v.done(j, &wire.Ack{Req: m.Req, Status: wire.Missing})
		return
	}
	r := disk.Replica{Volume: v.id, Segment: m.Segment}
	if m.Commit != (wire.Version{}) && v.counts(m.Segment) {
		s.SetCommit(r, m.Commit)
	}
	w := v.storings.get()
	w.volume, w.store, w.job = v, s, j
	w.Replica, w.Block, w.Count, w.Data, w.CRC, w.Version, w.Versions = r, m.Block, m.Count, m.Data, m.CRC, wire.Version{Epoch: m.Epoch, Seq: m.Seq}, m.Versions
	w.Cache, w.Done, w.Private = m.Cache, stored, w
	if s.Promised(v.id) < m.Epoch { // it was opened since the node promised that
		go func() {
			if err := s.Promise(v.id, m.Epoch); err != nil {
				v.done(j, &wire.Ack{Req: m.Req, Status: status(err)})
				return
			}
			s.Write(&w.Write)
		}()
		return
	}
	if s.Write(&w.Write) {
		v.local = append(v.local, event{kind: evHeld, job: j})
	}
}

// stored answers a write with what became of it.
func stored(d *disk.Write) {
	w := d.Private.(*storing)
	m := w.job.Msg.(*wire.Write)
	if w.Err != nil {
		w.volume.log.Warn("write", "volume", m.Volume, "segment", m.Segment, "block", m.Block, "error", w.Err)
	}
	w.ack = wire.Ack{Req: m.Req, Status: status(w.Err), Low: w.store.Stats().Low}
	w.volume.do(event{kind: evJob, job: w.job, msg: &w.ack, work: w})
}

func (w *storing) recycle(v *Volume) {
	w.Reset()
	w.volume, w.store, w.job = nil, nil, mirror.Job{}
	v.storings.put(w)
}

// reading is a read on its way through the store.
type reading struct {
	disk.Read
	volume *Volume
	store  *disk.Store
	job    mirror.Job
	answer wire.Blocks
}

func (v *Volume) read(j mirror.Job, m *wire.Read) {
	if !v.counts(m.Segment) {
		v.done(j, mirror.Refuse(m))
		return
	}
	s := v.store(m.Segment)
	if s != nil && s.Err() != nil && !v.last(m.Segment) {
		// The cluster may have taken the copy out already, and others may have
		// written since: only the last copy is read from a failed disk.
		v.done(j, &wire.Blocks{Req: m.Req, Status: wire.Failed})
		return
	}
	if s == nil {
		v.done(j, &wire.Blocks{Req: m.Req, Status: wire.Missing})
		return
	}
	data := m.Into
	if data == nil {
		data = pages.Long(int(m.Count) * wire.BlockSize)
	}
	r := v.readings.get()
	r.volume, r.store, r.job = v, s, j
	r.Read = disk.Read{Replica: disk.Replica{Volume: v.id, Segment: m.Segment}, Block: m.Block, Count: m.Count, Data: data,
		CRC: r.CRC[:0], Versions: r.Versions[:0], Done: haveRead, Private: r}
	s.Read(&r.Read)
}

// haveRead answers a read with what the store gave.
func haveRead(d *disk.Read) {
	r := d.Private.(*reading)
	b := &r.answer
	*b = wire.Blocks{Req: r.job.Msg.(*wire.Read).Req, Status: status(r.Err)}
	if b.Status == wire.Corrupt {
		var bad *disk.ChecksumError
		errors.As(r.Err, &bad)
		r.volume.foundBad(r.store, bad)
		b.Bad = bad.Blocks
	}
	if b.Status == wire.OK || b.Status == wire.Corrupt {
		b.Versions, b.CRC, b.Data = r.Versions, r.CRC, r.Data
	}
	r.volume.do(event{kind: evJob, job: r.job, msg: b, work: r})
}

// recycle keeps the memory for checksums and versions: who has had the answer has copied what it keeps of them.
func (r *reading) recycle(v *Volume) {
	if cap(r.CRC) > keptBlocks {
		r.CRC, r.Versions = nil, nil
	}
	r.Read = disk.Read{CRC: r.CRC[:0], Versions: r.Versions[:0]}
	r.volume, r.store, r.job, r.answer = nil, nil, mirror.Job{}, wire.Blocks{}
	v.readings.put(r)
}

// keptBlocks is of how many blocks checksums and versions are kept at most.
const keptBlocks = 256

func (v *Volume) changes(s *disk.Store, m *wire.Changes, outside bool) wire.Message {
	p := &wire.Page{Req: m.Req}
	if s == nil {
		p.Status = wire.Missing
		return p
	}
	r := disk.Replica{Volume: v.id, Segment: m.Segment}
	if err := v.ensure(s, r, m.Epoch); err != nil {
		p.Status = status(err)
		return p
	}
	if outside && m.Own && damaged(s, r) {
		// Nobody counts on it, and it cannot be told what it has: it begins anew.
		if err := s.Reset(r); err != nil {
			p.Status = status(err)
			return p
		}
	}
	p.Commit = s.Commit(r)
	after := m.After
	if m.Own {
		after = p.Commit
	}
	changes, next, err := s.Changes(r, after, m.From, pageChanges)
	p.Status, p.Changes, p.Next = status(err), appendChanges(nil, changes), next
	return p
}

func damaged(s *disk.Store, r disk.Replica) bool {
	_, _, err := s.Changes(r, wire.Version{}, 0, 1)
	return errors.Is(err, disk.ErrDamaged)
}

func (v *Volume) reserve(s *disk.Store, m *wire.Reserve) wire.Message {
	if s == nil {
		return &wire.Ack{Req: m.Req, Status: wire.Missing}
	}
	err := s.Reserve(disk.Replica{Volume: v.id, Segment: m.Segment}, m.Block, m.Count)
	return &wire.Ack{Req: m.Req, Status: status(err), Low: s.Stats().Low}
}

func (v *Volume) extents(s *disk.Store, m *wire.Extents) wire.Message {
	out := &wire.Runs{Req: m.Req}
	if s == nil {
		out.Status = wire.Missing
		return out
	}
	list, err := s.Extents(disk.Replica{Volume: v.id, Segment: m.Segment}, m.Block, m.Count)
	if err != nil {
		out.Status = status(err)
		return out
	}
	mapped := true // what the next run is
	for _, e := range list {
		if e.Mapped != mapped {
			out.Runs = append(out.Runs, 0)
			mapped = !mapped
		}
		out.Runs = append(out.Runs, e.Count)
		mapped = !mapped
	}
	return out
}

// status is the one table from the store's errors to the wire.
func status(err error) wire.Status {
	if err == nil {
		return wire.OK
	}
	var bad *disk.ChecksumError
	switch {
	case errors.As(err, &bad):
		return wire.Corrupt
	case errors.Is(err, disk.ErrNoSpace):
		return wire.NoSpace
	case errors.Is(err, disk.ErrNoReplica):
		return wire.Missing
	}
	return wire.Failed
}
