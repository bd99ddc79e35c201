package failover

import "ashlar/node/cluster"

// wornEvery is how often disks that are to go are looked for, ns.
const wornEvery = second

// Worn decides when disks that have lost blocks leave the pool: as soon as all sets
// with copies on them can do without. A new leader begins a new one.
type Worn struct{ looked int64 }

// Tick gives the disks that can go now, one at a time: what each leaves behind decides on the next.
func (w *Worn) Tick(now int64, st *cluster.State) []cluster.Command {
	if now-w.looked < wornEvery {
		return nil
	}
	w.looked = now
	for _, id := range st.DiskIDs() {
		if st.CanEject(id) {
			return []cluster.Command{{EjectDisk: &cluster.EjectDisk{ID: id}}}
		}
	}
	return nil
}
