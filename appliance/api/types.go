package api

import (
	"time"

	"ashlar/node/cluster"
)

// Sizes are in bytes. Names are unique within their kind and cluster.

// Status is what a node says of itself.
type Status struct {
	Version     string   `json:"version" doc:"Release of the program"`
	Refused     string   `json:"refused,omitempty" doc:"Why its cluster goes on without it for good, and what to do about it"`
	Folder      string   `json:"folder"`
	State       string   `json:"state" enum:"alone,waiting,ready" doc:"alone: in no cluster; waiting: may not serve hosts now, since it is starting or has no lease; ready: serves hosts"`
	Name        string   `json:"name" doc:"Name of the node"`
	ID          uint16   `json:"id" doc:"Number of the node in its cluster, 0 while alone"`
	Incarnation uint64   `json:"incarnation" doc:"Which run of its process this is"`
	Cluster     string   `json:"cluster" doc:"Name of the cluster, empty while alone"`
	Leader      string   `json:"leader" doc:"Node that leads the control plane, empty while nobody does"`
	Witness     bool     `json:"witness" doc:"It votes, and holds no data and serves no hosts"`
	Peer        string   `json:"peer" doc:"Address for the other nodes"`
	Portals     []string `json:"portals" nullable:"false" doc:"Addresses for hosts"`
	NVMe        []string `json:"nvme_portals" nullable:"false" doc:"Addresses for NVMe/TCP hosts"`
	Discovery   []string `json:"nvme_discovery" nullable:"false" doc:"Addresses where NVMe/TCP hosts are told of all nodes' portals"`
}

// Cluster is the whole at a glance.
type Cluster struct {
	ID          string     `json:"id"`
	Lineage     string     `json:"lineage,omitempty" doc:"Changes each time that the cluster is formed anew without some of its nodes; empty: it never was"`
	Name        string     `json:"name"`
	SegmentSize uint64     `json:"segment_size"`
	State       string     `json:"state" enum:"healthy,degraded,waiting" doc:"The worst of its volumes and nodes; waiting too where stale"`
	Advice      string     `json:"advice,omitempty" doc:"What to do about it where stale"`
	Stale       bool       `json:"stale" doc:"The node that answers hears of no leader: what it knows may be old, and nothing can be changed through it"`
	Leader      string     `json:"leader" doc:"Node that leads the control plane, empty while nobody does"`
	Nodes       []Node     `json:"nodes" nullable:"false"`
	Volumes     []Volume   `json:"volumes" nullable:"false"`
	Emptying    []Emptying `json:"emptying" nullable:"false" doc:"Disks that copies are to leave"`
	Attention   []string   `json:"attention" nullable:"false" doc:"What somebody has to look at, in sentences"`
	Settings    Settings   `json:"settings" doc:"As they hold, ordered or not"`
}

// Settings are what an operator may order of the whole cluster; what is left out
// of an order stays as it is.
type Settings struct {
	RebuildAfterDisk int `json:"rebuild_after_disk_s,omitempty" minimum:"1" maximum:"604800" doc:"Seconds after which the copies on a disk that failed are made elsewhere"`
	RebuildAfterNode int `json:"rebuild_after_node_s,omitempty" minimum:"1" maximum:"604800" doc:"Seconds after which the copies on a node that is down are made elsewhere"`
	ScrubLight       int `json:"scrub_light_s,omitempty" minimum:"1" maximum:"31536000" doc:"Seconds between two comparisons of what all copies of a volume know of their blocks"`
	ScrubDeep        int `json:"scrub_deep_s,omitempty" minimum:"1" maximum:"31536000" doc:"Seconds between two comparisons that read all data, too"`

	RebuildFloor   uint64 `json:"rebuild_floor_bps,omitempty" minimum:"1048576" doc:"Bytes per second to which hosts that wait may press the making of copies by one node"`
	RebuildCeiling uint64 `json:"rebuild_ceiling_bps,omitempty" minimum:"1048576" doc:"Bytes per second of which no node makes copies faster"`

	Rebalance string `json:"rebalance,omitempty" enum:"on,off" doc:"Whether copies move from disks that are much fuller than others, as when a disk is added"`

	PoolWarning int `json:"pool_warning_percent,omitempty" minimum:"1" maximum:"99" doc:"Per cent of the pool that may be used before somebody has to look; at 90 it is urgent"`
}

