package node

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"testing"

	"ashlar/target"
	"ashlar/target/targettest"
)

// newThree is three nodes in a cluster, with a disk each.
func newThree(t *testing.T) []*Node {
	t.Helper()
	return newThreeWith(t, 512<<20)
}

// newThreeWith is newThree with disks of that many bytes.
func newThreeWith(t *testing.T, diskBytes uint64) (nodes []*Node) {
	t.Helper()
	return newThreeOf(t, diskBytes, newConfig)
}

func newThreeOf(t *testing.T, diskBytes uint64, config func(*testing.T, string) Config) (nodes []*Node) {
	t.Helper()
	nodes = append(nodes, newClusterOf(t, config(t, "node1")))
	secret, err := nodes[0].Secret()
	must(t, err)
	for i := 2; i <= 3; i++ {
		c := config(t, fmt.Sprintf("node%d", i))
		c.Addresses = []netip.Addr{netip.MustParseAddr(fmt.Sprintf("127.0.0.%d", i))}
		n := open(t, c)
		must(t, n.JoinCluster(limit(t), nodes[0].Config().Peer(), secret, false))
		eventually(t, n.Config().Name+" is ready", n.Ready)
		nodes = append(nodes, n)
	}
	for _, n := range nodes {
		_, err := n.AddDisk(limit(t), filepath.Join(t.TempDir(), "disk"), diskBytes, false)
		must(t, err)
	}
	return nodes
}

// TestAMirroredVolumeIsADeviceLikeAnyOther through each node, wherever heads and
// copies are; and all copies are equal afterwards.
func TestAMirroredVolumeIsADeviceLikeAnyOther(t *testing.T) {
	t.Parallel()
	nodes := newThree(t)
	made := 0
	for _, n := range nodes {
		t.Run(n.Config().Name, func(t *testing.T) {
			targettest.Suite(t, func() target.Device {
				made++
				name := fmt.Sprintf("v%d", made)
				createVolume(t, n, name, 16<<20, 2)
				e, id := n.service.Load().engine.Load(), state(t, n).VolumeNamed(name).ID
				eventually(t, "the volume is open", func() bool { return e.Device(id) != nil })
				t.Cleanup(func() {
					found, err := n.Verify(limit(t), name)
					must(t, err)
					if len(found.Differences) > 0 || found.Copies != 8 {
						t.Errorf("%s: %+v", name, found)
					}
				})
				return e.Device(id)
			})
		})
	}
}
