// Package cluster is what the cluster has agreed on: its nodes, disks, volumes,
// copies, heads and exports, and the commands that change it. It is pure: a
// State is immutable, Apply returns the next one, and every node that applies
// the same commands in the same order has the same State.
package cluster

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	"ashlar/replication/wire"
	"ashlar/target/reserve"
)

// FormatVersion is the newest of State and Command that this program knows; it refuses a newer one. Each has the lowest that
// says what is in it, so that nodes of an older release go on beside newer ones until something is ordered that they do not know.
const FormatVersion = cachesVersion

// Versions of what there is. Releases that have CommonVersion in common can be in one cluster until it has something newer.
const (
	CommonVersion = 1
	cachesVersion = 2 // volumes with a write cache
)

// DiskID is a disk's random identity, 32 hex digits, also in its superblock.
type DiskID string

// State is the whole of the agreed truth. Nobody changes one in place.
type State struct {
	Version      int
	Index        uint64 // of the last command applied
	ID           string // the cluster's random identity, 32 hex digits; empty before it is created
	Name         string
	Lineage      string     `json:",omitempty"` // 32 hex digits, new each time that it is formed anew; nodes of different ones never meet
	Forebears    []Forebear `json:",omitempty"` // the lineages that it comes of, oldest first
	SegmentBytes uint64
	Authority    Authority
	Secret       []byte // SHA-256 of the join secret
	GossipKey    []byte // 32 bytes, encrypts what serf says

	Nodes   map[wire.NodeID]*Node
	Disks   map[DiskID]*Disk
	Volumes map[wire.VolumeID]*Volume
	Hosts   map[string]*Host // by name

	Addresses   []Address `json:",omitempty"` // portal addresses that move, in ascending order
	LastAddress uint16    `json:",omitempty"` // how many there ever were
	Settings    *Settings `json:",omitempty"` // nil: the operator ordered none yet; never changed in place

	LastNode   wire.NodeID // highest numbers ever given: none is used twice
	LastVolume wire.VolumeID
	LastNSID   uint32 `json:",omitempty"` // of the cluster's own NVMe subsystem

	Tokens  map[string]*Token  `json:",omitempty"` // by name; never changed in place
	Tenants map[string]*Tenant `json:",omitempty"` // the same

	Demotions []Demotion `json:",omitempty"` // the latest of each node's copies of a volume, oldest first

	Jobs    []*Job `json:",omitempty"` // those that have ended, in that order, and behind them those that go on; never changed in place
	LastJob uint64 `json:",omitempty"`

	Fill     Fill `json:",omitempty"` // of the pool
	FilledTo int  `json:",omitempty"` // per cent that were used when Fill began

	// Edited are the volumes that the command in hand has copied already; nil
	// between commands.
	Edited map[wire.VolumeID]bool `json:"-"`

	Answered []Answer // of the latest requests, oldest first: a command that comes twice is applied once

	Ordered []Ordered `json:",omitempty"` // the latest orders that clients have named, oldest first; never changed in place
}

// Authority is the cluster's own certificate authority, PEM.
type Authority struct{ Certificate, Key []byte }

// Node is one server.
type Node struct {
	ID          wire.NodeID // also its TPGT, target port group and relative target port
	Name        string
	Peer        string   // host:port where it serves the other nodes, and who joins
	Gossip      string   // host:port of its serf agent
	Portals     []string // ip:port of its iSCSI portals
	NVMe        []string `json:",omitempty"` // ip:port of its NVMe/TCP portals
	Discovery   []string `json:",omitempty"` // ip:port where it tells NVMe hosts of all nodes' portals
	Incarnation wire.Incarnation
	Up          bool // registered, and not fenced since
	Voter       bool // takes part in raft elections and grants leases
	Drained     bool `json:",omitempty"` // serves no hosts, until it is told to again
	Witness     bool `json:",omitempty"` // votes, and holds no disks, heads or portals
	Leaving     bool `json:",omitempty"` // this incarnation is about to stop
	Emptied     bool `json:",omitempty"` // all copies leave it, and none come, until it is undrained
	Expelled    bool `json:",omitempty"` // the cluster goes on without it: it never comes back
	Removed     bool `json:",omitempty"` // it is Expelled because the operator said so
	Awaited     bool `json:",omitempty"` // the cluster was adopted from disks: who joins under its name is this node

	Domain string `json:",omitempty"` // label of those that may fail together; empty: it is alone in its own

	Fabrics []netip.Prefix `json:",omitempty"` // subnets on which it can hold addresses now
}

// present says whether a node is one of the cluster's.
func (n *Node) present() bool { return n != nil && !n.Expelled }

