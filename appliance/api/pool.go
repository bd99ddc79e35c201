package api

import (
	"context"
	"fmt"

	"ashlar/node"
	"ashlar/node/cluster"
	"ashlar/node/disk"
)

// Pool is how much room there is.
type Pool struct {
	Size        uint64      `json:"size" doc:"What all disks that can be used hold, without what the store needs for itself"`
	Used        uint64      `json:"used" doc:"Of size, in pieces of 128 KiB; what hosts unmap is given back at once where a whole piece is free"`
	Free        uint64      `json:"free"`
	Volumes     uint64      `json:"volumes" doc:"Sizes of all volumes"`
	Provisioned uint64      `json:"provisioned" doc:"What all copies of all volumes will need when they are full; may be more than size"`
	Nodes       []NodeSpace `json:"nodes" nullable:"false"`
	Disks       []DiskSpace `json:"disks" nullable:"false"`
	Level       string      `json:"level" enum:"ok,warning,critical" doc:"warning: more is used than the setting pool-warning says; critical: 90 per cent, too"`
	Warnings    []string    `json:"warnings" nullable:"false" doc:"What will need attention, in words"`
}

// NodeSpace is the room on a node's disks.
type NodeSpace struct {
	Node string `json:"node"`
	Size uint64 `json:"size"`
	Used uint64 `json:"used"`
	Free uint64 `json:"free"`
}

// DiskSpace is the room on one disk.
type DiskSpace struct {
	ID    string `json:"id"`
	Node  string `json:"node"`
	Path  string `json:"path"`
	State string `json:"state" enum:"ok,failed,unknown" doc:"unknown: its node does not answer, or could not open it"`
	Size  uint64 `json:"size"`
	Used  uint64 `json:"used"`
	Free  uint64 `json:"free"`
	Full  bool   `json:"full" doc:"Nearly: less than a tenth is free, or a twentieth of the room for what describes blocks"`
}

func (s server) poolSpace(ctx context.Context) (Pool, error) {
	space, err := s.node.Space(ctx)
	if err != nil {
		return Pool{}, err
	}
	state, err := s.node.State()
	if err != nil {
		return Pool{}, err
	}
	p := poolView(state, diskViews(s.node, state), space)
	for id, why := range s.node.SmallDisks() {
		p.Warnings = append(p.Warnings, fmt.Sprintf("disk %s of this node: %s", state.Disks[id].Path, why))
	}
	return p, nil
}

// poolView adds up what is known of the disks.
func poolView(s *cluster.State, disks []Disk, space map[cluster.DiskID]disk.Stats) Pool {
	p := Pool{Level: "ok", Nodes: []NodeSpace{}, Disks: []DiskSpace{}, Warnings: []string{}}
	for _, v := range s.Volumes {
		p.Volumes += v.Bytes
		p.Provisioned += v.Bytes * uint64(v.Copies)
	}
	for _, d := range disks { // by node
		v := diskSpace(d, space)
		p.Disks = append(p.Disks, v)
		if n := len(p.Nodes); n == 0 || p.Nodes[n-1].Node != v.Node {
			p.Nodes = append(p.Nodes, NodeSpace{Node: v.Node})
		}
		n := &p.Nodes[len(p.Nodes)-1]
		n.Size, n.Used, n.Free = n.Size+v.Size, n.Used+v.Used, n.Free+v.Free
		p.Size, p.Used, p.Free = p.Size+v.Size, p.Used+v.Used, p.Free+v.Free
		switch {
		case v.State == "unknown":
			p.Warnings = append(p.Warnings, fmt.Sprintf("disk %s of node %q: how full it is is not known", v.Path, v.Node))
		case v.Full:
			p.Warnings = append(p.Warnings, fmt.Sprintf("disk %s of node %q is nearly full: when it is, writes of what has no room there yet fail", v.Path, v.Node))
		}
	}
	p.warn(s)
	return p
}

// warn says how full the pool is, where it is too full.
func (p *Pool) warn(s *cluster.State) {
	if p.Size == 0 {
		return
	}
	used := int(100 * float64(p.Used) / float64(p.Size))
	text := fmt.Sprintf("the pool is %d %% full", used)
	level := s.FillOf(used)
	switch level {
	case cluster.Roomy:
		return
	case cluster.FillCritical:
		text += ": writes fail when a disk has no room; add disks now, or delete volumes"
	default:
		text += ": add disks (ashlar disk add) before it is full"
	}
	p.Level = string(level)
	p.Warnings = append([]string{text}, p.Warnings...)
}

func diskSpace(d Disk, space map[cluster.DiskID]disk.Stats) DiskSpace {
	v := DiskSpace{ID: d.ID, Node: d.Node, Path: d.Path, State: d.State}
	have, known := space[cluster.DiskID(d.ID)]
	switch {
	case d.State == "failed", d.State == "ejected", d.State == "outdated":
		return v
	case !known:
		v.State = "unknown"
		return v
	}
	v.State = "ok"
	v.Size, v.Used, v.Free = uint64(have.Capacity), uint64(have.Used), uint64(have.Free)
	v.Full = node.NearlyFull(have)
	return v
}
