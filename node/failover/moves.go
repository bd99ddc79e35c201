package failover

import (
	"slices"

	"ashlar/node/cluster"
	"ashlar/replication/wire"
)

const (
	movesEvery = int64(500_000_000)
	movesMax   = 2 // copies that come to one disk, or leave it, at once
	evenEvery  = int64(5_000_000_000)
)

// Moves decides which copies go to other disks: those on disks that are to be
// emptied, those that share a fault domain with another of their segment though they need not, those that segments lack, and, when
// nothing else moves, some of those on disks that are much fuller than others. It asks for one step of a
// segment at a time, each of which compares with what it was decided on.
type Moves struct {
	looked, evened int64
	most           int // copies that come to one disk, or leave it, at once
}

// NewMoves knows nothing, and needs to know nothing: what moves is in the state.
func NewMoves() *Moves { return &Moves{most: movesMax} }

// Tick decides.
func (m *Moves) Tick(now int64, st *cluster.State) []cluster.Command {
	if now-m.looked < movesEvery {
		return nil
	}
	m.looked = now
	w := moving{st: st, most: m.most, busy: map[cluster.DiskID]int{}}
	for _, id := range st.VolumeIDs() {
		for i, g := range st.Volumes[id].Segments {
			w.goOn(st.Volumes[id], wire.Segment(i), g)
		}
	}
	for _, id := range st.VolumeIDs() {
		for i, g := range st.Volumes[id].Segments {
			w.begin(st.Volumes[id], wire.Segment(i), g)
		}
	}
	if len(w.out) == 0 && now-m.evened >= evenEvery && st.Effective().Rebalance != cluster.Off {
		m.evened = now
		w.even()
	}
	return w.out
}

// even has one copy go from a full disk to one that is much less so, as one is that was just added. A copy on its head's
// node stays, since it is read there.
func (w *moving) even() {
	places := w.st.Places()
	for _, from := range places.Fullest() {
		if w.busy[from] >= w.most {
			continue
		}
		for _, id := range w.st.VolumeIDs() {
			v := w.st.Volumes[id]
			for i, g := range v.Segments {
				r := g.OnDisk(from)
				if r == nil || !r.InSync || r.Node == v.Head || v.Head == 0 || g.Coming() != nil || len(g.InSync()) < v.Copies {
					continue
				}
				to, ok := places.For(g, from, func(to cluster.DiskID) bool { return w.busy[to] < w.most && places.Evens(g, from, to) })
				if ok {
					w.out = append(w.out, cluster.Command{AddReplica: &cluster.AddReplica{Volume: id, Segment: wire.Segment(i), Gen: g.Gen, To: to, Replaces: from}})
					return
				}
			}
		}
	}
}

// moving is one look at all copies.
type moving struct {
	st     *cluster.State
	most   int
	places *cluster.Places        // nil: none were needed yet
	busy   map[cluster.DiskID]int // copies that come to a disk and leave it now
	out    []cluster.Command
}

// goOn takes the next step of a move that was begun, if it is due.
func (w *moving) goOn(v *cluster.Volume, i wire.Segment, g cluster.Segment) {
	x := g.Coming()
	if x == nil {
		return
	}
	drop := func(id cluster.DiskID) {
		w.out = append(w.out, cluster.Command{DropReplica: &cluster.DropReplica{Volume: v.ID, Segment: i, Gen: g.Gen, Disk: id}})
	}
	switch {
	case w.st.Droppable(v, g, x.Replaces):
		drop(x.Replaces)
	case !x.InSync && (!w.st.Usable(*x) || x.Demoted || w.st.Drains(x.Disk)):
		drop(x.Disk)
	default:
		w.busy[x.Disk]++
		w.busy[x.Replaces]++
	}
}

// begin has a copy go elsewhere, if one is to and neither disk has enough to do.
func (w *moving) begin(v *cluster.Volume, i wire.Segment, g cluster.Segment) {
	if v.Head == 0 || g.Coming() != nil {
		return
	}
	if len(g.Replicas) < v.Copies {
		if to, ok := w.place(g, "", false); ok {
			w.out = append(w.out, cluster.Command{AddReplica: &cluster.AddReplica{Volume: v.ID, Segment: i, Gen: g.Gen, To: to}})
		}
		return
	}
	var r cluster.Replica
	at := slices.IndexFunc(g.Replicas, func(r cluster.Replica) bool { return w.st.Drains(r.Disk) })
	doubled := w.st.Doubled(g)
	switch {
	case at >= 0:
		r = g.Replicas[at]
	case doubled != nil:
		r = *doubled
	default:
		return
	}
	if w.busy[r.Disk] >= w.most {
		return
	}
	to, ok := w.place(g, r.Disk, at < 0)
	switch {
	case !ok:
		return
	case r.InSync:
		w.out = append(w.out, cluster.Command{AddReplica: &cluster.AddReplica{Volume: v.ID, Segment: i, Gen: g.Gen, To: to, Replaces: r.Disk}})
	default: // nothing is lost with it
		w.out = append(w.out, cluster.Command{MoveReplica: &cluster.MoveReplica{Volume: v.ID, Segment: i, Gen: g.Gen, From: r.Disk, To: to}})
	}
	w.busy[r.Disk]++
}

// place is a disk for one more copy of a segment, or for one instead of another, which has one more to do
// then; only one in a fault domain of its own, if it is to be apart.
func (w *moving) place(g cluster.Segment, instead cluster.DiskID, apart bool) (cluster.DiskID, bool) {
	if w.places == nil {
		w.places = w.st.Places()
	}
	find := w.places.For
	if apart {
		find = w.places.Apart
	}
	to, ok := find(g, instead, func(id cluster.DiskID) bool { return w.busy[id] < w.most })
	if ok {
		w.places.Take(to)
		w.busy[to]++
	}
	return to, ok
}
