package cluster

import (
	"fmt"
	"slices"
	"testing"

	"ashlar/replication/wire"
)

// badMove says what is wrong with how many copies a segment has: as many as its volume asks
// for, and one more while one moves; fewer only by order of the operator. No set loses a copy to a move
// that it counted on.
func badMove(v *Volume, g Segment, was *Segment, c Command) string {
	want := v.Copies
	if x := g.Coming(); x != nil {
		if want++; len(g.Replicas) < want {
			return "a copy moves though others are lacking"
		}
		if f := g.OnDisk(x.Replaces); f == nil || f == x || f.Replaces != "" {
			return "a copy is to take the place of none"
		}
	}
	removed := c.RemoveDisk != nil || c.RemoveNode != nil
	switch {
	case len(g.Replicas) > want:
		return "too many copies"
	case len(g.Replicas) < want && was == nil, len(g.Replicas) < want && len(g.Replicas) < len(was.Replicas) && !removed:
		return "copies got lost"
	case was != nil && (c.AddReplica != nil || removed) && fmt.Sprint(g.InSync()) != fmt.Sprint(was.InSync()):
		return "a set changed with a copy that was not in it"
	case was != nil && c.DropReplica != nil && len(g.InSync()) < min(v.Copies, len(was.InSync())):
		return "a move cost redundancy"
	}
	return ""
}

// moves are commands about copies that move and what is removed: mostly what is due.
func (g *chaos) moves(s *State, v *Volume, n wire.NodeID) Command {
	switch g.IntN(15) {
	case 14:
		return Command{SetDomain: &SetDomain{n, []string{"", "rack1", "rack2", "no such name"}[g.IntN(4)]}}
	case 0, 1:
		d := g.disk()
		drained := s.Disks[d] != nil && s.Disks[d].Drained
		return Command{SetDiskDrained: &SetDiskDrained{d, !drained && g.IntN(2) == 0}}
	case 2:
		return Command{SetDrained: &SetDrained{n, g.IntN(3) > 0, true}}
	case 3:
		d := g.disk()
		for _, id := range s.DiskIDs() {
			if g.IntN(2) == 0 && (s.HeldOn(id).Copies == 0 || s.Disks[id].Failed) {
				d = id
			}
		}
		return Command{RemoveDisk: &RemoveDisk{d, g.IntN(2) == 0}}
	case 4:
		for _, id := range s.NodeIDs() {
			if x := s.Nodes[id]; !x.Up && x.present() && len(s.NodeIDs()) > 2 && g.IntN(3) == 0 {
				return Command{RemoveNode: &RemoveNode{id, g.IntN(4) > 0}}
			}
		}
		return Command{RemoveNode: &RemoveNode{n, true}}
	}
	if len(v.Segments) == 0 {
		return Command{DropReplica: &DropReplica{Volume: v.ID}}
	}
	i := wire.Segment(g.IntN(len(v.Segments)))
	seg := v.Segments[i]
	if x := seg.Coming(); x != nil {
		gone := x.Replaces
		if g.IntN(4) == 0 {
			gone = x.Disk
		}
		return Command{DropReplica: &DropReplica{v.ID, i, seg.Gen, gone}}
	}
	to, _ := s.Places().For(seg, "", func(DiskID) bool { return g.IntN(8) > 0 })
	a := &AddReplica{Volume: v.ID, Segment: i, Gen: seg.Gen, To: to}
	if len(seg.Replicas) == v.Copies || g.IntN(8) == 0 {
		a.Replaces = seg.Replicas[g.IntN(len(seg.Replicas))].Disk
	}
	return Command{AddReplica: a}
}

