package wire

import "fmt"

// FormatVersion is of all messages together; nodes say it when they connect,
// and one that speaks another major format is refused.
const FormatVersion = 1

// Kind tells messages apart on the wire. Numbers are never reused.
type Kind uint16

const (
	KindPrepare  Kind = 1
	KindPrepared Kind = 2
	KindWrite    Kind = 3
	KindAck      Kind = 4
	KindRead     Kind = 5
	KindBlocks   Kind = 6
	KindCommit   Kind = 7
	KindChanges  Kind = 8
	KindPage     Kind = 9
	KindReserve  Kind = 10
	KindExtents  Kind = 11
	KindRuns     Kind = 12
	KindSubmit   Kind = 13
	KindDone     Kind = 14
	KindFence    Kind = 15
	KindFenced   Kind = 16
	KindToken    Kind = 17
	KindTell     Kind = 18
	KindTold     Kind = 19
	KindSettle   Kind = 20
	KindClaims   Kind = 21
	KindClear    Kind = 22
	KindCleared  Kind = 23
	KindCheck    Kind = 24
	KindChecked  Kind = 25
	KindRetire   Kind = 26

	KindCachedWrite  Kind = 27
	KindCachedSubmit Kind = 28
)

// Message is one of the structs below.
type Message interface {
	Kind() Kind
	String() string
	append(b []byte) []byte
	parse(p *parser)
}

// Status is how a replica or a head answers a request.
type Status uint8

const (
	OK          Status = iota
	Stale              // the replica promised a higher epoch: the asker's reign is over
	Unprepared         // the replica never promised this epoch: PREPARE first
	Lapsed             // the answerer's lease has run out: ask again, or another
	Failed             // the disk failed; it has left, or will leave, the pool
	NoSpace            // nothing was stored
	Missing            // no such replica here
	Corrupt            // some blocks' data do not match their checksum (Blocks.Bad)
	NotHead            // the node is not the volume's head, or not of that epoch
	Old                // the freshness token is too old: stamp again if that is still allowed
	Busy               // held for as long as a host should wait
	Window             // too much in flight
	Aborted            // fenced before it was sequenced
	OutOfRange         // ends beyond the volume
	Miscompare         // Done.Offset says where
	MediumError        // no copy has good data
	Conflict           // another host's reservation forbids it
	Held               // the write is in the copy's memory, with room for it on its disk; it is answered again when it is stored
	CacheLost          // what was acknowledged from memory alone may be gone
)

var statusNames = [...]string{"ok", "stale epoch", "unprepared", "lease lapsed", "disk failed", "no space", "no replica",
	"corrupt", "not head", "old token", "busy", "window full", "aborted", "out of range", "miscompare", "medium error", "reservation conflict",
	"held in memory", "write cache lost"}

func (s Status) String() string {
	if int(s) < len(statusNames) {
		return statusNames[s]
	}
	return fmt.Sprintf("status %d", uint8(s))
}

// Change is a block that was written or zeroed, and when.
type Change struct {
	Block   uint32 // in the segment
	Version Version
	CRC     uint32 // of its data; of nothing when Zero
	Zero    bool
}

// Prepare asks a node for its promise to obey no lower epoch of the volume, and
// for the tails of its copies: what they hold that may differ between copies. A
// node whose knowledge of a segment is older than the generation in Gens says
// Missing: it may be about to hold that copy on another disk.
type Prepare struct {
	Req      uint64
	Volume   VolumeID
	Epoch    uint64
	Segments []Segment
	Gens     []uint64 // one a segment
}

// Prepared is the promise, made durable before it is given. With status Stale,
// Epoch is the higher one that was promised.
type Prepared struct {
	Req      uint64
	Status   Status
	Epoch    uint64
	Segments []Tail
	Claims   []Claim // of writes that are on the copies of these segments
	Forgot   uint64  // claims of this epoch and lower may be missing: the node began anew
}

// Tail is one copy's state: every write up to Commit is on it; Changes are the
// blocks whose version is above.
type Tail struct {
	Segment Segment
	Status  Status // OK, Missing or Failed
	Commit  Version
	Changes []Change
	Next    uint32 // where the changes go on (see Changes); 0: that was all
}

