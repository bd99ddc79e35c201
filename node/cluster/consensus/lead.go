package consensus

import (
	"context"
	"time"

	"ashlar/node/cluster"
	"ashlar/node/peer"
	"ashlar/replication/wire"
)

// offerEvery is the time between two tries to hand the lead over. While one lasts
// nothing is agreed on, a second at most, so they must be rare.
const offerEvery = 5 * time.Second

// handOver gives the lead to another voter, where this node had better not have it,
// and says whether it is gone. A witness leads only while nobody else can: it is often
// far away, or on a small machine.
func (c *Consensus) handOver(ctx context.Context, r *reconciler, voters []wire.NodeID) bool {
	to := heir(c.State(), voters, c.id, func(id wire.NodeID) bool { return c.config.Network.Session(id, peer.Control) != nil })
	if to == 0 || time.Since(r.handed) < offerEvery {
		return false
	}
	r.handed = time.Now()
	err := c.wait(ctx, c.raft.LeadershipTransferToServer(serverID(to), serverAddress(to)))
	c.config.Log.Info("consensus: a witness hands the lead over", "to", to, "error", err)
	return err == nil
}

// heir is the voter that a witness gives the lead to: one that holds data, is up, and can be reached; 0 where
// there is none, or self is no witness.
func heir(s *cluster.State, voters []wire.NodeID, self wire.NodeID, reached func(wire.NodeID) bool) wire.NodeID {
	if me := s.Nodes[self]; me == nil || !me.Witness {
		return 0
	}
	for _, id := range voters {
		if n := s.Nodes[id]; id != self && n != nil && n.Up && n.Voter && !n.Witness && !n.Leaving && reached(id) {
			return id
		}
	}
	return 0
}