// Disk is a raw device or file that a node gave to the pool.
type Disk struct {
	ID     DiskID
	Node   wire.NodeID
	Path   string
	Size   uint64 // bytes
	Failed bool   // a write failed once, or it was ejected, or is outdated: never used again

	Bad     []BadBlock `json:",omitempty"` // the latest, oldest first
	BadEver uint64     `json:",omitempty"`
	Worn    bool       `json:",omitempty"` // BadMost of them came within a day: it is to be ejected
	Ejected bool       `json:",omitempty"`

	Outdated bool `json:",omitempty"` // an old copy of the disk is in its place

	Drained bool   `json:",omitempty"` // all copies leave it, and none come
	Nonce   string `json:",omitempty"` // drawn when it was opened last: what does not know it is an old copy of the disk

	Opened wire.Incarnation `json:",omitempty"` // run of its node that opened it last
}

// Volume is a virtual disk.
type Volume struct {
	ID        wire.VolumeID
	Name      string
	Bytes     uint64
	Copies    int
	MinInSync int // fewer in-sync copies than that: writes wait

	Head            wire.NodeID // 0: none can be
	HeadIncarnation wire.Incarnation
	Epoch           uint64 // of the latest head; grows with each grant
	HeadIndex       uint64 // raft index of the grant

	// Former are the runs of nodes that were heads before, and may not have heard that they are
	// not any more: each new head has word from them before it serves. Never changed in place.
	Former []Reign `json:",omitempty"`

	Segments []Segment
	Exports  []Export
	NSID     uint32 `json:",omitempty"` // in the cluster's own NVMe subsystem, for good; 0: none yet

	Reservations *reserve.State `json:",omitempty"` // nil: there were none yet

	Scrubs *Scrubs `json:",omitempty"` // nil: nobody thought of it yet

	Tenant string `json:",omitempty"` // whose it is; empty: the operator's own

	WriteCache bool   `json:",omitempty"` // acknowledged may mean in the memories of two copies' nodes, until it is flushed
	Losses     uint64 `json:",omitempty"` // how often what was not flushed may have been lost
}

// Reign is a run of a node's in which it was a head.
type Reign struct {
	Node        wire.NodeID
	Incarnation wire.Incarnation
}

// Segment is one piece's copies. Gen grows with every change of them.
type Segment struct {
	Gen      uint64
	Replicas []Replica
}

// Replica is one copy of a segment.
type Replica struct {
	Node   wire.NodeID
	Disk   DiskID
	InSync bool   // holds every acknowledged write; may be read, promoted, copied from
	Made   uint64 `json:",omitempty"` // generation of the segment's that it came with, which no other of its copies did; 0: made with the segment

	Forgot bool `json:",omitempty"` // in a set of a volume with a write cache: lacks what was in its node's memory
	Stored bool `json:",omitempty"` // was alone in such a set with all on its disk

	Demoted bool `json:",omitempty"` // was slow: not in sync, and not to catch up before it is readmitted

	Replaces DiskID `json:",omitempty"` // once in sync it has the place of the copy on that disk, one of the segment's
	Drain    bool   `json:",omitempty"` // because that disk was drained
}

// Host is an initiator that volumes are published to. It has an IQN, an NQN, or both.
type Host struct {
	Name   string
	IQN    string
	NQN    string  `json:",omitempty"`
	CHAP   *CHAP   `json:",omitempty"` // nil: it has to prove nothing with iSCSI
	DHCHAP *DHCHAP `json:",omitempty"` // nil: it has to prove nothing with NVMe

	// LUNs are the numbers that volumes were ever published to it with. A number
	// is never another volume's, since hosts remember what was there.
	LUNs map[uint16]wire.VolumeID `json:",omitempty"`

	Tenant string `json:",omitempty"` // whose it is; empty: the operator's own
}

// Export publishes a volume to a host: as LUN 0 of a target of its own or, if it
// is Numbered, as LUN of the cluster's target, beside the host's others.
type Export struct {
	Host     string
	ReadOnly bool
	Numbered bool   `json:",omitempty"`
	LUN      uint16 `json:",omitempty"`
}

// LUNMax is the highest number that a volume can be published with: the largest
// of the flat space addressing method (SAM-5 4.7.5).
const LUNMax = 0x3FFF

// Answer is what a request was told.
type Answer struct {
	Request string
	Result  Result
}

// New is the state before any command.
func New() *State {
	return &State{Version: CommonVersion, Nodes: map[wire.NodeID]*Node{}, Disks: map[DiskID]*Disk{},
		Volumes: map[wire.VolumeID]*Volume{}, Hosts: map[string]*Host{}}
}