// movesLog is a node that comes, takes over what a disk held, and goes.
func movesLog() (log []Command) {
	n := node(4)
	log = append(log, Command{AddNode: &n}, Command{Register: &Register{Node: 4, Peer: n.Peer, Gossip: n.Gossip, Portals: n.Portals}},
		Command{AddDisk: &AddDisk{disk(4), 4, "/dev/sdc", 1 << 40}}, Command{AddDisk: &AddDisk{disk(5), 3, "/dev/sdc", 1 << 40}},
		Command{RemoveDisk: &RemoveDisk{Disk: disk(5)}},
		Command{SetDomain: &SetDomain{4, "rack1"}},
		Command{CreateVolume: &CreateVolume{Name: "moves", Bytes: mib, Copies: 3}},
		Command{SetDiskDrained: &SetDiskDrained{disk(3), true}},
		Command{AddReplica: &AddReplica{1, 0, 1, disk(4), disk(3)}},
		Command{Join: &Join{1, 1, 4, 1, []SegmentGen{{0, 2}}}},
		Command{DropReplica: &DropReplica{1, 0, 3, disk(3)}},
		Command{SetDiskDrained: &SetDiskDrained{disk(3), false}},
		Command{Fence: &Fence{Dead: []Dead{{4, 1}}, Refused: true}},
		Command{RemoveNode: &RemoveNode{4, true}},
		Command{DeleteVolume: &DeleteVolume{"moves"}})
	for i := range log {
		log[i].Version = 1
	}
	return log
}

// moved has a volume's copies on a disk go elsewhere, as the planner does.
func (r *rig) moved(v wire.VolumeID, from DiskID) {
	r.t.Helper()
	for i := range r.Volumes[v].Segments {
		g := r.Volumes[v].Segments[i]
		if g.OnDisk(from) == nil {
			continue
		}
		to, ok := r.Places().For(g, "", nil)
		if !ok {
			r.t.Fatalf("segment %d has no other place", i)
		}
		r.good(Command{AddReplica: &AddReplica{Volume: v, Segment: wire.Segment(i), Gen: g.Gen, To: to, Replaces: from}})
		g = r.Volumes[v].Segments[i]
		r.refuse(Refused, Command{DropReplica: &DropReplica{v, wire.Segment(i), g.Gen, from}})
		r.good(r.joins(v, r.Disks[to].Node))
		g = r.Volumes[v].Segments[i]
		r.good(Command{DropReplica: &DropReplica{v, wire.Segment(i), g.Gen, from}})
	}
}

func TestACopyGoesWhenAnotherOneInItsPlaceIsInSync(t *testing.T) {
	r := newRig(t, 3, 3)
	v := r.volume("v", 2, 4)
	r.good(Command{SetDiskDrained: &SetDiskDrained{"d1", true}})
	r.moved(v, "d1")
	if h := r.HeldOn("d1"); h.Copies != 0 {
		t.Fatalf("the drained disk has %d copies", h.Copies)
	}
	for i, g := range r.Volumes[v].Segments {
		if len(g.InSync()) != 2 || g.Coming() != nil {
			t.Errorf("segment %d is %+v", i, g)
		}
	}
	if h := r.Volumes[v].Head; h == 1 {
		t.Error("the head stays on a node without a copy")
	}
	r.good(Command{RemoveDisk: &RemoveDisk{Disk: "d1"}})
	r.refuse(NotFound, Command{RemoveDisk: &RemoveDisk{Disk: "d1"}})
}

func TestNoNewCopiesComeToADrainedDisk(t *testing.T) {
	r := newRig(t, 3, 3)
	r.good(Command{SetDiskDrained: &SetDiskDrained{"d2", true}})
	v := r.volume("v", 2, 6)
	for i, g := range r.Volumes[v].Segments {
		if g.OnDisk("d2") != nil {
			t.Errorf("segment %d was placed on it", i)
		}
	}
	r.refuse(TooFew, Command{CreateVolume: &CreateVolume{Name: "w", Bytes: mib, Copies: 3}})
	g := r.Volumes[v].Segments[0]
	r.refuse(Refused, Command{AddReplica: &AddReplica{v, 0, g.Gen, "d2", g.Replicas[0].Disk}})
	r.good(Command{SetDiskDrained: &SetDiskDrained{"d2", false}})
	r.volume("w", 3, 1)
}

