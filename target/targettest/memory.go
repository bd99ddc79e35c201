package targettest

import (
	"encoding/binary"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"ashlar/target"
	"ashlar/target/reserve"
)

// chunkBytes is the unit of allocation, as in the real store.
const chunkBytes = 4096

// Options say what a Memory is. The zero value of a field stands for the one
// in parentheses.
type Options struct {
	ID         uint64             // (1)
	Name       string             // ("memory")
	Blocks     uint64             // capacity in logical blocks (64 MiB of them)
	BlockSize  uint32             // logical block, bytes (512)
	ReadOnly   bool               //
	WriteCache bool               //
	Groups     []target.PortGroup // (one, number 1, Optimized)
	Local      uint16             // this node's group (the first of Groups)
}

// Verdict is what becomes of an operation that an interceptor looked at. The
// zero Verdict lets it pass.
type Verdict struct {
	Hold   bool          // until Release; a fence ends it with Aborted
	Delay  time.Duration // before it is carried out; a fence ends it with Aborted
	Status target.Status // other than OK: the operation ends so, and does nothing
}

// Memory is a target.Device on sparse chunks of 4 KiB. Each operation is
// carried out whole under one lock, so overlapping ones are ordered and
// CompareAndWrite is atomic. An operation that is neither held nor delayed is
// done before Submit returns.
type Memory struct {
	*memory
	local uint16
}

// memory is what all nodes' views of one Memory share.
type memory struct {
	dataMu sync.RWMutex
	slabs  map[uint64]*slab
	claims claims // under dataMu

	mu        sync.Mutex
	info      target.Info
	groups    []target.PortGroup
	removed   bool
	intercept func(*target.Op) Verdict
	watchers  map[int]func(target.Event)
	ticket    uint64
	flight    map[uint64]target.Nexus // submitted, and Done has not returned
	parked    map[uint64]*parkedOp    // those of them that are held or delayed
	fences    []*fence
	keeps     atomic.Bool
	kept      []kept

	// reserved is replaced, never changed, under mu and with dataMu held to
	// write: what an operation was allowed is still so when it is carried out.
	reserved *reserve.State
}

type parkedOp struct {
	op    *target.Op
	timer *time.Timer // nil when held
}

// fence waits for the tickets that were in flight when it began.
type fence struct {
	waits map[uint64]struct{}
	done  func(error)
}

// NewMemory makes an empty device.
func NewMemory(o Options) *Memory {
	if o.ID == 0 {
		o.ID = 1
	}
	if o.Name == "" {
		o.Name = "memory"
	}
	if o.BlockSize == 0 {
		o.BlockSize = 512
	}
	if o.Blocks == 0 {
		o.Blocks = 64 << 20 / uint64(o.BlockSize)
	}
	if len(o.Groups) == 0 {
		o.Groups = []target.PortGroup{{ID: 1, State: target.Optimized}}
	}
	if o.Local == 0 {
		o.Local = o.Groups[0].ID
	}
	info := target.Info{ID: o.ID, Name: o.Name, BlockSize: o.BlockSize, Physical: chunkBytes, Blocks: o.Blocks,
		ReadOnly: o.ReadOnly, WriteCache: o.WriteCache, Atomic: 256 * o.BlockSize}
	info.NAA, info.Serial = identity(o.ID)
	return &Memory{local: o.Local, memory: &memory{
		slabs:    make(map[uint64]*slab),
		info:     info,
		groups:   slices.Clone(o.Groups),
		watchers: make(map[int]func(target.Event)),
		flight:   make(map[uint64]target.Nexus),
		parked:   make(map[uint64]*parkedOp),
	}}
}

// identity derives a designator and a serial number from a volume's number:
// NAA 6 with a locally administered identifier, for tests alone.
func identity(id uint64) (naa [16]byte, serial string) {
	naa[0] = 0x6A
	naa[1], naa[2] = 0x51, 0xA5
	binary.BigEndian.PutUint64(naa[8:], id)
	const digits = "0123456789abcdef"
	var b [16]byte
	for i := range b {
		b[i] = digits[id>>(60-4*i)&15]
	}
	return naa, string(b[:])
}

// Through is the same device as seen through another node, of port group local.
func (m *Memory) Through(local uint16) *Memory { return &Memory{memory: m.memory, local: local} }

// Info implements target.Device.
func (m *memory) Info() target.Info {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.info
}

// Groups implements target.Device.
func (m *Memory) Groups() ([]target.PortGroup, uint16) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.groups), m.local
}

// Stamp implements target.Device. A Memory has one reign, and takes any stamp.
func (m *memory) Stamp() target.Stamp { return target.Stamp{Epoch: 1} }

// Watch implements target.Device.
func (m *memory) Watch(listener func(target.Event)) (cancel func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ticket++
	id := int(m.ticket)
	m.watchers[id] = listener
	return func() {
		m.mu.Lock()
		delete(m.watchers, id)
		m.mu.Unlock()
	}
}

// tell calls the listeners, outside of the lock.
func (m *memory) tell(e target.Event) {
	m.mu.Lock()
	all := make([]func(target.Event), 0, len(m.watchers))
	for _, w := range m.watchers {
		all = append(all, w)
	}
	m.mu.Unlock()
	for _, w := range all {
		w(e)
	}
}

