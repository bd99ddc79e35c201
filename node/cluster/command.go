package cluster

import "ashlar/replication/wire"

// Command is one change, exactly one of the pointers set. Request makes it
// idempotent: a second one with the same Request gets the first one's answer.
type Command struct {
	Version int // 0: Needs
	Request string

	Create       *Create       `json:",omitempty"`
	AddNode      *AddNode      `json:",omitempty"`
	Register     *Register     `json:",omitempty"`
	SetVoter     *SetVoter     `json:",omitempty"`
	Fence        *Fence        `json:",omitempty"`
	AddDisk      *AddDisk      `json:",omitempty"`
	FailDisk     *FailDisk     `json:",omitempty"`
	CreateVolume *CreateVolume `json:",omitempty"`
	ResizeVolume *ResizeVolume `json:",omitempty"`
	DeleteVolume *DeleteVolume `json:",omitempty"`
	AddHost      *AddHost      `json:",omitempty"`
	DeleteHost   *DeleteHost   `json:",omitempty"`
	SetNQN       *SetNQN       `json:",omitempty"`
	SetCHAP      *SetCHAP      `json:",omitempty"`
	SetDHCHAP    *SetDHCHAP    `json:",omitempty"`
	SetExport    *SetExport    `json:",omitempty"`
	Eject        *Eject        `json:",omitempty"`
	Join         *Join         `json:",omitempty"`
	MoveHead     *MoveHead     `json:",omitempty"`
	MoveHeads    *MoveHeads    `json:",omitempty"`
	SetDrained   *SetDrained   `json:",omitempty"`
	MoveReplica  *MoveReplica  `json:",omitempty"`
	Replace      *Replace      `json:",omitempty"`
	Reserve      *Reserve      `json:",omitempty"`

	AddAddress    *AddAddress    `json:",omitempty"`
	RemoveAddress *RemoveAddress `json:",omitempty"`
	MoveAddress   *MoveAddress   `json:",omitempty"`
	SetFabrics    *SetFabrics    `json:",omitempty"`
	Demote        *Demote        `json:",omitempty"`
	Readmit       *Readmit       `json:",omitempty"`
	Set           *Set           `json:",omitempty"`
	BadBlocks     *BadBlocks     `json:",omitempty"`
	EjectDisk     *EjectDisk     `json:",omitempty"`
	NoteScrub     *NoteScrub     `json:",omitempty"`

	SetDiskDrained *SetDiskDrained `json:",omitempty"`
	AddReplica     *AddReplica     `json:",omitempty"`
	DropReplica    *DropReplica    `json:",omitempty"`
	RemoveDisk     *RemoveDisk     `json:",omitempty"`
	RemoveNode     *RemoveNode     `json:",omitempty"`
	NoteDisk       *NoteDisk       `json:",omitempty"`
	SetDomain      *SetDomain      `json:",omitempty"`

	AddToken     *AddToken     `json:",omitempty"`
	DeleteToken  *DeleteToken  `json:",omitempty"`
	AddTenant    *AddTenant    `json:",omitempty"`
	SetTenant    *SetTenant    `json:",omitempty"`
	DeleteTenant *DeleteTenant `json:",omitempty"`

	StartJob  *StartJob  `json:",omitempty"`
	NoteJob   *NoteJob   `json:",omitempty"`
	CancelJob *CancelJob `json:",omitempty"`

	NoteFill *NoteFill `json:",omitempty"`

	Order *Order `json:",omitempty"` // beside the one above: a client's name for it
}

// Needs is the lowest FormatVersion of which a program knows all that c says.
func (c *Command) Needs() int {
	if c.CreateVolume != nil && c.CreateVolume.WriteCache {
		return cachesVersion
	}
	return CommonVersion
}

// Create makes the cluster, and its first node, a voter.
type Create struct {
	ID, Name     string
	SegmentBytes uint64
	Authority    Authority
	Secret       []byte
	GossipKey    []byte
	Node         AddNode
}

// AddNode admits a server. Its number is in the Result.
type AddNode struct {
	Name, Peer, Gossip string
	Portals            []string
	Witness            bool `json:",omitempty"`
}

