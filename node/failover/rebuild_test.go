package failover

import (
	"testing"

	"ashlar/node/cluster"
	"ashlar/replication/wire"
)

// What holds unless the operator orders otherwise, ns.
const (
	diskPatience = 30 * second
	nodePatience = 120 * second
)

// pool is three nodes with a disk each, and a volume of two copies.
func pool(t *testing.T) *cluster.State { return poolOf(t, 3, 2) }

// poolOf is the same of more nodes and copies.
func poolOf(t *testing.T, nodes wire.NodeID, copies int) *cluster.State {
	t.Helper()
	st, index := cluster.New(), uint64(0)
	do := func(c cluster.Command) {
		t.Helper()
		index++
		next, r := st.Apply(index, c)
		if r.Problem != "" {
			t.Fatal(r.Problem)
		}
		st = next
	}
	node := func(name string) cluster.AddNode { return cluster.AddNode{Name: name, Peer: name + ":1"} }
	do(cluster.Command{Create: &cluster.Create{ID: "c", Name: "c", SegmentBytes: 1 << 20, Node: node("a")}})
	for _, name := range []string{"b", "c", "d", "e"}[:nodes-1] {
		n := node(name)
		do(cluster.Command{AddNode: &n})
	}
	for id := wire.NodeID(1); id <= nodes; id++ {
		do(cluster.Command{Register: &cluster.Register{Node: id}})
		do(cluster.Command{AddDisk: &cluster.AddDisk{ID: cluster.DiskID(rune('0' + id)), Node: id}})
	}
	do(cluster.Command{CreateVolume: &cluster.CreateVolume{Name: "v", Bytes: 8 << 20, Copies: copies}})
	return st
}

// after is when the first replacement of a disk is asked for, ns after it was lost.
func after(st *cluster.State, limit int64) (int64, cluster.DiskID) {
	r := NewRebuild()
	for t := int64(0); t <= limit; t += rebuildEvery {
		if out := r.Tick(t+rebuildEvery, st); len(out) > 0 {
			return t, out[0].Replace.Disk
		}
	}
	return -1, ""
}

func TestCopiesOfAFailedDiskAreMadeElsewhereAfterItsPatience(t *testing.T) {
	st, r := pool(t).Apply(100, cluster.Command{FailDisk: &cluster.FailDisk{ID: "2"}})
	if r.Problem != "" {
		t.Fatal(r.Problem)
	}
	if at, disk := after(st, 10*diskPatience); at != diskPatience || disk != "2" {
		t.Fatalf("replaced %q after %d ns, want disk 2 after %d", disk, at, diskPatience)
	}
	st, r = st.Apply(101, cluster.Command{Replace: &cluster.Replace{Disk: "2"}})
	if r.Problem != "" {
		t.Fatal(r.Problem)
	}
	for i, g := range st.VolumeNamed("v").Segments {
		nodes := map[wire.NodeID]bool{}
		for _, c := range g.Replicas {
			if c.Disk == "2" {
				t.Errorf("segment %d still has a copy on the failed disk: %+v", i, g)
			}
			nodes[c.Node] = true
		}
		if len(nodes) != 2 {
			t.Errorf("segment %d has two copies in one fault domain: %+v", i, g)
		}
	}
	if at, _ := after(st, 10*diskPatience); at != -1 {
		t.Errorf("a disk without copies is replaced again after %d ns", at)
	}
}

// Three copies, of which two are to have each write: where one is left, that of the failed disk is made anew at once, and the one whose
// node is down is waited for.
func TestWhereWritesWaitAFailedDisksCopiesAreMadeElsewhereAtOnce(t *testing.T) {
	st := poolOf(t, 5, 3)
	g := st.VolumeNamed("v").Segments[0]
	failed, down := g.Replicas[0], g.Replicas[1]
	next, r := st.Apply(100, cluster.Command{FailDisk: &cluster.FailDisk{ID: failed.Disk}})
	if r.Problem != "" {
		t.Fatal(r.Problem)
	}
	if at, _ := after(next, diskPatience-second); at != -1 {
		t.Errorf("replaced after %d ns though writes do not wait", at)
	}
	next, r = next.Apply(101, cluster.Command{Fence: &cluster.Fence{Dead: []cluster.Dead{{Node: down.Node, Incarnation: 1}}, Refused: true}})
	if r.Problem != "" {
		t.Fatal(r.Problem)
	}
	if at, disk := after(next, diskPatience); at != 0 || disk != failed.Disk {
		t.Errorf("replaced %q after %d ns, want %q at once", disk, at, failed.Disk)
	}
	next, _ = st.Apply(100, cluster.Command{Fence: &cluster.Fence{Dead: []cluster.Dead{{Node: failed.Node, Incarnation: 1}, {Node: down.Node, Incarnation: 1}}, Refused: true}})
	if at, _ := after(next, nodePatience-second); at != -1 {
		t.Errorf("nodes that are down are waited for no longer than %d ns", at)
	}
}

