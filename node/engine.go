package node

import (
	"context"

	"ashlar/node/cluster"
	"ashlar/node/disk"
	"ashlar/node/engine"
	"ashlar/replication/wire"
	"ashlar/target"
)

// Engine is the data path of one incarnation, as the node's life needs it.
type Engine interface {
	// AddDisk gives an open store of this node to the engine.
	AddDisk(id cluster.DiskID, store *disk.Store)
	// Device is a volume as a front end sees it; nil if it is unknown here.
	Device(wire.VolumeID) target.Device
	// Ready says that this incarnation holds its lease and has applied its registration.
	Ready() bool
	// DropHosts registers what ends all host connections at once.
	DropHosts(func())
	// Fenced is closed when this incarnation is over.
	Fenced() <-chan struct{}
	// Verify compares all copies of a volume, block by block.
	Verify(ctx context.Context, volume wire.VolumeID) (Verification, error)
	Close() error
}

// Verification is what a comparison of all copies of a volume found.
type Verification = engine.Verification