// Resize changes the capacity, in logical blocks.
func (m *memory) Resize(blocks uint64) {
	m.mu.Lock()
	m.info.Blocks = blocks
	m.mu.Unlock()
	m.tell(target.Resized)
}

// SetReadOnly protects the device, or ends that.
func (m *memory) SetReadOnly(on bool) {
	m.mu.Lock()
	m.info.ReadOnly = on
	m.mu.Unlock()
}

// SetGroups changes the path states.
func (m *memory) SetGroups(groups []target.PortGroup) {
	m.mu.Lock()
	m.groups = slices.Clone(groups)
	m.mu.Unlock()
	m.tell(target.PathsChanged)
}

// Remove ends the device: every operation from now on is answered Gone.
func (m *memory) Remove() {
	m.mu.Lock()
	m.removed = true
	m.mu.Unlock()
	m.tell(target.Removed)
}

// Intercept has f look at every operation that is submitted from now on; nil
// ends it. f must not call the Memory.
func (m *memory) Intercept(f func(*target.Op) Verdict) {
	m.mu.Lock()
	m.intercept = f
	m.mu.Unlock()
}

// Held is the number of operations that are held or delayed.
func (m *memory) Held() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.parked)
}

// Release carries out what is held, in the order of its submission.
func (m *memory) Release() {
	m.mu.Lock()
	var tickets []uint64
	for t, p := range m.parked {
		if p.timer == nil {
			tickets = append(tickets, t)
		}
	}
	m.mu.Unlock()
	slices.Sort(tickets)
	for _, t := range tickets {
		m.unpark(t)
	}
}

// unpark carries out a parked operation, unless a fence was faster.
func (m *memory) unpark(ticket uint64) {
	m.mu.Lock()
	p := m.parked[ticket]
	delete(m.parked, ticket)
	m.mu.Unlock()
	switch {
	case p == nil:
	case p.op.Kind == target.Reserve:
		m.reserve(ticket, p.op)
	default:
		p.op.Status = m.perform(p.op)
		m.complete(ticket, p.op)
	}
}

// Submit implements target.Device.
func (m *memory) Submit(op *target.Op) {
	m.mu.Lock()
	m.ticket++
	ticket := m.ticket
	m.flight[ticket] = op.Nexus
	var v Verdict
	if m.intercept != nil {
		v = m.intercept(op)
	}
	if m.removed {
		v = Verdict{Status: target.Gone}
	}
	if v.Status == target.OK && (v.Hold || v.Delay > 0) {
		p := &parkedOp{op: op}
		if !v.Hold {
			p.timer = time.AfterFunc(v.Delay, func() { m.unpark(ticket) })
		}
		m.parked[ticket] = p
		m.mu.Unlock()
		return
	}
	m.mu.Unlock()
	op.Status = v.Status
	switch {
	case v.Status != target.OK:
	case op.Kind == target.Reserve:
		m.reserve(ticket, op)
		return
	default:
		op.Status = m.perform(op)
	}
	m.complete(ticket, op)
}

// complete calls Done, then tells the fences. op is its submitter's again as
// soon as Done is called.
func (m *memory) complete(ticket uint64, op *target.Op) {
	if m.keeps.Load() && op.Lends {
		m.keep(op)
	}
	op.Done(op)
	m.mu.Lock()
	delete(m.flight, ticket)
	var ready []*fence
	m.fences = slices.DeleteFunc(m.fences, func(f *fence) bool {
		delete(f.waits, ticket)
		if len(f.waits) == 0 {
			ready = append(ready, f)
			return true
		}
		return false
	})
	m.mu.Unlock()
	for _, f := range ready {
		f.done(nil)
	}
}

// covers says whether a fence of scope s for nexus n covers the operations of o.
func covers(s target.Scope, n, o target.Nexus) bool {
	switch s {
	case target.FenceNexus:
		return n.Ports().Covers(o.Ports()) && o.Generation <= n.Generation
	case target.FenceHost:
		return n.Host == o.Host
	}
	return true
}

// Fence implements target.Device. FenceHost compares Nexus.Host whole.
func (m *memory) Fence(scope target.Scope, nexus target.Nexus, done func(error)) {
	switch scope {
	case target.FenceUnit:
		m.tell(target.UnitReset)
	case target.FenceTasks:
		m.tell(target.Cleared)
	}
	m.mu.Lock()
	f := &fence{waits: make(map[uint64]struct{}), done: done}
	aborted := make(map[uint64]*target.Op)
	for t, n := range m.flight {
		if !covers(scope, nexus, n) {
			continue
		}
		f.waits[t] = struct{}{}
		if p := m.parked[t]; p != nil {
			if p.timer != nil {
				p.timer.Stop()
			}
			aborted[t] = p.op
			delete(m.parked, t)
		}
	}
	if len(f.waits) > 0 {
		m.fences = append(m.fences, f)
		f = nil
	}
	m.mu.Unlock()
	for t, op := range aborted {
		op.Status = target.Aborted
		m.complete(t, op)
	}
	if f != nil {
		f.done(nil)
	}
}
