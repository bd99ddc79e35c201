package engine

import (
	"context"
	"math"
	"time"

	"ashlar/node/cluster"
	"ashlar/replication/wire"
)

// How heads go round their volumes by themselves: one volume of a node at a time, at a
// fixed rate, and slower where that takes its time, since then hosts want the disks.
const (
	scrubLook  = time.Second
	lightGap   = time.Second / 128 // between two pieces of 1 MiB
	deepGap    = time.Second / 32
	scrubYield = 4 // as long as a piece took, so often
	scrubNote  = time.Minute
	scrubTries = 10 // of a piece, before it is left out
)

// scrubber goes round the volumes that this node is the head of, when each is due.
func (e *Engine) scrubber(deep bool) {
	for e.pause(scrubLook) {
		st := e.Consensus.State()
		if id := e.dueForScrub(st, deep); id != 0 {
			e.scrubVolume(st.Volumes[id], deep)
		}
	}
}

// pause is false when the engine ends.
func (e *Engine) pause(d time.Duration) bool {
	select {
	case <-e.ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

func roundOf(s *cluster.Scrubs, deep bool) cluster.Round {
	switch {
	case s == nil:
		return cluster.Round{}
	case deep:
		return s.Deep
	}
	return s.Light
}

// leads says whether this node's head of a reign serves.
func (e *Engine) leads(v *cluster.Volume) bool {
	if v == nil || v.Head != e.Self || !e.Ready() {
		return false
	}
	here := e.volume(v.ID)
	if here == nil {
		return false
	}
	s := here.Status()
	return s != nil && s.Head && s.Epoch == v.Epoch
}

// dueForScrub is the volume that is overdue for longest; 0: none is.
func (e *Engine) dueForScrub(st *cluster.State, deep bool) (due wire.VolumeID) {
	settings := st.Effective()
	every := settings.ScrubLight
	if deep {
		every = settings.ScrubDeep
	}
	oldest := int64(math.MaxInt64)
	now := time.Now().UnixMilli()
	for _, id := range st.VolumeIDs() {
		v := st.Volumes[id]
		if !e.leads(v) {
			continue
		}
		r := roundOf(v.Scrubs, deep)
		if r.Since == 0 {
			r.Since = spread(id, now, every)
			e.noteScrub(v, deep, r)
			continue
		}
		if r.Since < oldest && (now >= r.Since+int64(every)*1000 || r.Since > now) {
			due, oldest = id, r.Since
		}
	}
	return due
}

// spread is when a volume's round before its first would have begun, so that not all
// are due at once.
func spread(id wire.VolumeID, now int64, every int) int64 {
	const golden = 0x9E3779B97F4A7C15
	part := float64(uint64(id)*golden>>11) / (1 << 53)
	return now - int64(part*float64(every)*1000)
}

func (e *Engine) noteScrub(v *cluster.Volume, deep bool, r cluster.Round) {
	c := &cluster.NoteScrub{Volume: v.ID, Epoch: v.Epoch, Light: &r}
	if deep {
		c.Light, c.Deep = nil, &r
	}
	e.propose(cluster.Command{NoteScrub: c})
}

// scrubVolume goes round a volume, from where the head before has stopped. It ends
// early with the reign.
func (e *Engine) scrubVolume(v *cluster.Volume, deep bool) {
	r := roundOf(v.Scrubs, deep)
	if r.Began == 0 {
		r.Began, r.Next, r.Counts = time.Now().UnixMilli(), 0, cluster.Counts{}
		e.noteScrub(v, deep, r)
	}
	gap := lightGap
	if deep {
		gap = deepGap
	}
	at, tries, noted := Place{Segment: r.Next}, 0, time.Now()
	for {
		st := e.Consensus.State()
		if now := st.Volumes[v.ID]; now == nil || now.Epoch != v.Epoch || !e.leads(now) {
			return
		}
		if len(e.volume(v.ID).Status().Catching) > 0 { // that matters more
			if !e.pause(scrubLook) {
				return
			}
			continue
		}
		var x Swept
		began := time.Now()
		ctx, cancel := context.WithTimeout(e.ctx, time.Minute)
		err := e.compareNext(ctx, Sweep{v.ID, at, deep, true}, st, &x)
		cancel()
		took := time.Since(began)
		switch {
		case x.NotHead:
			return
		case err == nil && !x.Broken:
			tries = 0
		case tries < scrubTries:
			if tries++; !e.pause(scrubLook) {
				return
			}
			continue
		default:
			x, tries = leaveOut(st, st.Volumes[v.ID], at), 0
		}
		e.logFound(v, x)
		r.Counts.Differing += x.Counts.Differing
		r.Counts.Mended += x.Counts.Mended
		r.Counts.Skipped += x.Counts.Skipped
		if at = x.Next; x.End {
			break
		}
		if r.Next = at.Segment; at.Block == 0 && time.Since(noted) > scrubNote {
			noted = time.Now()
			e.noteScrub(v, deep, r)
		}
		if !e.pause(max(gap, scrubYield*took)) {
			return
		}
	}
	ended := time.Now().UnixMilli()
	e.noteScrub(v, deep, cluster.Round{Since: r.Began, Ended: ended, Took: ended - r.Began, Last: r.Counts})
}

func (e *Engine) logFound(v *cluster.Volume, x Swept) {
	for _, d := range x.Found {
		e.Log.Error("copies of a block were not alike", "volume", v.Name, "segment", d.Segment, "block", d.Block, "verdict", d.Verdict.String(),
			"bad", d.Bad, "old", d.Old, "mended", d.Mended)
	}
}
