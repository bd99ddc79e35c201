//go:build conformance

package conformance

import (
	"fmt"
	"os/exec"
	"testing"

	"ashlar/scripts/internal/clusters"
	"ashlar/scripts/internal/memory"
)

func TestMain(m *testing.M) { clusters.Main(m, buildNewer) }

// readOnlyIQNs are hosts that may not write.
var readOnlyIQNs = []string{"iqn.2026-11.com.example:reader-1", "iqn.2026-11.com.example:reader-2"}

// The suite has two paths through two nodes, the first of them not the head's: so
// its hosts' reservations, resets and locks have to hold over nodes.
func TestLibiscsiThroughTwoNodes(t *testing.T) {
	t.Parallel()
	c := clusters.New(t, clusters.Plan{})
	v := c.Publish("v", "96M", 2, libiscsiIQNs...)
	other, head := c.NotHead("v"), c.Head("v")
	urls := []string{url(other, v.IQN), url(head, v.IQN)}
	installed.run(t, writable512, libiscsiIQNs, "ALL", urls...)
	c.Verify("v")
	if newer := newerTool(); newer != nil {
		t.Run("Newer", func(t *testing.T) {
			for _, pattern := range []string{"ALL", "ALL.iSCSITMF.LUNResetSimpleAsync", "ALL.iSCSITMF.LogoutDuringIOAsync", "SCSI.ReportLUNs"} {
				newer.run(t, writable512, libiscsiIQNs, pattern, urls...)
			}
		})
	}
	t.Run("ReadOnly", func(t *testing.T) {
		for i, iqn := range readOnlyIQNs {
			host := fmt.Sprintf("reader%d", i)
			c.Nodes[0].Must("host", "add", host, iqn)
			c.Nodes[0].Must("export", "add", "v", host, "--read-only")
		}
		installed.run(t, 0, readOnlyIQNs, "ALL.ReadOnly", urls...)
	})
	c.Verify("v")
}

// A unit with blocks of 4096 bytes, which the tests want that need a logical block
// to be a physical one.
func TestLibiscsiOnBlocksOf4096Bytes(t *testing.T) {
	t.Parallel()
	paths := memory.ServePaths(t, 2, exec.Command, "-listen", "127.0.0.1:0", "-second", "127.0.0.1:0", "-block", "4096", "-size", fmt.Sprint(640<<20))
	installed.run(t, writable4096, libiscsiIQNs, "ALL", paths...)
	if newer := newerTool(); newer != nil {
		t.Run("Newer", func(t *testing.T) { newer.run(t, writable4096, libiscsiIQNs, "ALL", paths...) })
	}
}

func url(n *clusters.Node, iqn string) string {
	return fmt.Sprintf("iscsi://%s/%s/0", n.Portals()[0], iqn)
}
