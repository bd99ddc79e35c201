package iscsi

import (
	"net"
	"net/netip"

	"ashlar/target/scsi"
)

// Directory is what the node knows of targets and hosts. Its methods may be
// called from any goroutine and answer from memory.
type Directory interface {
	// Ready tells whether this node may serve hosts now. If not, logins are
	// refused with "service unavailable", which hosts retry.
	Ready() bool
	// Visible tells whether the initiator may log in to the target.
	Visible(initiator, iqn string) bool
	// Target is the logical units under a target name as the initiator may use
	// them, nil if it is not exported.
	Target(initiator, iqn string) *scsi.Target
	// Listings are the targets that the initiator may see.
	Listings(initiator string) []Listing
	// PortalGroup is the target portal group tag of one of this node's
	// addresses, which is also the relative target port id of sessions there.
	PortalGroup(local net.Addr) uint16
}

// Listing is a target as told in discovery.
type Listing struct {
	IQN     string
	Portals []Portal // of every node that serves it
}

// Portal is an address where a target is served.
type Portal struct {
	Address netip.AddrPort
	Group   uint16 // target portal group tag
}
