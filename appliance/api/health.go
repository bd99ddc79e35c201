package api

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"ashlar/node/cluster"
	"ashlar/node/failover"
	"ashlar/replication/wire"

	"github.com/danielgtaylor/huma/v2"
)

// Health says whether data is safe, what is less than it should be, what is being done about it, and what somebody has to look at.
type Health struct {
	Data      string   `json:"data" enum:"safe,reduced,waiting,unknown" doc:"safe: all copies are in sync; reduced: all that was acknowledged is there, in fewer copies; waiting: writes to some volumes wait, too; unknown: no majority of the voters answers this node"`
	Why       []string `json:"why" nullable:"false" doc:"What is less than it should be, in sentences"`
	Doing     []Doing  `json:"doing" nullable:"false" doc:"What the cluster does about it by itself"`
	Attention []string `json:"attention" nullable:"false" doc:"What somebody has to look at, in sentences"`
}

// Doing is something that goes on by itself.
type Doing struct {
	Kind   string     `json:"kind" enum:"rebuild,wait,drain" doc:"rebuild: copies catch up; wait: for a node to come back; drain: copies leave disks"`
	Text   string     `json:"text" doc:"A sentence"`
	Volume string     `json:"volume,omitempty"`
	Copies int        `json:"copies,omitempty" doc:"Of segments, that are left"`
	Bytes  uint64     `json:"bytes,omitempty" doc:"At most these are left"`
	Until  *time.Time `json:"until,omitempty" doc:"At the pace of now, at the latest; none: it is not known"`
}

func (s server) health(a huma.API) {
	get(a, "/health", "get-health", "Whether data is safe, what is degraded and what is being done", func(ctx context.Context, _ *nothing) (Health, error) {
		c, err := view(s.node, clusterView)
		if err != nil {
			return Health{}, err
		}
		state, err := s.node.State()
		if err != nil {
			return Health{}, err
		}
		var told map[wire.NodeID]failover.Measured
		if catching(state) {
			told = s.node.Told(ctx)
		}
		h := healthView(c, state, told, time.Now())
		if p, err := s.poolSpace(ctx); err == nil {
			for _, w := range p.Warnings {
				h.Attention = append(h.Attention, sentence(w))
			}
		}
		return h, nil
	})
}

// catching says whether a copy is to catch up, at a node that is up.
func catching(s *cluster.State) bool {
	for _, v := range s.Volumes {
		if slices.ContainsFunc(v.Segments, func(g cluster.Segment) bool {
			return slices.ContainsFunc(g.Replicas, func(r cluster.Replica) bool { return !r.InSync && s.Usable(r) })
		}) {
			return true
		}
	}
	return false
}

// healthView is a cluster's health as one of its nodes sees it. told are the nodes' measures, of those that answered.
func healthView(c Cluster, s *cluster.State, told map[wire.NodeID]failover.Measured, now time.Time) Health {
	h := Health{Data: "safe", Why: []string{}, Doing: []Doing{}, Attention: append([]string{}, c.Attention...)}
	for _, n := range c.Nodes {
		if n.State == "down" {
			h.Why = append(h.Why, fmt.Sprintf("Node %s is down.", n.Name))
		}
	}
	for _, v := range c.Volumes {
		id := wire.VolumeID(v.ID)
		alone := 0 // segments whose last copy it is
		for _, g := range s.Volumes[id].Segments {
			if v.Copies > 1 && len(g.InSync()) == 1 {
				alone++
			}
		}
		switch {
		case v.State == "waiting":
			h.Data = "waiting"
			h.Why = append(h.Why, fmt.Sprintf("Writes to volume %s wait: %s.", v.Name, waitsFor(v)))
		case v.InSync < v.Replicas && alone > 0:
			h.reduce("Volume %s: %d of %d copies are in sync; of %d segments it is the last, whose loss would make them wait.", v.Name, v.InSync, v.Replicas, alone)
		case v.InSync < v.Replicas:
			h.reduce("Volume %s: %d of %d copies are in sync; each segment has two or more.", v.Name, v.InSync, v.Replicas)
		}
		if v.Shared > 0 {
			h.Attention = append(h.Attention, fmt.Sprintf("Volume %s: %d of %d segments have copies in one fault domain, and would lose them together; there are too few domains with disks, or the copies are about to move.",
				v.Name, v.Shared, v.Segments))
		}
		h.rebuilding(v, s, told, now)
	}
	h.waiting(c, s)
	for _, e := range c.Emptying {
		if e.Copies > 0 {
			h.Doing = append(h.Doing, Doing{Kind: "drain", Copies: e.Copies, Text: fmt.Sprintf("Disk %s of node %s is being drained: %d copies are still there.", e.Path, e.Node, e.Copies)})
		}
		if e.Stuck > 0 {
			h.Attention = append(h.Attention, fmt.Sprintf("%d copies on disk %s of node %s have no other place: add a disk on another node.", e.Stuck, e.Path, e.Node))
		}
	}
	if c.Stale {
		h.Data, h.Doing = "unknown", []Doing{}
		h.Why = []string{"This node hears of no leader: no majority of the voters answers it, and what it shows may be old."}
		if c.Advice != "" {
			h.Attention = append([]string{sentence(c.Advice)}, h.Attention...)
		}
	}
	return h
}

