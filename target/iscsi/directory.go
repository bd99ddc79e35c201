package iscsi

import (
	"net"
	"net/netip"

	"ashlar/target/iscsi/session"
	"ashlar/target/scsi"
)

// Directory is what the node knows of targets and hosts. Its methods may be
// called from any goroutine and answer from memory.
type Directory interface {
	// Ready tells whether this node may serve hosts now. If not, logins are
	// refused with "service unavailable", which hosts retry.
	Ready() bool
	// Visible tells whether there is the target and the initiator may log in to
	// it. If not, logins are refused with "not found", whichever of the two it is.
	Visible(initiator, iqn string) bool
	// Target is the logical units of a visible target as the initiator may use
	// them, nil if they cannot be had now.
	Target(initiator, iqn string) *scsi.Target
	// Credentials are what the initiator has to prove for a discovery session,
	// or for any other. Identifier and Challenge are the server's to fill in.
	Credentials(initiator string, discovery bool) Credentials
	// Redirect is another portal where the initiator is to log in to the target
	// instead, for the time being (RFC 7143 13.8, status 0101).
	Redirect(initiator, iqn string, local net.Addr) (portal netip.AddrPort, redirected bool)
	// Listings are the targets that the initiator may see.
	Listings(initiator string) []Listing
	// PortalGroup is the target portal group tag of one of this node's
	// addresses, which is also the relative target port id of sessions there.
	PortalGroup(local net.Addr) uint16
}

// Credentials are an initiator's CHAP names and secrets, and ours for it.
type Credentials = session.Credentials

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
