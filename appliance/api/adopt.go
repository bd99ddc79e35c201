package api

import (
	"context"
	"net/http"
	"time"

	"ashlar/node"
	"ashlar/node/cluster"

	"github.com/danielgtaylor/huma/v2"
)

// AdoptOrder says of what disks a cluster is to be formed anew.
type AdoptOrder struct {
	Disks      []string `json:"disks" doc:"Paths of disks of this node" minItems:"1" maxItems:"256"`
	Reports    []string `json:"reports,omitempty" doc:"Paths, on this node, of files with what ashlar disk inspect -o json printed on other nodes" maxItems:"256"`
	Confirm    string   `json:"confirm,omitempty" doc:"Name of the cluster; needed to carry it out"`
	AcceptLoss bool     `json:"accept_loss,omitempty" doc:"Go on although what was acknowledged to hosts may be lost"`
}

// Adoption is what is, or would be, formed of disks.
type Adoption struct {
	Cluster string          `json:"cluster"`
	ID      string          `json:"id" doc:"The cluster's identity"`
	Lineage string          `json:"lineage,omitempty" doc:"That the disks tell of; the cluster gets a new one"`
	Index   uint64          `json:"index" doc:"Of the newest state that a disk tells of"`
	Newer   uint64          `json:"newer,omitempty" doc:"Index of a newer state that did not fit on its disk"`
	Unknown int             `json:"unknown,omitempty" doc:"Copies of volumes, or parts of them, that were made after that state: they are lost"`
	Node    string          `json:"node" doc:"Who this node is there"`
	Awaited []string        `json:"awaited" nullable:"false" doc:"Nodes that have to join anew, under their names and addresses"`
	Disks   []AdoptedDisk   `json:"disks" nullable:"false"`
	Volumes []AdoptedVolume `json:"volumes" nullable:"false"`
	Locked  []string        `json:"locked" nullable:"false" doc:"Hosts whose secrets are lost: they are kept out until new ones are set"`
	Loses   bool            `json:"loses" doc:"Whether accept_loss is needed"`
}

// AdoptedDisk is what becomes of a disk.
type AdoptedDisk struct {
	ID   string `json:"id"`
	Node string `json:"node,omitempty"`
	Path string `json:"path"`
	Fate string `json:"fate" enum:"taken,missing,diverged,ignored" doc:"diverged: it is an old copy of the disk that the cluster used last"`
	Why  string `json:"why,omitempty"`
}

// AdoptedVolume is what becomes of a volume.
type AdoptedVolume struct {
	Name     string `json:"name"`
	Size     uint64 `json:"size"`
	Segments int    `json:"segments"`
	Doubtful int    `json:"doubtful" doc:"Segments of which a copy is missing that may hold acknowledged writes which no other has"`
	Lost     int    `json:"lost" doc:"Segments without a copy that was in sync: they answer nothing until one comes back"`
	State    string `json:"state" enum:"whole,may-lack,lost"`
}

func (s server) adopt(a huma.API) {
	register(a, http.MethodPost, "/cluster/adopt/plan", "plan-adoption", "What would be formed of disks, when all nodes have lost what they agreed on", adoptTimeout,
		func(_ context.Context, in *input[AdoptOrder]) (Adoption, error) {
			return adoptionView(s.node.PlanAdopt(node.AdoptOrder(in.Body)))
		})
	register(a, http.MethodPost, "/cluster/adopt", "adopt", "Form the cluster anew of its disks", adoptTimeout,
		func(ctx context.Context, in *input[AdoptOrder]) (Adoption, error) {
			return adoptionView(s.node.Adopt(ctx, node.AdoptOrder(in.Body)))
		})
}

// adoptTimeout is for looking at all disks of a node.
const adoptTimeout = 30 * time.Minute

func adoptionView(a *node.Adoption, err error) (Adoption, error) {
	if err != nil {
		return Adoption{}, err
	}
	s := a.State
	out := Adoption{Cluster: s.Name, ID: s.ID, Lineage: s.Lineage, Index: s.Index, Newer: a.Newer, Unknown: a.Unknown, Node: s.Nodes[a.Node].Name, Loses: a.Loses(),
		Awaited: []string{}, Disks: []AdoptedDisk{}, Volumes: []AdoptedVolume{}, Locked: append([]string{}, a.Locked...)}
	for _, id := range s.NodeIDs() {
		if n := s.Nodes[id]; id != a.Node && !n.Expelled {
			out.Awaited = append(out.Awaited, n.Name)
		}
	}
	for _, d := range a.Disks {
		v := AdoptedDisk{ID: string(d.ID), Path: d.Path, Fate: string(d.Fate), Why: d.Why}
		if n := s.Nodes[d.Node]; n != nil {
			v.Node = n.Name
		}
		out.Disks = append(out.Disks, v)
	}
	for _, v := range a.Volumes {
		state := "whole"
		switch {
		case v.Lost > 0:
			state = "lost"
		case v.Doubtful > 0:
			state = "may-lack"
		}
		out.Volumes = append(out.Volumes, AdoptedVolume{v.Name, v.Bytes, v.Segments, v.Doubtful, v.Lost, state})
	}
	return out, nil
}

// PlanAdopt is what would be formed of disks.
func (c *Client) PlanAdopt(ctx context.Context, in AdoptOrder) (Adoption, error) {
	return ask[Adoption](ctx, c, "POST", "/cluster/adopt/plan", in)
}

// Adopt forms a cluster anew of its disks.
func (c *Client) Adopt(ctx context.Context, in AdoptOrder) (Adoption, error) {
	return ask[Adoption](ctx, c, "POST", "/cluster/adopt", in)
}

// FoundDisk is what a disk tells about itself; it needs no daemon.
type FoundDisk = cluster.FoundDisk

// InspectDisk looks at a device or file that no process has open, or says that one has.
func InspectDisk(path string) (FoundDisk, error) { return node.InspectDisk(path) }

// LabelOf is what a disk tells of its cluster: the name, and the index of the state; empty where it tells nothing.
func LabelOf(f FoundDisk) (name string, index uint64) {
	l, err := cluster.ParseLabel(f.Label)
	if err != nil {
		return "", 0
	}
	if s, err := l.State(); err == nil && s != nil {
		name = s.Name
	}
	return name, l.Index
}
