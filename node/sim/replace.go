package sim

import (
	"fmt"
	"slices"

	"ashlar/node/cluster"
	"ashlar/replication/wire"
)

// failDisk has a disk fail a write, if its sets can do without it, and an
// operator replace it some time later.
func (w *world) failDisk() {
	s := w.anyServer()
	if s.disk.failed || w.raft.last().Disks[s.diskID] == nil || !w.spares(s) {
		return
	}
	s.breakDisk()
	w.after(second+w.outage(), s.replaceDisk)
}

func (s *server) breakDisk() {
	s.w.note("disk fails", int64(s.id))
	s.disk.fail()
	if p := s.process; p != nil {
		p.run(fromDisk, p.reportDisk)
	}
}

// reportDisk tells the cluster of a disk that failed.
func (p *process) reportDisk() {
	if p.s.disk.failed && !p.w.bugs.WriteErrorIgnored {
		p.propose(cluster.Command{FailDisk: &cluster.FailDisk{ID: p.s.diskID}}, func(cluster.Result) {})
	}
}

// spares says whether each set with a copy on a server has another one on a disk that works.
func (w *world) spares(s *server) bool {
	for _, v := range w.raft.last().Volumes {
		for _, g := range v.Segments {
			if r := g.On(s.id); r != nil && r.InSync && !w.outlives(g, s) {
				return false
			}
		}
	}
	return true
}

// outlives says whether a set has a copy on a disk that works, but for a server's.
func (w *world) outlives(g cluster.Segment, but *server) bool {
	for _, n := range g.InSync() {
		if s := w.server(n); s != but && !s.disk.failed {
			return true
		}
	}
	return false
}

// reviveLast takes a disk's failure back where nothing else is left of a set. Its
// node begins anew, since what failed is not tried again in one life, and so does
// the volume's head, which does not send again what a disk has failed.
func (w *world) reviveLast(st *cluster.State) {
	for _, id := range st.VolumeIDs() {
		for _, g := range st.Volumes[id].Segments {
			if w.outlives(g, nil) {
				continue
			}
			for _, n := range g.InSync() {
				s := w.server(n)
				s.disk.failed, s.disk.dead = false, false
				w.after(0, s.restart)
			}
			if h := st.Volumes[id].Head; h != 0 {
				w.after(0, w.server(h).restart)
			}
		}
	}
}

func (s *server) restart() {
	s.kill()
	if s.up {
		s.start()
	}
}

// works says whether a failure of a disk that somebody reports was taken back.
func (w *world) works(id cluster.DiskID) bool {
	for _, s := range w.servers {
		if s.diskID == id && s.disk.failed {
			return false
		}
	}
	return true
}

// replaceDisk puts an empty disk in the place of one that has left all its sets.
// What the node has promised it stays bound to.
func (s *server) replaceDisk() {
	w, old := s.w, s.diskID
	if !s.disk.failed {
		return
	}
	st := w.raft.last()
	if d := st.Disks[old]; d == nil || !d.Failed || slices.ContainsFunc(copiesOn(st, old), func(r cluster.Replica) bool { return r.InSync }) {
		w.after(500*millisecond, s.replaceDisk)
		return
	}
	w.note("disk replaced", int64(s.id))
	promises := s.disk.promises
	s.spare++
	s.diskID = cluster.DiskID(fmt.Sprintf("d%d.%d", s.id, s.spare))
	s.disk = w.newDisk(s.diskID)
	s.disk.promises = promises
	w.insist(cluster.Command{AddDisk: &cluster.AddDisk{ID: s.diskID, Node: s.id, Size: 1 << 40}}, func() bool {
		return w.raft.last().Disks[s.diskID] != nil
	}, func() {
		w.insist(cluster.Command{Replace: &cluster.Replace{Disk: old}}, func() bool { return len(copiesOn(w.raft.last(), old)) == 0 }, func() {})
	})
}

func copiesOn(st *cluster.State, id cluster.DiskID) (list []cluster.Replica) {
	for _, v := range st.VolumeIDs() {
		for _, g := range st.Volumes[v].Segments {
			for _, r := range g.Replicas {
				if r.Disk == id {
					list = append(list, r)
				}
			}
		}
	}
	return list
}

// insist has the cluster asked for something until it is so.
func (w *world) insist(c cluster.Command, so func() bool, then func()) {
	if so() {
		then()
		return
	}
	w.order(c)
	w.after(second, func() { w.insist(c, so, then) })
}

func (w *world) newDisk(id cluster.DiskID) *disk {
	d := &disk{timeline: &w.timeline, shape: &w.shape, id: id, blocks: segmentBlocks, bugs: w.bugs, replicas: map[replicaID]*replica{},
		promises: map[wire.VolumeID]uint64{}}
	d.onBroken = func(what string) { w.violate("%s", what) }
	d.onDecay = func() { w.saveLast(w.raft.last()) }
	d.count = func(kind string) { w.kinds[kind]++ }
	return d
}
