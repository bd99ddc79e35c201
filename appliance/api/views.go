package api

import (
	"cmp"
	"maps"
	"slices"

	"ashlar/node"
	"ashlar/node/cluster"
	"ashlar/replication/wire"
)

// view shows the cluster's state as this node knows it.
func view[T any](n *node.Node, f func(*node.Node, *cluster.State) T) (T, error) {
	s, err := n.State()
	if err != nil {
		var none T
		return none, err
	}
	return f(n, s), nil
}

// find is the one of a kind with a name.
func find[T any](n *node.Node, list func(*node.Node, *cluster.State) []T, what, name string, nameOf func(T) string) (T, error) {
	all, err := view(n, list)
	var none T
	if err != nil {
		return none, err
	}
	var names []string
	for _, v := range all {
		if nameOf(v) == name {
			return v, nil
		}
		names = append(names, nameOf(v))
	}
	return none, node.Unknown(what, name, names)
}

func (s server) status() Status {
	c := s.node.Config()
	out := Status{Version: s.version, Folder: c.Dir, State: "alone", Name: c.Name, Peer: c.Peer(), Portals: texts(c.PortalTexts()), NVMe: texts(c.NVMeTexts()), Discovery: texts(c.DiscoveryTexts()), Witness: c.Witness}
	self, ok := s.node.Self()
	if !ok {
		return out
	}
	out.State, out.Refused = "waiting", s.node.Refused()
	if s.node.Ready() {
		out.State = "ready"
	}
	out.ID, out.Name, out.Incarnation, out.Cluster = uint16(self.Node), self.Name, uint64(self.Incarnation), self.ClusterName
	out.Witness, out.Portals = self.Witness, append([]string{}, self.Portals...)
	if st, err := s.node.State(); err == nil {
		out.Leader = leaderName(s.node, st)
	}
	return out
}

func leaderName(n *node.Node, s *cluster.State) string {
	id, _ := n.Leader()
	return nodeName(s, id)
}

func nodeName(s *cluster.State, id wire.NodeID) string {
	if n := s.Nodes[id]; n != nil {
		return n.Name
	}
	return ""
}

func clusterView(n *node.Node, s *cluster.State) Cluster {
	c := Cluster{ID: s.ID, Name: s.Name, Lineage: s.Lineage, SegmentSize: s.SegmentBytes, State: "healthy",
		Leader: leaderName(n, s), Nodes: nodeViews(n, s), Volumes: volumeViews(n, s), Emptying: emptying(n, s), Attention: attention(diskViews(n, s), s), Settings: Settings(s.Effective())}
	for _, m := range c.Nodes {
		if m.State == "down" {
			c.State = "degraded"
		}
	}
	for _, v := range c.Volumes {
		if v.State == "waiting" || v.State == "degraded" && c.State == "healthy" {
			c.State = v.State
		}
	}
	if c.Leader == "" {
		c.State, c.Stale, c.Advice = "waiting", true, n.Advice()
	}
	return c
}

func nodeViews(_ *node.Node, s *cluster.State) []Node {
	out := []Node{}
	copies := s.CopiesOn()
	for _, id := range s.NodeIDs() {
		n := s.Nodes[id]
		if n.Removed {
			continue
		}
		v := Node{ID: uint16(id), Name: n.Name, State: "down", Incarnation: uint64(n.Incarnation), Voter: n.Voter, Drained: n.Drained, Emptied: n.Emptied, Domain: n.Domain, Witness: n.Witness, Peer: n.Peer, Portals: texts(n.Portals),
			NVMe: texts(n.NVMe), Discovery: texts(n.Discovery)}
		switch {
		case n.Expelled:
			v.State = "expelled"
		case n.Up:
			v.State = "up"
		case n.Incarnation == 0:
			v.State = "new"
		}
		for _, d := range s.Disks {
			if d.Node == id {
				v.Disks++
				v.Copies += copies[d.ID]
			}
		}
		for _, vol := range s.Volumes {
			if vol.Head == id {
				v.Heads++
			}
		}
		out = append(out, v)
	}
	return out
}

