// Package frame is what neighbours on an Ethernet say to each other of who has
// an address: ARP for IPv4 (RFC 826, RFC 5227), Neighbor Discovery for IPv6
// (RFC 4861, RFC 4862). It is pure: frames in and out, from the destination's
// hardware address on, without checksum at the end.
package frame

import "net/netip"

// MAC is an Ethernet hardware address.
type MAC [6]byte

// Message is what a neighbour lets know of an address.
type Message struct {
	Address netip.Addr
	MAC     MAC  // the neighbour's
	Uses    bool // it says that it has the address; else it asks whether anybody has, and would take it
}

const (
	ethernetSize  = 14
	etherTypeARP  = 0x0806
	etherTypeIPv6 = 0x86dd
)

var broadcast = MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// Probe asks whether somebody has the address, without claiming it: whoever
// hears it learns nothing for its own table.
func Probe(mac MAC, address netip.Addr) []byte {
	if address.Is4() {
		return probeARP(mac, address)
	}
	return solicit(mac, address)
}

// Announce tells all neighbours that mac has the address now. All of the frames
// are to be sent: some hosts heed only one of them.
func Announce(mac MAC, address netip.Addr) [][]byte {
	if address.Is4() {
		return announceARP(mac, address)
	}
	return [][]byte{advertise(mac, address)}
}

// Parse reads a frame. It is false for one that says nothing of who has an
// address, or that is malformed.
func Parse(b []byte) (Message, bool) {
	if len(b) < ethernetSize {
		return Message{}, false
	}
	switch uint16(b[12])<<8 | uint16(b[13]) {
	case etherTypeARP:
		return parseARP(b[ethernetSize:])
	case etherTypeIPv6:
		return parseDiscovery(MAC(b[6:12]), b[ethernetSize:])
	}
	return Message{}, false
}

func ethernet(to, from MAC, etherType uint16, room int) []byte {
	b := make([]byte, 0, ethernetSize+room)
	b = append(append(b, to[:]...), from[:]...)
	return append(b, byte(etherType>>8), byte(etherType))
}
