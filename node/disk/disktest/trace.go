package disktest

import (
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
)

// Trace is what a device was asked to do, in order, from Record on.
type Trace struct {
	mu      sync.Mutex
	size    int64
	base    pages
	events  []event
	writes  []recorded
	waiting map[int]bool // writes that returned and no Sync covers yet; their index in writes
}

type recorded struct {
	data    []byte
	off     int64
	through bool
}

type eventKind uint8

const (
	begun  eventKind = iota // write id was issued
	stable                  // the writes in ids are on stable storage
	marked                  // the test's mark
)

type event struct {
	kind eventKind
	ids  []int
	mark any
}

// Record starts a trace of m from what it now holds.
func (m *Memory) Record() *Trace {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.trace = &Trace{size: m.size, base: maps.Clone(m.below), waiting: map[int]bool{}}
	if m.trace.base == nil {
		m.trace.base = pages{}
	}
	maps.Copy(m.trace.base, m.data)
	return m.trace
}

func (t *Trace) begin(b []byte, off int64, through bool) int {
	if t == nil {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.writes = append(t.writes, recorded{slices.Clone(b), off, through})
	id := len(t.writes) - 1
	t.events = append(t.events, event{kind: begun, ids: []int{id}})
	return id
}

func (t *Trace) end(id int) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.writes[id].through {
		t.events = append(t.events, event{kind: stable, ids: []int{id}})
		return
	}
	t.waiting[id] = true
}

func (t *Trace) sync() {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.events = append(t.events, event{kind: stable, ids: slices.Sorted(maps.Keys(t.waiting))})
	clear(t.waiting)
}

// Mark puts a mark of the test between the writes: for example, that one was acknowledged.
func (t *Trace) Mark(mark any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.events = append(t.events, event{kind: marked, mark: mark})
}

// Len is how many moments there are to crash at: before each event, and at the end.
func (t *Trace) Len() int { return len(t.events) + 1 }

// Crash is the device at one moment: what is stable, and what is in flight.
type Crash struct {
	t        *Trace
	next     int // event
	stable   pages
	inFlight []int // indexes of writes, in the order of issue
}

// Start is the crash before the first event.
func (t *Trace) Start() *Crash { return &Crash{t: t, stable: maps.Clone(t.base)} }

// Step goes past one event: false at the end. mark is the test's, if it was one.
func (c *Crash) Step() (mark any, ok bool) {
	if c.next == len(c.t.events) {
		return nil, false
	}
	e := c.t.events[c.next]
	c.next++
	switch e.kind {
	case begun:
		c.inFlight = append(c.inFlight, e.ids...)
	case stable:
		for _, id := range e.ids {
			w := c.t.writes[id]
			c.stable.write(w.data, w.off)
		}
		c.inFlight = slices.DeleteFunc(c.inFlight, func(id int) bool { return slices.Contains(e.ids, id) })
	}
	return e.mark, true
}

// Moment is how many events lie behind.
func (c *Crash) Moment() int { return c.next }

// InFlight is how many writes a crash may leave out or tear.
func (c *Crash) InFlight() int { return len(c.inFlight) }

// InFlightIn is InFlight of a part of the device.
func (c *Crash) InFlightIn(from, to int64) (n int) {
	for _, id := range c.inFlight {
		if off := c.t.writes[id].off; from <= off && off < to {
			n++
		}
	}
	return n
}

// Image is the device after a crash that kept the writes in flight whose bit in
// keep is set (the first 64; later ones by chance), and tore some of them if r is not nil.
func (c *Crash) Image(keep uint64, r *rand.Rand) *Memory {
	m := &Memory{size: c.t.size, below: c.stable, data: pages{}}
	for i, id := range c.inFlight {
		w := c.t.writes[id]
		kept := i < 64 && keep&(1<<i) != 0 || i >= 64 && r != nil && r.IntN(2) == 0
		switch {
		case r != nil && r.IntN(3) == 0:
			m.tear(w, r)
		case kept:
			m.data.write(w.data, w.off)
		}
	}
	return m
}

// tear writes a random choice of w's sectors of 512 bytes, or a prefix of them.
func (m *Memory) tear(w recorded, r *rand.Rand) {
	b := make([]byte, len(w.data))
	m.ReadAt(b, w.off)
	sectors := len(b) / 512
	prefix, odds := -1, r.IntN(4)
	if r.IntN(2) == 0 {
		prefix = r.IntN(sectors + 1)
	}
	for i := range sectors {
		if prefix >= 0 && i < prefix || prefix < 0 && r.IntN(4) <= odds {
			copy(b[i*512:][:512], w.data[i*512:])
		}
	}
	m.data.write(b, w.off)
}

// Clone is an image of its own with m's content: m below, nothing shared that is written.
func (m *Memory) Clone() *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &Memory{size: m.size, below: m.below, data: maps.Clone(m.data)}
}
