package frame

import (
	"encoding/binary"
	"net/netip"
)

// An IPv6 header, RFC 8200, and behind it, RFC 4861, 4.3 and 4.4:
//
//	0  type 135 solicitation, 136 advertisement    4  flags (advertisement)
//	1  code 0    2  checksum                       8  target address    24  options
const (
	ipv6Size       = 40
	icmpv6         = 58
	hopLimit       = 255 // RFC 4861, 7.1: what came from beyond the link has less
	solicitation   = 135
	advertisement  = 136
	messageSize    = 24
	targetOption   = 2    // target link-layer address
	overrideFlag   = 0x20 // replace what you have cached
	optionSizeUnit = 8
)

var allNodes = netip.MustParseAddr("ff02::1")

// SolicitedNode is the multicast group in which the neighbours ask for an IPv6
// address (RFC 4291, 2.7.1).
func SolicitedNode(address netip.Addr) netip.Addr {
	a, group := address.As16(), netip.MustParseAddr("ff02::1:ff00:0").As16()
	copy(group[13:], a[13:])
	return netip.AddrFrom16(group)
}

// multicastMAC is RFC 2464, 7.
func multicastMAC(group netip.Addr) MAC {
	a := group.As16()
	return MAC{0x33, 0x33, a[12], a[13], a[14], a[15]}
}

// solicit is RFC 4862, 5.4.2: from the unspecified address, to the group of
// the target, without a link-layer address.
func solicit(mac MAC, address netip.Addr) []byte {
	return discovery(mac, netip.IPv6Unspecified(), SolicitedNode(address), solicitation, 0, address, nil)
}

// advertise is unsolicited, RFC 4861, 7.2.6.
func advertise(mac MAC, address netip.Addr) []byte {
	return discovery(mac, address, allNodes, advertisement, overrideFlag, address,
		append([]byte{targetOption, 1}, mac[:]...))
}

func discovery(mac MAC, from, to netip.Addr, kind, flags byte, target netip.Addr, option []byte) []byte {
	b := ethernet(multicastMAC(to), mac, etherTypeIPv6, ipv6Size+messageSize+len(option))
	b = append(b, 0x60, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(messageSize+len(option)))
	b = append(b, icmpv6, hopLimit)
	b = append(append(b, from.AsSlice()...), to.AsSlice()...)
	b = append(b, kind, 0, 0, 0, flags, 0, 0, 0)
	b = append(append(b, target.AsSlice()...), option...)
	ip := b[ethernetSize:]
	binary.BigEndian.PutUint16(ip[ipv6Size+2:], ^checksum(ip))
	return b
}

// checksum is the one's complement sum of RFC 8200, 8.1, over the pseudo-header
// and the message of an IPv6 packet without extension headers: 0xffff for one
// that carries its own checksum.
func checksum(ip []byte) uint16 {
	sum := uint32(len(ip)-ipv6Size) + icmpv6
	words := ip[8:] // both addresses, then the message
	for ; len(words) >= 2; words = words[2:] {
		sum += uint32(words[0])<<8 | uint32(words[1])
	}
	if len(words) == 1 {
		sum += uint32(words[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

func parseDiscovery(from MAC, ip []byte) (Message, bool) {
	if len(ip) < ipv6Size+messageSize || ip[0]>>4 != 6 || ip[6] != icmpv6 || ip[7] != hopLimit {
		return Message{}, false
	}
	size := int(binary.BigEndian.Uint16(ip[4:]))
	if size < messageSize || ipv6Size+size > len(ip) {
		return Message{}, false
	}
	ip = ip[:ipv6Size+size] // a short frame is padded
	source, message := netip.AddrFrom16([16]byte(ip[8:24])), ip[ipv6Size:]
	m := Message{Address: netip.AddrFrom16([16]byte(message[8:24])), MAC: from}
	if message[1] != 0 || checksum(ip) != 0xffff || m.Address.IsMulticast() {
		return Message{}, false
	}
	switch {
	case message[0] == solicitation && source.IsUnspecified():
		return m, true
	case message[0] == advertisement:
		m.Uses = true
		if option, ok := findOption(message[messageSize:], targetOption); ok {
			m.MAC = option
		}
		return m, true
	}
	return Message{}, false
}

// findOption finds a link-layer address (RFC 4861, 4.6.1).
func findOption(options []byte, kind byte) (MAC, bool) {
	for len(options) >= optionSizeUnit {
		size := int(options[1]) * optionSizeUnit
		if size == 0 || size > len(options) {
			break
		}
		if options[0] == kind && size == optionSizeUnit {
			return MAC(options[2:8]), true
		}
		options = options[size:]
	}
	return MAC{}, false
}
