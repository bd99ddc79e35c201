package failover

import (
	"fmt"
	"testing"

	"ashlar/node/cluster"
	"ashlar/replication/wire"
)

// stage is a pool whose orders are carried out, and whose heads fill every copy
// at once when they are told to.
type stage struct {
	t *testing.T
	*cluster.State
	moves *Moves
	now   int64
}

func newStage(t *testing.T) *stage { return &stage{t: t, State: pool(t), moves: NewMoves()} }

func (s *stage) do(c cluster.Command) {
	s.t.Helper()
	next, r := s.Apply(s.Index+1, c)
	if r.Problem != "" {
		s.t.Fatal(r.Problem)
	}
	s.State = next
}

// step has the planner look, and carries out what it wants.
func (s *stage) step() (wanted int) {
	s.t.Helper()
	s.now += movesEvery
	out := s.moves.Tick(s.now, s.State)
	for _, c := range out {
		s.do(c)
	}
	return len(out)
}

// fill has all copies that can catch up do so.
func (s *stage) fill() {
	s.t.Helper()
	for _, v := range s.VolumeIDs() {
		for i, g := range s.Volumes[v].Segments {
			for _, r := range g.Replicas {
				if !r.InSync && s.Usable(r) {
					s.do(cluster.Command{Join: &cluster.Join{Volume: v, Epoch: s.Volumes[v].Epoch, Node: r.Node, Incarnation: s.Nodes[r.Node].Incarnation,
						Segments: []cluster.SegmentGen{{Segment: wire.Segment(i), Gen: s.Volumes[v].Segments[i].Gen}}}})
				}
			}
		}
	}
}

func (s *stage) on(id cluster.DiskID) int { return s.HeldOn(id).Copies }

func TestADrainedDiskIsEmptiedAFewCopiesAtATime(t *testing.T) {
	s := newStage(t)
	before := s.on("2")
	s.do(cluster.Command{SetDiskDrained: &cluster.SetDiskDrained{Disk: "2", Drained: true}})
	if n := s.step(); n != movesMax {
		t.Fatalf("%d moves begin at once, want %d", n, movesMax)
	}
	if n := s.step(); n != 0 {
		t.Fatalf("%d more begin while %d are under way", n, movesMax)
	}
	for range 2 * before {
		s.fill()
		s.step()
	}
	if n := s.on("2"); n != 0 || before == 0 {
		t.Fatalf("%d of %d copies are still there", n, before)
	}
	if n := s.step(); n != 0 {
		t.Errorf("%d moves of nothing", n)
	}
	for i, g := range s.VolumeNamed("v").Segments {
		if len(g.InSync()) != 2 || len(g.Replicas) != 2 {
			t.Errorf("segment %d is %+v", i, g)
		}
	}
}

func TestAnEmptiedNodeKeepsWhatHasNoOtherPlace(t *testing.T) {
	s := newStage(t)
	s.do(cluster.Command{Fence: &cluster.Fence{Dead: []cluster.Dead{{Node: 3, Incarnation: 1}}, Refused: true}})
	s.do(cluster.Command{SetDrained: &cluster.SetDrained{Node: 2, Drained: true, Data: true}})
	both := 0
	for _, g := range s.VolumeNamed("v").Segments {
		if g.On(2) != nil && g.On(1) != nil {
			both++
		}
	}
	for range 20 {
		s.fill()
		s.step()
	}
	if n := s.on("2"); n != both || both == 0 {
		t.Errorf("%d copies are on the node, want the %d whose segments are on the only other one", n, both)
	}
}

// What was to take a place and cannot is given up, and another place is found.
func TestAMoveWhoseTargetIsLostBeginsAnew(t *testing.T) {
	s := newStage(t)
	n := cluster.AddNode{Name: "d", Peer: "d:1"}
	s.do(cluster.Command{AddNode: &n})
	s.do(cluster.Command{Register: &cluster.Register{Node: 4}})
	s.do(cluster.Command{AddDisk: &cluster.AddDisk{ID: "4", Node: 4, Size: 1 << 40}}) // by far the largest
	s.do(cluster.Command{SetDiskDrained: &cluster.SetDiskDrained{Disk: "2", Drained: true}})
	s.step()
	if s.on("4") == 0 {
		t.Fatal("nothing moves to the largest disk")
	}
	s.do(cluster.Command{Fence: &cluster.Fence{Dead: []cluster.Dead{{Node: 4, Incarnation: 1}}, Refused: true}})
	for range 40 {
		s.step()
		s.fill()
	}
	if a, b := s.on("2"), s.on("4"); a+b != 0 {
		t.Errorf("%d copies are on the drained disk, %d on the lost one", a, b)
	}
}

