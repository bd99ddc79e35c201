package mirror

import (
	"slices"

	"ashlar/replication/wire"
)

// Replica is a node's side of all its copies: it keeps the promises. The store
// is somebody else's; Jobs say what to ask of it, in any order and concurrently
// unless a Job waits for another to be done.
type Replica struct {
	bugs    Bugs
	now     int64
	lease   int64
	volumes map[wire.VolumeID]*copies
	out     ReplicaActions
	taken   ReplicaActions // by the last Take
}

// copies are those of one volume.
type copies struct {
	promised uint64
	begun    uint64   // writes so far
	writing  []uint64 // those that the store has not finished, by their number; ascending
	waiting  []Job    // questions about all writes that were begun before; ascending
	claims   memory
	forgot   uint64 // claims of this epoch and lower may be missing
	asked    bool   // for a promise, in this run
}

// Job is work for the store: what its Msg asks. Its answer goes to Replica.Done.
// A Prepare is two jobs: with Promise, make the epoch durable; without, look up the tails.
type Job struct {
	Session uint64 // where the request came from
	Msg     wire.Message
	Promise bool

	number uint64 // of a write among its volume's; of a question, that of the last write that it waits for
}

// Reply is an answer for a session.
type Reply struct {
	Session uint64
	Msg     wire.Message
}

// ReplicaActions is what a Replica wants done.
type ReplicaActions struct {
	Jobs    []Job
	Replies []Reply
}

// NewReplica begins with the promises found on the disks.
func NewReplica(promised map[wire.VolumeID]uint64, bugs Bugs) *Replica {
	r := &Replica{bugs: bugs, volumes: map[wire.VolumeID]*copies{}}
	for v, e := range promised {
		r.volumes[v] = &copies{promised: e, forgot: e}
	}
	return r
}

// Take gives what is to be done since the last Take. Its lists are the replica's again at the next one.
func (r *Replica) Take() ReplicaActions {
	a := r.out
	r.out = ReplicaActions{Jobs: emptied(r.taken.Jobs), Replies: emptied(r.taken.Replies)}
	r.taken = a
	return a
}

// Lease says until when this node's lease holds now.
func (r *Replica) Lease(now, until int64) { r.now, r.lease = now, until }

func (r *Replica) volume(v wire.VolumeID) *copies {
	c := r.volumes[v]
	if c == nil {
		c = &copies{}
		r.volumes[v] = c
	}
	return c
}

// Receive takes a head's request.
func (r *Replica) Receive(now int64, session uint64, m wire.Message) {
	r.now = now
	job := Job{Session: session, Msg: m}
	v, epoch := scope(m)
	c := r.volume(v)
	switch m := m.(type) {
	case *wire.Prepare:
		r.prepare(c, m, job)
		return
	case *wire.Retire:
		status := wire.OK
		if m.Epoch < c.promised {
			status = wire.Stale
		}
		c.promised = max(c.promised, m.Epoch)
		r.reply(session, &wire.Ack{Req: m.Req, Status: status})
		return
	}
	if s := r.check(c, epoch); s != wire.OK {
		r.reply(session, refusal(m, s))
		return
	}
	switch m := m.(type) {
	case *wire.Claims:
		c.forgets(c.claims.obey(now, m))
		return
	case *wire.Write:
		c.begun++
		job.number = c.begun
		c.writing = append(c.writing, job.number)
		c.forgets(c.claims.begin(now, m))
	case *wire.Changes:
		if m.Own {
			c.claims.forget(m.Segment)
			// What it was sent before, when it caught up or was in the set, is in the answer, whether or not the
			// head still waits for it.
			r.ask(c, job, r.bugs.JoinOverWrites)
			return
		}
	}
	r.out.Jobs = append(r.out.Jobs, job)
}

// Held says that the store has a write in memory, and will have room for it: nothing but the end of this run, or
// a failing disk, keeps it from being stored.
func (r *Replica) Held(now int64, job Job) {
	r.now = now
	if m, ok := job.Msg.(*wire.Write); ok && m.Cache {
		r.reply(job.Session, &wire.Ack{Req: m.Req, Status: wire.Held})
	}
}

// forgets notes that claims were dropped to make room for others.
func (c *copies) forgets(dropped bool) {
	if dropped {
		c.forgot = max(c.forgot, c.promised)
	}
}

// scope is the volume and epoch of a request.
func scope(m wire.Message) (wire.VolumeID, uint64) {
	switch m := m.(type) {
	case *wire.Prepare:
		return m.Volume, m.Epoch
	case *wire.Retire:
		return m.Volume, m.Epoch
	case *wire.Write:
		return m.Volume, m.Epoch
	case *wire.Read:
		return m.Volume, m.Epoch
	case *wire.Commit:
		return m.Volume, m.Epoch
	case *wire.Changes:
		return m.Volume, m.Epoch
	case *wire.Reserve:
		return m.Volume, m.Epoch
	case *wire.Extents:
		return m.Volume, m.Epoch
	case *wire.Claims:
		return m.Volume, m.Epoch
	case *wire.Check:
		return m.Volume, m.Epoch
	}
	panic("mirror: not a request to a replica: " + m.String())
}

// Promises says whether a request has a node obey no epoch below one, from now on.
func Promises(m wire.Message) (epoch uint64, ok bool) {
	switch m := m.(type) {
	case *wire.Prepare:
		return m.Epoch, true
	case *wire.Retire:
		return m.Epoch, true
	}
	return 0, false
}

