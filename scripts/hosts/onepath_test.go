//go:build lab

package hosts

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"ashlar/appliance/api"
	"ashlar/scripts/internal/clusters"
	"ashlar/scripts/internal/fabric"
)

// movedMax is what a host without multipath may wait: for its NOPs, for the fence and the
// lifetime that a silent node's kernel gives an address, for three probes, and for logins
// that it tries again each few seconds.
const movedMax = noopInterval + noopTimeout + 20*time.Second

// A host logs in at one portal address, which moves, and has no multipath.
func TestHostWithOnePathOutlivesTheNodeOfItsPortal(t *testing.T) {
	const moving = "10.1.0.201"
	c := startCluster(t)
	v := c.Publish("v", fmt.Sprint(volumeBytes), 2, guestIQN)
	first := c.Nodes[0]
	first.Must("address", "add", moving+"/24", "--home", "n1")
	holder := func() (n *clusters.Node) {
		c.Eventually(20*time.Second, "a node holds the address", func() bool {
			all := clusters.Document[[]api.Address](first, "address", "list")
			if len(all) != 1 || all[0].State != "held" {
				return false
			}
			n = c.Node(all[0].Holder)
			return true
		})
		return n
	}
	holder()
	h := startHost(t, 1)
	disk := strings.TrimSpace(h.must(file(t, "login-one-path"), "AT="+moving, "TARGET="+v.IQN))
	h.must(fmt.Sprintf("mkfs.ext4 -q -F %s %dk", disk, filesBytes>>10))
	for _, f := range []struct {
		name       string
		begin, end func(n *clusters.Node)
	}{
		{"killed", (*clusters.Node).Kill, (*clusters.Node).Start},
		{"cut off", func(n *clusters.Node) {
			if err := fabric.Cut([]string{n.Name}, bothFabrics); err != nil {
				t.Fatal(err)
			}
		}, func(n *clusters.Node) {
			if err := fabric.Heal([]string{n.Name}, bothFabrics); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		h.script("files-start", "DISK="+disk)
		h.must("rm -rf /tmp/fio")
		h.script("fio-start", "DISK="+disk, fmt.Sprintf("OFFSET=%d", filesBytes), fmt.Sprintf("BYTES=%d", rawBytes), fmt.Sprintf("BLOCK=%d", ioBytes))
		h.awaitIO(300, 60*time.Second)
		from := holder()
		f.begin(from)
		begun := time.Now()
		h.awaitIO(200, 90*time.Second)
		t.Logf("the node of the portal is %s: 200 more I/Os %.1f s later", f.name, time.Since(begun).Seconds())
		time.Sleep(time.Until(begun.Add(12 * time.Second)))
		f.end(from)
		c.AwaitInSync("v", time.Minute)
		from.AwaitReady()
		h.script("files-check", "DISK="+disk)
		r := h.stopFio()
		if r.errors != 0 || r.passes == 0 || r.reads != r.writes {
			t.Errorf("%s: not every block was written and read back once a pass: %+v", f.name, r)
		}
		if r.pause > movedMax {
			t.Errorf("%s: a pause of %v, want at most %v", f.name, r.pause, movedMax)
		}
		t.Logf("%s: longest pause %v", f.name, r.pause)
	}
	h.must("iscsiadm -m node --logout")
	c.Verify("v")
}
