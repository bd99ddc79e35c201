// Package target holds what the front ends (SCSI over iSCSI, NVMe over TCP)
// need of a volume, and nothing of how a volume is kept.
package target

import "ashlar/target/reserve"

// Kind is what an operation does.
type Kind uint8

const (
	Read  Kind = iota // fill Data from [LBA, LBA+Blocks)
	Write             // put Data at [LBA, LBA+Blocks)
	Zero              // [LBA, LBA+Blocks) reads as zeros and may stay allocated
	Unmap             // [LBA, LBA+Blocks) reads as zeros and its space is given back
	// CompareAndWrite has Data of 2 x Blocks: compare with the first half, then write
	// the second. A host that never heard the first answer may repeat one that was
	// carried out, through any node: it ends with OK if nobody has written there since.
	CompareAndWrite
	Verify    // read and check; with Data, compare with it
	Flush     // everything acknowledged before is on stable storage
	LBAStatus // fill Extents from LBA on
	Reserve   // look at the unit's reservations, or change them, as Request says
)

func (k Kind) String() string {
	return [...]string{"read", "write", "zero", "unmap", "compare-and-write", "verify", "flush", "lba-status", "reserve"}[k]
}

// Access is what an operation does, as far as reservations go.
func (k Kind) Access() reserve.Access {
	switch k {
	case Read, Verify, LBAStatus:
		return reserve.Reads
	case Reserve:
		return reserve.Always
	}
	return reserve.Writes
}

// Status is how an operation ended. Each front end maps it in one table.
type Status uint8

const (
	OK          Status = iota
	Busy               // not now: try again (SCSI BUSY; NVMe without DNR)
	Full               // too much in flight (SCSI TASK SET FULL)
	Aborted            // fenced before it was sequenced: nothing of it will ever be seen
	OutOfRange         // the range ends beyond the device
	Miscompare         // Op.Offset is the byte offset of the first difference
	NoSpace            // the pool has no room (SCSI 27h/07h)
	MediumError        // no copy of the data has a good checksum
	Protected          // the device or this host's access to it is read-only
	Gone               // the volume or its export is no more
	Conflict           // another host's reservation forbids it
	CacheLost          // Flush: what was acknowledged before may be gone
)

func (s Status) String() string {
	return [...]string{"ok", "busy", "full", "aborted", "out of range", "miscompare", "no space",
		"medium error", "protected", "gone", "reservation conflict", "write cache lost"}[s]
}

// Nexus is an I_T nexus (SAM-5 4.7): a host's port logged in to one of our ports.
type Nexus struct {
	Host       string // initiator port: IQN and ISID ("iqn...,i,0x..."), or host NQN and Host ID
	Port       uint16 // relative target port id, unique in the cluster
	Generation uint64 // of the session: a later login of the same host and port has a higher one
}

// Ports is the nexus without its session: what reservations are kept for.
func (n Nexus) Ports() reserve.Nexus { return reserve.Nexus{Host: n.Host, Port: n.Port} }

// Stamp says when a command's last byte was read. A front end takes it from
// Device.Stamp right after that read, and never looks inside. A command that sends
// one operation after another, or to several devices, may take a newer one for
// each, with the Read of its first.
type Stamp struct {
	Epoch uint64 // the head's reign that the portal knew of
	Token int64  // the head's freshness token: its CLOCK_BOOTTIME, ns
	Read  int64  // this node's CLOCK_BOOTTIME at the reading, ns
}

// Extent is a run of blocks of one allocation state.
type Extent struct {
	LBA    uint64
	Blocks uint64
	Mapped bool
}