// A move away from a set that is not whole would cost what redundancy there is left.
func TestACopyStaysWhileOthersOfItsSegmentAreLacking(t *testing.T) {
	r := newRig(t, 4, 3)
	v := r.volume("v", 2, 1)
	from, other := r.Volumes[v].Segments[0].Replicas[0], r.Volumes[v].Segments[0].Replicas[1]
	r.good(Command{AddReplica: &AddReplica{v, 0, r.Volumes[v].Segments[0].Gen, "d4", from.Disk}})
	r.good(r.joins(v, 4))
	r.down(other.Node)
	r.refuse(Refused, Command{DropReplica: &DropReplica{v, 0, r.Volumes[v].Segments[0].Gen, from.Disk}})
	r.up(other.Node)
	r.good(r.joins(v, other.Node))
	r.good(Command{DropReplica: &DropReplica{v, 0, r.Volumes[v].Segments[0].Gen, from.Disk}})
}

func TestUndrainingCallsOffWhatHasNotMoved(t *testing.T) {
	r := newRig(t, 3, 3)
	v := r.volume("v", 2, 1)
	from := r.Volumes[v].Segments[0].Replicas[0]
	begin := func() {
		g := r.Volumes[v].Segments[0]
		to, _ := r.Places().For(g, "", nil)
		r.good(Command{AddReplica: &AddReplica{v, 0, g.Gen, to, from.Disk}})
	}
	r.good(Command{SetDiskDrained: &SetDiskDrained{from.Disk, true}})
	begin()
	r.good(Command{SetDiskDrained: &SetDiskDrained{from.Disk, false}})
	if g := r.Volumes[v].Segments[0]; len(g.Replicas) != 2 || g.Coming() != nil {
		t.Fatalf("the move goes on: %+v", g)
	}
	r.good(Command{SetDrained: &SetDrained{from.Node, true, true}})
	begin()
	r.good(Command{SetDrained: &SetDrained{Node: from.Node}})
	if g := r.Volumes[v].Segments[0]; len(g.Replicas) != 2 || g.Coming() != nil {
		t.Fatalf("the move off the node goes on: %+v", g)
	}
	begin() // of its own, not because of a drain
	r.good(Command{SetDiskDrained: &SetDiskDrained{from.Disk, true}})
	r.good(Command{SetDiskDrained: &SetDiskDrained{from.Disk, false}})
	if r.Volumes[v].Segments[0].Coming() == nil {
		t.Fatal("a move that no drain began was called off")
	}
}

// The disk that a copy leaves, or the one that it goes to, fails on the way.
func TestAMoveEndsWhenOneOfItsDisksFails(t *testing.T) {
	for _, which := range []string{"source", "target"} {
		t.Run(which, func(t *testing.T) {
			r := newRig(t, 3, 3)
			v := r.volume("v", 2, 1)
			g := r.Volumes[v].Segments[0]
			to, _ := r.Places().For(g, "", nil)
			from := g.Replicas[0].Disk
			r.good(Command{AddReplica: &AddReplica{v, 0, g.Gen, to, from}})
			fails := map[string]DiskID{"source": from, "target": to}[which]
			r.good(Command{FailDisk: &FailDisk{ID: fails}})
			r.good(Command{Replace: &Replace{fails}})
			g = r.Volumes[v].Segments[0]
			if len(g.Replicas) != 2 || g.Coming() != nil || g.OnDisk(fails) != nil {
				t.Fatalf("left is %+v", g)
			}
		})
	}
}

