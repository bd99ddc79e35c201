package node

import (
	"context"

	"ashlar/node/cluster"
	"ashlar/node/disk"
	"ashlar/replication/wire"
	"ashlar/target"
)

// TEMPORARY until node/engine is there.
type noEngine struct{}

func (noEngine) AddDisk(cluster.DiskID, *disk.Store) {}
func (noEngine) Device(wire.VolumeID) target.Device  { return nil }
func (noEngine) Ready() bool                         { return true }
func (noEngine) DropHosts(func())                    {}
func (noEngine) Fenced() <-chan struct{}             { return nil }
func (noEngine) Close() error                        { return nil }
func (noEngine) Verify(context.Context, wire.VolumeID) (Verification, error) {
	return Verification{}, problem(NotReady, "no engine")
}

func (s *service) startEngine(wire.Incarnation) (Engine, error) { return noEngine{}, nil }