// Op is one operation on a Device. The submitter fills the first part; Data
// belongs to the Device from Submit until Done is called, and to the submitter
// again after it, whatever the status.
type Op struct {
	Kind   Kind
	FUA    bool
	LBA    uint64 // in logical blocks of Info.BlockSize bytes
	Blocks uint32
	Data   []byte // Blocks x BlockSize bytes (CompareAndWrite: twice that; Verify: that or nil)
	Nexus  Nexus
	Stamp  Stamp
	Done   func(*Op) // called exactly once, from any goroutine; must not block

	// Lends lets the Device keep Data's memory beyond Done, of a read or a write: then it need not copy what it may
	// still want to look at. See Kept.
	Lends bool

	Request *reserve.Request // Reserve: what is asked for; it is the Device's from now on

	Status Status
	// Kept says, with Lends, that the Device may still look at what was submitted as Data, or put something there: its
	// memory is nobody's any more. Of a read that ended OK, Data is what was read, there or in memory that the Device gives away.
	Kept     bool
	Offset   uint64         // Miscompare: byte offset of the first difference in Data
	Extents  []Extent       // LBAStatus: appended to, from LBA on, at most cap(Extents) of them
	Reserved reserve.Result // Reserve with OK: what the request came to
	// Settle, where it is set, is to be called once: with true when the host has
	// acknowledged the answer to this operation, with false when its session ended
	// before. Only then is a repetition of a CompareAndWrite told from another
	// command that asks for the same: see CompareAndWrite.
	Settle func(acknowledged bool)
	After  *reserve.State // Reserve with OK: the reservations after it; nil for none

	Owner   any // the submitter's own: a Device leaves it alone
	Private any // the Device's own, between Submit and Done
}

// Info is what a device is. All but Blocks and ReadOnly never change.
type Info struct {
	ID        uint64 // the volume's number in its cluster, never reused
	Name      string
	NAA       [16]byte // NAA 6 designator, unique for ever, the same from every node
	Serial    string   // unit serial number, unique for ever
	BlockSize uint32   // logical block, bytes: 512 or 4096
	Physical  uint32   // physical block, bytes: 4096
	Blocks    uint64   // capacity in logical blocks
	ReadOnly  bool
	// Atomic is the size, bytes, a power of two, up to which a write that crosses
	// no multiple of it is there whole or not at all, whatever fails. 0: of none.
	Atomic     uint32
	WriteCache bool // acknowledged may mean in memory only, until Flush
}

// PathState is a port group's state (SPC-4 5.16.2, values as in REPORT TARGET
// PORT GROUPS; NVMe maps them to ANA states).
type PathState uint8

const (
	Optimized    PathState = 0
	NonOptimized PathState = 1
)

// PortGroup is the ports of one node, or one that moves between nodes. Its number is
// the TPGT, the target port group and the relative target port id, for ever.
type PortGroup struct {
	ID    uint16
	State PathState
}

// Event is a change that hosts are told of.
type Event uint8

const (
	Resized Event = iota
	PathsChanged
	Removed
	Reserved  // Reservations are others than before
	UnitReset // somebody fenced the unit: told to all listeners, through every node, before the fence is done
	Cleared   // likewise, with FenceTasks
)

// Scope is what a fence covers.
type Scope uint8

const (
	FenceNexus Scope = iota // all operations of one nexus (host, port, generation or lower)
	FenceHost               // all of a host name, whatever port
	FenceUnit               // all of the device, through every node
	FenceTasks              // the same operations, without the unit's being reset
)

// Device is a volume as a front end sees it. All methods may be called from any
// goroutine.
type Device interface {
	Info() Info
	// Groups are the port groups of all nodes that serve the device, and those that
	// move between them, in ascending order of ID; local is this node's own.
	Groups() (groups []PortGroup, local uint16)
	// Stamp is taken right after the last byte of a command was read.
	Stamp() Stamp
	// Submit starts op and never blocks. An operation held by a failover is
	// answered Busy after 4 s at the latest.
	Submit(op *Op)
	// Reservations are the unit's, nil for none; nobody changes what this points
	// to. They are at least as new as the last Reserve operation that was done
	// through this Device, and may be older than those through other nodes. So an
	// operation that they forbid ends with Conflict, whatever its submitter knew:
	// that is decided where operations are ordered. A request to preempt and abort
	// is done when the nexuses of its result are fenced.
	Reservations() *reserve.State
	// Fence makes sure that no operation of the scope that was submitted
	// before takes effect later than done: each is completed (Aborted or its
	// own result) and what others do afterwards is ordered after it. done is
	// called once, within 4 s, with nil or why the proof could not be had.
	Fence(scope Scope, nexus Nexus, done func(error))
	// Watch registers a listener for events; cancel ends it. The listener
	// must not block.
	Watch(listener func(Event)) (cancel func())
}
