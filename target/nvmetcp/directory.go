package nvmetcp

import (
	"context"
	"net"

	"ashlar/target/nvme"
)

// Directory is what the node knows of subsystems and hosts. Its methods may be
// called from any goroutine, and all but ResetController answer from memory.
type Directory interface {
	// Ready tells whether this node may serve hosts now. If not, a Connect is
	// answered with Controller Busy, which hosts retry.
	Ready() bool
	// Visible tells whether there is the subsystem and the host may connect to it.
	// If not, a Connect is refused for good (Invalid Host), whichever of the two it is.
	Visible(host nvme.Host, nqn string) bool
	// Subsystem is a visible subsystem as the host may use it, nil if it cannot be
	// had now (Controller Busy).
	Subsystem(host nvme.Host, nqn string) *nvme.Subsystem
	// ControllerIDs are those that this node gives, the same for all subsystems. The
	// ranges of no two nodes meet, and lie within 1 to FFEFh.
	ControllerIDs() (first, last uint16)
	// PortGroup is the number of the port group of one of this node's addresses, as
	// in target.Device.Groups.
	PortGroup(local net.Addr) uint16
	// Authenticator begins an exchange on a queue in which the host proves itself,
	// nil where it need not. In an exchange for discovery, the subsystem is the
	// discovery subsystem.
	Authenticator(r nvme.AuthRequest) nvme.Authenticator
	// Discovery is what the host is told of subsystems and portals.
	Discovery(host nvme.Host) nvme.Discovery
	// ResetController ends a controller that another node may have
	// (Server.ResetController there), and returns nil when nothing of it can take
	// effect any more. The server asks for those of its own range itself.
	ResetController(ctx context.Context, nqn string, c nvme.Instance) error
}
