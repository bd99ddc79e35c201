package nvme

import (
	"crypto/sha256"
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"ashlar/target"
)

// SubsystemConfig is what an NVM subsystem is. All of it is the same through every node.
type SubsystemConfig struct {
	NQN           string
	Serial        string // unique for ever; 20 characters of it are told
	MaxNamespaces uint32 // NN and MNAN: the highest NSID, default 1024, at most 16384
	MayCache      bool   // a namespace with a write cache may be added; hosts look for one when they connect, and not again
}

// Subsystem is an NVM subsystem as seen through this node: its namespaces and the
// controllers that hosts have made here. All methods may be called from any
// goroutine, and none blocks.
type Subsystem struct {
	SubsystemConfig
	anaChanges atomic.Uint64 // of all groups

	mu          sync.Mutex
	namespaces  atomic.Pointer[namespaces] // read without mu; replaced, never changed, under it
	controllers map[*Controller]struct{}
}

// namespaces are a subsystem's namespaces.
type namespaces struct {
	byID    map[uint32]*namespace
	ordered []*namespace // by ascending NSID
}

// namespace is one namespace. Its ANA group has its number.
type namespace struct {
	subsystem *Subsystem
	id        uint32
	device    target.Device
	cancel    func() // ends the watch

	anaState   atomic.Uint32 // through this node
	anaChanges atomic.Uint64
	change     uint64 // of the reservations whose notices were told; under subsystem.mu
}

const mostNamespaces = 16384

var (
	errNSID  = errors.New("nvme: no such namespace number")
	errInUse = errors.New("nvme: namespace number in use")
)

// NewSubsystem makes a subsystem without namespaces.
func NewSubsystem(c SubsystemConfig) *Subsystem {
	if c.MaxNamespaces == 0 {
		c.MaxNamespaces = 1024
	}
	s := &Subsystem{SubsystemConfig: c, controllers: make(map[*Controller]struct{})}
	s.MaxNamespaces = min(s.MaxNamespaces, mostNamespaces)
	s.namespaces.Store(&namespaces{})
	return s
}

// Add maps a device to a namespace number, live: the hosts are told.
func (s *Subsystem) Add(nsid uint32, d target.Device) error {
	if nsid == 0 || nsid > s.MaxNamespaces {
		return errNSID
	}
	n := &namespace{subsystem: s, id: nsid, device: d}
	n.anaState.Store(uint32(n.pathState()))
	if r := d.Reservations(); r != nil {
		n.change = r.Change
	}
	cancel := d.Watch(n.event)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.namespaces.Load().byID[nsid] != nil {
		cancel()
		return errInUse
	}
	n.cancel = cancel
	s.replace(func(m map[uint32]*namespace) { m[nsid] = n })
	s.anaChanges.Add(1)
	for c := range s.controllers {
		c.namespaceChanged(nsid)
	}
	return nil
}

// Remove unmaps a namespace, live. done is called once, within 4 s: then nothing
// of what came in for it takes effect any more, unless it gets why that could not
// be proven.
func (s *Subsystem) Remove(nsid uint32, done func(error)) {
	s.mu.Lock()
	n := s.namespaces.Load().byID[nsid]
	var controllers []*Controller
	if n != nil {
		s.replace(func(m map[uint32]*namespace) { delete(m, nsid) })
		s.anaChanges.Add(1)
		for c := range s.controllers {
			controllers = append(controllers, c)
		}
	}
	s.mu.Unlock()
	w := newWait(done)
	defer w.release(nil)
	if n == nil {
		return
	}
	n.cancel()
	for _, c := range controllers {
		c.namespaceChanged(nsid)
		c.stopOn(n, w)
	}
}

// replace stores a changed copy of the namespaces; mu is held.
func (s *Subsystem) replace(change func(map[uint32]*namespace)) {
	next := &namespaces{byID: make(map[uint32]*namespace)}
	for id, n := range s.namespaces.Load().byID {
		next.byID[id] = n
	}
	change(next.byID)
	for _, n := range next.byID {
		next.ordered = append(next.ordered, n)
	}
	slices.SortFunc(next.ordered, func(a, b *namespace) int { return int(a.id) - int(b.id) })
	s.namespaces.Store(next)
}

// namespace is that of a number, or nil.
func (s *Subsystem) namespace(nsid uint32) *namespace { return s.namespaces.Load().byID[nsid] }

// each calls f for every controller.
func (s *Subsystem) each(f func(*Controller)) {
	s.mu.Lock()
	all := make([]*Controller, 0, len(s.controllers))
	for c := range s.controllers {
		all = append(all, c)
	}
	s.mu.Unlock()
	for _, c := range all {
		f(c)
	}
}

// event tells the hosts of a change of the device.
func (n *namespace) event(e target.Event) {
	switch e {
	case target.Resized:
		n.subsystem.each(func(c *Controller) { c.namespaceChanged(n.id) })
	case target.PathsChanged:
		if now := uint32(n.pathState()); n.anaState.Swap(now) != now {
			n.anaChanges.Add(1)
			n.subsystem.anaChanges.Add(1)
			n.subsystem.each((*Controller).anaChanged)
		}
	case target.Reserved:
		n.tellReserved()
	case target.Removed:
		// A listener must not end its own watch while it is being told.
		go n.subsystem.removeNamespace(n)
	}
}

// removeNamespace removes n, unless its number was given to another since.
func (s *Subsystem) removeNamespace(n *namespace) {
	if s.namespace(n.id) == n {
		s.Remove(n.id, func(error) {})
	}
}

// ANA states (NVMe Base 8.1.4).
const (
	anaOptimized    = 0x1
	anaNonOptimized = 0x2
	anaInaccessible = 0x3
)

// pathState is the ANA state through this node.
func (n *namespace) pathState() uint8 {
	groups, local := n.device.Groups()
	for _, g := range groups {
		if g.ID == local && g.State == target.Optimized {
			return anaOptimized
		}
	}
	return anaNonOptimized
}

// nguid is an EUI-64 based NGUID (NVMe Base 4.5.1) made of a NAA 6 designator: its
// vendor's extension, its OUI, its vendor's identifier.
func nguid(naa [16]byte) (id [16]byte) {
	copy(id[:8], naa[8:])
	for i := range 3 { // 24 bits of OUI, which begin after the NAA's 4
		id[8+i] = naa[i]<<4 | naa[i+1]>>4
	}
	id[11] = naa[3] & 0x0F
	copy(id[12:], naa[4:8])
	return id
}

// uuid is a version 8 UUID (RFC 9562 5.8) of a NAA designator.
func uuid(naa [16]byte) (id [16]byte) {
	h := sha256.Sum256(append([]byte("NVMe namespace of "), naa[:]...))
	copy(id[:], h[:])
	id[6] = id[6]&0x0F | 0x80
	id[8] = id[8]&0x3F | 0x80
	return id
}
