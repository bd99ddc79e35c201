package api

import (
	"context"
	"net/http"
	"net/url"
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
	register(a, http.MethodDelete, "/hosts/{name}/sessions", "disconnect-host", "End a host's sessions; it may log in again", orderTimeout,
		func(ctx context.Context, in *struct {
			Name   string `path:"name" maxLength:"64"`
			Volume string `query:"volume" maxLength:"64" doc:"Only those that are this volume's alone"`
			Node   string `query:"node" maxLength:"64" doc:"Only those at this node"`
		}) (Disconnected, error) {
			return s.disconnect(ctx, in.Name, in.Volume, in.Node)
		})
}

// Disconnected is what became of a host's sessions.
type Disconnected struct {
	Sessions int      `json:"sessions" doc:"Sessions of iSCSI and controllers of NVMe/TCP that were ended"`
	Left     int      `json:"left" doc:"Of these, whose last commands may still take effect; they cannot be answered any more"`
	Nodes    []string `json:"nodes" nullable:"false" doc:"Where they were"`
	Silent   []string `json:"silent" nullable:"false" doc:"Nodes that did not answer: sessions there are as they were"`
}

func (s server) disconnect(ctx context.Context, host, volume, node string) (Disconnected, error) {
	out := Disconnected{Nodes: []string{}, Silent: []string{}}
	parted, err := s.node.Disconnect(ctx, host, volume, node)
	if err != nil {
		return out, err
	}
	state, err := s.node.State()
	if err != nil {
		return out, err
	}
	for _, p := range parted {
		out.Sessions, out.Left = out.Sessions+p.Sessions, out.Left+p.Left
		switch name := nodeName(state, p.Node); {
		case p.Silent:
			out.Silent = append(out.Silent, name)
		case p.Sessions > 0:
			out.Nodes = append(out.Nodes, name)
		}
	}
	return out, nil
}

// Disconnect ends a host's sessions, at all nodes and of all volumes where these are empty.
func (c *Client) Disconnect(ctx context.Context, host, volume, node string) (Disconnected, error) {
	return ask[Disconnected](ctx, c, "DELETE", "/hosts/"+url.PathEscape(host)+"/sessions?"+url.Values{"volume": {volume}, "node": {node}}.Encode(), nil)
}

// Sessions are the logins of all hosts.
func (c *Client) Sessions(ctx context.Context) ([]Session, error) {
	return ask[[]Session](ctx, c, "GET", "/sessions", nil)
}
