package failover

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"ashlar/node/cluster"
	"ashlar/replication/latency"
	"ashlar/replication/mirror"
	"ashlar/replication/wire"
)

// Measured is what a node tells of the last minute when it is asked why something is slow.
type Measured struct {
	Disks []DiskMinute
	Links []NodeFacts // small questions to other nodes, with their answers
	Heads []HeadMinute
	Pace  uint64 `json:",omitempty"` // at which each of the heads may have copies catch up, bytes per second
}

// DiskMinute is a disk's.
type DiskMinute struct {
	Disk          cluster.DiskID
	Reads, Writes latency.Facts // writes: durable ones
	Suspended     bool
}

// HeadMinute is a volume's, at its head.
type HeadMinute struct {
	Volume     wire.VolumeID
	Epoch      uint64
	Writes     latency.Facts // of hosts
	Hops       []NodeFacts   // of their ways to the copies and back, by node
	Operations int           // under way
	Bytes      int
	FullAgo    int64 // since an operation found no room, ns; 0: none did in the last minute
	Catching   []mirror.Progress
}

// Reasons are why a volume is slow, if it is.
type Reasons struct {
	Volume   wire.VolumeID
	Writes   latency.Facts // of hosts, in the last minute
	Reasons  []Reason
	Measured bool // its head has told
}

// Reason is one cause: of Node or Disk, or of the volume itself.
type Reason struct {
	Kind ReasonKind
	Node wire.NodeID    // 0: none
	Disk cluster.DiskID // empty: none
	Text string         // a sentence
}

// ReasonKind classes reasons for machines.
type ReasonKind string

const (
	NoHead      ReasonKind = "no-head"
	SilentNode  ReasonKind = "silent-node"
	SlowDisk    ReasonKind = "slow-disk"
	SilentDisk  ReasonKind = "silent-disk"
	FailingDisk ReasonKind = "failing-disk"
	FailedDisk  ReasonKind = "failed-disk"
	SlowNode    ReasonKind = "slow-node"
	SlowLink    ReasonKind = "slow-link"
	SlowCopy    ReasonKind = "slow-copy"
	DemotedCopy ReasonKind = "demoted-copy"
	Degraded    ReasonKind = "degraded"
	CatchingUp  ReasonKind = "catching-up"
	WindowFull  ReasonKind = "window-full"
)

// What is told is less than what is acted on.
const (
	tellTimes = 4
	tellLeast = int64(10_000_000)
)

func (f finding) tells() bool {
	return f.takes > tellLeast && f.others > 0 && f.takes > tellTimes*f.others
}

// Why looks at what all nodes have told, and says of each volume what slows it. wall is
// the time, ms since 1970.
func Why(st *cluster.State, told map[wire.NodeID]Measured, wall int64) (all []Reasons) {
	w := newWhy(st, told, wall)
	for _, id := range st.VolumeIDs() {
		all = append(all, w.volume(st.Volumes[id]))
	}
	return all
}

type why struct {
	*evidence
	told   map[wire.NodeID]Measured
	wall   int64
	reads  map[cluster.DiskID]finding
	silent map[cluster.DiskID]int64
}

func newWhy(st *cluster.State, told map[wire.NodeID]Measured, wall int64) *why {
	g := NewGray()
	w := &why{told: told, wall: wall, silent: map[cluster.DiskID]int64{}}
	reads := map[cluster.DiskID]int64{}
	for n, m := range told {
		r := Report{Links: m.Links}
		for _, d := range m.Disks {
			r.Disks = append(r.Disks, DiskFacts{d.Disk, d.Writes})
			if d.Reads.Known() {
				reads[d.Disk] = worst(d.Reads)
			}
			if d.Suspended {
				w.silent[d.Disk] = d.Writes.Oldest
			}
		}
		g.Reported(0, n, r)
	}
	w.evidence, w.reads = g.evidence(st), compared(reads)
	return w
}

