package address

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Connection is one that a host had with a portal address at another node.
type Connection struct{ Portal, Host netip.AddrPort }

// A host that has sent all that it has to send, and waits for an answer, sends
// nothing for as long as its own timers last, so that nobody can reset it. It is
// provoked: a segment that is not acceptable has to be acknowledged (RFC 9293,
// 3.10.7.4), and the acknowledgement comes to this machine's kernel, which knows
// of no such connection. (CTDB does so, under the name of tickle.)
func provoke(c Connection) error {
	family := unix.AF_INET
	if c.Portal.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_TCP)
	if err != nil {
		return explain("raw socket", err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, socketAddress(c.Portal.Addr())); err != nil {
		return explain("raw socket", err)
	}
	// Of two that are half of all numbers apart, one is outside of any window.
	for _, sequence := range []uint32{0, 1 << 31} {
		if err := unix.Sendto(fd, bareACK(c, sequence), 0, socketAddress(c.Host.Addr())); err != nil {
			return explain(fmt.Sprintf("provoke %s", c.Host), err)
		}
	}
	return nil
}

func socketAddress(a netip.Addr) unix.Sockaddr {
	if a.Is4() {
		return &unix.SockaddrInet4{Addr: a.As4()}
	}
	return &unix.SockaddrInet6{Addr: a.As16()}
}

// bareACK is a TCP segment with nothing in it, RFC 9293, 3.1:
//
//	0 source port   2 destination port   4 sequence   8 acknowledgement
//	12 header length in words, ACK flag  14 window   16 checksum   18 urgent
func bareACK(c Connection, sequence uint32) []byte {
	b := binary.BigEndian.AppendUint16(nil, c.Portal.Port())
	b = binary.BigEndian.AppendUint16(b, c.Host.Port())
	b = binary.BigEndian.AppendUint32(b, sequence)
	b = append(b, 0, 0, 0, 0, 5<<4, 0x10, 0, 0, 0, 0, 0, 0)
	// RFC 9293, 3.1: the pseudo-header is the addresses, the protocol and the length.
	sum := uint32(unix.IPPROTO_TCP) + uint32(len(b))
	for _, part := range [][]byte{c.Portal.Addr().AsSlice(), c.Host.Addr().AsSlice(), b} {
		for ; len(part) > 0; part = part[2:] {
			sum += uint32(part[0])<<8 | uint32(part[1])
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(b[16:], ^uint16(sum))
	return b
}
