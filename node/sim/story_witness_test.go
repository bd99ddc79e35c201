package sim

import (
	"testing"

	"ashlar/node/cluster"
	"ashlar/replication/wire"
)

// tellWitness is a story of two nodes with a copy each and a witness, node 3.
func tellWitness(t *testing.T) *story {
	s := &story{newWorld(Options{Seed: 1, Trace: testing.Verbose()}, 3, 3, 1, 0, []volumePlan{{segments: 1, copies: 2}}), t}
	s.working = true
	s.run(3 * second)
	return s
}

// Of two nodes and a witness each may die, at each of them the others go on, and
// the witness never has a copy or orders a write.
func TestTwoNodesAndAWitnessSurviveTheLossOfEach(t *testing.T) {
	for victim := wire.NodeID(1); victim <= 3; victim++ {
		for _, leader := range []wire.NodeID{1, 2, 3} {
			s := tellWitness(t)
			s.leaderIs(leader)
			h := s.host(1, 2)
			first := s.write(h, 0)
			s.server(victim).crash()
			last := s.write(h, 0)
			if last.tag == first.tag || s.read(h, 0) != last.tag {
				t.Errorf("without node %d: the host reads what it did not write last", victim)
			}
			s.server(victim).start()
			s.until(30*second, s.whole)
			st := s.raft.last()
			if len(st.Volumes[1].Segments[0].InSync()) != 2 || st.Volumes[1].Head == 3 || st.Volumes[1].Segments[0].On(3) != nil {
				t.Errorf("without node %d, led by %d: %s", victim, leader, sketch(st))
			}
			if r := s.verdict(); r.Bad() {
				t.Errorf("without node %d, led by %d: %+v", victim, leader, r)
			}
		}
	}
}

// A witness is refused a disk, so no copy is ever placed there.
func TestAWitnessHasNoDisk(t *testing.T) {
	s := tellWitness(t)
	s.orderOf(cluster.Command{AddDisk: &cluster.AddDisk{ID: "d3", Node: 3, Size: 1 << 40}})
	s.run(second)
	if s.raft.last().Disks["d3"] != nil {
		t.Error("the witness has a disk")
	}
}
