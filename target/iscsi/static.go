package iscsi

import (
	"net"
	"net/netip"

	"ashlar/target/scsi"
)

// Static is a Directory of targets that never change and that every host may
// use, all of them at the same portals. Tests and demonstrations use it.
type Static struct {
	Targets map[string]*scsi.Target // by IQN
	Portals []Portal
	Group   uint16 // of this node's addresses
}

func (s *Static) Ready() bool                       { return true }
func (s *Static) Visible(_, iqn string) bool        { return s.Targets[iqn] != nil }
func (s *Static) Target(_, iqn string) *scsi.Target { return s.Targets[iqn] }
func (s *Static) PortalGroup(net.Addr) uint16       { return s.Group }

// Credentials are none: every host may log in.
func (s *Static) Credentials(string, bool) Credentials { return Credentials{} }

// Redirect sends nobody away.
func (s *Static) Redirect(string, string, net.Addr) (netip.AddrPort, bool) {
	return netip.AddrPort{}, false
}

// Listings are all targets.
func (s *Static) Listings(initiator string) []Listing {
	var all []Listing
	for iqn := range s.Targets {
		all = append(all, Listing{IQN: iqn, Portals: s.Portals})
	}
	return all
}
