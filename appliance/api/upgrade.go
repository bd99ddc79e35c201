package api

import (
	"context"
	"fmt"
	"net/url"

	"ashlar/node/cluster"
	"ashlar/node/disk"
	"ashlar/replication/wire"

	"github.com/danielgtaylor/huma/v2"
)

// Formats names what releases need to have in common to be in one cluster: the versions of what is agreed on, of what
// nodes say to each other, and of what is on disks. What only a newer one knows is refused while older nodes are up, and
// once it is agreed on, an older release does not start.
var Formats = fmt.Sprintf("state-%d,peers-%d,disks-%d", cluster.CommonVersion, wire.FormatVersion, disk.FormatVersion)

// Upgrade says whether a node may be stopped for a moment, to be started with another release.
type Upgrade struct {
	Node    string   `json:"node" doc:"The one that was asked"`
	Formats string   `json:"formats" doc:"What a release must have, too, to be in this cluster"`
	Ready   bool     `json:"ready"`
	Why     []string `json:"why" nullable:"false" doc:"What has to be otherwise first, sentences"`
	Notes   []string `json:"notes" nullable:"false" doc:"What will wait meanwhile, sentences"`
}

// UpgradeAsked is to which release.
type UpgradeAsked struct {
	Formats string `query:"formats" maxLength:"128" doc:"The other release's, as it says by version --formats; none: they are the same"`
}

func (s server) upgrade(a huma.API) {
	get(a, "/upgrade", "check-upgrade", "Whether this node can be upgraded now: its cluster does without it for a moment, and the other release fits", func(_ context.Context, in *UpgradeAsked) (Upgrade, error) {
		self, _ := s.node.Self()
		state, err := s.node.State()
		if err != nil {
			return Upgrade{}, err
		}
		out := upgradeView(state, self.Node)
		if in.Formats != "" && in.Formats != Formats {
			out.refuse("that release has other formats (%s) than this one (%s): nodes of both cannot be in one cluster; its notes say how all are upgraded at once", in.Formats, Formats)
		}
		if leaderName(s.node, state) == "" {
			out.refuse("the cluster has no leader that this node knows of")
		}
		return out, nil
	})
}

func (u *Upgrade) refuse(format string, args ...any) {
	u.Ready, u.Why = false, append(u.Why, fmt.Sprintf(format, args...))
}

// upgradeView looks at what is agreed on: every other node must be there, and each segment must have as many copies
// elsewhere as its volume's writes need, where it has more than one.
func upgradeView(s *cluster.State, self wire.NodeID) Upgrade {
	u := Upgrade{Node: nodeName(s, self), Formats: Formats, Ready: true, Why: []string{}, Notes: []string{}}
	for _, id := range s.NodeIDs() {
		switch n := s.Nodes[id]; {
		case id == self || n.Expelled:
		case !n.Up:
			u.refuse("node %q is down", n.Name)
		case n.Leaving:
			u.refuse("node %q is about to stop", n.Name)
		}
	}
	for _, id := range s.VolumeIDs() {
		v := s.Volumes[id]
		few := 0
		for _, g := range v.Segments {
			if s.OpenCopies(g, self) < max(1, v.MinInSync) {
				few++
			}
		}
		switch {
		case few == 0:
		case v.Copies <= max(1, v.MinInSync):
			u.Notes = append(u.Notes, fmt.Sprintf("volume %q waits meanwhile: it needs all of its copies, and %d of %d segments have one here", v.Name, few, len(v.Segments)))
		default:
			u.refuse("volume %q has too few copies in sync elsewhere of %d of its %d segments", v.Name, few, len(v.Segments))
		}
	}
	return u
}

// CheckUpgrade says whether the node can be upgraded now, to a release with those formats; empty: the same.
func (c *Client) CheckUpgrade(ctx context.Context, formats string) (Upgrade, error) {
	return ask[Upgrade](ctx, c, "GET", "/upgrade?formats="+url.QueryEscape(formats), nil)
}
