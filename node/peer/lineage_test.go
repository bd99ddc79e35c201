package peer

import (
	"errors"
	"testing"

	"ashlar/replication/wire"
)

// Nodes of one cluster that are of different lineages have no session, and the one
// that dials learns why. HTTP is for anyone.
func TestNodesOfDifferentLineagesNeverMeet(t *testing.T) {
	issue := authority(t, cluster)
	old := listen(t, issue(1), "127.0.0.1:0", nil)
	d := newDiary()
	n, err := Listen(Config{Credentials: issue(2), Lineage: "one", Listen: "127.0.0.1:0", Events: d.note})
	if err != nil {
		t.Fatal(err)
	}
	n.Serve()
	t.Cleanup(func() { n.Close() })
	for _, way := range []struct {
		from testNode
		to   *Network
	}{{old, n}, {testNode{n, d}, old.Network}} {
		way.from.SetPeers(map[wire.NodeID]string{way.to.ID(): way.to.Addr().String()})
		e := way.from.await(t, "a refusal", is(Unreachable, way.to.ID(), Control, false))
		if !errors.Is(e.Err, ErrLineage) {
			t.Errorf("from %d: %v", way.from.ID(), e.Err)
		}
		if c, err := way.from.Dial(t.Context(), way.to.ID(), way.to.Addr().String(), API); err != nil {
			t.Errorf("HTTP from %d: %v", way.from.ID(), err)
		} else {
			c.Close()
		}
	}
}
