package consensus

import "time"

// spreadByItself is about how long raft would take to tell the followers how far the log is committed, when nothing
// else is agreed on meanwhile. It does so again and again while nothing happens at all.
const spreadByItself = 500 * time.Millisecond

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
		if err := c.Barrier(c.ctx); err != nil && c.ctx.Err() == nil && c.IsLeader() {
			c.config.Log.Warn("consensus: telling what is agreed on", "error", err)
		}
	}
}