func TestANodeThatIsDownIsWaitedForLonger(t *testing.T) {
	st, r := pool(t).Apply(100, cluster.Command{Fence: &cluster.Fence{Dead: []cluster.Dead{{Node: 3, Incarnation: 1}}, Refused: true}})
	if r.Problem != "" {
		t.Fatal(r.Problem)
	}
	if at, disk := after(st, 2*nodePatience); at != nodePatience || disk != "3" {
		t.Fatalf("replaced %q after %d ns, want disk 3 after %d", disk, at, nodePatience)
	}
}

func TestNothingIsReplacedWhileAllDisksCanBeUsed(t *testing.T) {
	if at, disk := after(pool(t), 2*nodePatience); at != -1 {
		t.Fatalf("disk %q replaced after %d ns", disk, at)
	}
}

func TestTheLastInSyncCopyStaysListedOnAFailedDisk(t *testing.T) {
	st := pool(t)
	for i, id := range []cluster.DiskID{"1", "2", "3"} {
		st, _ = st.Apply(uint64(100+i), cluster.Command{FailDisk: &cluster.FailDisk{ID: id}})
	}
	for _, id := range []cluster.DiskID{"1", "2", "3"} {
		if st.Replaceable(id) {
			t.Errorf("copies on disk %s would be replaced though no disk is left", id)
		}
	}
	for i, g := range st.VolumeNamed("v").Segments {
		if len(g.InSync()) == 0 {
			t.Errorf("segment %d has no in-sync copy left: %+v", i, g)
		}
	}
}

func TestTheOperatorSaysHowLongLostCopiesAreWaitedFor(t *testing.T) {
	st, r := pool(t).Apply(100, cluster.Command{Set: &cluster.Set{Settings: cluster.Settings{RebuildAfterNode: 600}}})
	if r.Problem != "" {
		t.Fatal(r.Problem)
	}
	down, _ := st.Apply(101, cluster.Command{Fence: &cluster.Fence{Dead: []cluster.Dead{{Node: 3, Incarnation: 1}}, Refused: true}})
	if at, disk := after(down, 1200*second); at != 600*second || disk != "3" {
		t.Errorf("replaced %q after %d ns, want disk 3 after 600 s", disk, at)
	}
	failed, _ := st.Apply(101, cluster.Command{FailDisk: &cluster.FailDisk{ID: "2"}})
	if at, disk := after(failed, 1200*second); at != diskPatience || disk != "2" {
		t.Errorf("replaced %q after %d ns, though nothing was ordered about disks", disk, at)
	}
}

// An order that comes while copies are waited for holds for these, too.
func TestAShorterWaitHoldsForWhatIsLostAlready(t *testing.T) {
	st, _ := pool(t).Apply(100, cluster.Command{Fence: &cluster.Fence{Dead: []cluster.Dead{{Node: 3, Incarnation: 1}}, Refused: true}})
	r := NewRebuild()
	if out := r.Tick(10*second, st); out != nil {
		t.Fatalf("replaced at once: %+v", out)
	}
	if out := r.Tick(30*second, st); out != nil {
		t.Fatalf("replaced after 20 s: %+v", out)
	}
	st, _ = st.Apply(101, cluster.Command{Set: &cluster.Set{Settings: cluster.Settings{RebuildAfterNode: 15}}})
	if out := r.Tick(35*second, st); len(out) != 1 || out[0].Replace.Disk != "3" {
		t.Fatalf("not replaced after 25 s of a wait of 15: %+v", out)
	}
}
