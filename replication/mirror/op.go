package mirror

import "ashlar/replication/wire"

// Op is one operation of a host at the head. Data, Into and the first part belong to
// the head from Submit on, for longer than until the completion where it is not Returned then.
type Op struct {
	Kind     wire.OpKind
	Command  wire.Command
	First    uint64 // the epoch in which it was sent before; 0: it was not
	Nexus    wire.Nexus
	Stamp    wire.Stamp
	Offset   uint64 // bytes, a multiple of 512
	Length   uint64 // bytes, a multiple of 512
	FUA      bool   // to stable storage before the answer
	Losses   uint64 // View.Losses when the host's session began
	Data     []byte // write, verify: Length bytes; compare-and-write: 2 x Length; read: filled; reserve: the request
	Into     []byte // read: where Data may lie, or nil
	Deadline int64  // when to answer Busy
	Private  any    // the submitter's

	Status wire.Status
	Miss   uint64   // Miscompare: byte offset of the first difference
	Runs   []uint32 // extents: in blocks from the one that holds Offset, alternating, the first mapped

	users     int   // writes, reads and requests that belong to it: they may look at Data, or put something into Into, now or later
	lock      *lock // nil, or &claim
	claim     lock
	begun     int64
	sequenced bool // a write of it has been sent: what follows is no longer ours to stop
	answered  bool
	waits     *segment // in whose held it is
	parts     int      // still to be done
	heldParts int      // of these, that all copies have in memory
	early     bool     // it was answered from memory
	held      int      // bytes counted against the window
	repairs   []repair
	loose     bool           // something may refer to it when it is answered
	started   bool           // it was allowed, and works on its range
	drains    []*change      // that wait for its end
	key       wire.Key       // of a compare-and-write
	versions  []wire.Version // of the blocks that a compare-and-write has read
}

// NewOp is the operation that a portal submits, which came just now. One of a portal that does not know of the
// volume's write cache goes to stable storage: its host was promised that.
func NewOp(now int64, m *wire.Submit, private any) Op {
	return Op{Kind: m.Op, Command: m.Command, First: m.First, Nexus: m.Nexus, Stamp: m.Stamp, Offset: m.Offset, Length: m.Length,
		FUA: m.FUA || !m.Cached, Losses: m.Losses, Data: m.Data, Into: m.Into, Deadline: now + m.Wait, Private: private}
}

// Returned says, of an operation that is answered, that nothing uses its submitter's memory any more: Data is on its way to no
// copy, none of this node stores it or reads into Into, and none will be asked to.
func (op *Op) Returned() bool { return op.users == 0 }

// spent says whether the head is done with an operation, of those that are common: nothing refers to it any more but h.order.
func (op *Op) spent() bool {
	return (op.Kind == wire.OpRead || op.Kind == wire.OpWrite) && op.answered && !op.loose && op.users == 0 && op.parts == 0 &&
		op.lock == nil && op.waits == nil && op.drains == nil
}
