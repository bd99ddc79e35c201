//go:build conformance

package conformance

import (
	"fmt"
	"testing"

	"ashlar/scripts/internal/clusters"
)

// Other hosts and tools, with a cluster of their own that has two portals on each
// node. What one part of the test does to the cluster, the next has to live with.
func TestHostsThroughEveryNode(t *testing.T) {
	t.Parallel()
	c := clusters.New(t, clusters.Plan{Addresses: func(k int) []string { return []string{fmt.Sprintf("127.0.1.%d", k), fmt.Sprintf("127.0.2.%d", k)} }})
	t.Run("Access", func(t *testing.T) { testAccess(t, c) })
	t.Run("PortGroups", func(t *testing.T) { testPortGroups(t, c) })
	t.Run("AReservationEndsWithItsSession", func(t *testing.T) { testReservationEndsWithItsSession(t, c) })
	t.Run("QEMU", func(t *testing.T) { testQEMU(t, c) })
}
