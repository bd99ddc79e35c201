package node

import (
	"context"
	"slices"
	"time"

	"ashlar/node/cluster"
)

// unvoteMax bounds how long a node that stops waits until its vote is not needed: a
// new leader changes voters only when leases that the old majority gave have run out.
const unvoteMax = 6 * time.Second

// unvote waits, on one of two voters that is about to stop, until the other is the
// only one: else that one would hold all that it has until this one is back.
func (s *service) unvote(ctx context.Context) {
	self := s.record.Node
	if _, voters := s.consensus.Voters(); len(voters) != 2 || !slices.Contains(voters, self) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, unvoteMax)
	defer cancel()
	if s.consensus.IsLeader() {
		if err := s.consensus.LeadershipTransfer(ctx); err != nil {
			s.log.Info("nobody took over the lead", "error", err)
			return
		}
	}
	if !s.await(ctx, func(st *cluster.State) bool { return st.Nodes[self] == nil || !st.Nodes[self].Voter }) {
		s.log.Warn("stopping as one of two voters: the other will hold what it has")
	}
}
