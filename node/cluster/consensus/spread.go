package consensus

import (
	"context"
	"time"

	"github.com/hashicorp/raft"
)

// spreadByItself is about how long raft would take to tell the followers how far the log is committed, when nothing
// else is agreed on meanwhile, and to try a follower again that it could not reach. It does so for ever while nothing happens at all.
const spreadByItself = 500 * time.Millisecond

// insistEvery is how long an entry waits for followers before another one has raft try them again.
const insistEvery = 50 * time.Millisecond

// insist waits as wait does for an entry that was just begun.
func (c *Consensus) insist(ctx context.Context, f raft.Future) error {
	result := make(chan error, 1)
	go func() { result <- c.wait(ctx, f) }()
	again := time.NewTicker(insistEvery)
	defer again.Stop()
	for {
		select {
		case err := <-result:
			return err
		case <-again.C:
			c.raft.Barrier(insistEvery) // which nobody waits for
		}
	}
}

// spread has the followers hear soon that something was agreed on.
func (c *Consensus) spread() {
	select {
	case c.agreed <- struct{}{}:
	default: // one that is not begun yet will say this, too
	}
}

// spreadAlways lets an entry without meaning follow what was agreed on: raft tells how far the log is committed with the
// next entry. One at a time, so that of many commands each takes a part of it.
func (c *Consensus) spreadAlways() {
	for {
		select {
		case <-c.agreed:
		case leads := <-c.raft.LeaderCh():
			if !leads {
				continue
			}
		case <-c.ctx.Done():
			return
		}
		if err := c.insist(c.ctx, c.raft.Barrier(rpcTimeout)); err != nil && c.ctx.Err() == nil && c.IsLeader() {
			c.config.Log.Warn("consensus: telling what is agreed on", "error", err)
			time.AfterFunc(insistEvery, c.spread)
		}
	}
}