func TestNothingThatCountsIsRemoved(t *testing.T) {
	r := newRig(t, 3, 3)
	v := r.volume("v", 2, 2)
	r.refuse(Refused, Command{RemoveDisk: &RemoveDisk{"d1", true}}) // it works
	r.refuse(Refused, Command{RemoveNode: &RemoveNode{1, true}})    // it is up
	sole := r.volume("sole", 1, 1)
	n := r.Volumes[sole].Segments[0].Replicas[0].Node
	r.down(n)
	r.refuse(Refused, Command{RemoveNode: &RemoveNode{n, true}}) // the only copy
	r.good(Command{DeleteVolume: &DeleteVolume{"sole"}})
	r.refuse(Refused, Command{RemoveNode: &RemoveNode{Node: n}}) // copies, though not in sync
	r.good(Command{RemoveNode: &RemoveNode{n, true}})
	r.refuse(NotFound, Command{RemoveNode: &RemoveNode{n, true}})
	for i, g := range r.Volumes[v].Segments {
		if g.On(n) != nil || len(g.Replicas) != 2 {
			t.Errorf("segment %d has %+v after the removal of node %d", i, g.Replicas, n)
		}
	}
	if x := r.Nodes[n]; !x.Removed || r.NodeNamed(x.Name) != nil {
		t.Errorf("the node is still there: %+v", x)
	}
	r.refuse(NotFound, Command{Register: &Register{Node: n}})
	again := node(int(n))
	if got := r.good(Command{AddNode: &again}).Node; got == n {
		t.Error("its number is another's")
	}
}

func TestWhatADiskGivesUpDoesNotComeBackToIt(t *testing.T) {
	r := newRig(t, 2, 2)
	v := r.volume("v", 2, 1)
	out := wire.NodeID(2)
	if r.Volumes[v].Head == 2 {
		out = 1
	}
	id := r.Volumes[v].Segments[0].On(out).Disk
	r.good(Command{Eject: &Eject{v, r.Volumes[v].Epoch, out}})
	r.good(Command{RemoveDisk: &RemoveDisk{id, true}})
	if g := r.Volumes[v].Segments[0]; len(g.Replicas) != 1 || g.OnDisk(id) != nil {
		t.Errorf("left is %+v", g)
	}
}

// With nobody to take its copies a dead node leaves segments with too few, until there is.
func TestCopiesOfARemovedNodeComeToWhoeverJoins(t *testing.T) {
	r := newRig(t, 2, 2)
	v := r.volume("v", 2, 3)
	r.down(2)
	r.good(Command{RemoveNode: &RemoveNode{2, true}})
	for i, g := range r.Volumes[v].Segments {
		if len(g.Replicas) != 1 {
			t.Fatalf("segment %d is %+v", i, g)
		}
	}
	n := node(3)
	r.good(Command{AddNode: &n})
	r.up(3)
	r.good(Command{AddDisk: &AddDisk{ID: "d3", Node: 3, Size: 1 << 40}})
	for i, g := range r.Volumes[v].Segments {
		r.good(Command{AddReplica: &AddReplica{Volume: v, Segment: wire.Segment(i), Gen: g.Gen, To: "d3"}})
	}
	r.good(r.joins(v, 3))
	for i := range r.Volumes[v].Segments {
		r.expectInSync(v, i, 1, 3)
	}
}

func TestCopiesGoWhereTheDiskIsLeastFullForItsSize(t *testing.T) {
	r := newRig(t, 4, 3)
	r.editDiskSize("d4", 1<<38)
	v := r.volume("v", 2, 8)
	p := r.Places()
	var to []DiskID
	for range 5 {
		d, ok := p.For(Segment{}, "", nil)
		if !ok {
			t.Fatal("no place")
		}
		p.Take(d)
		to = append(to, d)
	}
	if slices.Contains(to, "d4") {
		t.Errorf("volume %d: the small disk is as full as others, and copies go to %v", v, to)
	}
}

func (r *rig) editDiskSize(id DiskID, size uint64) {
	s := r.clone()
	s.editDisk(id).Size = size
	s.Edited = nil
	r.State = s
}