// clone copies the top of s; what its maps point to is shared until edited.
func (s *State) clone() *State {
	c := *s
	c.Nodes, c.Disks, c.Volumes, c.Hosts = maps.Clone(s.Nodes), maps.Clone(s.Disks), maps.Clone(s.Volumes), maps.Clone(s.Hosts)
	c.Answered = slices.Clone(s.Answered)
	c.Edited = map[wire.VolumeID]bool{}
	return &c
}

func (s *State) editNode(id wire.NodeID) *Node {
	n := *s.Nodes[id]
	s.Nodes[id] = &n
	return &n
}

func (s *State) editDisk(id DiskID) *Disk {
	d := *s.Disks[id]
	s.Disks[id] = &d
	return &d
}

// editVolume copies a volume once for each command, however often it is edited.
func (s *State) editVolume(id wire.VolumeID) *Volume {
	if s.Edited[id] {
		return s.Volumes[id]
	}
	s.Edited[id] = true
	v := *s.Volumes[id]
	v.Segments = slices.Clone(v.Segments)
	s.Volumes[id] = &v
	return &v
}

// editReplicas replaces the segment's copies and counts its generation.
func (v *Volume) editReplicas(i wire.Segment, replicas []Replica) {
	before, gen := v.Segments[i], v.Segments[i].Gen+1
	for k, r := range replicas {
		if before.OnDisk(r.Disk) == nil {
			replicas[k].Made = gen
		}
	}
	v.Segments[i] = Segment{Gen: gen, Replicas: replicas}
}

// NodeIDs, VolumeIDs: in ascending order, since Go's maps have none.
func (s *State) NodeIDs() []wire.NodeID { return slices.Sorted(maps.Keys(s.Nodes)) }

// VolumeIDs are in ascending order.
func (s *State) VolumeIDs() []wire.VolumeID { return slices.Sorted(maps.Keys(s.Volumes)) }

// DiskIDs are in ascending order.
func (s *State) DiskIDs() []DiskID { return slices.Sorted(maps.Keys(s.Disks)) }

// Voters are the nodes whose majority grants leases.
func (s *State) Voters() (ids []wire.NodeID) {
	for _, id := range s.NodeIDs() {
		if s.Nodes[id].Voter {
			ids = append(ids, id)
		}
	}
	return ids
}

// VolumeNamed finds a volume, or nil.
func (s *State) VolumeNamed(name string) *Volume {
	for _, v := range s.Volumes {
		if v.Name == name {
			return v
		}
	}
	return nil
}

// NodeNamed finds a node of the cluster, or nil.
func (s *State) NodeNamed(name string) *Node {
	for _, n := range s.Nodes {
		if n.Name == name && n.present() {
			return n
		}
	}
	return nil
}

// Usable says whether a copy can be reached and written as far as is agreed:
// its node is up and its disk has not failed.
func (s *State) Usable(r Replica) bool {
	n, d := s.Nodes[r.Node], s.Disks[r.Disk]
	return n != nil && n.Up && d != nil && !d.Failed
}

// Opened says whether a copy is usable and its disk is open, as far as is agreed: a run of a node may find its disk
// gone, or an old copy in its place. Only such copies are enough for others to leave an in-sync set.
func (s *State) Opened(r Replica) bool {
	return s.Usable(r) && s.Disks[r.Disk].Opened == s.Nodes[r.Node].Incarnation
}

// OpenCopies counts a set's copies on open disks, but for those at a node.
func (s *State) OpenCopies(g Segment, but wire.NodeID) (n int) {
	for _, r := range g.Replicas {
		if r.InSync && r.Node != but && s.Opened(r) {
			n++
		}
	}
	return n
}

// InSync are the nodes of a segment's in-sync set.
func (g Segment) InSync() (nodes []wire.NodeID) {
	for _, r := range g.Replicas {
		if r.InSync {
			nodes = append(nodes, r.Node)
		}
	}
	return nodes
}

// On is the segment's replica on a node, or nil.
func (g Segment) On(n wire.NodeID) *Replica {
	for i := range g.Replicas {
		if g.Replicas[i].Node == n {
			return &g.Replicas[i]
		}
	}
	return nil
}

// HostWith finds the host of an initiator name, or nil. Names of initiators are
// compared without regard to case (RFC 3722).
func (s *State) HostWith(iqn string) *Host {
	for _, h := range s.Hosts {
		if h.IQN != "" && strings.EqualFold(h.IQN, iqn) {
			return h
		}
	}
	return nil
}

// IQN is the name of the volume's iSCSI target. The prefix is permanent.
func (s *State) IQN(v *Volume) string { return s.ClusterIQN() + "." + v.Name }

// ClusterIQN is the name of the cluster's own target, where each host finds what
// is published to it with numbers.
func (s *State) ClusterIQN() string { return "iqn.2026-11.io.ashlar:" + s.Name }
