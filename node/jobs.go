package node

import (
	"context"
	"time"

	"ashlar/node/cluster"
)

// StartJob orders work on a whole volume and gives the job's number. The job goes on whatever becomes of this node. Where
// the volume has one of that kind that goes on, it is that one.
func (n *Node) StartJob(ctx context.Context, kind cluster.JobKind, volume, by string) (uint64, error) {
	if _, err := n.volume(volume); err != nil {
		return 0, err
	}
	r, err := n.ordered(ctx, cluster.Command{StartJob: &cluster.StartJob{Kind: kind, Volume: volume, By: by, At: time.Now().UnixMilli()}})
	return r.Job, err
}

// CancelJob ends a job where it is.
func (n *Node) CancelJob(ctx context.Context, id uint64) error {
	if _, err := n.Job(id); err != nil {
		return err
	}
	return n.order(ctx, cluster.Command{CancelJob: &cluster.CancelJob{Job: id, At: time.Now().UnixMilli()}})
}

// Job is one, as this node knows it.
func (n *Node) Job(id uint64) (*cluster.Job, error) {
	s, err := n.State()
	if err != nil {
		return nil, err
	}
	if j := s.Job(id); j != nil {
		return j, nil
	}
	return nil, problem(cluster.NotFound, "there is no job %d", id).next("ashlar job list shows those that go on, and the latest that have ended")
}

// WaitJob waits for a job's end. One that was not done is an error.
func (n *Node) WaitJob(ctx context.Context, id uint64) (*cluster.Job, error) {
	s, err := n.member()
	if err != nil {
		return nil, err
	}
	ended := s.await(ctx, func(st *cluster.State) bool {
		j := st.Job(id)
		return j == nil || j.End != ""
	})
	if !ended {
		return nil, problem(NotReady, "this node does not wait any longer for job %d, which goes on", id).next("ashlar job wait %d waits for it, at any node", id)
	}
	j, err := n.Job(id)
	switch {
	case err != nil:
		return nil, err
	case j.End == cluster.JobFailed:
		return nil, problem(cluster.Refused, "job %d failed: %s", id, j.Problem)
	case j.End == cluster.JobCancelled:
		return nil, problem(cluster.Refused, "job %d was cancelled", id)
	}
	return j, nil
}
