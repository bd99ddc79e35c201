package sim

import (
	"slices"

	"ashlar/node/cluster"
	"ashlar/replication/wire"
)

// planted stands in for faults of the cluster's state machine.
type planted struct{ w *world }

// state is what a faulty state machine would come to.
func (p *planted) state(r *raft, next *cluster.State, c cluster.Command) *cluster.State {
	bugs, before := &p.w.bugs, r.last()
	if bugs.UncleanElection {
		for _, id := range next.VolumeIDs() {
			if next.Volumes[id].Head == 0 {
				next = unclean(next, id)
			}
		}
	}
	if bugs.EjectLast && c.EjectDisk != nil && !next.Disks[c.EjectDisk.ID].Failed {
		next, _ = before.Apply(next.Index, cluster.Command{FailDisk: &cluster.FailDisk{ID: c.EjectDisk.ID}})
	}
	if m := c.AddReplica; bugs.MovedEarly && m != nil && m.Replaces != "" && next.Volumes[m.Volume].Segments[m.Segment].Coming() != nil {
		next = edit(next, m.Volume, func(v *cluster.Volume) {
			g := v.Segments[m.Segment]
			x := *g.OnDisk(m.To)
			x.InSync, x.Replaces, x.Drain = true, "", false
			g.Replicas = append(slices.DeleteFunc(slices.Clone(g.Replicas), func(r cluster.Replica) bool { return r.Disk == m.Replaces || r.Disk == m.To }), x)
			v.Segments[m.Segment] = cluster.Segment{Gen: g.Gen + 1, Replicas: g.Replicas}
		})
	}
	if bugs.UnopenedCounts && c.Register != nil {
		disks := map[cluster.DiskID]*cluster.Disk{}
		for id, d := range next.Disks {
			if d.Node == c.Register.Node {
				open := *d
				open.Opened = next.Nodes[d.Node].Incarnation
				d = &open
			}
			disks[id] = d
		}
		changed := *next
		changed.Disks, next = disks, &changed
	}
	if bugs.LossUncounted && c.Register != nil {
		for _, id := range next.VolumeIDs() {
			next = edit(next, id, func(v *cluster.Volume) {
				v.Losses = before.Volumes[id].Losses
				for i, g := range v.Segments {
					v.Segments[i].Replicas = slices.Clone(g.Replicas)
					for k := range g.Replicas {
						v.Segments[i].Replicas[k].Forgot = false
					}
				}
			})
		}
	}
	if bugs.EpochReused && c.Register != nil {
		for _, id := range next.VolumeIDs() {
			if old := before.Volumes[id]; old.Head == c.Register.Node {
				next = edit(next, id, func(v *cluster.Volume) {
					v.Head, v.HeadIncarnation, v.Epoch = old.Head, next.Nodes[old.Head].Incarnation, old.Epoch
					v.Segments = old.Segments
				})
			}
		}
	}
	return next
}

// edit changes a copy of a state.
func edit(st *cluster.State, id wire.VolumeID, change func(*cluster.Volume)) *cluster.State {
	c := *st
	c.Volumes = map[wire.VolumeID]*cluster.Volume{}
	for _, other := range st.VolumeIDs() {
		c.Volumes[other] = st.Volumes[other]
	}
	v := *st.Volumes[id]
	v.Segments = slices.Clone(v.Segments)
	change(&v)
	c.Volumes[id] = &v
	return &c
}

// unclean promotes whatever copy can be used.
func unclean(st *cluster.State, id wire.VolumeID) *cluster.State {
	return edit(st, id, func(v *cluster.Volume) {
		for i, g := range v.Segments {
			replicas := slices.Clone(g.Replicas)
			some := false
			for k := range replicas {
				some = some || st.Usable(replicas[k])
			}
			if !some {
				continue
			}
			for k := range replicas {
				replicas[k].InSync = st.Usable(replicas[k])
				if replicas[k].InSync && v.Head == 0 {
					v.Head, v.HeadIncarnation = replicas[k].Node, st.Nodes[replicas[k].Node].Incarnation
					v.Epoch++
				}
			}
			v.Segments[i] = cluster.Segment{Gen: g.Gen + 1, Replicas: replicas}
		}
	})
}
