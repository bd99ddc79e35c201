package node

import (
	"context"

	"ashlar/node/cluster"
	"ashlar/node/disk"
)

// Space is how full every disk is whose node answers within a second.
func (n *Node) Space(ctx context.Context) (map[cluster.DiskID]disk.Stats, error) {
	e, err := n.running()
	if err != nil {
		return nil, err
	}
	return e.Space(ctx), nil
}

// fullBelow: a disk is nearly full when less than 1/fullBelow of it is free.
const fullBelow = 10

// NearlyFull says whether a disk will need attention soon, for want of chunks
// or of what describes blocks.
func NearlyFull(s disk.Stats) bool { return s.Low || s.Free < s.Capacity/fullBelow }

// warnOfFull logs once when a disk gets nearly full, and once when it is not any more.
func (d *disks) warnOfFull() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, store := range d.open {
		s := store.Stats()
		full := NearlyFull(s)
		if full && !d.full[id] {
			d.service.log.Warn("a disk is nearly full", "disk", id, "used", s.Used, "free", s.Free)
		} else if !full && d.full[id] {
			d.service.log.Info("a disk has room again", "disk", id, "free", s.Free)
		}
		d.full[id] = full
	}
}