// Write puts blocks on a copy. Ack OK means that they are on stable storage. With
// Cache the copy may say Held before that, once.
// Without Data the blocks become zero. With Versions it is a copy of what other
// members hold, a version for each block; else all get (Epoch, Seq).
type Write struct {
	Req      uint64
	Volume   VolumeID
	Segment  Segment
	Epoch    uint64
	Seq      uint64
	Commit   Version // every write up to here is on all in-sync copies; zero: nothing to say
	Block    uint32
	Count    uint32
	Cache    bool
	Versions []Version
	Claims   []Claim  // that the blocks have by it: to be remembered once they are stored
	CRC      []uint32 // one a block, with Data
	Data     []byte   // Count x BlockSize bytes, or nil

	// Memory is what Data lies in where it came from elsewhere, nil otherwise. It may be released, once, when
	// nobody looks at Data any more; it is no part of the message.
	Memory interface{ Release() }
}

// Ack answers Write and Reserve.
type Ack struct {
	Req    uint64
	Status Status
	Low    bool // the disk runs out of space: reserve before writing
}

// Read asks for blocks of a copy.
type Read struct {
	Req     uint64
	Volume  VolumeID
	Segment Segment
	Epoch   uint64
	Block   uint32
	Count   uint32

	Into []byte // nil, or where the answer's Data is to lie: within one process, no part of the message
}

// Blocks answers Read. With status Corrupt, Bad are the blocks whose data
// cannot be had from this copy.
type Blocks struct {
	Req      uint64
	Status   Status
	Versions []Version
	CRC      []uint32
	Bad      []uint32
	Data     []byte
}

// Commit tells an in-sync node how far writes are on all in-sync copies. It has
// no answer.
type Commit struct {
	Volume   VolumeID
	Epoch    uint64
	Segments []CommitPoint
}

// CommitPoint is of one segment.
type CommitPoint struct {
	Segment Segment
	Commit  Version
}

// Changes asks for blocks of a copy with a version above After, from block From
// on. With Own, After is the copy's own commit point. Gen is as in Prepare.
type Changes struct {
	Req     uint64
	Volume  VolumeID
	Segment Segment
	Epoch   uint64
	After   Version
	Own     bool
	From    uint32
	Gen     uint64
}

// Page answers Changes, in order of blocks. Next is where to go on; 0: that was all.
type Page struct {
	Req     uint64
	Status  Status
	Commit  Version // the copy's own commit point
	Changes []Change
	Next    uint32
}

// Reserve asks a copy to make sure that a write of these blocks finds space.
type Reserve struct {
	Req     uint64
	Volume  VolumeID
	Segment Segment
	Epoch   uint64
	Block   uint32
	Count   uint32
}

// Extents asks which blocks of a copy hold data.
type Extents struct {
	Req     uint64
	Volume  VolumeID
	Segment Segment
	Epoch   uint64
	Block   uint32
	Count   uint32
}

// Runs answers Extents: lengths in blocks of alternating states, the first one mapped.
type Runs struct {
	Req    uint64
	Status Status
	Runs   []uint32
}

// OpKind is what a host wants of a volume.
type OpKind uint8

const (
	OpRead OpKind = iota
	OpWrite
	OpZero
	OpUnmap
	OpCompareAndWrite
	OpVerify
	OpFlush
	OpExtents
	OpReserve // Data is a request of the volume's reservations; so is Done.Data its answer
)

// Nexus is a host's session as the head needs to know it.
type Nexus struct {
	Host       string
	Port       uint16
	Generation uint64
}

// Stamp is the freshness of a command (see Token).
type Stamp struct {
	Epoch uint64
	Token int64
}

