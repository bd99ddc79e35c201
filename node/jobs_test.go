package node

import (
	"context"
	"testing"
	"time"

	"ashlar/node/cluster"
	"ashlar/node/engine"
)

// Verify compares all copies of a volume, as a job that it waits for.
func (n *Node) Verify(ctx context.Context, volume string) (engine.Verification, error) {
	return n.verified(ctx, cluster.VerifyJob, volume)
}

// Repair does the same, and makes equal what differs where it is known how.
func (n *Node) Repair(ctx context.Context, volume string) (engine.Verification, error) {
	return n.verified(ctx, cluster.RepairJob, volume)
}

func (n *Node) verified(ctx context.Context, kind cluster.JobKind, volume string) (engine.Verification, error) {
	id, err := n.StartJob(ctx, kind, volume, "a test")
	if err != nil {
		return engine.Verification{}, err
	}
	j, err := n.WaitJob(ctx, id)
	if err != nil {
		return engine.Verification{}, err
	}
	return engine.VerificationOf(j), nil
}

// TestAJobOutlivesTheNodeThatStartedItAndTheHeadThatBeganIt: it goes on from what was noted, and comes to the root that it
// comes to when nothing is in its way. What was compared with the copies of the node that is gone is not compared again without them.
func TestAJobOutlivesTheNodeThatStartedItAndTheHeadThatBeganIt(t *testing.T) {
	t.Parallel()
	nodes := newThreeWith(t, 256<<20)
	const segments = 128
	must(t, nodes[0].AddHost(limit(t), "web", "iqn.2026-11.com.example:web"))
	createVolume(t, nodes[0], "v", segments*segmentBytes, 3)
	must(t, nodes[0].Publish(limit(t), "v", "web", false))
	asked, other := nodes[0], nodes[1]
	s := steady(t, other, "web", state(t, other).IQN(state(t, other).VolumeNamed("v")))
	for i := range uint64(32) {
		eventually(t, "the copies are made, and written to", func() bool {
			return s.Write(limit(t), 0, i*(segments/32)*segmentBytes/512, known(i), 512) == nil
		})
	}
	eventually(t, "the cluster can do without any node", func() bool { return len(state(t, other).Voters()) == 3 })
	calm, err := other.Verify(limit(t), "v")
	must(t, err)
	if !calm.Equal() || calm.Root == nil || calm.Blocks != 32 || calm.Copies != 3*segments {
		t.Fatalf("undisturbed: %+v", calm)
	}

	var noted *cluster.Job
	for i := 0; noted == nil || noted.End != ""; i++ { // a fast machine may be done with one before its head has moved
		if i == 10 {
			t.Fatal("each job had ended before its node was closed")
		}
		id, err := asked.StartJob(limit(t), cluster.VerifyJob, "v", "a test")
		must(t, err)
		for _, n := range []*Node{other, asked} {
			time.Sleep(calm.Took / 4)
			moveHead(t, other, "v", n.Config().Name)
		}
		eventually(t, "a head that is none any more has noted how far it was", func() bool {
			noted, err = other.Job(id)
			must(t, err)
			return noted.Segment > 0
		})
	}
	must(t, asked.Close())
	j, err := other.WaitJob(limit(t), noted.ID)
	must(t, err)
	after := engine.VerificationOf(j)
	if !after.Equal() || after.Root == nil || *after.Root != *calm.Root || after.Blocks != calm.Blocks {
		t.Errorf("disturbed: %+v, else %+v", after, calm)
	}
	if after.Copies > 3*segments || after.Copies < 2*segments+int(noted.Segment) {
		t.Errorf("%d copies were compared; %d segments were before the node was closed", after.Copies, noted.Segment)
	}
	t.Logf("%d of %d segments were compared before the node was closed; notes: %d", noted.Segment, segments, j.Step)
}
