package reserve

// Kind is what is asked for.
type Kind uint8

const (
	Look              Kind = iota // PERSISTENT RESERVE IN: nothing changes
	Register                      // the old key must be right; key 0 unregisters
	RegisterAndIgnore             // whatever the old key is
	RegisterAndMove               // the reservation goes to another nexus
	Reserve                       //
	Release                       //
	Clear                         // all registrations and the reservation
	Preempt                       // those of another key
	PreemptAndAbort               // the same, and their commands
	ReserveUnit                   // RESERVE(6)
	ReleaseUnit                   // RELEASE(6)
	NexusLost                     // the session has ended: its RESERVE(6) is released
	PortLost                      // so have all sessions of the port
	UnitReset                     // RESERVE(6) is released
	PowerLost                     // what APTPL does not keep is gone
)

func (k Kind) String() string {
	return [...]string{"look", "register", "register and ignore existing key", "register and move", "reserve", "release", "clear",
		"preempt", "preempt and abort", "reserve unit", "release unit", "nexus lost", "port lost", "unit reset", "power lost"}[k]
}

// Request is one change that somebody asks for.
type Request struct {
	Kind    Kind
	Nexus   Nexus  // who asks; PortLost: its Port alone
	Session uint64 `json:",omitempty"` // ReserveUnit, NexusLost: the session's generation

	Key     uint64 `json:",omitempty"` // RESERVATION KEY: the one that the nexus has registered
	Service uint64 `json:",omitempty"` // SERVICE ACTION RESERVATION KEY: the new one, or whom to preempt
	Type    Type   `json:",omitempty"` // Reserve, Release, Preempt
	APTPL   bool   `json:",omitempty"` // Register and its variants: keep it all through a loss of power

	Ports  []uint16 `json:",omitempty"` // ALL_TG_PT: all of the unit's ports
	Others []string `json:",omitempty"` // SPEC_I_PT: initiator ports that are registered as well

	To         Nexus `json:",omitzero"`  // RegisterAndMove: who gets the reservation
	Unregister bool  `json:",omitempty"` // RegisterAndMove: the nexus that asks is unregistered
}

// Status is how a request ended. Each front end maps it in one table.
type Status uint8

const (
	Good           Status = iota
	Conflict              // RESERVATION CONFLICT
	InvalidField          // in the command: a type that there is not, no reservation to move
	InvalidKey            // a service action reservation key that can not be
	InvalidPlace          // a nexus that the reservation can not move to
	InvalidRelease        // the reservation is of another type
	NoResources           // too many registrants
)

// Result is what a request came to. Unless Good, the State is as it was.
type Result struct {
	Status Status
	Abort  []Nexus `json:",omitempty"` // PreemptAndAbort: their commands end before this is answered
}

// RegistrantsMax bounds the registrants of a unit.
const RegistrantsMax = 1024
