package node

import (
	"context"

	"ashlar/node/cluster"
	"ashlar/node/disk"
	"ashlar/node/engine"
	"ashlar/node/failover"
	"ashlar/node/volume"
	"ashlar/replication/wire"
)

// Why says of each volume what slows it, if anything does, or of the one that is named.
func (n *Node) Why(ctx context.Context, volume string) ([]failover.Reasons, error) {
	e, err := n.running()
	if err != nil {
		return nil, err
	}
	if volume == "" {
		return e.Why(ctx), nil
	}
	v, err := n.volume(volume)
	if err != nil {
		return nil, err
	}
	for _, r := range e.Why(ctx) {
		if r.Volume == v.ID {
			return []failover.Reasons{r}, nil
		}
	}
	return nil, nil
}

// Told is what nodes measure, of those that answer within a second.
func (n *Node) Told(ctx context.Context) map[wire.NodeID]failover.Measured {
	e, err := n.running()
	if err != nil {
		return nil
	}
	return e.Told(ctx)
}

// running is the data path of a node that is in a cluster.
func (n *Node) running() (*engine.Engine, error) {
	s, err := n.member()
	if err != nil {
		return nil, err
	}
	e := s.engine.Load()
	if e == nil {
		return nil, problem(NotReady, "this node is still starting").next("ashlar status shows how it is")
	}
	return e, nil
}

// Measured is what this node measures, of the last minute.
func (n *Node) Measured() (failover.Measured, error) {
	e, err := n.running()
	if err != nil {
		return failover.Measured{}, err
	}
	return e.Measured(), nil
}

// Traffic is what hosts asked of each volume through this node since its process began.
func (n *Node) Traffic() (map[wire.VolumeID][]volume.Flow, error) {
	e, err := n.running()
	if err != nil {
		return nil, err
	}
	return e.Traffic(), nil
}

// Stores is how full this node's own disks are.
func (n *Node) Stores() (map[cluster.DiskID]disk.Stats, error) {
	e, err := n.running()
	if err != nil {
		return nil, err
	}
	return e.OwnSpace(), nil
}
