package consensus

import (
	"slices"

	"github.com/hashicorp/raft"

	"ashlar/node/cluster"
	"ashlar/replication/wire"
)

// change is one step towards the raft configuration that fits the state.
type change struct {
	kind changeKind
	node wire.NodeID
}

type changeKind uint8

const (
	nothing changeKind = iota
	record             // tell the state that the node votes, or no more
	admit              // add as non-voter
	promote            // non-voter to voter
	demote             // voter to non-voter
	remove             // not in the cluster's state
)

func (k changeKind) String() string {
	return [...]string{"nothing", "record", "admit", "promote", "demote", "remove"}[k]
}

// touchesVoters says whether majorities change.
func (c change) touchesVoters(voters []wire.NodeID) bool {
	return c.kind == promote || c.kind == demote || c.kind == remove && slices.Contains(voters, c.node)
}

// nextChange is what self, the leader, does next: at most one step, and only
// when the state has recorded the one before. So majorities by the state and by raft differ by one voter at most,
// and always overlap.
//
// There are as many voters as nodes that are up, but 3 where those are four, and never more than 5. Two
// voters survive no loss, and that is what they are for: neither goes on without the other, so whichever is left
// knows all that was agreed. A node that is about to stop gives its vote up first. Voters
// are never given up because nodes are down, since they may come back together; but a voter that is down is replaced
// where a node that is up can take its place: first the new one, then out with the
// old. Another even number than two stays only as long as that takes.
func nextChange(s *cluster.State, servers []raft.Server, self wire.NodeID) change {
	if s.ID == "" {
		return change{}
	}
	voters, others := split(servers)
	for _, id := range s.NodeIDs() {
		if member := slices.Contains(voters, id); member != s.Nodes[id].Voter && (present(s, id) || !member) {
			return change{record, id}
		}
	}
	for _, id := range slices.Concat(others, voters) {
		if !present(s, id) && id != self {
			return change{remove, id}
		}
	}
	for _, id := range s.NodeIDs() {
		if present(s, id) && !slices.Contains(voters, id) && !slices.Contains(others, id) {
			return change{admit, id}
		}
	}
	up := func(id wire.NodeID) bool { return present(s, id) && s.Nodes[id].Up && !s.Nodes[id].Leaving }
	down := slices.DeleteFunc(slices.Clone(voters), func(id wire.NodeID) bool { return up(id) || id == self })
	candidates := slices.DeleteFunc(slices.Clone(others), func(id wire.NodeID) bool { return !up(id) })
	count := 0
	for id := range s.Nodes {
		if up(id) {
			count++
		}
	}
	return nextVoter(voters, down, candidates, wanted(count), self)
}

// present says whether a node is one of the cluster's: neither unknown nor expelled.
func present(s *cluster.State, id wire.NodeID) bool {
	return s.Nodes[id] != nil && !s.Nodes[id].Expelled
}

// wanted is the number of voters for a number of nodes that are up.
func wanted(up int) int {
	switch {
	case up >= 5:
		return 5
	case up >= 3:
		return 3
	case up == 2:
		return 2
	}
	return 1
}

func nextVoter(voters, down, candidates []wire.NodeID, want int, self wire.NodeID) change {
	even := len(voters)%2 == 0
	switch {
	case even && len(down) > 0:
		return change{demote, down[len(down)-1]}
	case len(candidates) > 0 && (len(voters) < want || !even && len(voters) > 1 && len(down) > 0):
		return change{promote, candidates[0]}
	case even && len(voters) > want:
		for _, id := range slices.Backward(voters) {
			if id != self {
				return change{demote, id}
			}
		}
	}
	return change{}
}

// split gives the numbers of voters and of all others, both ascending.
func split(servers []raft.Server) (voters, others []wire.NodeID) {
	for _, s := range servers {
		if id := nodeID(s.ID); s.Suffrage == raft.Voter {
			voters = append(voters, id)
		} else {
			others = append(others, id)
		}
	}
	slices.Sort(voters)
	slices.Sort(others)
	return voters, others
}
