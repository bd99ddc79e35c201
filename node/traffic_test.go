package node

import (
	"testing"
	"time"

	"ashlar/node/volume"
)

// What hosts do through a node is counted there, and only there.
func TestTrafficIsCountedWhereItComesIn(t *testing.T) {
	t.Parallel()
	nodes := newThreeWith(t, 64<<20)
	host := threePaths(t, nodes, 32<<20, 2)[1]
	flows := func(n *Node) []volume.Flow {
		all, err := n.Traffic()
		if err != nil {
			t.Fatal(err)
		}
		return all[state(t, n).VolumeNamed("db").ID]
	}
	at, err := nodes[2].Sessions(limit(t))
	if err != nil || len(at) != 3 {
		t.Fatalf("%d sessions are told of, want one at each node: %+v, %v", len(at), at, err)
	}
	for i, s := range at {
		if int(s.Node) != i+1 || s.Host == "" || s.Target != state(t, nodes[0]).IQN(state(t, nodes[0]).VolumeNamed("db")) || s.Sessions != 1 {
			t.Errorf("a session is %+v", s)
		}
	}
	before := [][]volume.Flow{flows(nodes[0]), flows(nodes[1]), flows(nodes[2])}
	for lba := range uint64(5) {
		if err := host.Write(limit(t), 0, 8*lba, pattern(4096, 1), 512); err != nil {
			t.Fatal(err)
		}
	}
	if err := host.Read(limit(t), 0, 0, make([]byte, 8192), 512); err != nil {
		t.Fatal(err)
	}
	for i, n := range nodes {
		writes, reads := flows(n)[volume.Writes], flows(n)[volume.Reads]
		writes.Operations -= before[i][volume.Writes].Operations
		reads.Operations -= before[i][volume.Reads].Operations
		want := uint64(0)
		if i == 1 {
			want = 5
		}
		if writes.Operations != want || reads.Operations != want/5 || writes.Failed+reads.Failed != 0 {
			t.Errorf("node %d: writes %+v, reads %+v", i+1, writes, reads)
		}
		if i == 1 && (writes.Bytes-before[i][volume.Writes].Bytes != 5*4096 || reads.Bytes-before[i][volume.Reads].Bytes != 8192 ||
			writes.Took <= 0 || writes.Took > time.Minute) {
			t.Errorf("writes %+v, reads %+v", writes, reads)
		}
	}
}