// Node is one server.
type Node struct {
	ID          uint16   `json:"id" doc:"Also its target portal group tag and target port group"`
	Name        string   `json:"name"`
	State       string   `json:"state" enum:"new,up,down,expelled" doc:"new: admitted, never started; expelled: the cluster was formed anew without it, and it never comes back"`
	Incarnation uint64   `json:"incarnation"`
	Voter       bool     `json:"voter" doc:"Takes part in the cluster's elections"`
	Peer        string   `json:"peer"`
	Portals     []string `json:"portals" nullable:"false"`
	NVMe        []string `json:"nvme_portals" nullable:"false"`
	Discovery   []string `json:"nvme_discovery" nullable:"false"`
	Disks       int      `json:"disks"`
	Heads       int      `json:"heads" doc:"Volumes that it is the head of"`
	Drained     bool     `json:"drained" doc:"Serves no hosts until it is told to again"`
	Domain      string   `json:"domain" doc:"Its fault domain; empty: it is alone in its own"`
	Emptied     bool     `json:"emptied" doc:"Copies leave it, and none come, until it is told otherwise"`
	Copies      int      `json:"copies" doc:"Copies of segments on its disks"`
	Witness     bool     `json:"witness" doc:"Votes, and holds no data and serves no hosts"`
}

// Drained is how far a node is drained.
type Drained struct {
	Sessions int `json:"sessions" doc:"Sessions of hosts that have not ended yet"`
}

// Disk is a raw device or file in the pool.
type Disk struct {
	ID       string `json:"id"`
	Node     string `json:"node"`
	Path     string `json:"path"`
	Size     uint64 `json:"size"`
	State    string `json:"state" enum:"ok,failed,ejected,outdated,worn,missing,draining,drained" doc:"outdated: what its node found in its place is an old copy of it, which is not used; worn: it lost blocks, and is ejected as soon as there are other copies of all that it holds; missing: its node could not open it; known on that node only; draining: copies leave it; drained: all have"`
	Replicas int    `json:"replicas" doc:"Copies of segments that it holds"`

	BadLately int        `json:"bad_lately" doc:"Places that it could not give in the last day; three within a day, and it is ejected"`
	BadEver   uint64     `json:"bad_ever" doc:"And ever"`
	BadLast   *time.Time `json:"bad_last,omitempty" doc:"When one was last found"`
}

// Volume is a virtual disk.
type Volume struct {
	ID       uint64   `json:"id"`
	Name     string   `json:"name"`
	Size     uint64   `json:"size"`
	Copies   int      `json:"copies"`
	State    string   `json:"state" enum:"healthy,degraded,waiting" doc:"healthy: every copy in sync; degraded: some are not; waiting: writes wait for copies to return"`
	Head     string   `json:"head" doc:"Node that orders its writes, empty while none can"`
	Epoch    uint64   `json:"epoch" doc:"Number of the head's reign"`
	Segments int      `json:"segments"`
	Shared   int      `json:"shared_domains" doc:"Segments with two copies in one fault domain"`
	InSync   int      `json:"in_sync" doc:"Copies of segments in sync"`
	Replicas int      `json:"replicas" doc:"Copies of segments there should be"`
	IQN      string   `json:"iqn" doc:"Name of its own iSCSI target, where it is LUN 0"`
	NQN      string   `json:"nqn" doc:"Name of its own NVMe subsystem"`
	NSID     uint32   `json:"nsid" doc:"Its namespace there"`
	Exports  []Export `json:"exports" nullable:"false"`
	Tenant   string   `json:"tenant,omitempty" doc:"Whose it is; none: the operator's own"`

	WriteCache bool   `json:"write_cache,omitempty" doc:"Writes are answered from the memories of two nodes or more, and are on disks when they are flushed"`
	Losses     uint64 `json:"write_cache_losses,omitempty" doc:"How often what was not flushed may have been lost"`
}

// VolumeDetail is a volume with where its copies are.
type VolumeDetail struct {
	Volume
	Placement []Segment `json:"placement" nullable:"false"`
}

// Segment is a piece of a volume.
type Segment struct {
	Segment  uint32    `json:"segment"`
	Replicas []Replica `json:"replicas" nullable:"false"`
}

// Replica is one copy of a segment.
type Replica struct {
	Node   string `json:"node"`
	Disk   string `json:"disk"`
	InSync bool   `json:"in_sync"`
	Moves  string `json:"replaces,omitempty" doc:"The disk of the copy whose place it takes when it is in sync"`
}

