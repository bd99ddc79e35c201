package api

import (
	"context"
	"net/http"
	"net/url"

	"github.com/danielgtaylor/huma/v2"

	"ashlar/node"
	"ashlar/node/cluster"
)

// Emptying is a disk whose copies are to go elsewhere.
type Emptying struct {
	Disk   string `json:"disk" doc:"Its identity"`
	Node   string `json:"node"`
	Path   string `json:"path"`
	Copies int    `json:"copies" doc:"Copies of segments that are still there"`
	Stuck  int    `json:"stuck" doc:"Those of them that no other disk can take, because each node that could has a copy already"`
}

// NodeSettings are what an operator may order of a node.
type NodeSettings struct {
	Domain string `json:"domain" doc:"Label of the nodes that may fail together, as of a rack; empty: it is alone in its own"`
}

// DrainNode says what is to leave a node.
type DrainNode struct {
	Data bool `json:"data,omitempty" doc:"Copies too, which takes its time"`
}

type diskNamed struct {
	ID string `path:"id" maxLength:"64"`
}

func (s server) moves(a huma.API) {
	order(a, http.MethodPost, "/disks/{id}/drain", "drain-disk", "Have all copies on a disk go to other nodes' disks", orderTimeout,
		func(ctx context.Context, in *diskNamed) error { return s.node.DrainDisk(ctx, in.ID, true) })
	order(a, http.MethodPost, "/disks/{id}/undrain", "undrain-disk", "Keep and take copies again", orderTimeout,
		func(ctx context.Context, in *diskNamed) error { return s.node.DrainDisk(ctx, in.ID, false) })
	order(a, http.MethodDelete, "/disks/{id}", "remove-disk", "Take a disk without copies out of the pool", orderTimeout,
		func(ctx context.Context, in *struct {
			ID     string `path:"id" maxLength:"64"`
			GiveUp bool   `query:"give_up" doc:"Give up copies that are not in sync"`
		}) error {
			return s.node.RemoveDisk(ctx, in.ID, in.GiveUp)
		})
	order(a, http.MethodPatch, "/nodes/{name}", "set-node", "Change settings of a node", orderTimeout,
		func(ctx context.Context, in *struct {
			Name string `path:"name" maxLength:"64"`
			Body NodeSettings
		}) error {
			return s.node.SetDomain(ctx, in.Name, in.Body.Domain)
		})
	order(a, http.MethodDelete, "/nodes/{name}", "remove-node", "Take a node that has stopped out of the cluster, for good", orderTimeout,
		func(ctx context.Context, in *struct {
			Name string `path:"name" maxLength:"64"`
			Dead bool   `query:"dead" doc:"Give up what its disks hold and others have"`
		}) error {
			return s.node.RemoveNode(ctx, in.Name, in.Dead)
		})
}

// emptying are the disks that copies are to leave, and have not all left.
func emptying(_ *node.Node, s *cluster.State) []Emptying {
	out := []Emptying{}
	at := map[cluster.DiskID]int{}
	for _, id := range s.DiskIDs() {
		if s.Drains(id) {
			at[id] = len(out)
			out = append(out, Emptying{Disk: string(id), Node: nodeName(s, s.Disks[id].Node), Path: s.Disks[id].Path})
		}
	}
	if len(out) == 0 {
		return out
	}
	places := s.Places()
	for _, v := range s.Volumes {
		for _, g := range v.Segments {
			for _, r := range g.Replicas {
				i, drains := at[r.Disk]
				if !drains {
					continue
				}
				out[i].Copies++
				if _, ok := places.For(g, r.Disk, nil); !ok && g.Coming() == nil {
					out[i].Stuck++
				}
			}
		}
	}
	return out
}

// SetNode changes settings of a node.
func (c *Client) SetNode(ctx context.Context, name string, in NodeSettings) error {
	return c.do(ctx, "PATCH", "/nodes/"+url.PathEscape(name), in, nil)
}

func (c *Client) DrainDisk(ctx context.Context, id string) error {
	return c.do(ctx, "POST", "/disks/"+url.PathEscape(id)+"/drain", nil, nil)
}

func (c *Client) UndrainDisk(ctx context.Context, id string) error {
	return c.do(ctx, "POST", "/disks/"+url.PathEscape(id)+"/undrain", nil, nil)
}

// RemoveDisk takes a disk out of the pool; giveUp gives up copies that are not in sync.
func (c *Client) RemoveDisk(ctx context.Context, id string, giveUp bool) error {
	return c.do(ctx, "DELETE", "/disks/"+url.PathEscape(id)+flag("give_up", giveUp), nil, nil)
}

// RemoveNode takes a node that has stopped out of the cluster; dead gives up what its disks hold and others have.
func (c *Client) RemoveNode(ctx context.Context, name string, dead bool) error {
	return c.do(ctx, "DELETE", "/nodes/"+url.PathEscape(name)+flag("dead", dead), nil, nil)
}

func flag(name string, on bool) string {
	if on {
		return "?" + name + "=true"
	}
	return ""
}
