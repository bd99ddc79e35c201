package events

import (
	"maps"
	"slices"

	"ashlar/node/cluster"
	"ashlar/replication/wire"
)

func (d *derivation) volumes() {
	for _, id := range both(d.before.Volumes, d.after.Volumes) {
		old, now := d.before.Volumes[id], d.after.Volumes[id]
		switch {
		case old == now:
		case old == nil:
			d.add(Event{Kind: VolumeCreated, Volume: now.Name, Node: d.node(now.Head)}, "volume %q was created, with %d bytes and %d copies; node %q is its head",
				now.Name, now.Bytes, now.Copies, d.node(now.Head))
		case now == nil:
			d.add(Event{Kind: VolumeDeleted, Volume: old.Name}, "volume %q was deleted", old.Name)
			for _, g := range old.Segments {
				for _, r := range g.Replicas {
					d.leaves(r.Disk)
				}
			}
		default:
			d.oneVolume(old, now)
		}
	}
}

func (d *derivation) oneVolume(old, now *cluster.Volume) {
	if now.Bytes != old.Bytes {
		d.add(Event{Kind: VolumeResized, Volume: now.Name}, "volume %q has %d bytes, %d before", now.Name, now.Bytes, old.Bytes)
	}
	d.copies(old, now)
	d.head(old, now)
	d.exports(old, now)
	if now.Scrubs != old.Scrubs && now.Scrubs != nil {
		if old.Scrubs == nil {
			old = &cluster.Volume{Scrubs: &cluster.Scrubs{}}
		}
		d.round(now.Name, "light", old.Scrubs.Light, now.Scrubs.Light)
		d.round(now.Name, "deep", old.Scrubs.Deep, now.Scrubs.Deep)
	}
}

// head tells that another one orders the volume's writes, and why as far as the states say.
func (d *derivation) head(old, now *cluster.Volume) {
	about := Event{Kind: HeadMoved, Volume: now.Name, Node: d.node(now.Head)}
	switch {
	case now.Head == 0 && old.Head != 0:
		about.Kind, about.Node, about.Warning = HeadLost, d.node(old.Head), true
		d.add(about, "volume %q has no head since node %q: no copy in sync can be used, so it waits", now.Name, about.Node)
	case now.Head != 0 && old.Head == 0:
		d.add(about, "volume %q has a head again: node %q, at epoch %d", now.Name, about.Node, now.Epoch)
	case now.Head != old.Head:
		d.add(about, "the head of volume %q moved from node %q to node %q, at epoch %d: %s", now.Name, d.node(old.Head), about.Node, now.Epoch, d.why(old, now))
	case now.HeadIncarnation != old.HeadIncarnation:
		d.add(about, "node %q is the head of volume %q anew, at epoch %d: it was started again", about.Node, now.Name, now.Epoch)
	}
}

func (d *derivation) why(old, now *cluster.Volume) string {
	n := d.after.Nodes[old.Head]
	has := func(g cluster.Segment) bool { r := g.On(old.Head); return r != nil && r.InSync }
	demoted := func(g cluster.Segment) bool { r := g.On(old.Head); return r != nil && r.Demoted }
	switch {
	case n == nil || n.Expelled:
		return "that node is no part of the cluster any more"
	case !n.Up:
		return "that node is down"
	case n.Incarnation != old.HeadIncarnation:
		return "that node was started again"
	case n.Leaving:
		return "that node is about to stop"
	case n.Drained:
		return "that node is drained"
	case slices.ContainsFunc(now.Segments, demoted):
		return "that node's copies are slow"
	case !slices.ContainsFunc(now.Segments, has):
		return "that node has no copy in sync any more"
	}
	return "it was ordered, or that node is slow"
}

// tally is what happened to a volume's copies on one node.
type tally struct{ out, demoted, in, placed int }

// copies tells of copies that left their sets, came into them or were placed, once for each node.
func (d *derivation) copies(old, now *cluster.Volume) {
	nodes := map[wire.NodeID]*tally{}
	on := func(n wire.NodeID) *tally {
		if nodes[n] == nil {
			nodes[n] = &tally{}
		}
		return nodes[n]
	}
	for i := range min(len(old.Segments), len(now.Segments)) {
		a, b := old.Segments[i], now.Segments[i]
		if a.Gen == b.Gen {
			continue
		}
		for _, r := range b.Replicas {
			was := a.OnDisk(r.Disk)
			switch {
			case was == nil && !r.InSync:
				on(r.Node).placed++
			case was != nil && was.InSync && r.Demoted:
				on(r.Node).demoted++
			case was != nil && was.InSync && !r.InSync:
				on(r.Node).out++
			case r.InSync && (was == nil || !was.InSync):
				on(r.Node).in++
			}
		}
		for _, r := range a.Replicas {
			if b.OnDisk(r.Disk) == nil {
				d.leaves(r.Disk)
			}
		}
	}
	for _, n := range slices.Sorted(maps.Keys(nodes)) {
		d.tell(now, n, *nodes[n])
	}
}