// Submit forwards a host's operation from a portal to the head. Offset and
// Length are bytes, multiples of 512.
type Submit struct {
	Req     uint64
	Volume  VolumeID
	Command Command // its Portal is that of the sender
	First   uint64  // the epoch in which it was sent before, the first time; 0: it was not
	Op      OpKind
	Nexus   Nexus
	Stamp   Stamp
	Wait    int64 // ns that the head may still hold it
	Offset  uint64
	Length  uint64
	Data    []byte

	Cached bool   // the volume has a write cache; else the others are not told
	FUA    bool   // to stable storage before the answer
	Losses uint64 // how often the cache had been lost when the host's session began

	Into []byte // OpRead: nil, or where the answer's Data may lie: within one process, no part of the message
}

// Done answers Submit.
type Done struct {
	Req    uint64
	Status Status
	Offset uint64   // Miscompare: byte offset of the first difference
	Runs   []uint32 // OpExtents, in blocks from the one that holds Offset on: alternating, the first mapped
	Data   []byte   // OpRead, OpReserve

	// Returned says that nobody uses the memory of the Submit's Data and Into any more, but for what Data is in:
	// within one process, no part of the message.
	Returned bool
}

// FenceScope is what a Fence covers.
type FenceScope uint8

const (
	FenceNexus FenceScope = iota
	FenceHost
	FenceUnit
	FenceTasks // all, as FenceUnit does; hosts are told of their commands' end, not of a reset
)

// Fence asks the head to drop what it has not sequenced yet of a nexus and
// earlier generations of it, of a host, or of all. Of all means through every
// portal: the others are told with Clear, the one that asks has cleared itself.
type Fence struct {
	Req    uint64
	Volume VolumeID
	Portal Portal
	Scope  FenceScope
	Nexus  Nexus
}

// Fenced answers Fence: nothing of the scope that the head got before will be
// sequenced, and what is sequenced later is ordered after what was before.
type Fenced struct {
	Req    uint64
	Status Status
}

// Tell is the head's word to a portal of what its hosts are to be told: what the
// unit's reservations are now.
type Tell struct {
	Req    uint64
	Volume VolumeID
	Data   []byte
}

// Told answers Tell: the hosts will hear of it before the answer to any later command.
type Told struct{ Req uint64 }

// Token is a node's CLOCK_BOOTTIME, ns, sent every 100 ms to all portals while
// it holds its lease. It is the head's own time, so that only one clock counts.
type Token struct {
	Incarnation Incarnation
	Token       int64
}

func (*Prepare) Kind() Kind  { return KindPrepare }
func (*Prepared) Kind() Kind { return KindPrepared }
func (*Ack) Kind() Kind      { return KindAck }
func (*Read) Kind() Kind     { return KindRead }
func (*Blocks) Kind() Kind   { return KindBlocks }
func (*Commit) Kind() Kind   { return KindCommit }
func (*Changes) Kind() Kind  { return KindChanges }
func (*Page) Kind() Kind     { return KindPage }
func (*Reserve) Kind() Kind  { return KindReserve }
func (*Extents) Kind() Kind  { return KindExtents }
func (*Runs) Kind() Kind     { return KindRuns }
func (*Done) Kind() Kind     { return KindDone }
func (*Fence) Kind() Kind    { return KindFence }
func (*Fenced) Kind() Kind   { return KindFenced }
func (*Token) Kind() Kind    { return KindToken }
func (*Tell) Kind() Kind     { return KindTell }
func (*Told) Kind() Kind     { return KindTold }

// Kind is another one with Cache, so that who does not know it refuses it.
func (m *Write) Kind() Kind {
	if m.Cache {
		return KindCachedWrite
	}
	return KindWrite
}

// Kind is another one of a volume with a write cache.
func (m *Submit) Kind() Kind {
	if m.Cached {
		return KindCachedSubmit
	}
	return KindSubmit
}

