package api

import (
	"context"

	"ashlar/node"
)

func releaseView(r *node.Release, err error) (Release, error) {
	if err != nil {
		return Release{}, err
	}
	out := Release{Cluster: r.Cluster, Node: r.Node, Expelled: append([]string{}, r.Expelled...), Older: r.Older, Volumes: []ReleasedVolume{}}
	for _, v := range r.Volumes {
		out.Volumes = append(out.Volumes, ReleasedVolume{v.Name, v.Bytes, v.Segments, v.Lost, v.Waits})
	}
	return out, nil
}

// OfflineRelease plans, or orders, the release of a node whose daemon does not run.
func OfflineRelease(dir, confirm string, older bool) (Release, error) {
	return releaseView(node.OfflineRelease(dir, confirm, older))
}

// PlanRelease is what a release of the node would mean.
func (c *Client) PlanRelease(ctx context.Context) (Release, error) {
	return ask[Release](ctx, c, "GET", "/cluster/release", nil)
}

// Release forms the cluster anew of the node.
func (c *Client) Release(ctx context.Context, in ConfirmRelease) (Release, error) {
	return ask[Release](ctx, c, "POST", "/cluster/release", in)
}

// ResetNode has the node forget a cluster that was formed anew without it.
func (c *Client) ResetNode(ctx context.Context, in Confirm) error {
	return c.do(ctx, "POST", "/cluster/reset", in, nil)
}
