package sim

import "ashlar/replication/mirror"

// Planted are remedies left out, to show that the simulator would find their
// absence. Mirror's are in the data path's own code; the others stand in for
// faults of the cluster's state, of leases and of the shell round them.
type Planted struct {
	Mirror mirror.Bugs

	VoterForgets    bool // a restarted voter casts ballots at once
	VoterEager      bool // a voter casts ballots against whom it still promised something
	EpochReused     bool // a restarted head goes on in its epoch
	UncleanElection bool // where no in-sync copy can be used, another is promoted
	EjectUnpromised bool // a copy leaves the set though it may still obey an older head
	ConfigReordered bool // a node may go back to an older state of the cluster
	LeaseAlone      bool // a voter's own grant is enough for its lease
	LeaseStretched  bool // a lease lasts longer than what the voters have promised
	SilenceIsDeath  bool // a dial without an answer counts as a refused one
	CommitOfAnother bool // a copy takes a commit point that was meant for the one it has replaced
	ReadOfAnother   bool // a copy is read for a head that means the one it has replaced
	RelayUnproven   bool // a promise counts as given when it was asked for

	UnopenedCounts bool // a copy is enough for others to leave before its disk is open

	MovedEarly bool // a copy is dropped before the one in its place is in sync

	SlowKept     bool // copies stay in their sets however slow they are
	DemotedJoins bool // a demoted copy catches up, and slows writes, at once

	EjectLast         bool // a disk that is worn out leaves though it has the last copy
	ScrubNothing      bool // heads never compare copies
	ReadUnverified    bool // the store does not verify checksums
	TornKept          bool // recovery takes torn records
	VolatileCache     bool // a write is answered before it is on stable storage
	WriteErrorIgnored bool // a failed write is answered as a good one
	LossUncounted     bool // a node that begins anew is taken to remember what was in its memory
	LossUnnoticed     bool // blocks of a lost metadata page seem never to have been written
}
