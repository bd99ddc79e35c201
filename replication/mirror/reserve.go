package mirror

import (
	"math"
	"slices"

	"ashlar/replication/wire"
)

// A change of the reservations takes effect at one moment of the head: when the
// View that has it comes in. What starts later is judged by it. What started
// before is let go on, and has ended when the change is answered: so a host that
// has lost its access is heard of no more after that, and no other host waits
// while the cluster agrees. To abort commands is to fence their nexuses at the
// same moment, here and at every portal.

// change is one that the cluster has agreed on, and what its answer waits for.
type change struct {
	op    *Op
	count uint64 // Reservations.Changes that a View has with it
	abort []wire.Nexus
	left  int // operations that started before
}

// allows says whether the reservations let an operation start.
func (h *Head) allows(op *Op) bool {
	return h.reserved == nil || h.reserved.Allows(op.Nexus, op.Kind)
}

// Reserved says that the cluster has answered an operation of Actions.Reserve:
// with which change that is true (0: as things are), and whose commands it aborts.
func (h *Head) Reserved(now int64, op *Op, count uint64, abort []wire.Nexus) {
	h.now = now
	if h.deposed || op.answered {
		return
	}
	h.changes = append(h.changes, &change{op: op, count: count, abort: abort})
	h.agreed()
}

// Unreserved says that the cluster gave no answer.
func (h *Head) Unreserved(now int64, op *Op) {
	h.now = now
	if !h.deposed && !op.answered {
		h.drop(op, wire.Busy)
	}
}

// agreed lets the changes that are in the View take effect.
func (h *Head) agreed() {
	var ready []*change
	h.changes = slices.DeleteFunc(h.changes, func(c *change) bool {
		yes := c.count == 0 || h.reserved != nil && h.reserved.Changes() >= c.count
		if yes {
			ready = append(ready, c)
		}
		return yes
	})
	for _, c := range ready {
		c.left = 1
		h.abortOf(c)
		for op := range h.ops {
			if op.started {
				op.drains = append(op.drains, c)
				c.left++
			}
		}
		h.drained(c)
	}
}

// abortOf aborts the commands of nexuses, whatever session of theirs.
func (h *Head) abortOf(c *change) {
	if len(c.abort) == 0 {
		return
	}
	m := &wire.Clear{Scope: wire.FenceNexus}
	for _, n := range c.abort {
		n.Generation = math.MaxUint64
		m.Nexuses = append(m.Nexuses, n)
		h.abort(func(op *Op) bool { return Covers(wire.FenceNexus, n, op.Nexus) })
	}
	c.left++
	h.clear(m, wire.Portal{}, func() { h.drained(c) })
}

// drained counts one operation that a change waited for.
func (h *Head) drained(c *change) {
	if c.left--; c.left == 0 && !h.deposed {
		h.conclude(c.op, wire.OK)
	}
}
