package mirror

import (
	"slices"

	"ashlar/replication/wire"
)

// A copy of a volume with a write cache answers for a write that its store has in
// memory only. The lock of its blocks is gone then, so whatever comes later and meets
// it waits here: what a copy shows is what it has answered for.

// span is a write that the store has not finished, or has not begun.
type span struct {
	number  uint64
	segment wire.Segment
	block   uint32
	count   uint32
}

func (s *span) meets(segment wire.Segment, block, count uint32) bool {
	return s.segment == segment && s.block < block+count && block < s.block+s.count
}

// parked is a job that waits for the ends of writes, by number.
type parked struct {
	job   Job
	after []uint64
}

// reach is what of a copy a request is about.
func reach(m wire.Message) (s wire.Segment, block, count uint32) {
	switch m := m.(type) {
	case *wire.Write:
		return m.Segment, m.Block, m.Count
	case *wire.Read:
		return m.Segment, m.Block, m.Count
	case *wire.Check:
		return m.Segment, m.Block, m.Count
	case *wire.Extents:
		return m.Segment, m.Block, m.Count
	case *wire.Changes:
		return m.Segment, 0, 1 << 31
	}
	return 0, 0, 0
}

// begin hands a job out, once the writes that it meets are done.
func (r *Replica) begin(c *copies, job Job) {
	segment, block, count := reach(job.Msg)
	var after []uint64
	for i := range c.spans {
		if s := &c.spans[i]; s.meets(segment, block, count) && !r.bugs.CacheOvertaken {
			after = append(after, s.number)
		}
	}
	if w, ok := job.Msg.(*wire.Write); ok && (w.Cache || len(after) > 0) {
		c.spans = append(c.spans, span{job.number, segment, block, count})
	}
	if len(after) > 0 {
		c.parked = append(c.parked, parked{job, after})
		return
	}
	r.out.Jobs = append(r.out.Jobs, job)
}

// unpark hands out what waited for the write of a number alone.
func (r *Replica) unpark(c *copies, number uint64) {
	i := slices.IndexFunc(c.spans, func(s span) bool { return s.number == number })
	if i < 0 {
		return
	}
	c.spans = slices.Delete(c.spans, i, i+1)
	kept := c.parked[:0]
	for _, p := range c.parked {
		if k := slices.Index(p.after, number); k >= 0 {
			p.after = slices.Delete(p.after, k, k+1)
		}
		if len(p.after) == 0 {
			r.out.Jobs = append(r.out.Jobs, p.job)
		} else {
			kept = append(kept, p)
		}
	}
	clear(c.parked[len(kept):])
	c.parked = kept
}

// Held says that the store has a write in memory, and will have room for it: nothing but the end of this run, or
// a failing disk, keeps it from being stored.
func (r *Replica) Held(now int64, job Job) {
	r.now = now
	if m, ok := job.Msg.(*wire.Write); ok && m.Cache {
		r.reply(job.Session, &wire.Ack{Req: m.Req, Status: wire.Held})
	}
}