func TestSegmentsThatLackCopiesGetThemFirst(t *testing.T) {
	s := newStage(t)
	for _, id := range []wire.NodeID{2, 3} {
		s.do(cluster.Command{Fence: &cluster.Fence{Dead: []cluster.Dead{{Node: id, Incarnation: 1}}, Refused: true}})
		s.do(cluster.Command{RemoveNode: &cluster.RemoveNode{Node: id, Dead: true}})
	}
	n := cluster.AddNode{Name: "d", Peer: "d:1"}
	s.do(cluster.Command{AddNode: &n})
	s.do(cluster.Command{Register: &cluster.Register{Node: 4}})
	s.do(cluster.Command{AddDisk: &cluster.AddDisk{ID: "4", Node: 4, Size: 1 << 40}})
	for range 20 {
		s.step()
		s.fill()
	}
	for i, g := range s.VolumeNamed("v").Segments {
		if fmt.Sprint(g.InSync()) != "[1 4]" {
			t.Errorf("segment %d is %+v", i, g)
		}
	}
}

func TestCopiesThatShareADomainAreMovedApart(t *testing.T) {
	s := newStage(t)
	for n, d := range map[wire.NodeID]string{1: "a", 2: "a", 3: "b"} {
		s.do(cluster.Command{SetDomain: &cluster.SetDomain{Node: n, Domain: d}})
	}
	shared := func() (n int) {
		for _, g := range s.VolumeNamed("v").Segments {
			if s.Doubled(g) != nil {
				n++
			}
		}
		return n
	}
	if shared() == 0 {
		t.Fatal("no copies share a domain to begin with")
	}
	for range 40 {
		s.step()
		s.fill()
	}
	if n := shared(); n != 0 {
		t.Errorf("copies of %d segments still share a domain", n)
	}
	if n := s.step(); n != 0 {
		t.Errorf("%d moves in the end", n)
	}
}

// addNode has a fourth node join, with a disk of that many copies' size.
func (s *stage) addNode(copies int) {
	s.t.Helper()
	n := cluster.AddNode{Name: "d", Peer: "d:1"}
	s.do(cluster.Command{AddNode: &n})
	s.do(cluster.Command{Register: &cluster.Register{Node: 4}})
	s.do(cluster.Command{AddDisk: &cluster.AddDisk{ID: "4", Node: 4, Size: uint64(copies) << 20}})
}

// sized is a stage whose disks have room for so many copies each.
func sized(t *testing.T, copies uint64) *stage {
	s := newStage(t)
	for _, id := range s.DiskIDs() {
		d := *s.Disks[id]
		d.Size = copies << 20
		s.Disks[id] = &d
	}
	return s
}

func TestCopiesMoveToADiskThatIsAddedUntilAllAreAboutAsFull(t *testing.T) {
	s := sized(t, 20)
	head := s.VolumeNamed("v").Head
	local := s.on(cluster.DiskID(rune('0' + head)))
	s.addNode(20)
	quiet := 0
	for range 2000 {
		if s.step() == 0 {
			quiet++
		}
		s.fill()
	}
	if n := s.on("4"); n < 2 {
		t.Errorf("%d copies have come to the new disk", n)
	}
	if n := s.on(cluster.DiskID(rune('0' + head))); n != local {
		t.Errorf("the head has %d copies on its node, and had %d", n, local)
	}
	for range 2000 {
		if n := s.step(); n != 0 {
			t.Fatalf("copies move to and fro: %d", n)
		}
	}
	for i, g := range s.VolumeNamed("v").Segments {
		if len(g.InSync()) != 2 {
			t.Errorf("segment %d is %+v", i, g)
		}
	}
	if quiet == 0 {
		t.Error("copies moved all the time")
	}
}

func TestNothingIsEvenedWhereThatIsOffOrNotWorthIt(t *testing.T) {
	off := sized(t, 20)
	off.do(cluster.Command{Set: &cluster.Set{Settings: cluster.Settings{Rebalance: cluster.Off}}})
	off.addNode(20)
	large := sized(t, 2000) // of which all copies are less than a tenth
	large.addNode(2000)
	for range 200 {
		if off.step()+large.step() != 0 {
			t.Fatal("a copy moves")
		}
	}
}
