package failover

import "ashlar/node/cluster"

// rebuildEvery is how often lost copies are looked for, ns.
const (
	rebuildEvery = int64(5_000_000_000)
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
		if d.Failed {
			patience = int64(settings.RebuildAfterDisk) * second
		}
		since, known := r.since[id]
		switch {
		case !d.Failed && st.Nodes[d.Node].Up:
			delete(r.since, id)
		case !known:
			r.since[id] = now
		case now-since >= patience && st.Replaceable(id):
			out = append(out, cluster.Command{Replace: &cluster.Replace{Disk: id}})
		}
	}
	return out
}
