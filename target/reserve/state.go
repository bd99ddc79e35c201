package reserve

import (
	"cmp"
	"slices"
	"strings"
)

// Nexus is an I_T nexus by the names of its ports.
type Nexus struct {
	Host string // initiator port: IQN and ISID ("iqn...,i,0x..."), or host NQN and Host ID
	Port uint16 // relative target port id; 0 stands for every port (NVMe registers hosts)
}

// everyPort is the nexus's host through every port: its name without what comes
// after ",i,", which is the initiator port's.
func (n Nexus) everyPort() Nexus {
	host, _, _ := strings.Cut(n.Host, ",i,")
	return Nexus{Host: host}
}

// Covers says whether o is this nexus, or one of the host that this is through
// every port.
func (n Nexus) Covers(o Nexus) bool { return n == o || n.Port == 0 && n == o.everyPort() }

func compare(a, b Nexus) int {
	return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.Port, b.Port))
}

// Type is a persistent reservation's type, as SCSI numbers them (SPC-4 6.15.3.3).
type Type uint8

const (
	None                           Type = 0 // no persistent reservation
	WriteExclusive                 Type = 1
	ExclusiveAccess                Type = 3
	WriteExclusiveRegistrantsOnly  Type = 5
	ExclusiveAccessRegistrantsOnly Type = 6
	WriteExclusiveAllRegistrants   Type = 7
	ExclusiveAccessAllRegistrants  Type = 8
	typesEnd                            = 9
)

// Types are all there are but None.
var Types = []Type{WriteExclusive, ExclusiveAccess, WriteExclusiveRegistrantsOnly, ExclusiveAccessRegistrantsOnly,
	WriteExclusiveAllRegistrants, ExclusiveAccessAllRegistrants}

func (t Type) valid() bool { return t < typesEnd && t != None && t != 2 && t != 4 }

// AllRegistrants says that every registrant holds it.
func (t Type) AllRegistrants() bool {
	return t == WriteExclusiveAllRegistrants || t == ExclusiveAccessAllRegistrants
}

// shared says that every registrant has the holder's access.
func (t Type) shared() bool { return t >= WriteExclusiveRegistrantsOnly }

// readable says that everybody may read.
func (t Type) readable() bool {
	return t == WriteExclusive || t == WriteExclusiveRegistrantsOnly || t == WriteExclusiveAllRegistrants
}

// Registrant is a nexus that has registered a key.
type Registrant struct {
	Nexus
	Key uint64 // not 0
}

// Unit is the reservation of RESERVE(6) and RESERVE(10). It ends with the
// session that made it.
type Unit struct {
	Nexus
	Session uint64 // the session's generation
}

// State is a unit's reservations. Nobody changes one in place. The zero State
// has none.
type State struct {
	Generation  uint32       // PRGENERATION
	Registrants []Registrant `json:",omitempty"` // in ascending order of their nexuses
	Type        Type         `json:",omitempty"`
	Holder      Nexus        `json:",omitzero"`  // the holder, unless all registrants are or Type is None
	APTPL       bool         `json:",omitempty"` // all of this is kept through a loss of power
	Unit        *Unit        `json:",omitempty"`

	// Change counts the changes there were, and Notices are what the latest of
	// them are told to hosts as unit attentions, oldest first. Whoever has seen
	// an earlier State tells its hosts what has come since. The notices of the
	// change Forgotten and of those before are no longer kept.
	Change    uint64   `json:",omitempty"`
	Notices   []Notice `json:",omitempty"`
	Forgotten uint64   `json:",omitempty"`
}

// Attention is what a nexus is told.
type Attention uint8

const (
	ReservationsPreempted  Attention = iota + 1 // 2Ah/03h
	ReservationsReleased                        // 2Ah/04h
	RegistrationsPreempted                      // 2Ah/05h
)

// Notice is an attention for a nexus.
type Notice struct {
	Change uint64 // State.Change with it
	Nexus
	Attention Attention
}

// noticesKept bounds the notices of all changes but the latest.
const noticesKept = 64

// Since are the notices of the changes after an earlier one; known is false if
// some of them are no longer kept.
func (s *State) Since(change uint64) (notices []Notice, known bool) {
	for _, n := range s.Notices {
		if n.Change > change {
			notices = append(notices, n)
		}
	}
	return notices, change >= s.Forgotten
}

// registrant finds a nexus: its place, and whether it is there.
func (s *State) registrant(n Nexus) (int, bool) {
	return slices.BinarySearchFunc(s.Registrants, n, func(r Registrant, n Nexus) int { return compare(r.Nexus, n) })
}

// Registered is a nexus's key, or its host's through every port; 0 if neither has
// registered one.
func (s *State) Registered(n Nexus) uint64 {
	if i, ok := s.registrant(n); ok {
		return s.Registrants[i].Key
	}
	if i, ok := s.registrant(n.everyPort()); ok {
		return s.Registrants[i].Key
	}
	return 0
}

// Holds says whether a nexus holds the persistent reservation.
func (s *State) Holds(n Nexus) bool {
	switch {
	case s.Type == None:
		return false
	case s.Type.AllRegistrants():
		return s.Registered(n) != 0
	}
	return s.Holder.Covers(n)
}
