package sim

import "ashlar/replication/mirror"

// Planted are remedies left out, to show that the simulator would find their
// absence. Mirror's are in the data path's own code; the others stand in for
// faults of the cluster's state, of leases and of the shell round them.
type Planted struct {
	Mirror mirror.Bugs

	VoterForgets    bool // a restarted voter casts ballots at once
	VoterEager      bool // a voter casts ballots against whom it still promised something
	OldBallots      bool // a fence counts ballots of voters' former incarnations
	RefusedLate     bool // a refused dial is taken as proof against the incarnation known when the report arrives
	EpochReused     bool // a restarted head goes on in its epoch
	UncleanElection bool // where no in-sync copy can be used, another is promoted
	JoinAnyGen      bool // a join is carried out whatever the generation
	JoinAnyLife     bool // a join is carried out for any incarnation
	Twice           bool // a command that comes twice is carried out twice
	LoginUnfenced   bool // a login is answered before the former session's commands are fenced
	StallIgnored    bool // a portal that stood still goes on with what is in its buffers
	SessionsMixed   bool // what comes over a replaced session of a peer is still obeyed
	PlaceEarly      bool // a node removes copies before its own registration is applied
	EjectUnpromised bool // a copy leaves the set though it may still obey an older head
	ConfigReordered bool // a node may go back to an older state of the cluster
}
