package engine

import (
	"context"
	"encoding/json"
	"time"

	"ashlar/node/cluster"
	"ashlar/node/disk"
	"ashlar/replication/wire"
)

const aboutSpace = "space"

// Space is what every disk holds, of those whose nodes answer within a second.
func (e *Engine) Space(ctx context.Context) map[cluster.DiskID]disk.Stats {
	all := map[cluster.DiskID]disk.Stats{}
	for from, text := range e.AskAll(ctx, aboutSpace, nil) {
		var disks map[cluster.DiskID]disk.Stats
		if err := json.Unmarshal(text, &disks); err != nil {
			e.Log.Warn("a malformed answer about space", "from", from, "error", err)
		}
		for id, s := range disks {
			all[id] = s
		}
	}
	return all
}

func (e *Engine) space(wire.NodeID, json.RawMessage) any { return e.OwnSpace() }

// OwnSpace is how full the disks of this node are.
func (e *Engine) OwnSpace() map[cluster.DiskID]disk.Stats {
	e.mu.Lock()
	stores := e.stores
	e.mu.Unlock()
	all := map[cluster.DiskID]disk.Stats{}
	for id, s := range stores {
		all[id] = s.Stats()
	}
	return all
}

const fillEvery = 10 * time.Second

// noteFill has the cluster note it where the pool fills, or has room again, while this node leads.
func (e *Engine) noteFill() {
	if !e.Consensus.IsLeader() || !e.registered.Load() {
		return
	}
	space, st := e.Space(e.ctx), e.Consensus.State()
	percent, known := used(st, space)
	if fill := st.FillAfter(percent); known && fill != st.Fill {
		e.propose(cluster.Command{NoteFill: &cluster.NoteFill{Fill: fill, Percent: percent}}) //nolint:errcheck // it is looked at again
	}
}

// used is what is used, in per cent, of the disks that can be used and are heard of; false: there are none.
func used(st *cluster.State, space map[cluster.DiskID]disk.Stats) (percent int, known bool) {
	var of, all int64
	for id, s := range space {
		if d := st.Disks[id]; d != nil && !d.Failed {
			of, all = of+s.Used, all+s.Capacity
		}
	}
	if all == 0 {
		return 0, false
	}
	return int(100 * of / all), true
}