func (d *derivation) tell(v *cluster.Volume, n wire.NodeID, t tally) {
	about := Event{Volume: v.Name, Node: d.node(n)}
	if t.out > 0 {
		about.Kind, about.Copies, about.Warning = CopiesOut, t.out, true
		d.add(about, "%d copies of volume %q on node %q are out of sync", t.out, v.Name, about.Node)
	}
	if t.demoted > 0 {
		about.Kind, about.Copies, about.Warning = CopiesDemoted, t.demoted, true
		why := "they are slow"
		if x := d.after.DemotionOf(v.ID, n); x != nil {
			why, about.Disk = x.Why, string(x.Disk)
		}
		d.add(about, "%d copies of volume %q on node %q were left out for slowness: %s", t.demoted, v.Name, about.Node, why)
		about.Disk = ""
	}
	about.Warning = false
	if t.placed > 0 {
		about.Kind, about.Copies = CopiesPlaced, t.placed
		d.add(about, "%d copies of volume %q are to be made on node %q", t.placed, v.Name, about.Node)
	}
	if t.in > 0 {
		about.Kind, about.Copies = CopiesIn, t.in
		d.add(about, "%d copies of volume %q on node %q are in sync", t.in, v.Name, about.Node)
	}
}

func (d *derivation) exports(old, now *cluster.Volume) {
	to := func(v *cluster.Volume, host string) *cluster.Export {
		if i := slices.IndexFunc(v.Exports, func(e cluster.Export) bool { return e.Host == host }); i >= 0 {
			return &v.Exports[i]
		}
		return nil
	}
	for _, e := range old.Exports {
		about := Event{Kind: ExportRemoved, Volume: now.Name, Host: e.Host}
		switch x := to(now, e.Host); {
		case x == nil:
			d.add(about, "volume %q was taken back from host %q", now.Name, e.Host)
		case *x != e:
			about.Kind = ExportChanged
			d.add(about, "volume %q is published to host %q differently", now.Name, e.Host)
		}
	}
	for _, e := range now.Exports {
		if to(old, e.Host) == nil {
			d.add(Event{Kind: ExportAdded, Volume: now.Name, Host: e.Host}, "volume %q is published to host %q", now.Name, e.Host)
		}
	}
}

// round tells of what a scrub found since it was noted before, and of its end.
func (d *derivation) round(volume, depth string, old, now cluster.Round) {
	counts, before := now.Counts, old.Counts
	ended := now.Ended != old.Ended
	if ended {
		counts = now.Last
	} else if now.Began != old.Began {
		before = cluster.Counts{}
	}
	about := Event{Kind: ScrubFound, Volume: volume, Warning: true}
	if counts.Differing > before.Differing {
		d.add(about, "a %s scrub of volume %q found %d differing blocks, and mended %d", depth, volume,
			counts.Differing-before.Differing, counts.Mended-min(before.Mended, counts.Mended))
	}
	if ended {
		about.Kind, about.Warning = ScrubEnded, counts.Differing > counts.Mended
		d.add(about, "a %s scrub of volume %q has ended: %d differing blocks, %d mended, %d that could not be compared", depth, volume,
			counts.Differing, counts.Mended, counts.Skipped)
	}
}

func (d *derivation) leaves(id cluster.DiskID) {
	if d.left == nil {
		d.left = map[cluster.DiskID]bool{}
	}
	d.left[id] = true
}

// emptied tells of disks that are drained and have lost their last copy.
func (d *derivation) emptied() {
	var copies map[cluster.DiskID]int
	for _, id := range slices.Sorted(maps.Keys(d.left)) {
		x := d.after.Disks[id]
		if x == nil || !d.after.Drains(id) {
			continue
		}
		if copies == nil {
			copies = d.after.CopiesOn()
		}
		if copies[id] == 0 {
			d.add(Event{Kind: DiskEmpty, Node: d.node(x.Node), Disk: string(id)}, "disk %s of node %q is drained: no copies are left on it", x.Path, d.node(x.Node))
		}
	}
}