func (w *why) volume(v *cluster.Volume) Reasons {
	out := Reasons{Volume: v.ID}
	add := func(kind ReasonKind, n wire.NodeID, d cluster.DiskID, format string, args ...any) {
		out.Reasons = append(out.Reasons, Reason{kind, n, d, fmt.Sprintf(format, args...) + "."})
	}
	var head *HeadMinute
	m, answers := w.told[v.Head]
	for i := range m.Heads {
		if m.Heads[i].Volume == v.ID && m.Heads[i].Epoch == v.Epoch {
			head = &m.Heads[i]
		}
	}
	switch {
	case v.Head == 0:
		add(NoHead, 0, "", "No copy that is in sync can be used, so nobody orders its writes: they wait")
	case !answers:
		add(SilentNode, v.Head, "", "Node %s, which orders its writes, does not answer", w.name(v.Head))
	case head != nil:
		out.Measured, out.Writes = true, head.Writes
	}
	if f := w.nodes[v.Head]; f.tells() {
		add(SlowNode, v.Head, "", "Node %s, which orders its writes, takes %s to answer most others, they take %s", w.name(v.Head), text(f.takes), text(f.others))
	}
	w.disksOf(v, add)
	if head != nil {
		w.hopsOf(v, head, add)
		w.loadOf(head, add)
	}
	w.copiesOf(v, head, add)
	return out
}

type adder func(kind ReasonKind, n wire.NodeID, d cluster.DiskID, format string, args ...any)

// disksOf tells of disks with copies that are in sync.
func (w *why) disksOf(v *cluster.Volume, add adder) {
	done := map[cluster.DiskID]bool{}
	for _, g := range v.Segments {
		for _, r := range g.Replicas {
			if !r.InSync || done[r.Disk] {
				continue
			}
			done[r.Disk] = true
			name := fmt.Sprintf("disk %s of node %s", w.st.Disks[r.Disk].Path, w.name(r.Node))
			if silent, ok := w.silent[r.Disk]; ok {
				add(SilentDisk, r.Node, r.Disk, "No durable write of %s has ended for %s", name, text(silent))
				continue
			}
			w.lossOf(v, r, name, add)
			if f := w.disks[r.Disk]; f.tells() {
				add(SlowDisk, r.Node, r.Disk, "Durable writes take %s on %s, %s on others", text(f.takes), name, text(f.others))
			}
			if f := w.reads[r.Disk]; f.tells() {
				add(SlowDisk, r.Node, r.Disk, "Reads take %s on %s, %s on others", text(f.takes), name, text(f.others))
			}
		}
	}
}

// lossOf tells of a disk that loses what was written to it: reads of that wait for another copy, and
// for the writing that mends it.
func (w *why) lossOf(v *cluster.Volume, r cluster.Replica, name string, add adder) {
	d := w.st.Disks[r.Disk]
	n := d.BadLately(w.wall)
	switch {
	case d.Failed:
		add(FailedDisk, r.Node, r.Disk, "Of %s the only copies in sync are on %s, which is not written to any more: they are read, and writes wait", segments(lastOn(v, r.Node)), name)
	case d.Worn:
		add(FailingDisk, r.Node, r.Disk, "There were %s in a day that %s could not give, so it leaves the pool, as soon as every volume can do without it; until then reads of such places wait for another copy", places(cluster.BadMost), name)
	case n > 0:
		ago := time.Duration(max(0, w.wall-d.Bad[len(d.Bad)-1].At)) * time.Millisecond
		add(FailingDisk, r.Node, r.Disk, "In the last day there were %s that %s could not give, the latest %s ago: they are read from another copy and mended", places(n), name, ago.Round(time.Second))
	}
}

// lastOn counts the segments whose set is a copy on one node.
func lastOn(v *cluster.Volume, n wire.NodeID) (count int) {
	for _, g := range v.Segments {
		if in := g.InSync(); len(in) == 1 && in[0] == n {
			count++
		}
	}
	return count
}

// hopsOf tells of copies that writes wait longer for than for the others.
func (w *why) hopsOf(v *cluster.Volume, head *HeadMinute, add adder) {
	hops := map[pair]finding{}
	compareOf(hops, v.Head, head.Hops)
	for _, h := range head.Hops {
		f := hops[pair{v.Head, h.Node}]
		if !f.tells() {
			continue
		}
		node, link := w.nodes[h.Node], w.links[pair{v.Head, h.Node}]
		switch {
		case h.Node != v.Head && node.tells():
			add(SlowNode, h.Node, "", "Writes wait %s for the copies on node %s and %s for others: it takes %s to answer most nodes", text(f.takes), w.name(h.Node), text(f.others), text(node.takes))
		case h.Node != v.Head && link.tells():
			add(SlowLink, h.Node, "", "Writes wait %s for the copies on node %s and %s for others: between nodes %s and %s a question and its answer take %s",
				text(f.takes), w.name(h.Node), text(f.others), w.name(v.Head), w.name(h.Node), text(link.takes))
		default:
			add(SlowCopy, h.Node, "", "Writes wait %s for the copies on node %s and %s for others", text(f.takes), w.name(h.Node), text(f.others))
		}
	}
}

