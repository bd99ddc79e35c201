package iscsi

import (
	"net"

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
func (s *Static) Visible(string, string) bool       { return true }
func (s *Static) Target(_, iqn string) *scsi.Target { return s.Targets[iqn] }
func (s *Static) PortalGroup(net.Addr) uint16       { return s.Group }
func (s *Static) Listings(initiator string) []Listing {
	var all []Listing
	for iqn := range s.Targets {
		all = append(all, Listing{IQN: iqn, Portals: s.Portals})
	}
	return all
}
