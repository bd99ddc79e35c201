package node

import (
	"context"
	"maps"
	"slices"
	"strings"

	"ashlar/node/cluster"
	"ashlar/target/scsi"
)

// numbered is the cluster's target as one host sees it: the volumes that are
// published to it with numbers are its logical units, which come and go while
// the host is logged in.
type numbered struct {
	target *scsi.Target
	units  map[uint16]targetKey
}

// numberedTo are the units that a host is to see at the cluster's target.
func numberedTo(s *cluster.State, initiator string) map[uint16]targetKey {
	units := map[uint16]targetKey{}
	for id, v := range s.Volumes {
		if e := exportTo(s, v, initiator); e != nil && e.Numbered {
			units[e.LUN] = targetKey{id, e.ReadOnly}
		}
	}
	return units
}

// numbered is a host's, nil where nothing is published to it with a number.
func (d *directory) numbered(initiator string) *scsi.Target {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.service.consensus.State() // under mu: what is arranged never goes back
	wanted := numberedTo(s, initiator)
	if len(wanted) == 0 || d.service.engine.Load() == nil {
		return nil
	}
	key := strings.ToLower(initiator)
	n := d.hosts[key]
	if n == nil {
		n = &numbered{target: scsi.NewTarget(scsi.Config{Name: s.ClusterIQN(), Find: d.find}), units: map[uint16]targetKey{}}
		d.hosts[key] = n
	}
	d.arrange(n, wanted)
	return n.target
}

// follow maps and unmaps the units of hosts that are logged in, as the cluster
// has agreed. It is false where a volume is not open here yet.
// What is unmapped takes no effect any more when it returns, unless ctx ends first.
func (d *directory) follow(ctx context.Context) bool {
	d.mu.Lock()
	s := d.service.consensus.State()
	complete := true
	for initiator, n := range d.hosts {
		complete = d.arrange(n, numberedTo(s, initiator)) && complete
	}
	d.mu.Unlock()
	d.settle(ctx)
	return complete
}

// arrange makes a host's units those that are wanted. mu is held.
func (d *directory) arrange(n *numbered, wanted map[uint16]targetKey) bool {
	complete := true
	for _, lun := range slices.Sorted(maps.Keys(n.units)) {
		if have := n.units[lun]; wanted[lun] != have {
			d.remove(n.target, lun)
			delete(n.units, lun)
		}
	}
	for _, lun := range slices.Sorted(maps.Keys(wanted)) {
		if _, mapped := n.units[lun]; mapped {
			continue
		}
		device := d.device(wanted[lun])
		if device == nil {
			complete = false
		} else if err := n.target.Add(lun, device); err != nil {
			d.service.log.Error("a volume has no logical unit", "volume", wanted[lun].volume, "lun", lun, "error", err)
		} else {
			n.units[lun] = wanted[lun]
		}
	}
	return complete
}
