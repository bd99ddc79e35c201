package scsi

import (
	"errors"
	"sort"
	"sync"
	"sync/atomic"

	"ashlar/target"
)

// Config is what a target is.
type Config struct {
	Name string // the target device's iSCSI name, for the SCSI name strings of VPD page 83h

	// Find is the target with the unit of an NAA designator, as a host may use it
	// now through this node, or nil. EXTENDED COPY asks for units that are not the
	// target's own, with the host's name as given to Login. It answers from memory,
	// from any goroutine. nil: there are none.
	Find func(host string, naa [16]byte) *Target
}

// Target is one SCSI target device as seen through this node: its logical
// units and the nexuses that are logged in. All methods may be called from any
// goroutine, and none blocks.
type Target struct {
	name string
	find func(host string, naa [16]byte) *Target

	copies atomic.Int32 // EXTENDED COPY commands under way

	mu      sync.Mutex
	units   atomic.Pointer[map[uint16]*unit] // read without mu; replaced, never changed, under it
	nexuses map[*Nexus]struct{}
	removed map[uint16]struct{} // numbers that a unit had which is no more
}

// unit is one logical unit of a target.
type unit struct {
	target *Target
	number uint16
	device target.Device
	cancel func() // ends the watch

	statistics *statistics

	// resets counts this target's own fences of the whole unit under way: what
	// they mean to the nexuses is told by the function that asked for them.
	resets atomic.Int32

	// change is that of the reservations whose notices the nexuses have been
	// told; under target.mu.
	change uint64
}

// NewTarget makes a target without logical units.
func NewTarget(c Config) *Target {
	t := &Target{name: c.Name, find: c.Find, nexuses: make(map[*Nexus]struct{}), removed: make(map[uint16]struct{})}
	t.units.Store(&map[uint16]*unit{})
	return t
}

// maxLUN is the largest logical unit number of the flat space addressing
// method (SAM-5 4.7.5).
const maxLUN = 0x3FFF

var (
	errLUN   = errors.New("scsi: logical unit number above 16383")
	errInUse = errors.New("scsi: logical unit number in use")
)

// Add maps a device to a logical unit number, live: the nexuses are told.
func (t *Target) Add(lun uint16, d target.Device) error {
	if lun > maxLUN {
		return errLUN
	}
	u := &unit{target: t, number: lun, device: d, statistics: newStatistics()}
	if s := d.Reservations(); s != nil {
		u.change = s.Change
	}
	cancel := d.Watch(u.event)
	t.mu.Lock()
	defer t.mu.Unlock()
	if (*t.units.Load())[lun] != nil {
		cancel()
		return errInUse
	}
	u.cancel = cancel
	others := *t.units.Load()
	t.replaceUnits(func(m map[uint16]*unit) { m[lun] = u })
	_, again := t.removed[lun]
	for n := range t.nexuses {
		n.inventoryChanged(others)
		n.raise(u, powerOn)
		if again { // a host may take it for the one that was there
			n.raise(u, inventoryChanged)
			n.raise(u, inquiryChanged)
		}
	}
	return nil
}

// Remove unmaps a logical unit number, live. done is called once, within 4 s: then
// nothing of what came in for it takes effect any more, unless that could not be
// proven (FunctionRejected).
func (t *Target) Remove(lun uint16, done func(TMFResult)) {
	w := newWait(done)
	defer w.release()
	var nexuses []*Nexus
	t.mu.Lock()
	u := (*t.units.Load())[lun]
	if u != nil {
		t.replaceUnits(func(m map[uint16]*unit) { delete(m, lun) })
		t.removed[lun] = struct{}{}
		for n := range t.nexuses {
			nexuses = append(nexuses, n)
			n.forget(u)
			n.inventoryChanged(*t.units.Load())
		}
	}
	t.mu.Unlock()
	for _, n := range nexuses {
		n.clearTasks(u)
		w.fence(u.device, target.FenceNexus, n.id, nil)
	}
	if u != nil && u.cancel != nil {
		u.cancel()
	}
}

// replaceUnits stores a changed copy of the unit map; mu is held.
func (t *Target) replaceUnits(change func(map[uint16]*unit)) {
	m := make(map[uint16]*unit)
	for k, u := range *t.units.Load() {
		m[k] = u
	}
	change(m)
	t.units.Store(&m)
}

// Login starts an I_T nexus. host is the host's name without its port.
func (t *Target) Login(id target.Nexus, host string) *Nexus {
	n := &Nexus{target: t, id: id, host: host, began: clock(), units: make(map[*unit]*nexusUnit)}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, u := range *t.units.Load() {
		n.raise(u, powerOn)
	}
	t.nexuses[n] = struct{}{}
	return n
}

// Stamp says when the last byte of a command for a logical unit was read; a
// carrier asks for it right after that read.
func (t *Target) Stamp(lun uint64) target.Stamp {
	if u := t.unit(lun); u != nil {
		return u.device.Stamp()
	}
	return target.Stamp{}
}

// unit is the logical unit of a LUN as on the wire, or nil.
func (t *Target) unit(lun uint64) *unit {
	n, ok := parseLUN(lun)
	if !ok {
		return nil
	}
	return (*t.units.Load())[n]
}

// numbers are the logical unit numbers in ascending order.
func (t *Target) numbers() []uint16 {
	m := *t.units.Load()
	all := make([]uint16, 0, len(m))
	for n := range m {
		all = append(all, n)
	}
	sort.Slice(all, func(i, j int) bool { return all[i] < all[j] })
	return all
}

// event tells the nexuses of a change of the device.
func (u *unit) event(e target.Event) {
	switch e {
	case target.Resized:
		u.target.raise(u, capacityChanged)
	case target.PathsChanged:
		u.target.raise(u, accessStateChanged)
	case target.Reserved:
		u.target.tellReserved(u)
	case target.UnitReset:
		if u.resets.Load() == 0 {
			u.target.clearTasks(u, false)
			u.target.resetNexuses(u)
		}
	case target.Cleared:
		if u.resets.Load() == 0 {
			u.target.clearTasks(u, true)
		}
	case target.Removed:
		// A listener must not end its own watch while it is being told.
		go u.target.removeUnit(u)
	}
}

// removeUnit removes u, unless its number was given to another since.
func (t *Target) removeUnit(u *unit) {
	if (*t.units.Load())[u.number] == u {
		t.Remove(u.number, func(TMFResult) {})
	}
}

// raise establishes a unit attention on every nexus.
func (t *Target) raise(u *unit, a attention) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for n := range t.nexuses {
		n.raise(u, a)
	}
}

// resetNexuses is what a logical unit reset does to every nexus, the one that
// asked for it included (SAM-5 6.3.3): mode pages go back to their defaults, and
// a unit attention tells of it.
func (t *Target) resetNexuses(u *unit) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for n := range t.nexuses {
		n.reset(u)
		n.raise(u, unitReset)
	}
}
