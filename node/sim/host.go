package sim

import (
	"encoding/binary"
	"fmt"

	"ashlar/replication/wire"
)

const (
	sector      = 512
	sectors     = wire.BlockSize / sector // of a block
	pathTimeout = 5 * second
)

// host is an initiator with multipath: several paths to each volume, of which it
// uses one until that fails.
type host struct {
	w     *world
	name  string
	at    place
	paths [][]*path // by volume
	known map[cell]tag
	both  bool
	hasty bool // does not wait for a path that broke, but goes on with another at once
}

// path is a host's session with a volume through one portal.
type path struct {
	h       *host
	volume  wire.VolumeID
	s       *server
	c       *conn
	up      bool
	broken  int64 // since when it is down
	waiting map[int]*operation
	order   []int // of waiting
}

// operation is what a host wants done; it ends when a path answers it.
type operation struct {
	h        *host
	id       int
	volume   wire.VolumeID
	kind     wire.OpKind
	offset   uint64
	length   uint64
	fua      bool
	tag      tag // of the data written; 0: zeros
	expected tag // compare-and-write
	path     *path
	attempts []int64       // when each was sent
	received map[int]int64 // when an attempt, by its number from 1, came to a portal
	resent   []resent
	twin     *operation // another that asks for the same, as another process of the host would
	from     *hostConn  // the portal's session that answered it
	second   bool       // of the twins: over another path, if there is one
	ended    int64
	status   wire.Status
	read     []tag // by sector
	torn     bool
	then     func()
}

// resent is a portal's second sending of an attempt.
type resent struct {
	attempt int
	at      int64
}

// tag stands for a sector's content: it says which operation wrote it.
type tag uint64

// fill makes a sector's content of a tag: a torn one is noticed.
func fill(b []byte, t tag) {
	for i := 0; i < len(b); i += sector {
		binary.LittleEndian.PutUint64(b[i:], uint64(t))
		binary.LittleEndian.PutUint64(b[i+sector-8:], uint64(t))
	}
}

func tagOf(b []byte) (tag, bool) {
	first, last := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[sector-8:])
	return tag(first), first == last
}

// connect opens a path, again and again until it is there.
func (x *path) connect() {
	w := x.h.w
	again := func() { w.after(w.between(200*millisecond, second), x.connect) }
	if x.c != nil {
		return
	}
	open, _ := x.s.reachable(x.h.at)
	if !open {
		again()
		return
	}
	c := w.net.dial(x.h.at, x.s.at)
	x.c = c
	c.ends[0].receive = func(msg any) {
		if x.c != c {
			return
		}
		switch m := msg.(type) {
		case welcome:
			x.up = true
			x.h.retry(x)
		case *answer:
			x.answered(m)
		}
	}
	c.ends[0].lost = func() {
		if x.c == c {
			x.lost()
			again()
		}
	}
	x.s.process.acceptHost(c, x.h, x.volume)
	c.send(0, login{})
	w.after(pathTimeout, func() {
		if x.c == c && !x.up {
			c.close(0)
			x.c = nil
			again()
		}
	})
}

// lost is the end of the path's connection: its commands wait for it to come
// back, for a while.
func (x *path) lost() {
	x.c = nil
	if x.up {
		x.up = false
		x.broken = x.h.w.now
	}
	for _, id := range x.order {
		op := x.waiting[id]
		if op == nil {
			continue
		}
		if x.h.hasty {
			x.h.w.after(0, func() { op.giveUp(x) })
		} else {
			x.h.w.after(pathTimeout, func() { op.giveUp(x) })
		}
	}
}

// giveUp moves an operation from a path that did not come back to another.
func (op *operation) giveUp(x *path) {
	if op.ended == 0 && op.path == x && !x.up && (x.h.hasty || x.h.w.now-x.broken >= pathTimeout) {
		x.forget(op)
		op.begin()
	}
}

func (x *path) forget(op *operation) {
	delete(x.waiting, op.id)
	for i, id := range x.order {
		if id == op.id {
			x.order = append(x.order[:i], x.order[i+1:]...)
			break
		}
	}
	op.path = nil
}

// retry sends again what waited for a path, and what waited for any.
func (h *host) retry(x *path) {
	for _, id := range append([]int(nil), x.order...) {
		if op := x.waiting[id]; op != nil {
			op.send(x)
		}
	}
	for _, op := range h.w.stranded(h, x.volume) {
		op.begin()
	}
}

// begin sends an operation over the path in use, or another that is up; where
// none is, it waits for one.
func (op *operation) begin() {
	if op.ended != 0 || op.path != nil {
		return
	}
	h := op.h
	paths := h.paths[op.volume-1]
	first := 0
	if h.both {
		first = h.w.rng.IntN(len(paths))
	} else if op.second {
		first = 1
	}
	for i := range paths {
		x := paths[(first+i)%len(paths)]
		if x.up {
			op.path = x
			x.waiting[op.id] = op
			x.order = append(x.order, op.id)
			op.send(x)
			return
		}
	}
	h.w.strand(op)
}

