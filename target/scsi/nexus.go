package scsi

import (
	"sync"
	"sync/atomic"

	"ashlar/target"
)

// Nexus is an I_T nexus that is logged in: its tasks, and what each logical
// unit keeps for it.
type Nexus struct {
	target *Target
	id     target.Nexus
	host   string

	began     int64        // when it logged in, by clock
	checked   atomic.Int64 // when its host checked the path last
	withdrawn atomic.Bool  // see Withdraw

	mu    sync.Mutex
	gone  bool // logged out: no task enters
	units map[*unit]*nexusUnit
	first *Task                                 // the tasks under way, in no order
	clear func(match func(lun uint64) bool) int // see OnClear
}

// nexusUnit is what a logical unit keeps per I_T nexus. All of it is under
// Nexus.mu.
type nexusUnit struct {
	attentions []attention // pending unit attention conditions, oldest first, no two equal
	modes      modes
	copies     []*copied // under way, and the last that have ended, oldest first
}

// modes are the mode parameters that a host may change. They are kept per I_T
// nexus (mode page policy 11b, SPC-4 7.8.15), so no other host is affected.
type modes struct {
	descriptorSense bool // D_SENSE
	writeProtect    bool // SWP
}

// ID is the nexus as given to Login.
func (n *Nexus) ID() target.Nexus { return n.id }

// Host is the host's name as given to Login.
func (n *Nexus) Host() string { return n.host }

// unit returns what u keeps for n; mu is held.
func (n *Nexus) unit(u *unit) *nexusUnit {
	k := n.units[u]
	if k == nil {
		k = &nexusUnit{}
		n.units[u] = k
	}
	return k
}

// forget drops what a removed unit kept.
func (n *Nexus) forget(u *unit) {
	n.mu.Lock()
	delete(n.units, u)
	n.mu.Unlock()
}

// enter puts a task among those under way and tells it the modes. It is false
// when the nexus has been logged out.
func (n *Nexus) enter(t *Task) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.gone {
		return false
	}
	t.previous, t.next = nil, n.first
	if n.first != nil {
		n.first.previous = t
	}
	n.first = t
	t.entered = true
	if t.unit != nil {
		t.modes = n.unit(t.unit).modes
	}
	return true
}

// leave takes a task from those under way. Whether it was aborted is settled
// here, once: an abort that comes later finds no such task.
func (n *Nexus) leave(t *Task) (waiters []*wait) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if t.previous != nil {
		t.previous.next = t.next
	} else {
		n.first = t.next
	}
	if t.next != nil {
		t.next.previous = t.previous
	}
	t.previous, t.next, t.entered = nil, nil, false
	t.Aborted = t.aborting.Load()
	waiters, t.waiters = t.waiters, nil
	return waiters
}

// setModes changes the mode parameters of a unit for this nexus.
func (n *Nexus) setModes(u *unit, m modes) {
	n.mu.Lock()
	n.unit(u).modes = m
	n.mu.Unlock()
}

// modesOf are the mode parameters of a unit for this nexus.
func (n *Nexus) modesOf(u *unit) modes {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.unit(u).modes
}

// reset is what a reset of a unit means to a nexus: what MODE SELECT did is
// undone, and what became of its copies is forgotten.
func (n *Nexus) reset(u *unit) {
	n.mu.Lock()
	defer n.mu.Unlock()
	k := n.unit(u)
	k.modes, k.copies = modes{}, nil
}
