package engine

import (
	"context"
	"encoding/json"

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
