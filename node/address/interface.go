package address

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"ashlar/node/address/frame"
)

// protocol marks the addresses that are ours (IFA_PROTO, Linux 5.18 and later).
// An older kernel drops the mark; then what a former process left behind is not
// found, but expires.
const protocol = 0xa5

// ifaProto is linux/if_addr.h's IFA_PROTO.
const ifaProto = 11

// link is an Ethernet interface.
type link struct {
	index int
	name  string
	mac   frame.MAC
	up    bool // with a carrier
}

// configured is one address as the kernel has it.
type configured struct {
	index  int
	prefix netip.Prefix
	scope  uint8
	ours   bool
}

// complete repeats a listing that something changed under: such a one may lack
// what was there all the time.
func complete[T any](list func() (T, error)) (all T, err error) {
	for range listTries {
		if all, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return all, err
		}
	}
	return all, err
}

const listTries = 10

// addresses lists all of the machine.
func addresses() (all []configured, err error) {
	messages, err := complete(func() ([][]byte, error) {
		request := nl.NewNetlinkRequest(unix.RTM_GETADDR, unix.NLM_F_DUMP)
		request.AddData(nl.NewIfAddrmsg(unix.AF_UNSPEC))
		return request.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWADDR)
	})
	if err != nil {
		return nil, explain("list addresses", err)
	}
	for _, m := range messages {
		header := nl.DeserializeIfAddrmsg(m)
		attributes, err := nl.ParseRouteAttr(m[header.Len():])
		if err != nil {
			return nil, explain("list addresses", err)
		}
		c := configured{index: int(header.Index), scope: header.Scope}
		var local, peer netip.Addr
		for _, a := range attributes {
			switch a.Attr.Type {
			case unix.IFA_LOCAL:
				local, _ = netip.AddrFromSlice(a.Value)
			case unix.IFA_ADDRESS:
				peer, _ = netip.AddrFromSlice(a.Value)
			case ifaProto:
				c.ours = len(a.Value) == 1 && a.Value[0] == protocol
			}
		}
		if !local.IsValid() { // IPv6 has only IFA_ADDRESS, unless there is a peer
			local = peer
		}
		c.prefix = netip.PrefixFrom(local, int(header.Prefixlen))
		all = append(all, c)
	}
	return all, nil
}

// install puts the address on the link, for seconds. Its prefix is one address
// long, so that it neither brings a route nor depends on another address of the
// subnet, and it is deprecated from the start, so that the kernel does not choose
// it as the source of connections of its own (RFC 6724, 5, rule 3; IPv4's routes
// name their source). A new one must not be there yet: EEXIST.
func install(l link, address netip.Addr, seconds int, renew bool) error {
	flags := unix.NLM_F_CREATE | unix.NLM_F_ACK
	if renew {
		flags |= unix.NLM_F_REPLACE
	} else {
		flags |= unix.NLM_F_EXCL
	}
	request := change(unix.RTM_NEWADDR, flags, l.index, address)
	lifetime := nl.IfaCacheInfo{IfaCacheinfo: unix.IfaCacheinfo{Prefered: 0, Valid: uint32(seconds)}}
	request.AddData(nl.NewRtAttr(unix.IFA_CACHEINFO, lifetime.Serialize()))
	request.AddData(nl.NewRtAttr(ifaProto, []byte{protocol}))
	// We have asked the neighbours ourselves: the kernel would take longer.
	ifaFlags := uint32(unix.IFA_F_NOPREFIXROUTE)
	if address.Is6() {
		ifaFlags |= unix.IFA_F_NODAD
	}
	request.AddData(nl.NewRtAttr(unix.IFA_FLAGS, nl.Uint32Attr(ifaFlags)))
	_, err := request.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// settle waits until the kernel receives what is sent to the address. It joins an
// IPv6 address's groups and adds its local route later than it says that the
// address is there; what comes before is dropped, and sent again only in a second.
func settle(address netip.Addr) {
	for range settleTries {
		routes, err := netlink.RouteGet(address.AsSlice())
		if err == nil && len(routes) > 0 && routes[0].Type == unix.RTN_LOCAL {
			return
		}
		time.Sleep(settleEvery)
	}
}

// Together 50 ms: then the later announcements have to do.
const (
	settleTries = 50
	settleEvery = time.Millisecond
)

// remove takes the address off the link. It is no error if it is not there.
func remove(index int, address netip.Addr) error {
	_, err := change(unix.RTM_DELADDR, unix.NLM_F_ACK, index, address).Execute(unix.NETLINK_ROUTE, 0)
	if errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return explain(fmt.Sprintf("remove %s", address), err)
}

func change(kind, flags, index int, address netip.Addr) *nl.NetlinkRequest {
	request := nl.NewNetlinkRequest(kind, flags)
	family := unix.AF_INET
	if address.Is6() {
		family = unix.AF_INET6
	}
	header := nl.NewIfAddrmsg(family)
	header.Index, header.Prefixlen = uint32(index), uint8(address.BitLen())
	request.AddData(header)
	request.AddData(nl.NewRtAttr(unix.IFA_LOCAL, address.AsSlice()))
	request.AddData(nl.NewRtAttr(unix.IFA_ADDRESS, address.AsSlice()))
	return request
}

// Fabrics are the subnets, masked, in which this machine has an address of its
// own on an Ethernet interface that is up and has a carrier: those on which it
// can hold portal addresses. Sorted.
func Fabrics() (fabrics []netip.Prefix, err error) {
	all, err := addresses()
	if err != nil {
		return nil, err
	}
	links, err := ethernets()
	if err != nil {
		return nil, err
	}
	for _, c := range all {
		if l, ok := links[c.index]; ok && l.up && c.carries() && !slices.Contains(fabrics, c.prefix.Masked()) {
			fabrics = append(fabrics, c.prefix.Masked())
		}
	}
	slices.SortFunc(fabrics, netip.Prefix.Compare)
	return fabrics, nil
}

// carries says whether the address tells of a subnet that other machines are in.
func (c configured) carries() bool {
	return !c.ours && c.scope == unix.RT_SCOPE_UNIVERSE && c.prefix.Bits() < c.prefix.Addr().BitLen()
}

// carrier finds the interface of a fabric; of several, one that is up, and the
// first.
func carrier(fabric netip.Prefix, all []configured) (best link, err error) {
	links, err := ethernets()
	if err != nil {
		return link{}, err
	}
	found := false
	for _, c := range all {
		l, ok := links[c.index]
		if !ok || !c.carries() || c.prefix.Masked() != fabric {
			continue
		}
		if !found || l.up && !best.up || l.up == best.up && l.index < best.index {
			best, found = l, true
		}
	}
	if !found || !best.up {
		return link{}, fmt.Errorf("%s: %w", fabric, ErrNoInterface)
	}
	return best, nil
}

// ethernets are the interfaces on which neighbours can be told of an address.
func ethernets() (map[int]link, error) {
	list, err := complete(netlink.LinkList)
	if err != nil {
		return nil, explain("list interfaces", err)
	}
	links := map[int]link{}
	for _, l := range list {
		a := l.Attrs()
		if a.EncapType != "ether" || len(a.HardwareAddr) != len(frame.MAC{}) {
			continue
		}
		links[a.Index] = link{a.Index, a.Name, frame.MAC(a.HardwareAddr),
			a.RawFlags&unix.IFF_UP != 0 && a.RawFlags&unix.IFF_RUNNING != 0}
	}
	return links, nil
}
