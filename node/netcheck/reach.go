// Package netcheck finds out what is wrong with the networks between nodes: whom a node cannot reach, who gets only short packets of it, and
// who else uses its addresses.
package netcheck

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// Reach is what came of a node's asking one address.
type Reach struct {
	To        netip.Addr
	Open      bool   // its port took a connection
	Interface string // that packets went out of; empty: there is no way
	MTU       int    // of that, bytes
	Carries   int    // the longest packet that was answered, bytes with its IP header; 0: none was
}

// ErrPermission says that this process may not send what it takes.
var ErrPermission = errors.New("looking at the network needs CAP_NET_RAW: start ashlar as root, or under systemd with AmbientCapabilities=CAP_NET_RAW")

// shorter are the lengths that are tried besides an interface's own, bytes: of most Ethernets, through most tunnels, and what everything carries.
var shorter = []int{1500, 1280, 576}

// Reaches connects to ports, and asks their addresses by ICMP echo (RFC 792, RFC 4443), in lengths of up to what their interface takes, not to be
// fragmented. It returns when all were answered, or ctx ended.
func Reaches(ctx context.Context, to []netip.AddrPort) ([]Reach, error) {
	out := make([]Reach, len(to))
	open := make([]bool, len(to))
	problems := make([]error, len(to))
	var asking sync.WaitGroup
	for i, port := range to {
		asking.Go(func() { out[i], problems[i] = reach(ctx, port.Addr()) })
		asking.Go(func() {
			if c, err := new(net.Dialer).DialContext(ctx, "tcp", port.String()); err == nil {
				open[i] = true
				c.Close()
			}
		})
	}
	asking.Wait()
	for i := range out {
		out[i].Open = open[i]
	}
	return out, errors.Join(problems...)
}

// reach asks one. That there is no way to it is no error.
func reach(ctx context.Context, to netip.Addr) (Reach, error) {
	r := Reach{To: to}
	local, err := localFor(to)
	if err != nil {
		return r, nil
	}
	if r.Interface, r.MTU, err = interfaceOf(local); err != nil {
		return r, err
	}
	socket, err := open(ctx, local)
	if err != nil {
		return r, err
	}
	defer socket.Close()
	stop := context.AfterFunc(ctx, func() { socket.Close() })
	defer stop()
	id := 1 + rand.IntN(0xFFFE)
	r.MTU = min(r.MTU, 0xFFFF) // loopback has more than a packet can have
	lengths := []int{r.MTU}    // by sequence number
	for _, n := range shorter {
		if n < lengths[0] {
			lengths = append(lengths, n)
		}
	}
	for seq, n := range lengths {
		// What the interface does not take after all is as good as lost.
		if _, err := socket.WriteTo(question(to, id, seq, n), &net.IPAddr{IP: to.AsSlice(), Zone: to.Zone()}); errors.Is(err, syscall.EPERM) {
			return r, ErrPermission
		}
	}
	b := make([]byte, 0x10000)
	for r.Carries < lengths[0] {
		n, from, err := socket.ReadFrom(b)
		if err != nil {
			return r, nil // time is up
		}
		if seq, ok := answer(b[:n], from, to, id); ok && seq < len(lengths) {
			r.Carries = max(r.Carries, lengths[seq])
		}
	}
	return r, nil
}

// localFor is the address from which this machine would speak to another.
func localFor(to netip.Addr) (netip.Addr, error) {
	c, err := net.Dial("udp", netip.AddrPortFrom(to, 9).String()) // sends nothing
	if err != nil {
		return netip.Addr{}, err
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap(), nil
}

func interfaceOf(local netip.Addr) (name string, mtu int, err error) {
	all, err := net.Interfaces()
	if err != nil {
		return "", 0, err
	}
	for _, i := range all {
		addresses, err := i.Addrs()
		if err != nil {
			continue // it went away
		}
		if slices.ContainsFunc(addresses, func(a net.Addr) bool {
			p, err := netip.ParsePrefix(a.String())
			return err == nil && (p.Addr() == local.WithZone("") || i.Flags&net.FlagLoopback != 0 && p.Contains(local))
		}) {
			return i.Name, i.MTU, nil
		}
	}
	return "", 0, fmt.Errorf("no interface has %v", local)
}

// open is a raw socket whose packets are never fragmented, here or on their way.
func open(ctx context.Context, local netip.Addr) (net.PacketConn, error) {
	network, level, option, probe := "ip4:icmp", unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE
	if local.Is6() {
		network, level, option, probe = "ip6:ipv6-icmp", unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE
	}
	c := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		if e := raw.Control(func(fd uintptr) {
			err = os.NewSyscallError("setsockopt", unix.SetsockoptInt(int(fd), level, option, probe))
		}); e != nil {
			return e
		}
		return err
	}}
	socket, err := c.ListenPacket(ctx, network, local.String())
	if errors.Is(err, syscall.EPERM) {
		return nil, ErrPermission
	}
	return socket, err
}

// question is an echo request that makes an IP packet of n bytes.
func question(to netip.Addr, id, seq, n int) []byte {
	m, header := icmp.Message{Type: ipv4.ICMPTypeEcho}, 20
	if to.Is6() {
		m, header = icmp.Message{Type: ipv6.ICMPTypeEchoRequest}, 40
	}
	m.Body = &icmp.Echo{ID: id, Seq: seq, Data: make([]byte, n-header-8)}
	b, err := m.Marshal(nil) // the kernel does IPv6's checksum
	if err != nil {
		panic("netcheck: " + err.Error())
	}
	return b
}

// answer says which question a packet answers.
func answer(b []byte, from net.Addr, to netip.Addr, id int) (seq int, ok bool) {
	protocol := 1
	if to.Is6() {
		protocol = 58
	}
	if ip, isIP := from.(*net.IPAddr); !isIP || !ip.IP.Equal(to.AsSlice()) {
		return 0, false
	}
	m, err := icmp.ParseMessage(protocol, b)
	if err != nil || m.Type != ipv4.ICMPTypeEchoReply && m.Type != ipv6.ICMPTypeEchoReply {
		return 0, false
	}
	echo, ok := m.Body.(*icmp.Echo)
	if !ok || echo.ID != id {
		return 0, false
	}
	return echo.Seq, true
}
