package address

import (
	"context"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// Listen listens at a portal address, whether or not it is on an interface of
// this machine now (IP_FREEBIND, ip(7)). A node listens at all addresses of its
// fabrics all the time, so that the first host that comes after an address finds
// somebody there; without the address, nobody can come.
func Listen(ctx context.Context, portal netip.AddrPort) (net.Listener, error) {
	c := net.ListenConfig{Control: func(network, _ string, raw syscall.RawConn) error {
		level, option := unix.IPPROTO_IP, unix.IP_FREEBIND
		if portal.Addr().Is6() {
			level, option = unix.IPPROTO_IPV6, unix.IPV6_FREEBIND
		}
		var err error
		if e := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), level, option, 1) }); e != nil {
			return e
		}
		return explain("listen at "+portal.String(), err)
	}}
	return c.Listen(ctx, "tcp", portal.String())
}
