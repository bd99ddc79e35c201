package cluster

import (
	"math/rand/v2"
	"testing"

	"ashlar/replication/wire"
)

func TestCopiesNeedNodesOfTheirOwn(t *testing.T) {
	r := newRig(t, 3, 3)
	create := func(copies int) Command {
		return Command{CreateVolume: &CreateVolume{Name: "v", Bytes: mib, Copies: copies}}
	}
	r.good(Command{AddDisk: &AddDisk{ID: "d1b", Node: 1}}) // a second disk is no second domain
	r.down(3)
	r.refuse(TooFew, create(3))
	r.good(Command{FailDisk: &FailDisk{ID: disk(2)}})
	r.refuse(TooFew, create(2))
	for _, copies := range []int{-1, 0, 4} {
		r.refuse(Invalid, create(copies))
	}
	r.good(create(1))
}

func TestAVolumeIsWholeBlocksUpTo1PiB(t *testing.T) {
	r := newRig(t, 1, 1)
	for _, size := range []uint64{0, 512, 4097, mib + 512, 1<<50 + 4096} {
		r.refuse(Invalid, Command{CreateVolume: &CreateVolume{Name: "v", Bytes: size, Copies: 1}})
	}
	for size, segments := range map[uint64]int{4096: 1, mib: 1, mib + 4096: 2, 7 * mib: 7} {
		r := newRig(t, 1, 1)
		v := r.good(Command{CreateVolume: &CreateVolume{Name: "v", Bytes: size, Copies: 1}}).Volume
		if got := r.Volumes[v]; len(got.Segments) != segments || got.Bytes != size {
			t.Errorf("%d bytes are %d segments", got.Bytes, len(got.Segments))
		}
	}
}

func TestWritesWaitBelowOneCopyLessThanAll(t *testing.T) {
	r := newRig(t, 3, 3)
	for copies, want := range map[int]int{1: 1, 2: 1, 3: 2} {
		v := r.volume(string(rune('a'+copies)), copies, 1)
		if got := r.Volumes[v].MinInSync; got != want {
			t.Errorf("with %d copies it is %d", copies, got)
		}
	}
}

// TestPlacementIsEven, whatever nodes and disks there are: each segment has its
// copies on as many nodes, the first on the head's, and the others in equal
// shares on all others, so that a rebuild is from many to many.
func TestPlacementIsEven(t *testing.T) {
	for seed := range uint64(100) {
		random := rand.New(rand.NewPCG(seed, 0))
		nodes := 1 + random.IntN(8)
		r := newRig(t, nodes, min(nodes, 3))
		copies := 1 + random.IntN(min(nodes, 3))
		segments := 1 + random.IntN(60)
		v := r.Volumes[r.volume("v", copies, segments)]
		others := map[wire.NodeID]int{}
		for i, g := range v.Segments {
			if len(g.Replicas) != copies || g.Replicas[0].Node != v.Head || g.Gen != 1 || len(g.InSync()) != copies {
				t.Fatalf("seed %d: segment %d is %+v", seed, i, g)
			}
			for _, c := range g.Replicas[1:] {
				others[c.Node]++
			}
		}
		for n := wire.NodeID(1); int(n) <= nodes; n++ {
			share := segments * (copies - 1) / max(1, nodes-1)
			if n != v.Head && (others[n] < share || others[n] > share+1) {
				t.Fatalf("seed %d: node %d has %d of %d copies: %v", seed, n, others[n], segments*(copies-1), others)
			}
		}
	}
}

func TestHeadsAreSpreadOverNodes(t *testing.T) {
	r := newRig(t, 4, 3)
	for i := range 12 {
		r.volume(string(rune('a'+i)), 2, 3)
	}
	for n, heads := range r.headCounts() {
		if heads != 3 {
			t.Errorf("node %d is the head of %d of 12 volumes on 4 nodes", n, heads)
		}
	}
}

func TestTheDisksOfANodeShareItsCopies(t *testing.T) {
	r := newRig(t, 2, 1)
	for _, id := range []DiskID{"d2b", "d2c"} {
		r.good(Command{AddDisk: &AddDisk{ID: id, Node: 2}})
	}
	r.volume("v", 2, 9)
	for id, want := range map[DiskID]int{"d1": 9, "d2": 3, "d2b": 3, "d2c": 3} {
		if got := r.CopiesOn()[id]; got != want {
			t.Errorf("disk %s has %d copies", id, got)
		}
	}
}
