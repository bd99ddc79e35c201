package nvme

import (
	"crypto/sha256"

	"ashlar/target"
	"ashlar/target/reserve"
)

// Reservations are kept for hosts, whatever controller they use: a registrant is a
// host's name, through every port. SCSI keeps them for I_T nexuses in the same
// State, so that each protocol's hosts find the other's.

// reservationTypes are the types as NVMe numbers them.
var reservationTypes = [...]reserve.Type{
	1: reserve.WriteExclusive, 2: reserve.ExclusiveAccess,
	3: reserve.WriteExclusiveRegistrantsOnly, 4: reserve.ExclusiveAccessRegistrantsOnly,
	5: reserve.WriteExclusiveAllRegistrants, 6: reserve.ExclusiveAccessAllRegistrants,
}

// typeNumber is how NVMe numbers a type.
func typeNumber(t reserve.Type) byte {
	for n, o := range reservationTypes {
		if o == t && n > 0 {
			return byte(n)
		}
	}
	return 0
}

const (
	ignoreKey = 1 << 3 // IEKEY
	keepPTPL  = 0      // CPTPL: no change
	clearPTPL = 2
	setPTPL   = 3
)

// reservationRegister is Reservation Register (NVMe Base 7.3).
func reservationRegister(r *Request) {
	const register, unregister, replace = 0, 1, 2
	d := r.Command.DW(10)
	current, next := le.Uint64(r.Data), le.Uint64(r.Data[8:])
	me := r.controller.instance.Host.reserveNexus()
	now := r.space.device.Reservations()
	if now == nil {
		now = &reserve.State{}
	}
	q := &reserve.Request{Kind: reserve.Register, Key: current, Service: next, APTPL: now.APTPL}
	if d&ignoreKey != 0 {
		q.Kind = reserve.RegisterAndIgnore
	}
	switch d >> 30 {
	case keepPTPL:
	case clearPTPL:
		q.APTPL = false
	case setPTPL:
		q.APTPL = true
	default:
		r.fail(InvalidField)
		return
	}
	switch d & 7 {
	case register:
		q.Kind, q.Key = reserve.Register, 0
		if now.Registered(me) == next { // again
			q.Key = next
		}
	case unregister:
		q.Service = 0
		if now.Registered(me) == 0 {
			q.Kind, q.Key = reserve.Register, noKey
		}
	case replace:
		if d&ignoreKey == 0 && now.Registered(me) == 0 {
			q.Key = noKey
		}
	default:
		r.fail(InvalidField)
		return
	}
	if d&7 != unregister && next == 0 {
		r.fail(InvalidField)
		return
	}
	r.reserve(q)
}

// noKey is one that no registrant asks with who is none: it conflicts.
const noKey = 1<<64 - 1

// reservationAcquire is Reservation Acquire (NVMe Base 7.2).
func reservationAcquire(r *Request) {
	kinds := [...]reserve.Kind{reserve.Reserve, reserve.Preempt, reserve.PreemptAndAbort}
	d := r.Command.DW(10)
	kind, ok := reservationType(d)
	if int(d&7) >= len(kinds) || d&ignoreKey != 0 || !ok {
		r.fail(InvalidField)
		return
	}
	r.reserve(&reserve.Request{Kind: kinds[d&7], Key: le.Uint64(r.Data), Service: le.Uint64(r.Data[8:]), Type: kind})
}

// reservationRelease is Reservation Release (NVMe Base 7.5).
func reservationRelease(r *Request) {
	const release, clear = 0, 1
	d := r.Command.DW(10)
	q := &reserve.Request{Kind: reserve.Release, Key: le.Uint64(r.Data)}
	switch d & 7 {
	case release:
		kind, ok := reservationType(d)
		if !ok {
			r.fail(InvalidField)
			return
		}
		q.Type = kind
	case clear:
		q.Kind = reserve.Clear
	default:
		r.fail(InvalidField)
		return
	}
	if d&ignoreKey != 0 {
		r.fail(InvalidField)
		return
	}
	r.reserve(q)
}

// reservationType is RTYPE.
func reservationType(d uint32) (reserve.Type, bool) {
	n := d >> 8 & 0xFF
	if n == 0 || int(n) >= len(reservationTypes) {
		return reserve.None, false
	}
	return reservationTypes[n], true
}

