package targettest

import (
	"math"
	"sync/atomic"

	"ashlar/target"
	"ashlar/target/reserve"
)

// Reservations implements target.Device.
func (m *memory) Reservations() *reserve.State {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.reserved
}

// apply makes a request of the reservations. Operations that are being carried
// out end first.
func (m *memory) apply(r reserve.Request) (after *reserve.State, result reserve.Result, changed bool) {
	m.dataMu.Lock()
	defer m.dataMu.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	var before reserve.State
	if m.reserved != nil {
		before = *m.reserved
	}
	next, result := reserve.Apply(before, r)
	if changed = next.Change != before.Change; changed {
		m.reserved = &next
	}
	return m.reserved, result, changed
}

// reserve carries out a Reserve operation: change, tell, fence, answer.
func (m *memory) reserve(ticket uint64, op *target.Op) {
	after, result, changed := m.apply(*op.Request)
	if changed {
		m.tell(target.Reserved)
	}
	op.Status, op.Reserved, op.After = target.OK, result, after
	var left atomic.Int32
	left.Store(1)
	answer := func(error) {
		if left.Add(-1) == 0 {
			m.complete(ticket, op)
		}
	}
	for _, n := range result.Abort {
		left.Add(1)
		m.Fence(target.FenceNexus, target.Nexus{Host: n.Host, Port: n.Port, Generation: math.MaxUint64}, answer)
	}
	answer(nil)
}

// LosePower is a loss of power of the whole device: what APTPL does not keep is gone.
func (m *memory) LosePower() {
	m.apply(reserve.Request{Kind: reserve.PowerLost})
	m.tell(target.Reserved)
	m.tell(target.UnitReset)
}