// IsRequest says whether a message is for a Replica.
func IsRequest(m wire.Message) bool {
	switch m.(type) {
	case *wire.Prepare, *wire.Retire, *wire.Write, *wire.Read, *wire.Commit, *wire.Changes, *wire.Reserve, *wire.Extents, *wire.Claims, *wire.Check:
		return true
	}
	return false
}

func (r *Replica) check(c *copies, epoch uint64) wire.Status {
	switch {
	case r.bugs.NoEpochCheck || epoch == c.promised:
		return wire.OK
	case epoch < c.promised:
		return wire.Stale
	}
	return wire.Unprepared
}

// refusal answers a request without having done it.
func refusal(m wire.Message, s wire.Status) wire.Message {
	switch m := m.(type) {
	case *wire.Prepare:
		return &wire.Prepared{Req: m.Req, Status: s}
	case *wire.Write:
		return &wire.Ack{Req: m.Req, Status: s}
	case *wire.Read:
		return &wire.Blocks{Req: m.Req, Status: s}
	case *wire.Changes:
		return &wire.Page{Req: m.Req, Status: s}
	case *wire.Reserve:
		return &wire.Ack{Req: m.Req, Status: s}
	case *wire.Extents:
		return &wire.Runs{Req: m.Req, Status: s}
	case *wire.Check:
		return &wire.Checked{Req: m.Req, Status: s}
	}
	return nil // Commit and Claims have no answer
}

// prepare takes effect in memory at once: from now on nothing lower is begun.
// The answer comes when the promise is durable and what was begun lower is done,
// so that the tails have it.
func (r *Replica) prepare(c *copies, p *wire.Prepare, job Job) {
	if p.Epoch < c.promised && !r.bugs.NoEpochCheck {
		r.reply(job.Session, &wire.Prepared{Req: p.Req, Status: wire.Stale, Epoch: c.promised})
		return
	}
	if !c.asked {
		c.asked, c.forgot = true, max(c.forgot, max(p.Epoch, 1)-1)
	}
	c.promised = max(c.promised, p.Epoch)
	job.Promise = true
	r.out.Jobs = append(r.out.Jobs, job)
}

// Done takes the store's answer to a job; nil for a promise that is durable now.
func (r *Replica) Done(now int64, job Job, answer wire.Message) {
	r.now = now
	v, epoch := scope(job.Msg)
	c := r.volume(v)
	switch m := job.Msg.(type) {
	case *wire.Prepare:
		if job.Promise && answer == nil {
			job.Promise = false
			r.ask(c, job, r.bugs.PrepareUndrained)
			return
		}
		if p, ok := answer.(*wire.Prepared); ok && p.Status == wire.OK && !job.Promise {
			// No write of a lower epoch is under way any more, and none of a
			// higher one was begun: what is remembered is what the tails are of.
			p.Claims, p.Forgot = c.claims.of(now, m.Segments), c.forgot
		}
	case *wire.Write:
		a, ok := answer.(*wire.Ack)
		c.claims.end(m, ok && a.Status == wire.OK)
		if i, ok := slices.BinarySearch(c.writing, job.number); ok {
			c.writing = slices.Delete(c.writing, i, i+1)
		}
		r.drained(c)
	case *wire.Read, *wire.Changes, *wire.Extents, *wire.Check:
		// Checked after the I/O: what was read before a higher promise, or
		// before the lease ran out, may be old by now (invariants I5, I6).
		if s := r.check(c, epoch); s != wire.OK {
			answer = refusal(job.Msg, s)
		} else if r.now >= r.lease && !r.bugs.NoLease {
			answer = refusal(job.Msg, wire.Lapsed)
		}
	}
	if answer != nil {
		r.reply(job.Session, answer)
	}
}

// ask has the store asked once all writes that were begun before are done.
func (r *Replica) ask(c *copies, question Job, atOnce bool) {
	if atOnce {
		r.out.Jobs = append(r.out.Jobs, question)
		return
	}
	question.number = c.begun
	c.waiting = append(c.waiting, question)
	r.drained(c)
}

// drained asks what waits for no write any more.
func (r *Replica) drained(c *copies) {
	n := 0
	for n < len(c.waiting) && (len(c.writing) == 0 || c.waiting[n].number < c.writing[0]) {
		n++
	}
	r.out.Jobs = append(r.out.Jobs, c.waiting[:n]...)
	c.waiting = slices.Delete(c.waiting, 0, n)
}

func (r *Replica) reply(session uint64, m wire.Message) {
	if m != nil {
		r.out.Replies = append(r.out.Replies, Reply{session, m})
	}
}

// RefuseStale answers a request that a higher promise forbids.
func RefuseStale(m wire.Message) wire.Message { return refusal(m, wire.Stale) }

// Refuse answers a request to a copy or a head on a node that does not know the
// volume yet. nil: it needs no answer.
func Refuse(m wire.Message) wire.Message {
	switch m := m.(type) {
	case *wire.Submit:
		return &wire.Done{Req: m.Req, Status: wire.NotHead}
	case *wire.Fence:
		return &wire.Fenced{Req: m.Req, Status: wire.NotHead}
	case *wire.Cleared:
		return &wire.Fenced{Req: m.Req, Status: wire.NotHead}
	}
	if IsRequest(m) {
		return refusal(m, wire.Missing)
	}
	return nil
}
