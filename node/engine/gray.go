package engine

import (
	"maps"
	"slices"
	"time"

	"ashlar/node/cluster"
	"ashlar/node/disk"
	"ashlar/node/failover"
	"ashlar/node/lease"
	"ashlar/node/peer"
	"ashlar/node/volume"
	"ashlar/replication/wire"
	"ashlar/target/boottime"
)

const (
	beatEvery  = 250 * time.Millisecond // an idle disk is written to
	silenceMax = time.Second            // a disk that is silent for longer is suspended
)

// renewal is what a node tells the voters with each renewal of its lease: how its
// disks, ways and volumes are. The leader is one of them.
type renewal struct {
	lease.Renew
	Report *failover.Report `json:",omitempty"`
}

// ping asks a node for nothing but its answer.
type ping struct{ ID uint64 }

// beat writes to a disk of which nothing was heard for a while.
func (e *Engine) beat(s *disk.Store) {
	last := s.Beats()
	t := boottime.Ticker(beatEvery)
	defer t.Stop()
	for {
		select {
		case <-e.ctx.Done():
			return
		case <-s.Failed():
			return
		case <-t.C:
		}
		if n := s.Beats(); n == last {
			if s.Beat() != nil {
				return
			}
		}
		last = s.Beats()
	}
}

// silence is for how long this process, while it ran, has seen no durable write
// of a disk end.
type silence struct {
	beats     uint64
	lasts     time.Duration
	suspended bool
}

// listen looks at each disk once a tick. A process that stood still lost one tick,
// however long that took, and is not taken for a disk that hangs.
func (c *control) listen() {
	c.e.mu.Lock()
	stores := c.e.stores
	c.e.mu.Unlock()
	changed := false
	for id, x := range c.silences {
		if stores[id] == nil {
			delete(c.silences, id)
			changed = changed || x.suspended
		}
	}
	for id, s := range stores {
		x := c.silences[id]
		if x == nil {
			x = &silence{}
			c.silences[id] = x
		}
		if n := s.Beats(); n != x.beats {
			x.beats, x.lasts = n, 0
		} else {
			x.lasts += tick
		}
		select {
		case <-s.Failed():
			x.lasts = 0 // it is out for ever: that is another matter
		default:
		}
		if hangs := x.lasts > silenceMax; hangs != x.suspended {
			x.suspended, changed = hangs, true
			if hangs {
				c.e.Log.Warn("a disk is suspended: none of its writes has ended for a second", "disk", id)
			} else {
				c.e.Log.Info("a disk works again", "disk", id)
			}
		}
	}
	if changed {
		suspended := map[cluster.DiskID]bool{}
		for id, x := range c.silences {
			if x.suspended {
				suspended[id] = true
			}
		}
		c.e.suspended.Store(&suspended)
	}
}

// Suspended says whether a disk of this node is silent: its copies answer nothing
// until it writes again. The node's lease and its other disks go on.
func (e *Engine) Suspended(id cluster.DiskID) bool {
	s := e.suspended.Load()
	return s != nil && (*s)[id]
}

// ask measures the ways to all nodes that can be reached.
func (c *control) ask(t int64, st *cluster.State) {
	var reached []wire.NodeID
	for _, id := range st.NodeIDs() {
		if id != c.e.Self && c.e.Network.Session(id, peer.Control) != nil {
			reached = append(reached, id)
		}
	}
	for _, q := range c.links.Tick(t, reached) {
		c.send(q.To, kindPing, ping{q.ID})
	}
}

// report is what goes out with a renewal.
func (c *control) report(t int64) *failover.Report {
	r := &failover.Report{Links: c.links.Recent(t)}
	minute := c.links.Minute(t)
	c.e.minute.Store(&minute)
	c.e.mu.Lock()
	stores := c.e.stores
	c.e.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(stores)) {
		f := stores[id].Latency().RecentWrites
		if x := c.silences[id]; x != nil && x.lasts > 2*beatEvery {
			f.Oldest = max(f.Oldest, int64(x.lasts))
		}
		r.Disks = append(r.Disks, failover.DiskFacts{Disk: id, Facts: f})
	}
	var m failover.Meter
	c.e.each(func(v *volume.Volume) {
		if s := v.Status(); s != nil && s.Head {
			m.Add(v.ID(), s.Epoch, s.Load)
		}
	})
	m.Fill(r)
	return r
}
