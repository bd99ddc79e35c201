package engine

import (
	"time"

	"ashlar/node/cluster"
	"ashlar/node/volume"
	"ashlar/replication/latency"
	"ashlar/replication/pace"
)

const paceEvery = int64(250 * time.Millisecond)

// pacing gives the heads here their parts of what may be copied.
type pacing struct {
	pacer  pace.Pacer
	looked int64
}

// pace looks at what hosts of this node's heads wait for.
func (c *control) pace(t int64, st *cluster.State) {
	if t-c.pacing.looked < paceEvery {
		return
	}
	c.pacing.looked = t
	var hosts latency.Sum
	copying := uint64(0)
	c.e.each(func(v *volume.Volume) {
		if s := v.Status(); s != nil && s.Head {
			hosts.Add(s.Load.Recent)
			if len(s.Catching) > 0 {
				copying++
			}
		}
	})
	settings := st.Effective()
	rate := c.pacing.pacer.Tick(t, pace.Measure{Copying: copying > 0, P99: hosts.Facts(0).P99},
		pace.Limits{Floor: settings.RebuildFloor, Ceiling: settings.RebuildCeiling})
	c.e.rate.Store(max(1, rate/max(1, copying)))
}

// Pace is how fast each head here may have copies catch up, bytes per second.
func (e *Engine) Pace() uint64 { return e.rate.Load() }
