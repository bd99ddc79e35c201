package failover

import "ashlar/node/cluster"

// rebuildEvery is how often lost copies are looked for, ns.
const (
	rebuildEvery = int64(1_000_000_000)
	second       = int64(1_000_000_000)
)

// Rebuild decides when copies are made elsewhere. A new leader begins a new one.
type Rebuild struct {
	since  map[cluster.DiskID]int64 // when a disk was first seen to be of no use
	looked int64
}

// NewRebuild knows nothing.
func NewRebuild() *Rebuild { return &Rebuild{since: map[cluster.DiskID]int64{}} }

// Tick gives the disks whose copies are to be replaced now.
func (r *Rebuild) Tick(now int64, st *cluster.State) (out []cluster.Command) {
	if now-r.looked < rebuildEvery {
		return nil
	}
	r.looked = now
	settings := st.Effective()
	for _, id := range st.DiskIDs() {
		d := st.Disks[id]
		patience := int64(settings.RebuildAfterNode) * second
		switch {
		case d.Failed && holdsUp(st, id):
			patience = 0
		case d.Failed:
			patience = int64(settings.RebuildAfterDisk) * second
		}
		since, known := r.since[id]
		switch {
		case !d.Failed && st.Nodes[d.Node].Up:
			delete(r.since, id)
		case !known && patience > 0:
			r.since[id] = now
		case now-since >= patience && st.Replaceable(id):
			out = append(out, cluster.Command{Replace: &cluster.Replace{Disk: id}})
		}
	}
	return out
}

// holdsUp says whether writes wait for want of a copy that was on a disk: a disk that has failed does not come back, so waiting
// for it helps nobody.
func holdsUp(st *cluster.State, id cluster.DiskID) bool {
	for _, v := range st.Volumes {
		for _, g := range v.Segments {
			opened := st.OpenCopies(g, 0)
			if r := g.OnDisk(id); r != nil && !r.InSync && opened > 0 && opened < v.MinInSync {
				return true
			}
		}
	}
	return false
}