// Verification is what a comparison of all copies found.
type Verification struct {
	Volume      string   `json:"volume"`
	Equal       bool     `json:"equal" doc:"All copies were compared, and are equal now"`
	Copies      int      `json:"copies" doc:"Copies of segments that were read"`
	Blocks      uint64   `json:"blocks" doc:"Blocks of 4 KiB that do not read as zeros, of one copy"`
	Differing   uint64   `json:"differing" doc:"Blocks of which not all copies were equal and good"`
	Repaired    uint64   `json:"repaired" doc:"Of these"`
	Skipped     uint64   `json:"skipped" doc:"Blocks that could not be compared, since a copy did not answer"`
	Root        string   `json:"root,omitempty" doc:"A hash over all blocks, the same from each copy, where all are equal"`
	Seconds     float64  `json:"seconds" doc:"How long it took"`
	Differences []string `json:"differences" nullable:"false" doc:"What is not equal, in words, the first 100; empty when all copies are equal"`
	Repairs     []string `json:"repairs" nullable:"false" doc:"What was repaired, in words, the first 100"`
}

// VerifyOrder is how to compare.
type VerifyOrder struct {
	Repair bool `json:"repair,omitempty" doc:"Make equal what differs, from the copies that have the newest version with good data"`
}

// Progress of a verification.
type Progress struct {
	Segments int `json:"segments" doc:"Compared so far"`
	All      int `json:"all" doc:"0: none goes on"`
}

// Scrub is how far the comparing of a volume's copies is, that goes on by itself.
type Scrub struct {
	Volume string     `json:"volume"`
	Light  ScrubRound `json:"light" doc:"Of what all copies know of their blocks"`
	Deep   ScrubRound `json:"deep" doc:"Of their data, too"`
}

// ScrubRound is one way round a volume.
type ScrubRound struct {
	Due       *time.Time `json:"due,omitempty" doc:"When the next begins"`
	Began     *time.Time `json:"began,omitempty" doc:"The one that goes on"`
	Percent   int        `json:"percent,omitempty" doc:"How far that is"`
	Ended     *time.Time `json:"ended,omitempty" doc:"The last whole one; none: there was none yet"`
	Seconds   float64    `json:"seconds,omitempty" doc:"That it took"`
	Differing uint64     `json:"differing" doc:"Blocks of which not all copies were equal and good, in the last one and the one that goes on"`
	Repaired  uint64     `json:"repaired" doc:"Of these"`
	Skipped   uint64     `json:"skipped" doc:"Blocks that could not be compared, since a copy did not answer"`
}

// Host is an initiator. It has an IQN, an NQN, or both.
type Host struct {
	Name   string `json:"name"`
	IQN    string `json:"iqn,omitempty" doc:"Its name with iSCSI"`
	NQN    string `json:"nqn,omitempty" doc:"Its name with NVMe"`
	CHAP   string `json:"chap,omitempty" readOnly:"true" enum:"none,one-way,mutual,lost" doc:"What has to be proven at login: nothing, who the host is, or that and who the cluster is. lost: the secrets went with all of raft, and the host is locked out"`
	DHCHAP string `json:"dhchap,omitempty" readOnly:"true" enum:"none,one-way,mutual,lost" doc:"The same with NVMe, for each queue (DH-HMAC-CHAP)"`
	Tenant string `json:"tenant,omitempty" maxLength:"64" doc:"Whose it is; none: the operator's own"`
}

// HostNQN is a host's name with NVMe.
type HostNQN struct {
	NQN string `json:"nqn"`
}

// DHCHAP is what an NVMe host has to prove. No answer ever holds it.
type DHCHAP struct {
	Secret           string `json:"secret,omitempty" writeOnly:"true" doc:"As nvme gen-dhchap-key writes it: DHHC-1:hh:BASE64:; none: the host has to prove nothing"`
	ControllerSecret string `json:"controller_secret,omitempty" writeOnly:"true" doc:"What the cluster proves to the host, another one"`
}

// CHAP is what a host has to prove at login. No answer ever holds it.
type CHAP struct {
	Secret       string `json:"secret,omitempty" writeOnly:"true" doc:"12 to 100 bytes, 16 at most for some hosts; none: the host has to prove nothing"`
	MutualSecret string `json:"mutual_secret,omitempty" writeOnly:"true" doc:"What the cluster proves to the host, another one"`
}

