//go:build faults

package faults

import (
	"encoding/json"
	"strconv"
	"testing"
	"time"

	"ashlar/appliance/api"
	"ashlar/scripts/internal/clusters"
)

// A verification is ordered at the volume's head, which is killed then. It is waited for at another node, where it comes to what one
// comes to that nothing disturbs.
func TestAJobOutlivesTheDeathOfTheNodeThatItWasOrderedAt(t *testing.T) {
	t.Parallel()
	c := clusters.New(t, clusters.Plan{Addresses: neighbourhood(), SegmentSize: "16M", DiskSize: "4G"})
	v := c.Publish("v", "6G", 3) // it takes several times as long as until a job is noted first
	load := clusters.NewLoad(t, v.IQN, volumeBytes, c.Nodes...)
	load.Start()
	load.AwaitWrites(200, time.Minute)
	load.Stop(time.Minute)
	head, other := c.Head("v"), c.NotHead("v")
	job := clusters.Document[api.Job](head, "volume", "verify", "v", "--wait=false")
	if job.State != "running" || job.Node != head.Name {
		t.Fatalf("the order came to %+v", job)
	}
	number := strconv.FormatUint(job.ID, 10)
	c.Eventually(time.Minute, "the job is on its way", func() bool { return clusters.Document[api.Job](head, "job", "show", number).Segments > 0 })
	head.Kill()
	done := patiently[api.Job](t, other, "job", "wait", number)
	if r := done.Result; done.State != "done" || r == nil || !r.Equal || r.Root == "" || r.Blocks == 0 {
		t.Fatalf("in the end: %+v, %+v", done, done.Result)
	}
	again := patiently[api.Verification](t, other, "volume", "verify", "v")
	if again.Root != done.Result.Root || again.Blocks != done.Result.Blocks {
		t.Errorf("the job came to %+v, an undisturbed one to %+v", done.Result, again)
	}
	if left := 3*v.Segments - done.Result.Copies; left <= 0 || left >= v.Segments {
		t.Errorf("%d copies were compared of %d segments: the node did not die in the middle", done.Result.Copies, v.Segments)
	}
	head.Start()
}

// patiently is clusters.Document of an order that tells how far it is.
func patiently[T any](t *testing.T, n *clusters.Node, args ...string) (v T) {
	t.Helper()
	r := n.Run(append(args, "-o", "json")...)
	if err := json.Unmarshal([]byte(r.Stdout), &v); err != nil || r.Code != 0 {
		t.Fatalf("ashlar %v: status %d, %v: %s%s", args, r.Code, err, r.Stdout, r.Stderr)
	}
	return v
}
