package nvmetcp

import (
	"context"
	"errors"
	"net"

	"ashlar/target/nvme"
)

// Static is a Directory of subsystems that never change and that every host may
// use, all of them at the same portals. Tests and demonstrations use it.
type Static struct {
	Subsystems  map[string]*nvme.Subsystem // by NQN
	Portals     []nvme.Portal
	Group       uint16 // of this node's addresses
	First, Last uint16 // controller IDs; 0: 1 to 2000
}

func (s *Static) Ready() bool                                       { return true }
func (s *Static) Visible(_ nvme.Host, nqn string) bool              { return s.Subsystems[nqn] != nil }
func (s *Static) Subsystem(_ nvme.Host, nqn string) *nvme.Subsystem { return s.Subsystems[nqn] }
func (s *Static) PortGroup(net.Addr) uint16                         { return s.Group }

func (s *Static) ControllerIDs() (first, last uint16) {
	if s.First == 0 {
		return 1, 2000
	}
	return s.First, s.Last
}

// Authenticator is none: every host may connect.
func (s *Static) Authenticator(nvme.AuthRequest) nvme.Authenticator { return nil }

// Discovery is all subsystems.
func (s *Static) Discovery(nvme.Host) nvme.Discovery {
	d := nvme.Discovery{Generation: 1}
	for nqn := range s.Subsystems {
		d.Listings = append(d.Listings, nvme.Listing{NQN: nqn, Portals: s.Portals})
	}
	return d
}

// ResetController finds no controller: there is no other node.
func (s *Static) ResetController(context.Context, string, nvme.Instance) error {
	return errors.New("there is no such controller")
}