// reserve sends a request for the host.
func (r *Request) reserve(q *reserve.Request) {
	q.Nexus = r.controller.instance.Host.reserveNexus()
	r.Op.Request = q
	r.submit(target.Reserve, 0, 0, nil, reserveDone)
}

// reserveDone tells the host what its request came to.
func reserveDone(r *Request) {
	switch r.Op.Reserved.Status {
	case reserve.Good:
		r.ok()
	case reserve.Conflict, reserve.InvalidKey:
		r.fail(ReservationConflict)
	case reserve.NoResources:
		r.finish(Interrupted | retryLater)
	default:
		r.fail(InvalidField)
	}
}

func reportSize(_ *Controller, cmd *Command) (uint32, Status) {
	n := uint64(cmd.DW(10)) + 1
	if n > MaxTransfer/4 {
		return 0, InvalidField | DoNotRetry
	}
	return uint32(4 * n), Success
}

// reservationReport is Reservation Report (NVMe Base 7.4). Host Identifiers are of
// 128 bits here, so only the extended structure is there.
func reservationReport(r *Request) {
	const extended = 1
	if r.Command.DW(11)&extended == 0 {
		r.fail(HostIDInconsistent)
		return
	}
	r.Op.Request = &reserve.Request{Kind: reserve.Look, Nexus: r.controller.instance.Host.reserveNexus()}
	r.submit(target.Reserve, 0, 0, nil, func(r *Request) {
		s := r.Op.After
		if s == nil {
			s = &reserve.State{}
		}
		page := reservationStatus(s)
		clear(r.Data[copy(r.Data, page):])
		r.ok()
	})
}

const (
	reportHeader = 64
	reportEntry  = 64
)

func reservationStatus(s *reserve.State) []byte {
	b := make([]byte, reportHeader, reportHeader+reportEntry*len(s.Registrants))
	le.PutUint32(b, s.Generation)
	b[4] = typeNumber(s.Type)
	le.PutUint16(b[5:], uint16(len(s.Registrants)))
	if s.APTPL {
		b[9] = persistsThroughPower
	}
	for _, reg := range s.Registrants {
		e := make([]byte, reportEntry)
		le.PutUint16(e, anyController)
		if s.Holds(reg.Nexus) {
			e[2] = 1
		}
		le.PutUint64(e[8:], reg.Key)
		id, ok := hostID(reg.Host)
		if !ok { // of SCSI: a name that stands for it, the same from every node
			h := sha256.Sum256([]byte(reg.Host))
			copy(id[:], h[:])
		}
		copy(e[16:], id[:])
		b = append(b, e...)
	}
	return b
}

// Kinds of reservation notification (NVMe Base 5.16.1.31).
const (
	registrationPreempted = 1
	reservationReleased   = 2
	reservationPreempted  = 3
)

var noticeKinds = map[reserve.Attention]uint8{
	reserve.RegistrationsPreempted: registrationPreempted,
	reserve.ReservationsReleased:   reservationReleased,
	reserve.ReservationsPreempted:  reservationPreempted,
}

// reservationNotice is one page of log 80h.
type reservationNotice struct {
	count uint64
	kind  uint8
	nsid  uint32
}

// mostNotices bounds what a controller keeps for a host that does not read it.
const mostNotices = 64

// tellReserved tells hosts what has come of the reservations since it was last told.
func (n *namespace) tellReserved() {
	s := n.device.Reservations()
	if s == nil {
		return
	}
	n.subsystem.mu.Lock()
	notices, _ := s.Since(n.change)
	n.change = max(n.change, s.Change)
	n.subsystem.mu.Unlock()
	if len(notices) == 0 {
		return
	}
	n.subsystem.each(func(c *Controller) {
		me := c.instance.Host.reserveNexus()
		for _, notice := range notices {
			if notice.Nexus == me {
				c.reservationChanged(n.id, noticeKinds[notice.Attention])
			}
		}
	})
}

func (c *Controller) reservationChanged(nsid uint32, kind uint8) {
	c.mu.Lock()
	masked := c.features.masks[nsid]&(1<<kind) != 0
	c.mu.Unlock()
	if masked {
		return
	}
	c.raise(reservationEvent, 0, func(e *events) {
		e.noticeCount++
		if len(e.reservations) == mostNotices {
			e.reservations = e.reservations[1:]
		}
		e.reservations = append(e.reservations, reservationNotice{e.noticeCount, kind, nsid})
	})
}
