package frame

import (
	"bytes"
	"net/netip"
)

// An ARP packet for IPv4 on Ethernet, RFC 826:
//
//	0  hardware space 1     8  sender hardware address   18  target hardware address
//	2  protocol 0x0800     14  sender protocol address   24  target protocol address
//	4  lengths 6, 4         6  operation: 1 request, 2 reply
const (
	arpSize    = 28
	arpRequest = 1
	arpReply   = 2
)

var arpStart = []byte{0, 1, 8, 0, 6, 4, 0}

// probeARP is RFC 5227, 2.1.1: the sender's protocol address is zero.
func probeARP(mac MAC, address netip.Addr) []byte {
	return arp(mac, arpRequest, netip.IPv4Unspecified(), MAC{}, address)
}

// announceARP is RFC 5227, 2.3, and the gratuitous reply, which some hosts heed
// instead. Linux takes both at once, within its locktime too, since the target's
// hardware address in the reply equals the sender's.
func announceARP(mac MAC, address netip.Addr) [][]byte {
	return [][]byte{
		arp(mac, arpRequest, address, MAC{}, address),
		arp(mac, arpReply, address, mac, address),
	}
}

func arp(mac MAC, operation byte, sender netip.Addr, target MAC, about netip.Addr) []byte {
	b := ethernet(broadcast, mac, etherTypeARP, arpSize)
	b = append(append(b, arpStart...), operation)
	b = append(append(b, mac[:]...), sender.AsSlice()...)
	return append(append(b, target[:]...), about.AsSlice()...)
}

func parseARP(b []byte) (Message, bool) {
	if len(b) < arpSize || !bytes.Equal(b[:7], arpStart) || b[7] != arpRequest && b[7] != arpReply {
		return Message{}, false
	}
	sender, target := netip.AddrFrom4([4]byte(b[14:18])), netip.AddrFrom4([4]byte(b[24:28]))
	m := Message{Address: sender, MAC: MAC(b[8:14]), Uses: true}
	if sender.IsUnspecified() {
		m.Address, m.Uses = target, false
		return m, b[7] == arpRequest && !target.IsUnspecified()
	}
	return m, true
}
