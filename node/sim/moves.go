package sim

import (
	"ashlar/node/cluster"
)

// drainDisk has all copies leave a disk, for a while or until there are none.
func (w *world) drainDisk() {
	s := w.anyServer()
	id := s.diskID
	if w.raft.last().Disks[id] == nil || w.drains {
		return
	}
	w.drains = true
	drained := func(on bool) func() bool {
		return func() bool { d := w.raft.last().Disks[id]; return d == nil || d.Drained == on }
	}
	back := func() {
		w.insist(cluster.Command{SetDiskDrained: &cluster.SetDiskDrained{Disk: id}}, drained(false), func() { w.drains = false })
	}
	w.insist(cluster.Command{SetDiskDrained: &cluster.SetDiskDrained{Disk: id, Drained: true}}, drained(true), func() { w.after(w.between(second, 8*second), back) })
}

// moving says whether a copy is still to go elsewhere.
func (w *world) moving() bool {
	st := w.raft.last()
	for _, v := range st.Volumes {
		for _, g := range v.Segments {
			if g.Coming() != nil {
				return true
			}
		}
	}
	return w.drains
}
