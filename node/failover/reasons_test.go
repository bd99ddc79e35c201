package failover

import (
	"strings"
	"testing"

	"ashlar/node/cluster"
	"ashlar/replication/mirror"
	"ashlar/replication/wire"
)

// told is what the nodes of a slowWorld tell of the last minute.
func (w *slowWorld) told() map[wire.NodeID]Measured {
	all := map[wire.NodeID]Measured{}
	for _, n := range w.st.NodeIDs() {
		r := w.gray.reports[n]
		m := Measured{Links: r.Links}
		for _, d := range r.Disks {
			m.Disks = append(m.Disks, DiskMinute{Disk: d.Disk, Reads: facts(calm), Writes: d.Facts})
		}
		for _, id := range w.st.VolumeIDs() {
			if v := w.st.Volumes[id]; v.Head == n {
				m.Heads = append(m.Heads, HeadMinute{Volume: id, Epoch: v.Epoch, Writes: facts(calm), Hops: r.Hops})
			}
		}
		all[n] = m
	}
	return all
}

func (w *slowWorld) why(told map[wire.NodeID]Measured) []Reason {
	return Why(w.st, told, w.wall)[0].Reasons
}

// expectWhy wants one reason of a kind, with words.
func (w *slowWorld) expectWhy(told map[wire.NodeID]Measured, kind ReasonKind, words ...string) {
	w.Helper()
	reasons := w.why(told)
	for _, r := range reasons {
		ok := r.Kind == kind && strings.HasSuffix(r.Text, ".")
		for _, x := range words {
			ok = ok && strings.Contains(r.Text, x)
		}
		if ok {
			return
		}
	}
	w.Errorf("no %s with %q among %+v", kind, words, reasons)
}

func TestWhyNamesWhatIsSlow(t *testing.T) {
	for name, c := range map[string]struct {
		make  func(w *slowWorld, head, other wire.NodeID)
		kind  ReasonKind
		words []string
	}{
		"a copy's disk": {func(w *slowWorld, _, other wire.NodeID) { w.disks[other] = 300 * ms }, SlowDisk, []string{"302ms", "2ms on others", "node n2"}},
		"a copy's node": {func(w *slowWorld, _, other wire.NodeID) { w.nodes[other] = 300 * ms }, SlowNode, []string{"for the copies on node n2", "302ms"}},
		"a link": {func(w *slowWorld, head, other wire.NodeID) {
			w.links[pair{head, other}], w.links[pair{other, head}] = 300*ms, 300*ms
		}, SlowLink, []string{"between nodes n1 and n2"}},
		"the head's node": {func(w *slowWorld, head, _ wire.NodeID) { w.nodes[head] = 300 * ms }, SlowNode, []string{"Node n1, which orders its writes"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newSlowWorld(t, 3, 2)
			w.step()
			if reasons := w.why(w.told()); len(reasons) > 0 {
				t.Fatalf("in peace: %+v", reasons)
			}
			c.make(w, w.volume().Head, w.other())
			w.step()
			w.expectWhy(w.told(), c.kind, c.words...)
		})
	}
}

func TestWhyTellsWhatWasDemotedAndWhenItMayComeBack(t *testing.T) {
	w := newSlowWorld(t, 3, 2)
	w.disks[w.other()] = 300 * ms
	w.run(15 * second)
	w.expectWhy(w.told(), DemotedCopy, "writes to its disk", "were left out", "at the earliest")
	w.run(60 * second)
	w.expectWhy(w.told(), DemotedCopy, "as soon as it looks well")
	clear(w.disks)
	w.run(10 * second)
	w.expectWhy(w.told(), DemotedCopy, "allowed back")
}

func TestWhyTellsWhatVolumesLackAndHostsWaitFor(t *testing.T) {
	w := newSlowWorld(t, 3, 2)
	w.step()
	told := w.told()
	head, other := w.volume().Head, w.other()
	m := told[head]
	m.Heads[0].FullAgo, m.Heads[0].Operations = 3*second, 4096
	m.Heads[0].Catching = []mirror.Progress{{Segment: 4, Node: 3, Copied: 512}}
	told[head] = m
	w.expectWhy(told, WindowFull, "3s ago", "4096 operations or 64 MiB")
	w.expectWhy(told, CatchingUp, "Node n3", "segment 4 (2 MiB")
	m = told[other]
	m.Disks[0].Suspended, m.Disks[0].Writes.Oldest = true, 7*second
	told[other] = m
	w.expectWhy(told, SilentDisk, "for 7s")
	delete(told, head)
	w.expectWhy(told, SilentNode, "does not answer")
	w.apply(cluster.Command{Fence: &cluster.Fence{Dead: []cluster.Dead{{Node: other, Incarnation: 1}}, Refused: true}})
	w.expectWhy(told, Degraded, "the node is down")
	w.apply(cluster.Command{Fence: &cluster.Fence{Dead: []cluster.Dead{{Node: head, Incarnation: 1}}, Refused: true}})
	w.expectWhy(told, NoHead, "they wait")
}

func TestWhyTellsOfDisksThatLoseWhatTheyHold(t *testing.T) {
	w := newSlowWorld(t, 3, 2)
	w.step()
	disk := w.volume().Segments[0].On(w.other()).Disk
	lose := func(blocks ...uint32) {
		c := &cluster.BadBlocks{Disk: disk}
		for _, b := range blocks {
			c.Blocks = append(c.Blocks, cluster.BadBlock{Volume: w.volume().ID, Block: b, At: w.wall - 4000})
		}
		w.apply(cluster.Command{BadBlocks: c})
	}
	lose(1)
	w.expectWhy(w.told(), FailingDisk, "1 place that", "node n2", "4s ago", "mended")
	lose(2, 3)
	w.expectWhy(w.told(), FailingDisk, "3 places", "leaves the pool")
	before := w.st
	w.apply(cluster.Command{EjectDisk: &cluster.EjectDisk{ID: disk}})
	w.expectWhy(w.told(), Degraded, "lost too much")
	w.st = before
	w.apply(cluster.Command{FailDisk: &cluster.FailDisk{ID: disk, Outdated: true}})
	w.expectWhy(w.told(), Degraded, "an old copy of the disk")
	w.apply(cluster.Command{FailDisk: &cluster.FailDisk{ID: w.volume().Segments[0].On(w.volume().Head).Disk}})
	w.expectWhy(w.told(), FailedDisk, "1 segment", "writes wait")
	if len(w.refused) > 0 {
		t.Error(w.refused)
	}
}
