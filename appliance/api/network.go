package api

import (
	"context"

	"github.com/danielgtaylor/huma/v2"
)

// NetworkFinding is one thing that is wrong with the networks between nodes.
type NetworkFinding struct {
	Kind string `json:"kind" enum:"unreachable,mtu,unchecked,duplicate,silent"`
	Node string `json:"node" doc:"That sees it"`
	Text string `json:"text" doc:"A sentence"`
	Next string `json:"next" doc:"What to do"`
}

func (s server) network(a huma.API) {
	get(a, "/cluster/network", "check-network", "Have all nodes look for addresses that cannot be reached, packets that are too long for their way, and addresses that others use, too",
		func(ctx context.Context, _ *nothing) ([]NetworkFinding, error) {
			found, err := s.node.CheckNetwork(ctx)
			all := []NetworkFinding{}
			for _, f := range found {
				all = append(all, NetworkFinding{string(f.Kind), f.Node, f.Text, f.Next})
			}
			return all, err
		})
}

// CheckNetwork has all nodes look at the networks between them.
func (c *Client) CheckNetwork(ctx context.Context) ([]NetworkFinding, error) {
	return ask[[]NetworkFinding](ctx, c, "GET", "/cluster/network", nil)
}
