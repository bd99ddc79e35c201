package consensus

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"ashlar/node/cluster"
	"ashlar/replication/wire"
	"ashlar/target/boottime"
)

// reconciler is what a leader remembers between steps.
type reconciler struct {
	mu      sync.Mutex
	term    uint64    // in which all earlier entries are known to be applied here
	changed time.Time // when voters last changed, or may have: under the leader before
	handed  time.Time // when the lead was last offered to another
}

func (c *Consensus) reconcileAlways() {
	tick := boottime.Ticker(c.config.StepEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-c.ctx.Done():
			return
		}
		ctx, cancel := context.WithTimeout(c.ctx, 2*attemptMax)
		if err := c.Reconcile(ctx); err != nil && c.ctx.Err() == nil && c.IsLeader() {
			c.config.Log.Warn("consensus: voters", "error", err)
		}
		cancel()
	}
}

// Reconcile takes one step, if this node leads, to bring raft's configuration and the
// state together. Open has it done regularly; only who cannot wait calls it.
func (c *Consensus) Reconcile(ctx context.Context) error {
	if !c.IsLeader() {
		return nil
	}
	r := &c.voting
	r.mu.Lock()
	defer r.mu.Unlock()
	if term := c.raft.CurrentTerm(); term != r.term {
		if err := c.Barrier(ctx); err != nil {
			return err
		}
		r.term, r.changed = term, time.Now()
	}
	version, servers := c.seen.latest()
	voters, _ := split(servers)
	if c.handOver(ctx, r, voters) {
		return nil
	}
	next := nextChange(c.State(), servers, c.id)
	if next.kind == nothing || next.touchesVoters(voters) && time.Since(r.changed) < c.config.VoterSpacing {
		return nil
	}
	if next.touchesVoters(voters) {
		r.changed = time.Now() // also if it fails: it may yet be agreed on
	}
	c.config.Log.Info("consensus: "+next.kind.String(), "node", next.node, "voters", voters)
	if err := c.carryOut(ctx, next, version, slices.Contains(voters, next.node)); err != nil {
		return fmt.Errorf("consensus: %v node %d: %w", next.kind, next.node, err)
	}
	c.spread()
	return nil
}

// carryOut makes a change to the configuration of that version and no other.
func (c *Consensus) carryOut(ctx context.Context, next change, version uint64, votes bool) error {
	id, address := serverID(next.node), serverAddress(next.node)
	var f raft.Future
	switch next.kind {
	case record:
		return c.record(ctx, next.node, votes)
	case admit:
		f = c.raft.AddNonvoter(id, address, version, rpcTimeout)
	case promote:
		f = c.raft.AddVoter(id, address, version, rpcTimeout)
	case demote:
		f = c.raft.DemoteVoter(id, version, rpcTimeout)
	case remove:
		f = c.raft.RemoveServer(id, version, rpcTimeout)
	}
	if err := c.wait(ctx, f); err != nil {
		return err
	}
	if next.kind == promote || next.kind == demote {
		return c.record(ctx, next.node, next.kind == promote)
	}
	return nil
}

func (c *Consensus) record(ctx context.Context, id wire.NodeID, votes bool) error {
	_, err := c.Propose(ctx, cluster.Command{SetVoter: &cluster.SetVoter{Node: id, Voter: votes}})
	return err
}