func (h *Health) reduce(format string, args ...any) {
	if h.Data == "safe" {
		h.Data = "reduced"
	}
	h.Why = append(h.Why, fmt.Sprintf(format, args...))
}

func waitsFor(v Volume) string {
	if v.Head == "" {
		return "no node is its head"
	}
	return "too few of its copies can be reached"
}

// rebuilding says how far a volume's copies are that catch up.
func (h *Health) rebuilding(v Volume, s *cluster.State, told map[wire.NodeID]failover.Measured, now time.Time) {
	volume := s.Volumes[wire.VolumeID(v.ID)]
	d := Doing{Kind: "rebuild", Volume: v.Name}
	for _, g := range volume.Segments {
		for _, r := range g.Replicas {
			if !r.InSync && s.Usable(r) {
				d.Copies++
				d.Bytes += s.SegmentBytes
			}
		}
	}
	if d.Copies == 0 {
		return
	}
	d.Bytes = min(d.Bytes, uint64(d.Copies)*volume.Bytes)
	m := told[volume.Head]
	for _, head := range m.Heads {
		if head.Volume != volume.ID {
			continue
		}
		for _, p := range head.Catching {
			d.Bytes -= min(d.Bytes, p.Copied*wire.BlockSize)
		}
	}
	d.Text = fmt.Sprintf("Volume %s: %d copies catch up.", v.Name, d.Copies)
	if m.Pace > 0 && volume.Head != 0 {
		until := now.Add(time.Duration(float64(d.Bytes) / float64(m.Pace) * float64(time.Second))).Truncate(time.Second)
		d.Until = &until
	}
	h.Doing = append(h.Doing, d)
}

// waiting says for what the cluster waits before it makes copies anew.
func (h *Health) waiting(c Cluster, s *cluster.State) {
	copies := s.CopiesOn()
	for _, id := range s.NodeIDs() {
		n := s.Nodes[id]
		if n.Removed || n.Up || n.Incarnation == 0 {
			continue
		}
		left := 0
		for _, d := range s.Disks {
			if d.Node == id && !d.Failed {
				left += copies[d.ID]
			}
		}
		if left > 0 {
			h.Doing = append(h.Doing, Doing{Kind: "wait", Copies: left, Text: fmt.Sprintf("Node %s is waited for (copies there: %d); back, it is sent what it missed; "+
				"%v after it went down they are made anew on other nodes, where there is room.", n.Name, left, time.Duration(c.Settings.RebuildAfterNode)*time.Second)})
		}
	}
}

// Health says whether data is safe.
func (c *Client) Health(ctx context.Context) (Health, error) {
	return ask[Health](ctx, c, "GET", "/health", nil)
}

// sentence makes one of a phrase.
func sentence(phrase string) string {
	if phrase == "" {
		return ""
	}
	end := "."
	if last := phrase[len(phrase)-1]; last == '.' || last == '?' {
		end = ""
	}
	if first := phrase[0]; 'a' <= first && first <= 'z' && !strings.HasPrefix(phrase, "ashlar ") {
		phrase = string(first-'a'+'A') + phrase[1:]
	}
	return phrase + end
}
