package volume

import (
	"errors"

	"ashlar/node/disk"
	"ashlar/replication/mirror"
	"ashlar/replication/wire"
)

// pageChanges bounds one page of changes.
const pageChanges = 8192

// work has the store do a job; the answer comes back as an event. What may wait
// for the disk runs in a goroutine of its own.
func (v *Volume) work(j mirror.Job) {
	done := func(m wire.Message) { v.post(event{kind: evJob, job: j, msg: m}) }
	if v.outranked(j.Msg) {
		done(mirror.RefuseStale(j.Msg))
		return
	}
	switch m := j.Msg.(type) {
	case *wire.Prepare:
		if j.Promise {
			go func() { done(v.promise(m)) }()
			return
		}
		stores := make([]*disk.Store, len(m.Segments))
		for i, s := range m.Segments {
			if !v.behind(s, m.Gens[i]) {
				stores[i] = v.store(s)
			}
		}
		go func() { done(v.tails(m, stores)) }()
	case *wire.Commit:
		for _, c := range m.Segments {
			if s := v.store(c.Segment); s != nil {
				s.SetCommit(disk.Replica{Volume: v.id, Segment: c.Segment}, c.Commit)
			}
		}
	case *wire.Write:
		v.write(m, done)
	case *wire.Read:
		v.read(m, done)
	case *wire.Changes:
		var s *disk.Store
		if !v.behind(m.Segment, m.Gen) {
			s = v.store(m.Segment)
		}
		go func() { done(v.changes(s, m)) }()
	case *wire.Reserve:
		s := v.store(m.Segment)
		go func() { done(v.reserve(s, m)) }()
	case *wire.Extents:
		s := v.store(m.Segment)
		go func() { done(v.extents(s, m)) }()
	}
}

// outranked says whether a disk that was opened since the promises were read
// has promised a higher epoch than a request is of.
func (v *Volume) outranked(m wire.Message) bool {
	var seg wire.Segment
	var epoch uint64
	switch m := m.(type) {
	case *wire.Write:
		seg, epoch = m.Segment, m.Epoch
	case *wire.Read:
		seg, epoch = m.Segment, m.Epoch
	case *wire.Changes:
		seg, epoch = m.Segment, m.Epoch
	default:
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

// promise makes an epoch durable on every disk, so that it holds wherever a copy is.
func (v *Volume) promise(m *wire.Prepare) wire.Message {
	for _, s := range v.node.Stores() {
		if s.Err() != nil {
			continue // a failed disk holds no copy that is still obeyed
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
	for i, seg := range m.Segments {
		out.Segments = append(out.Segments, v.tail(stores[i], seg, m.Epoch))
	}
	return out
}

func (v *Volume) tail(s *disk.Store, seg wire.Segment, epoch uint64) wire.Tail {
	r := disk.Replica{Volume: v.id, Segment: seg}
	t := wire.Tail{Segment: seg}
	if s == nil {
		t.Status = wire.Missing
		return t
	}
	if err := ensure(s, r, epoch); err != nil {
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
		if next == 0 {
			return t
		}
		from = next
	}
}

// ensure makes the copy if it is not there, on a disk that knows the promise.
func ensure(s *disk.Store, r disk.Replica, epoch uint64) error {
	if s.Promised(r.Volume) < epoch {
		if err := s.Promise(r.Volume, epoch); err != nil {
			return err
		}
	}
	if err := s.Create(r); err != nil && !errors.Is(err, disk.ErrExists) {
		return err
	}
	return nil
}

func appendChanges(to []wire.Change, from []disk.Change) []wire.Change {
	for _, c := range from {
		to = append(to, wire.Change{Block: c.Block, Version: c.Version, CRC: c.CRC, Zero: c.Zero})
	}
	return to
}

func (v *Volume) write(m *wire.Write, done func(wire.Message)) {
	s := v.store(m.Segment)
	if s == nil {
		done(&wire.Ack{Req: m.Req, Status: wire.Missing})
		return
	}
	r := disk.Replica{Volume: v.id, Segment: m.Segment}
	if m.Commit != (wire.Version{}) {
		s.SetCommit(r, m.Commit)
	}
	w := &disk.Write{Replica: r, Block: m.Block, Count: m.Count, Data: m.Data, CRC: m.CRC, Version: wire.Version{Epoch: m.Epoch, Seq: m.Seq}, Versions: m.Versions}
	w.Done = func(w *disk.Write) {
		if w.Err != nil {
			v.log.Warn("write", "volume", v.id, "segment", m.Segment, "block", m.Block, "error", w.Err)
		}
		done(&wire.Ack{Req: m.Req, Status: status(w.Err), Low: s.Stats().Low})
	}
	s.Write(w)
}

func (v *Volume) read(m *wire.Read, done func(wire.Message)) {
	s := v.store(m.Segment)
	if s == nil {
		done(&wire.Blocks{Req: m.Req, Status: wire.Missing})
		return
	}
	r := &disk.Read{Replica: disk.Replica{Volume: v.id, Segment: m.Segment}, Block: m.Block, Count: m.Count, Data: make([]byte, int(m.Count)*wire.BlockSize)}
	r.Done = func(r *disk.Read) {
		b := &wire.Blocks{Req: m.Req, Status: status(r.Err)}
		var bad *disk.ChecksumError
		if errors.As(r.Err, &bad) {
			v.log.Error("blocks do not match their checksum", "volume", v.id, "segment", m.Segment, "blocks", bad.Blocks)
			b.Bad = bad.Blocks
		}
		if b.Status == wire.OK || b.Status == wire.Corrupt {
			b.Versions, b.CRC, b.Data = r.Versions, r.CRC, r.Data
		}
		done(b)
	}
	s.Read(r)
}

func (v *Volume) changes(s *disk.Store, m *wire.Changes) wire.Message {
	p := &wire.Page{Req: m.Req}
	if s == nil {
		p.Status = wire.Missing
		return p
	}
	r := disk.Replica{Volume: v.id, Segment: m.Segment}
	if err := ensure(s, r, m.Epoch); err != nil {
		p.Status = status(err)
		return p
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
	var bad *disk.ChecksumError
	switch {
	case err == nil:
		return wire.OK
	case errors.As(err, &bad):
		return wire.Corrupt
	case errors.Is(err, disk.ErrNoSpace):
		return wire.NoSpace
	case errors.Is(err, disk.ErrNoReplica):
		return wire.Missing
	}
	return wire.Failed
}