func (w *why) loadOf(head *HeadMinute, add adder) {
	if head.FullAgo > 0 {
		add(WindowFull, 0, "", "Hosts ask for more than is done: %s ago %d operations or %d MiB were under way, which is all there may be; now %d and %d MiB are",
			text(head.FullAgo), mirror.WindowOps, mirror.WindowBytes>>20, head.Operations, head.Bytes>>20)
	}
	byNode := map[wire.NodeID][]string{}
	for _, p := range head.Catching {
		byNode[p.Node] = append(byNode[p.Node], fmt.Sprintf("segment %d (%d MiB so far)", p.Segment, p.Copied*wire.BlockSize>>20))
	}
	for _, n := range slices.Sorted(maps.Keys(byNode)) {
		add(CatchingUp, n, "", "Node %s catches up, beside the hosts' writes: %s", w.name(n), strings.Join(byNode[n], ", "))
	}
}

// copiesOf tells of copies that are not in sync, and of demotions.
func (w *why) copiesOf(v *cluster.Volume, head *HeadMinute, add adder) {
	demoted, out := map[wire.NodeID]int{}, map[wire.NodeID]int{}
	disk := map[wire.NodeID]cluster.DiskID{}
	for _, g := range v.Segments {
		for _, r := range g.Replicas {
			switch {
			case r.Demoted:
				demoted[r.Node]++
			case !r.InSync:
				out[r.Node]++
				disk[r.Node] = r.Disk
			}
		}
	}
	for _, n := range slices.Sorted(maps.Keys(demoted)) {
		d := w.st.DemotionOf(v.ID, n)
		if d == nil {
			add(DemotedCopy, n, "", "The copies of %s on node %s are left out because they were slow", segments(demoted[n]), w.name(n))
			continue
		}
		ago := time.Duration(max(0, w.wall-d.At)) * time.Millisecond
		back := "as soon as it looks well"
		if left := time.Duration(d.At+Cooling(d.Times)-w.wall) * time.Millisecond; left > 0 && !Rested(w.st, v.ID, n, w.wall) {
			back = "in " + left.Round(time.Second).String() + " at the earliest"
		}
		add(DemotedCopy, n, d.Disk, "The copies of %s on node %s were left out %s ago, so that no write waits for them: %s; they come back %s",
			segments(demoted[n]), w.name(n), ago.Round(time.Second), d.Why, back)
	}
	for _, n := range slices.Sorted(maps.Keys(out)) {
		reason := "they have not caught up yet"
		switch {
		case !w.st.Nodes[n].Up:
			reason = "the node is down"
		case w.st.Disks[disk[n]].Ejected:
			reason = "the disk lost too much, and has left the pool"
		case w.st.Disks[disk[n]].Outdated:
			reason = "what is there is an old copy of the disk"
		case w.st.Disks[disk[n]].Failed:
			reason = "the disk has failed"
		}
		add(Degraded, n, "", "The copies of %s on node %s are not in sync: %s", segments(out[n]), w.name(n), reason)
	}
	for _, d := range w.st.Demotions {
		if ago := w.wall - d.At; d.Volume == v.ID && demoted[d.Node] == 0 && ago >= 0 && ago < 600_000 {
			add(DemotedCopy, d.Node, d.Disk, "The copies on node %s were left out %s ago, and are allowed back: %s",
				w.name(d.Node), (time.Duration(ago) * time.Millisecond).Round(time.Second), d.Why)
		}
	}
}

func places(n int) string {
	if n == 1 {
		return "1 place"
	}
	return fmt.Sprintf("%d places", n)
}

func segments(n int) string {
	if n == 1 {
		return "1 segment"
	}
	return fmt.Sprintf("%d segments", n)
}
