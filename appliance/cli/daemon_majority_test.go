package cli

import (
	"strings"
	"syscall"
	"testing"

	"ashlar/appliance/api"
)

// Three nodes of which two die: the third says so, instead of what it believes.
func TestANodeWithoutAMajorityAdmitsThatItKnowsNothingNew(t *testing.T) {
	t.Parallel()
	nodes := []*daemon{newDaemon(t, 1), newDaemon(t, 2), newDaemon(t, 3)}
	first := nodes[0]
	first.must("cluster", "create", "prod")
	secret := first.must("cluster", "secret")
	for _, n := range nodes[1:] {
		if r := command(secret, "cluster", "join", first.peer, "--secret-file", "-", "--dir", n.dir); r.code != 0 {
			t.Fatal(r.stderr)
		}
	}
	first.eventually("has three voters", func() bool {
		return strings.Count(first.must("node", "list", "-o", "json"), `"voter": true`) == 3
	})
	if c := document[api.Cluster](first, "cluster", "status"); c.State != "healthy" || c.Stale {
		t.Errorf("with all nodes: %+v", c)
	}
	for _, n := range nodes[1:] {
		n.end(syscall.SIGKILL)
	}
	first.eventually("misses the others", func() bool { return document[api.Cluster](first, "cluster", "status").Stale })
	first.eventually("has no lease", func() bool { return document[api.Status](first, "status").State == "waiting" })
	if text := first.must("cluster", "status"); !strings.Contains(text, "no majority of the voters") {
		t.Errorf("people are told: %s", text)
	}
	nodes[1].start()
	first.eventually("serves again", func() bool {
		return !document[api.Cluster](first, "cluster", "status").Stale && document[api.Status](first, "status").State == "ready"
	})
}
