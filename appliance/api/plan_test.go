package api

import (
	"fmt"
	"testing"

	"ashlar/node/cluster"
	"ashlar/node/failover"
	"ashlar/replication/wire"
)

// lab is a cluster of three nodes with a disk each, and volume "v" of four segments with two copies, published to "h".
func lab(t *testing.T) *cluster.State {
	t.Helper()
	s := cluster.New()
	do := func(c cluster.Command) {
		t.Helper()
		next, r := s.Apply(s.Index+1, c)
		if r.Problem != "" {
			t.Fatal(r.Problem)
		}
		s = next
	}
	do(cluster.Command{Create: &cluster.Create{ID: "c0ffee", Name: "lab", SegmentBytes: 1 << 20, Node: cluster.AddNode{Name: "n1", Peer: "10.0.0.1:1"}}})
	for i := 2; i <= 3; i++ {
		do(cluster.Command{AddNode: &cluster.AddNode{Name: fmt.Sprint("n", i), Peer: fmt.Sprintf("10.0.0.%d:1", i)}})
	}
	for i := 1; i <= 3; i++ {
		do(cluster.Command{Register: &cluster.Register{Node: wire.NodeID(i), Peer: fmt.Sprintf("10.0.0.%d:1", i)}})
		do(cluster.Command{AddDisk: &cluster.AddDisk{ID: cluster.DiskID(fmt.Sprint("d", i)), Node: wire.NodeID(i), Path: "/dev/sdb", Size: 64 << 20}})
	}
	do(cluster.Command{CreateVolume: &cluster.CreateVolume{Name: "v", Bytes: 4 << 20, Copies: 2}})
	do(cluster.Command{AddHost: &cluster.AddHost{Name: "h", IQN: "iqn.2026-11.com.example:h"}})
	do(cluster.Command{SetExport: &cluster.SetExport{Volume: "v", Host: "h"}})
	return s
}

func planOf(s *cluster.State, c cluster.Command) *Plan {
	f, p := failover.Foresee(s, c), &Plan{}
	p.compare(f.Before, f.Next, f.After)
	return p
}

func TestAPlanOfADrainTellsWhereItsCopiesGoAndWhatHostsLose(t *testing.T) {
	s := lab(t)
	p := planOf(s, cluster.Command{SetDrained: &cluster.SetDrained{Node: 1, Drained: true, Data: true}})
	if p.Copies != 4 || p.Bytes != 4<<20 || p.Stuck != 0 || len(p.Weakened) != 0 {
		t.Errorf("%+v", p)
	}
	for _, m := range p.Moves {
		if m.From.Node != "n1" || m.To.Node == "n1" || m.Volume != "v" || m.Bytes != uint64(m.Copies)<<20 {
			t.Errorf("%+v", m)
		}
	}
	if len(p.Heads) != 1 || p.Heads[0].From != "n1" {
		t.Errorf("heads: %+v", p.Heads)
	}
	if len(p.Hosts) != 1 || p.Hosts[0] != (HostLoss{"h", "v", "n1"}) {
		t.Errorf("hosts: %+v", p.Hosts)
	}
}

func TestAPlanTellsWhatLosesRedundancyAndWhatHasNoPlace(t *testing.T) {
	s := lab(t)
	p := planOf(s, cluster.Command{FailDisk: &cluster.FailDisk{ID: "d1"}})
	if len(p.Weakened) != 1 || p.Weakened[0] != (Weakened{"v", 4, 0, 0}) {
		t.Errorf("a disk less: %+v", p.Weakened)
	}
	next, _ := s.Apply(s.Index+1, cluster.Command{Fence: &cluster.Fence{Refused: true, Dead: []cluster.Dead{{Node: 3, Incarnation: 1}}}})
	p = planOf(next, cluster.Command{SetDiskDrained: &cluster.SetDiskDrained{Disk: "d2", Drained: true}})
	if p.Stuck == 0 || p.Copies != 0 {
		t.Errorf("nowhere to go: %+v", p)
	}
	p = planOf(s, cluster.Command{SetDomain: &cluster.SetDomain{Node: 1, Domain: "rack"}})
	if p.Copies != 0 || len(p.Weakened) != 0 {
		t.Errorf("a domain of one: %+v", p)
	}
	one, _ := s.Apply(s.Index+1, cluster.Command{SetDomain: &cluster.SetDomain{Node: 1, Domain: "rack"}})
	p = planOf(one, cluster.Command{SetDomain: &cluster.SetDomain{Node: 2, Domain: "rack"}})
	if p.Copies == 0 || len(p.Weakened) != 1 || p.Weakened[0].Doubled != p.Copies {
		t.Errorf("two nodes in a rack: %+v", p)
	}
	p = planOf(s, cluster.Command{SetExport: &cluster.SetExport{Volume: "v", Host: "h", Remove: true}})
	if len(p.Hosts) != 1 || p.Hosts[0] != (HostLoss{Host: "h", Volume: "v"}) {
		t.Errorf("hosts: %+v", p.Hosts)
	}
}