// LUNMax is the highest number that a volume can be published with.
const LUNMax = cluster.LUNMax

// Export publishes a volume to a host.
type Export struct {
	Volume   string  `json:"volume"`
	Host     string  `json:"host"`
	ReadOnly bool    `json:"read_only"`
	LUN      *uint16 `json:"lun,omitempty" maximum:"16383" doc:"Its number at the cluster's own target, beside the host's other volumes there; none: it is LUN 0 of a target of its own"`
	IQN      string  `json:"iqn,omitempty" readOnly:"true" doc:"Name of the iSCSI target where the host finds it"`
	NQN      string  `json:"nqn,omitempty" readOnly:"true" doc:"Name of the NVMe subsystem where the host finds it"`
	NSID     uint32  `json:"nsid,omitempty" readOnly:"true" doc:"Its namespace there"`
}

// Release is what forming the cluster anew of the node that is asked means.
type Release struct {
	Cluster  string           `json:"cluster"`
	Node     string           `json:"node" doc:"It goes on, alone"`
	Expelled []string         `json:"expelled" nullable:"false" doc:"Nodes that can never come back as they are"`
	Older    bool             `json:"older" doc:"The others can have gone on without this node: what it has may be old"`
	Volumes  []ReleasedVolume `json:"volumes" nullable:"false"`
}

// ReleasedVolume is what becomes of a volume.
type ReleasedVolume struct {
	Name     string `json:"name"`
	Size     uint64 `json:"size"`
	Segments int    `json:"segments"`
	Lost     int    `json:"lost" doc:"Segments without an in-sync copy on the node: reads and writes there wait for ever"`
	Waits    bool   `json:"waits" doc:"Writes wait all the same until there are more copies"`
}

// ConfirmRelease orders it.
type ConfirmRelease struct {
	Confirm     string `json:"confirm" doc:"Name of the cluster"`
	AcceptOlder bool   `json:"accept_older,omitempty" doc:"Go on although what the node has may be old"`
}

// Confirm is the name of the cluster.
type Confirm struct {
	Confirm string `json:"confirm"`
}

// Secret lets other nodes join.
type Secret struct {
	Secret string `json:"secret"`
}

// NewCluster makes a cluster of the node that is asked.
type NewCluster struct {
	Name        string `json:"name"`
	SegmentSize uint64 `json:"segment_size,omitempty" default:"1073741824" doc:"A power of two from 1 MiB to 4 GiB, fixed for ever"`
}

// Join makes the node that is asked a member of a cluster.
type Join struct {
	Address string `json:"address" doc:"ip:port of any node of the cluster"`
	Secret  string `json:"secret"`
	Witness bool   `json:"witness,omitempty" doc:"Vote, and hold no data"`
}

// NewDisk gives a device or file of the node that is asked to the pool.
type NewDisk struct {
	Path  string `json:"path"`
	Size  uint64 `json:"size,omitempty" doc:"A file that does not exist is made, of that size"`
	Force bool   `json:"force,omitempty" doc:"Overwrite what is on it"`
}

// NewVolume is a volume to be made.
type NewVolume struct {
	Name   string `json:"name"`
	Size   uint64 `json:"size"`
	Copies int    `json:"copies,omitempty" default:"2"`
	Tenant string `json:"tenant,omitempty" maxLength:"64" doc:"Whose it is to be; a tenant's own in any case"`

	WriteCache bool `json:"write_cache,omitempty" doc:"Answer writes from the memories of two nodes or more; what hosts flush is on disks"`
}

// Size is what a volume is to have.
type Size struct {
	Size uint64 `json:"size" doc:"Not less than it has"`
}

// Head is a volume's to be.
type Head struct {
	Node string `json:"node"`
}

// Problem says why an order was not carried out (RFC 9457). Code and Next are ours.
type Problem struct {
	Title  string `json:"title" doc:"Text of the HTTP status"`
	Status int    `json:"status"`
	Detail string `json:"detail" doc:"One sentence for people"`
	Code   string `json:"code" doc:"What kind of problem it is; stable"`
	Next   string `json:"next,omitempty" doc:"What to do about it"`
}

func (p *Problem) Error() string { return p.Detail }

// GetStatus is the HTTP status.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType is RFC 9457's.
func (p *Problem) ContentType(string) string { return "application/problem+json" }
