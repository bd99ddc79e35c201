//go:build conformance

package conformance

import (
	"errors"
	"testing"

	"ashlar/scripts/internal/clusters"
	"ashlar/target/targettest/initiator"
)

// testReservationEndsWithItsSession: once a logout is answered, no node knows of
// what the session had reserved by RESERVE(6), however soon another host asks.
func testReservationEndsWithItsSession(t *testing.T, c *clusters.Cluster) {
	v := c.Publish("reserved", "32M", 2, qemuIQN)
	ready, reserve := make([]byte, 6), []byte{0x16, 0, 0, 0, 0, 0}
	dial := func(n *clusters.Node, name string) *initiator.Session {
		s, err := initiator.Dial(t.Context(), n.Portals()[0], v.IQN, initiator.Options{Name: name})
		if err != nil {
			t.Fatal(err)
		}
		s.Do(t.Context(), &initiator.Command{CDB: ready}) // takes the unit attention of a new session
		return s
	}
	const conflict = 0x18
	for i := range 12 {
		holder, other := dial(c.Nodes[i%3], clusters.HostIQN), dial(c.Nodes[(i/3)%3], qemuIQN)
		if err := holder.Do(t.Context(), &initiator.Command{CDB: reserve}); err != nil {
			t.Fatal(err)
		}
		var refused *initiator.StatusError
		if err := other.Do(t.Context(), &initiator.Command{CDB: ready}); !errors.As(err, &refused) || refused.Status != conflict {
			t.Errorf("while it is reserved: %v", err)
		}
		if err := holder.Logout(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := other.Do(t.Context(), &initiator.Command{CDB: ready}); err != nil {
			t.Errorf("reserved through %s until the logout, used through %s: %v", c.Nodes[i%3].Name, c.Nodes[(i/3)%3].Name, err)
		}
		other.Close()
	}
}
