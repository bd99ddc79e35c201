package clusters

import (
	"fmt"
	"path/filepath"
	"time"

	"ashlar/appliance/api"
)

// Join starts one more node, has it join the cluster of through, and gives it a disk.
func (c *Cluster) Join(through *Node) *Node {
	c.t.Helper()
	k := len(c.Nodes) + 1
	n := &Node{c: c, Number: k, Name: fmt.Sprintf("n%d", k), Dir: filepath.Join(c.plan.Folder, fmt.Sprintf("n%d", k)), Addresses: c.plan.Addresses(k)}
	c.Nodes = append(c.Nodes, n)
	n.Start()
	n.Must("cluster", "join", through.Addresses[0], "--secret-file", filepath.Join(c.plan.Folder, "secret"))
	n.Must("disk", "add", n.Disk(), "--size", c.plan.DiskSize)
	n.AwaitReady()
	return n
}

// AwaitVoters waits until so many nodes vote.
func (c *Cluster) AwaitVoters(at *Node, count int) {
	c.t.Helper()
	c.Eventually(30*time.Second, fmt.Sprintf("%d nodes vote", count), func() bool {
		voters := 0
		for _, n := range Document[[]api.Node](at, "node", "list") {
			if n.Voter {
				voters++
			}
		}
		return voters == count
	})
}
