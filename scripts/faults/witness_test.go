//go:build faults

package faults

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ashlar/appliance/api"
	"ashlar/scripts/internal/clusters"
)

// Two nodes with a copy each and a witness: any of the three may die under load, and
// the other two go on by themselves. The witness holds nothing and leads only
// while nobody else can.
func TestTwoNodesAndAWitnessSurviveTheLossOfEach(t *testing.T) {
	t.Parallel()
	c := clusters.New(t, clusters.Plan{Witnesses: 1, Addresses: neighbourhood()})
	witness := c.Nodes[2]
	v := c.Publish("v", "16M", 2)
	expectRefusal(t, witness.Run("disk", "add", filepath.Join(witness.Dir, "disk"), "--size", "1G"), "witness")
	expectWitness(t, c, witness)
	load := clusters.NewLoad(t, v.IQN, volumeBytes, c.Data()...)
	load.Start()
	for _, victim := range []*clusters.Node{witness, c.Nodes[0], c.Nodes[1]} {
		load.AwaitWrites(100, time.Minute)
		load.Longest()
		victim.Kill()
		load.AwaitWrites(200, 30*time.Second)
		t.Logf("without %s the longest write took %v", victim.Name, load.Longest())
		victim.Start()
		victim.AwaitReady()
		c.AwaitInSync("v", time.Minute)
	}
	load.Stop(time.Minute)
	load.ExpectAll()
	c.Verify("v")
	c.Eventually(30*time.Second, "a node with data leads", func() bool {
		leader := clusters.Document[api.Status](c.Nodes[0], "status").Leader
		return leader != "" && leader != witness.Name
	})
	expectWitness(t, c, witness)
}

// expectWitness wants the witness to be shown as one, and to have nothing.
func expectWitness(t *testing.T, c *clusters.Cluster, witness *clusters.Node) {
	t.Helper()
	for _, n := range clusters.Document[[]api.Node](c.Nodes[0], "node", "list") {
		if n.Witness != (n.Name == witness.Name) || n.Witness && (n.Disks != 0 || n.Heads != 0 || len(n.Portals) != 0 || !n.Voter) {
			t.Errorf("node %s: %+v", n.Name, n)
		}
	}
	if s := clusters.Document[api.Status](witness, "status"); !s.Witness || len(s.Portals) != 0 {
		t.Errorf("the witness says of itself: %+v", s)
	}
	if text := c.Nodes[0].Must("cluster", "status"); !strings.Contains(text, "witness") {
		t.Errorf("people are not told of the witness: %s", text)
	}
}

// expectRefusal wants an order to fail with a sentence that holds all the words.
func expectRefusal(t *testing.T, r clusters.Result, words ...string) {
	t.Helper()
	missing := slices.DeleteFunc(slices.Clone(words), func(w string) bool { return strings.Contains(r.Stderr, w) })
	if r.Code == 0 || len(missing) > 0 {
		t.Errorf("status %d, %s%s; want a refusal with %q", r.Code, r.Stdout, r.Stderr, missing)
	}
}

// A node that holds data becomes no witness, and a witness makes no cluster.
func TestWhoMayBeAWitness(t *testing.T) {
	t.Parallel()
	c := clusters.Start(t, clusters.Plan{Nodes: 1, Addresses: neighbourhood(), Serve: []string{"--witness"}})
	expectRefusal(t, c.Nodes[0].Run("cluster", "create", "lab"), "witness", "another")
}
