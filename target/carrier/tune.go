package carrier

import (
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// tcpUserTimeout is how long a host's kernel may leave bytes unacknowledged.
const tcpUserTimeout = 10 * time.Second

// Tune sets a connection's socket options.
func Tune(nc net.Conn) {
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		return
	}
	tcp.SetNoDelay(true) //nolint:errcheck // a socket that fails here fails at its first read
	control(tcp, func(fd int) {
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(tcpUserTimeout.Milliseconds())) //nolint:errcheck // as above
	})
}

// KeepAlive has the kernel find in some ten seconds that a host is gone without a word.
func KeepAlive(nc net.Conn) {
	if tcp, ok := nc.(*net.TCPConn); ok {
		tcp.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 3}) //nolint:errcheck // a socket that fails here fails at its first read
	}
}

func control(tcp *net.TCPConn, f func(fd int)) {
	raw, err := tcp.SyscallConn()
	if err != nil {
		return
	}
	raw.Control(func(fd uintptr) { f(int(fd)) }) //nolint:errcheck // fails only on a socket that is closed
}

// Unacknowledged is how many bytes the host's kernel has not acknowledged; 1 where
// nobody can tell.
func Unacknowledged(nc net.Conn) (n int) {
	n = 1
	if tcp, ok := nc.(*net.TCPConn); ok {
		control(tcp, func(fd int) {
			if v, err := unix.IoctlGetInt(fd, unix.SIOCOUTQ); err == nil {
				n = v
			}
		})
	}
	return n
}

// Abort has the end of a connection reset it: what the kernel holds in either
// direction is lost then.
func Abort(nc net.Conn) {
	if tcp, ok := nc.(*net.TCPConn); ok {
		tcp.SetLinger(0) //nolint:errcheck // fails only on a socket that is closed already
	}
}

// Connection is one that a host has with this node.
type Connection struct{ Local, Remote netip.AddrPort }

// ConnectionOf tells both ends of a connection.
func ConnectionOf(nc net.Conn) Connection {
	return Connection{addressOf(nc.LocalAddr()), addressOf(nc.RemoteAddr())}
}

func addressOf(a net.Addr) netip.AddrPort {
	if tcp, ok := a.(*net.TCPAddr); ok {
		p := tcp.AddrPort()
		return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
	}
	return netip.AddrPort{}
}
