package mirror

// Bugs take one remedy each out of the protocol. They exist so that the
// simulator can show that it would find their absence; nothing but the
// simulator sets one.
type Bugs struct {
	NoLease        bool // heads answer without a lease
	NoTokens       bool // any command is sequenced, however old
	LateTaken      bool // a command is sequenced though its portal may have answered Busy meanwhile
	NoEpochCheck   bool // replicas obey any epoch
	NoPromise      bool // replicas forget their promise when they restart
	AckEarly       bool // a write is answered when the first copy has it
	AckUnremoved   bool // a copy that does not answer is left out before the cluster has removed it
	ReadsDontWait  bool // reads overlap writes in flight
	NoReconcile    bool // a new head leaves the tails as they are
	CommitTrusted  bool // what is not above a commit point is taken to be on all copies
	TailHolder     bool // a tail is only ever read from the copies with its highest version
	NoTail         bool // a returning copy's own tail is not looked at
	NoDelta        bool // a returning copy gets nothing copied
	JoinNoShadow   bool // writes during a catch-up are not sent to the joiner
	LostCopied     bool // what was on its way to a joiner whose session ended counts as copied
	JoinEarly      bool // a copy is put in sync before it caught up
	CommitJoiner   bool // a joiner takes commit points as its own
	ReadOutOfSync  bool // the head reads its own copy though it is not in sync
	PartialPrepare bool // a new head does not wait for all in-sync copies
	ClearNothing   bool // a portal does not end what it holds when another's fence is told
	ClaimsKept     bool // claims stay with the head, the copies do not have them
	ClaimChanged   bool // a claim is honoured though others have written since
	ClaimSettled   bool // a claim is honoured though its host has acknowledged the answer
	ClaimLive      bool // a claim is honoured while the first answer is under way

	FullCounts       bool // a copy without space counts as one that has the write
	BadTaken         bool // blocks that a copy calls bad are taken as they come
	JoinerKept       bool // a copy that catches up may hold writes up for ever
	JoinUndrained    bool // a catch-up begins before the writes that the joiner was not sent are done
	JoinOverWrites   bool // a joiner shows its changes while older writes are under way
	RewriteUnlocked  bool // what is there is written again without the lock of its blocks
	PrepareUndrained bool // tails are shown while older writes are under way
	NotResent        bool // requests are forgotten when their session ends
	CommitEarly      bool // the commit point covers writes in flight
	ZerosSkipped     bool // zeros are not copied to a joiner
	FirstPageOnly    bool // a catch-up looks at the first page of changes only
	EdgesShared      bool // writes of parts of a block do not exclude one another
	ProposedDropped  bool // a joiner is given up though the cluster may be taking it in
	CopyByNode       bool // a copy made anew on its node counts as the one that was there
	AwaitsNothing    bool // commands are taken of a portal that has not answered a fence
	MissingForGood   bool // a copy that was not there is not asked again
	FenceSparesDead  bool // a fence leaves what came in through a node that is no more
	SettledTwice     bool // a write that ends while a joiner is dropped for it ends again
	FormerForgotten  bool // a head serves though an earlier one, whose copies have left, may not have heard of it
	ScrubUnlocked    bool // copies are compared, and mended, without the lock of their blocks
	ScrubOlder       bool // what differs is mended from any copy in the set
	OlderRead        bool // where the newest of a block cannot be read, an older one is taken for it
	CacheAlone       bool // a write is answered from the memory of one copy
	CacheOvertaken   bool // what comes after a write that is held in memory does not wait for it
	CommitHeld       bool // the commit point covers what is held in memory
	FlushNothing     bool // a FLUSH waits for nothing
	FlushUnsettled   bool // a FLUSH does not wait for what is written again after an earlier head
	LossUntold       bool // a FLUSH does not tell of what was lost
	ReturnedEarly    bool // a host's memory counts as returned when its operation is answered
	LentForgotten    bool // and when it ends without its head's answer
	SpentEarly       bool // an operation is its submitter's again when it is answered
	FlightReused     bool // a write is over for good when it is done
	RequestReused    bool // a request is a portal's again though a fence is about it
	ClaimsForgotten  bool // a command that nobody remembers counts as not carried out
}