func (op *operation) send(x *path) {
	w := op.h.w
	op.attempts = append(op.attempts, w.now)
	n := len(op.attempts)
	m := &command{id: op.id<<8 | n&255, kind: op.kind, offset: op.offset, length: op.length, fua: op.fua}
	switch op.kind {
	case wire.OpWrite:
		m.data = make([]byte, op.length)
		fill(m.data, op.tag)
	case wire.OpCompareAndWrite:
		m.data = make([]byte, 2*op.length)
		fill(m.data[:op.length], op.expected)
		fill(m.data[op.length:], op.tag)
	}
	w.note("send", int64(op.id), int64(n), int64(x.s.id), int64(op.kind), int64(op.volume), int64(op.offset), int64(op.length), int64(op.tag))
	c := x.c
	c.send(0, m)
	w.after(pathTimeout, func() {
		if op.ended == 0 && op.path == x && len(op.attempts) == n && x.c == c {
			x.fail()
		}
	})
}

// patience is for how long commands of a path that was given up wait for it (the
// replacement time-out of an iSCSI initiator). Commands that were sent a moment
// before the path was given up are no older than that elsewhere, so it must be
// longer than a token lives.
func (h *host) patience() int64 {
	if h.hasty {
		return 0
	}
	return 2 * second
}

// fail gives a path up whose portal does not answer: its commands go elsewhere.
func (x *path) fail() {
	w := x.h.w
	w.note("path", int64(x.h.at), int64(x.s.id))
	if w.chance(0.3) {
		x.c.vanish(0) // its last word is lost
	} else {
		x.c.close(0)
	}
	x.c, x.up = nil, false
	order := append([]int(nil), x.order...)
	for _, id := range order {
		if op := x.waiting[id]; op != nil {
			x.forget(op)
			w.after(x.h.patience(), op.begin)
		}
	}
	w.after(w.between(200*millisecond, 2*second), x.connect)
}

func (x *path) answered(a *answer) {
	if x.h.acknowledges(a) {
		x.c.send(0, acknowledge{a.id})
	}
	op := x.waiting[a.id>>8]
	if op == nil || a.id&255 != len(op.attempts)&255 {
		return
	}
	w := x.h.w
	w.note("answer", int64(op.id), int64(a.status))
	switch a.status {
	case wire.OK, wire.Miscompare, wire.CacheLost:
		x.forget(op)
		op.from = a.from
		op.end(a)
	case wire.NoSpace: // a host that tries again at once would only ask more often
		x.forget(op)
		w.after(w.between(second, 2*second), op.begin)
	default:
		w.counts.busy++
		x.forget(op)
		w.after(w.between(10*millisecond, 100*millisecond), op.begin)
	}
}

func (op *operation) end(a *answer) {
	op.ended, op.status = op.h.w.now, a.status
	if op.kind == wire.OpRead {
		for i := 0; i < len(a.data); i += sector {
			t, whole := tagOf(a.data[i:])
			op.read = append(op.read, t)
			op.torn = op.torn || !whole
		}
	}
	op.learn()
	if op.torn {
		op.h.w.violate("operation %d read a torn sector", op.id)
	}
	op.then()
}

// acknowledges says whether a host tells its portal that it has an answer: of what
// nobody asks, it does not.
func (h *host) acknowledges(a *answer) bool {
	return a.status == wire.OK && h.w.operations[a.id>>8-1].kind == wire.OpCompareAndWrite
}

// again is a portal's second sending. A comparison is carried out once, however
// often its portal sends it.
func (op *operation) again(attempt int, now int64) {
	if op.ended == 0 && (op.kind == wire.OpWrite || op.kind == wire.OpZero) && len(op.resent) < 4 {
		op.resent = append(op.resent, resent{attempt, now})
	}
}

// arrived notes when an attempt came to a portal. Only the first 255 are told apart.
func (op *operation) arrived(attempt int, now int64) {
	if op.received == nil {
		op.received = map[int]int64{}
	}
	op.received[attempt] = now
}

// learn keeps what the host knows, for it to compare with later.
func (op *operation) learn() {
	first := op.offset / sector
	for i := range op.length / sector {
		c := cell{op.volume, first + i}
		switch {
		case op.kind == wire.OpRead:
			op.h.known[c] = op.read[i]
		case op.status == wire.OK && op.kind != wire.OpFlush:
			op.h.known[c] = op.tag
		}
	}
}

func (op *operation) String() string {
	return fmt.Sprintf("operation %d of %s: kind %d volume %d %d+%d tag %d expects %d, sent %v resent %v, ended %d %v read %v", op.id, op.h.name, op.kind,
		op.volume, op.offset/sector, op.length/sector, op.tag, op.expected, op.attempts, op.resent, op.ended, op.status, op.read)
}
