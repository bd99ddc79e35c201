package engine

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"ashlar/node/failover"
	"ashlar/node/volume"
	"ashlar/replication/wire"
)

const aboutLatency = "latency"

// Why says of each volume what slows it, as far as nodes answer within a second.
func (e *Engine) Why(ctx context.Context) []failover.Reasons {
	return failover.Why(e.Consensus.State(), e.Told(ctx), time.Now().UnixMilli())
}

// Told is what nodes measure, of those that answer within a second.
func (e *Engine) Told(ctx context.Context) map[wire.NodeID]failover.Measured {
	told := map[wire.NodeID]failover.Measured{}
	for from, text := range e.AskAll(ctx, aboutLatency, nil) {
		var m failover.Measured
		if err := json.Unmarshal(text, &m); err != nil {
			e.Log.Warn("a malformed answer about latency", "from", from, "error", err)
			continue
		}
		told[from] = m
	}
	return told
}

// measured is what this node tells.
func (e *Engine) measured(wire.NodeID, json.RawMessage) any {
	m := failover.Measured{Pace: e.Pace()}
	if links := e.minute.Load(); links != nil {
		m.Links = *links
	}
	e.mu.Lock()
	stores := e.stores
	e.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(stores)) {
		l := stores[id].Latency()
		m.Disks = append(m.Disks, failover.DiskMinute{Disk: id, Reads: l.Reads, Writes: l.Writes, Suspended: e.Suspended(id)})
	}
	e.each(func(v *volume.Volume) {
		if s := v.Status(); s != nil && s.Head {
			m.Heads = append(m.Heads, minuteOf(v.ID(), s))
		}
	})
	return m
}

func minuteOf(id wire.VolumeID, s *volume.Status) failover.HeadMinute {
	h := failover.HeadMinute{Volume: id, Epoch: s.Epoch, Writes: s.Load.Writes.Facts(0), Operations: s.Load.Operations, Bytes: s.Load.Bytes, Catching: s.Catching}
	if ago := now() - s.Load.Full; s.Load.Full > 0 && ago < int64(time.Minute) {
		h.FullAgo = max(ago, 1)
	}
	for _, x := range s.Load.Hops {
		if f := x.Minute.Facts(x.Oldest); f.Known() {
			h.Hops = append(h.Hops, failover.NodeFacts{Node: x.Node, Facts: f})
		}
	}
	return h
}

// Measured is what this node measures, of itself and its peers, of the last minute.
func (e *Engine) Measured() failover.Measured { return e.measured(0, nil).(failover.Measured) }

// Traffic is what hosts asked of each volume through this node, by class.
func (e *Engine) Traffic() map[wire.VolumeID][]volume.Flow {
	all := map[wire.VolumeID][]volume.Flow{}
	e.each(func(v *volume.Volume) { all[v.ID()] = v.Traffic() })
	return all
}