// Register starts a node's new incarnation, whose number is in the Result. It
// also ends the one before: a node registers only while it holds the lock of
// its folder, and only after its peer port listens. Copies of it that are still
// in sync stay so: what was acknowledged since is on them, because nothing is
// acknowledged without a member of the set, and what was not is sent again.
type Register struct {
	Node         wire.NodeID
	Peer, Gossip string
	Portals      []string
	NVMe         []string `json:",omitempty"`
	Discovery    []string `json:",omitempty"`
}

// SetVoter follows raft's own configuration.
type SetVoter struct {
	Node  wire.NodeID
	Voter bool
}

// Ballot is a voter's word that an incarnation's lease has run out with it and
// will never be granted again. It dies with the voter's own incarnation.
type Ballot struct {
	Voter       wire.NodeID
	Incarnation wire.Incarnation
}

// Fence declares incarnations dead, together: either a majority of the voters
// said so, or their kernels did (their peer port refused a connection), or they
// themselves, when they had stopped. All
// that follows from it (copies that leave, heads that move) is in this one command.
type Fence struct {
	Dead    []Dead
	Ballots []Ballot // from a majority of the voters, unless Refused
	Refused bool
}

// Dead is one incarnation.
type Dead struct {
	Node        wire.NodeID
	Incarnation wire.Incarnation
}

// AddDisk puts a formatted disk into the pool.
type AddDisk struct {
	ID   DiskID
	Node wire.NodeID
	Path string
	Size uint64
}

// FailDisk takes a disk out for ever: it failed a write, or what is in its place is an
// old copy of it.
type FailDisk struct {
	ID       DiskID
	Outdated bool `json:",omitempty"`
}

// CreateVolume places all segments of a new volume, named in the Result.
type CreateVolume struct {
	Name   string
	Bytes  uint64
	Copies int
	Tenant string `json:",omitempty"`

	WriteCache bool `json:",omitempty"`
}

// DeleteVolume removes a volume that has no exports.
type DeleteVolume struct{ Name string }

// AddHost names an initiator, by its IQN, its NQN, or both.
type AddHost struct {
	Name, IQN string
	NQN       string `json:",omitempty"`
	Tenant    string `json:",omitempty"`
}

// DeleteHost forgets an initiator without exports.
type DeleteHost struct{ Name string }

// Eject takes the in-sync copies that Node has of a volume out of their sets,
// because its head cannot reach them, where that leaves a usable one.
type Eject struct {
	Volume wire.VolumeID
	Epoch  uint64 // the head's that complains
	Node   wire.NodeID
}

// Join puts copies that have caught up into their in-sync sets: those of
// Segments whose Gen still holds; the others are left as they are.
type Join struct {
	Volume      wire.VolumeID
	Epoch       uint64 // the head's that copied
	Node        wire.NodeID
	Incarnation wire.Incarnation // of Node
	Segments    []SegmentGen
}

// SegmentGen names one state of a segment's copies.
type SegmentGen struct {
	Segment wire.Segment
	Gen     uint64
}

// MoveHead makes another node the head. To 0: the best there is.
type MoveHead struct {
	Volume wire.VolumeID
	Epoch  uint64 // the head's that ends
	To     wire.NodeID
}

// MoveReplica replaces a copy that is not in sync by an empty one on another
// disk, which the head then fills.
type MoveReplica struct {
	Volume   wire.VolumeID
	Segment  wire.Segment
	Gen      uint64
	From, To DiskID
}

// Replace gives up the copies on a disk that cannot be used, one command for all
// of them, and places empty ones on other disks.
type Replace struct{ Disk DiskID }

// Result is what a command came to. Problem is empty, or a sentence; the state
// is then unchanged.
type Result struct {
	Problem     string
	Code        Code
	Node        wire.NodeID
	Incarnation wire.Incarnation
	Volume      wire.VolumeID
	Reserved    *Reserved `json:",omitempty"`
	Job         uint64    `json:",omitempty"`
}

// Code classes a Problem for machines.
type Code string

const (
	NotFound Code = "not-found"
	Exists   Code = "exists"
	Invalid  Code = "invalid"
	Refused  Code = "wrong-state" // right by itself, but not as things are
	Stale    Code = "stale"       // what it compared with has changed meanwhile
	TooFew   Code = "too-few-domains"
	Full     Code = "no-space"
	Quota    Code = "quota" // a tenant would have more than it may
)