func diskViews(n *node.Node, s *cluster.State) []Disk {
	out := []Disk{}
	missing := n.MissingDisks()
	replicas := s.CopiesOn()
	for _, id := range s.DiskIDs() {
		d := s.Disks[id]
		v := Disk{ID: string(id), Node: nodeName(s, d.Node), Path: d.Path, Size: d.Size, State: "ok", Replicas: replicas[id]}
		switch {
		case d.Failed:
			v.State = "failed"
			switch {
			case d.Ejected:
				v.State = "ejected"
			case d.Outdated:
				v.State = "outdated"
			}
		case d.Worn:
			v.State = "worn"
		case missing[id] != nil:
			v.State = "missing"
		case s.Drains(id) && v.Replicas > 0:
			v.State = "draining"
		case s.Drains(id):
			v.State = "drained"
		}
		badView(&v, d)
		out = append(out, v)
	}
	slices.SortStableFunc(out, func(a, b Disk) int { return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Path, b.Path)) })
	return out
}

func volumeViews(_ *node.Node, s *cluster.State) []Volume {
	out := []Volume{}
	for _, id := range s.VolumeIDs() {
		out = append(out, volumeView(s, s.Volumes[id]))
	}
	slices.SortFunc(out, func(a, b Volume) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

func volumeView(s *cluster.State, v *cluster.Volume) Volume {
	out := Volume{ID: uint64(v.ID), Name: v.Name, Size: v.Bytes, Copies: v.Copies, State: "healthy", WriteCache: v.WriteCache, Losses: v.Losses,
		Head: nodeName(s, v.Head), Epoch: v.Epoch, Segments: len(v.Segments), IQN: s.IQN(v), NQN: s.NQN(v), NSID: v.OwnNSID(), Exports: []Export{}, Tenant: v.Tenant}
	for _, g := range v.Segments {
		if s.Doubled(g) != nil {
			out.Shared++
		}
		out.Replicas += v.Copies
		out.InSync += min(v.Copies, len(g.InSync())) // there is one more while one moves
		if s.OpenCopies(g, 0) < max(1, v.MinInSync) {
			out.State = "waiting"
		}
	}
	if v.Head == 0 {
		out.State = "waiting"
	}
	if out.State == "healthy" && out.InSync < out.Replicas {
		out.State = "degraded"
	}
	for _, e := range v.Exports {
		out.Exports = append(out.Exports, exportView(s, v, e))
	}
	return out
}

func exportView(s *cluster.State, v *cluster.Volume, e cluster.Export) Export {
	out := Export{Volume: v.Name, Host: e.Host, ReadOnly: e.ReadOnly, IQN: s.IQN(v), NQN: s.NQN(v), NSID: v.OwnNSID()}
	if e.Numbered {
		out.LUN, out.IQN, out.NQN, out.NSID = &e.LUN, s.ClusterIQN(), s.ClusterNQN(), v.NSID
	}
	return out
}

func volumeDetails(_ *node.Node, s *cluster.State) []VolumeDetail {
	out := []VolumeDetail{}
	for _, id := range s.VolumeIDs() {
		v := s.Volumes[id]
		d := VolumeDetail{Volume: volumeView(s, v), Placement: []Segment{}}
		for i, g := range v.Segments {
			seg := Segment{Segment: uint32(i), Replicas: []Replica{}}
			for _, r := range g.Replicas {
				seg.Replicas = append(seg.Replicas, Replica{nodeName(s, r.Node), string(r.Disk), r.InSync, string(r.Replaces)})
			}
			d.Placement = append(d.Placement, seg)
		}
		out = append(out, d)
	}
	return out
}

func hostViews(_ *node.Node, s *cluster.State) []Host {
	out := []Host{}
	for _, name := range slices.Sorted(maps.Keys(s.Hosts)) {
		h := s.Hosts[name]
		out = append(out, Host{name, h.IQN, h.NQN, chapView(h.CHAP), dhchapView(h.DHCHAP), h.Tenant})
	}
	return out
}

func exportViews(n *node.Node, s *cluster.State) []Export {
	out := []Export{}
	for _, v := range volumeViews(n, s) {
		out = append(out, v.Exports...)
	}
	return out
}

func chapView(c *cluster.CHAP) string {
	switch {
	case c == nil:
		return "none"
	case c.Lost:
		return "lost"
	case len(c.Mutual) == 0:
		return "one-way"
	}
	return "mutual"
}

func dhchapView(d *cluster.DHCHAP) string {
	switch {
	case d == nil:
		return "none"
	case d.Lost:
		return "lost"
	case len(d.Controller) == 0:
		return "one-way"
	}
	return "mutual"
}

// texts are a list where there is none, too.
func texts(all []string) []string { return append([]string{}, all...) }
