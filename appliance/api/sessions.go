package api

import (
	"context"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// Session is a host's login at a node.
type Session struct {
	Host     string `json:"host" doc:"Name of the host; empty: it is not known any more"`
	Name     string `json:"name" doc:"Its IQN or NQN"`
	Protocol string `json:"protocol" enum:"iscsi,nvme"`
	Target   string `json:"target" doc:"IQN of the target, or NQN of the subsystem"`
	Node     string `json:"node"`
	Sessions int    `json:"sessions" doc:"Sessions of iSCSI, or controllers of NVMe/TCP"`
}

func (s server) sessions(a huma.API) {
	get(a, "/sessions", "list-sessions", "Which hosts are logged in, and where", func(ctx context.Context, _ *nothing) ([]Session, error) {
		found, err := s.node.Sessions(ctx)
		if err != nil {
			return nil, err
		}
		state, err := s.node.State()
		if err != nil {
			return nil, err
		}
		all := []Session{}
		for _, x := range found {
			protocol := "iscsi"
			if strings.HasPrefix(x.Target, "nqn.") {
				protocol = "nvme"
			}
			all = append(all, Session{Host: x.Host, Name: x.Name, Protocol: protocol, Target: x.Target, Node: nodeName(state, x.Node), Sessions: x.Sessions})
		}
		return all, nil
	})
}

// Sessions are the logins of all hosts.
func (c *Client) Sessions(ctx context.Context) ([]Session, error) {
	return ask[[]Session](ctx, c, "GET", "/sessions", nil)
}