func (m *Prepare) String() string {
	return fmt.Sprintf("prepare #%d volume %d epoch %d segments %v", m.Req, m.Volume, m.Epoch, m.Segments)
}
func (m *Prepared) String() string {
	return fmt.Sprintf("prepared #%d %v epoch %d %+v claims %v forgot %d", m.Req, m.Status, m.Epoch, m.Segments, m.Claims, m.Forgot)
}
func (m *Write) String() string {
	cached := ""
	if m.Cache {
		cached = "cached "
	}
	return fmt.Sprintf("%swrite #%d %d/%d %d+%d at %d.%d commit %v (%d bytes, %d versions) claims %v",
		cached, m.Req, m.Volume, m.Segment, m.Block, m.Count, m.Epoch, m.Seq, m.Commit, len(m.Data), len(m.Versions), m.Claims)
}
func (m *Ack) String() string { return fmt.Sprintf("ack #%d %v low=%v", m.Req, m.Status, m.Low) }
func (m *Read) String() string {
	return fmt.Sprintf("read #%d %d/%d %d+%d epoch %d", m.Req, m.Volume, m.Segment, m.Block, m.Count, m.Epoch)
}
func (m *Blocks) String() string {
	return fmt.Sprintf("blocks #%d %v bad %v (%d bytes)", m.Req, m.Status, m.Bad, len(m.Data))
}
func (m *Commit) String() string {
	return fmt.Sprintf("commit volume %d epoch %d %v", m.Volume, m.Epoch, m.Segments)
}
func (m *Changes) String() string {
	return fmt.Sprintf("changes #%d %d/%d after %v own=%v from %d epoch %d", m.Req, m.Volume, m.Segment, m.After, m.Own, m.From, m.Epoch)
}
func (m *Page) String() string {
	return fmt.Sprintf("page #%d %v commit %v next %d %v", m.Req, m.Status, m.Commit, m.Next, m.Changes)
}
func (m *Reserve) String() string {
	return fmt.Sprintf("reserve #%d %d/%d %d+%d epoch %d", m.Req, m.Volume, m.Segment, m.Block, m.Count, m.Epoch)
}
func (m *Extents) String() string {
	return fmt.Sprintf("extents #%d %d/%d %d+%d epoch %d", m.Req, m.Volume, m.Segment, m.Block, m.Count, m.Epoch)
}
func (m *Runs) String() string { return fmt.Sprintf("runs #%d %v %v", m.Req, m.Status, m.Runs) }
func (m *Submit) String() string {
	cached := ""
	if m.Cached {
		cached = fmt.Sprintf(" cached fua %v losses %d", m.FUA, m.Losses)
	}
	return fmt.Sprintf("submit #%d volume %d command %v first %d op %d %d+%d %+v stamp %+v wait %d (%d bytes)%s",
		m.Req, m.Volume, m.Command, m.First, m.Op, m.Offset, m.Length, m.Nexus, m.Stamp, m.Wait, len(m.Data), cached)
}
func (m *Done) String() string {
	return fmt.Sprintf("done #%d %v offset %d runs %v (%d bytes)", m.Req, m.Status, m.Offset, m.Runs, len(m.Data))
}
func (m *Fence) String() string {
	return fmt.Sprintf("fence #%d volume %d portal %d.%d scope %d %+v", m.Req, m.Volume, m.Portal.Node, m.Portal.Incarnation, m.Scope, m.Nexus)
}
func (m *Fenced) String() string { return fmt.Sprintf("fenced #%d %v", m.Req, m.Status) }
func (m *Tell) String() string {
	return fmt.Sprintf("tell #%d volume %d (%d bytes)", m.Req, m.Volume, len(m.Data))
}
func (m *Told) String() string { return fmt.Sprintf("told #%d", m.Req) }
func (m *Token) String() string {
	return fmt.Sprintf("token %d of incarnation %d", m.Token, m.Incarnation)
}

// CopyOf is the copy, by its segment, that a request is for, if it is for one, and the epoch that it is of.
func CopyOf(m Message) (s Segment, epoch uint64, ok bool) {
	switch m := m.(type) {
	case *Write:
		return m.Segment, m.Epoch, true
	case *Read:
		return m.Segment, m.Epoch, true
	case *Changes:
		return m.Segment, m.Epoch, true
	case *Check:
		return m.Segment, m.Epoch, true
	case *Reserve:
		return m.Segment, m.Epoch, true
	case *Extents:
		return m.Segment, m.Epoch, true
	}
	return 0, 0, false
}
