package nvme

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"
	"strconv"
)

// DiscoveryNQN is the well known name of every discovery subsystem.
const DiscoveryNQN = "nqn.2014-08.org.nvmexpress.discovery"

// Discovery is what a host is told of the subsystems that it may use.
type Discovery struct {
	// Generation changes with anything of the rest: GENCTR of the log page.
	Generation uint64
	Listings   []Listing
	// Referrals are where other nodes tell the same; this node's own portals are
	// left out.
	Referrals []Portal
}

// Listing is a subsystem and where it is served.
type Listing struct {
	NQN     string
	Portals []Portal // of every node that serves it
	Secure  bool     // TLS is required
}

// Portal is an address where NVMe/TCP is served.
type Portal struct {
	Address netip.AddrPort
	ID      uint16 // PORTID: the port group's number
}

// Instance is one life of a controller. The zero values of Uniquifier and Random
// stand for any.
type Instance struct {
	ID         uint16 // CNTLID
	Host       Host   // who asks must be whose controller it is
	Uniquifier uint8  // CIU
	Random     uint64 // CIRN
}

const (
	discoveryEntry = 1024 // bytes, and of the header
	subtypeRefers  = 1
	subtypeNVM     = 2
	adrfamIPv4     = 1
	adrfamIPv6     = 2
	transportTCP   = 3
	tlsRequired    = 1 // TREQ: secure channel required
	tlsUnsaid      = 0 // TREQ: not specified. Hosts take "not required" for an offer of TLS (libnvme 1.3)
	disableSQFlow  = 4 // TREQ: disabling SQ flow control is supported
	tls13          = 2 // SECTYPE
)

// page is log page 70h (NVMe Base 5.16.1.23).
func (d *Discovery) page() []byte {
	b := make([]byte, discoveryEntry, discoveryEntry*(1+len(d.Listings)))
	listings := slices.Clone(d.Listings)
	slices.SortFunc(listings, func(a, b Listing) int { return cmp.Compare(a.NQN, b.NQN) })
	n := uint64(0)
	for _, l := range listings {
		for _, p := range l.Portals {
			b = append(b, entry(subtypeNVM, l.NQN, p, l.Secure)...)
			n++
		}
	}
	for _, p := range d.Referrals {
		b = append(b, entry(subtypeRefers, DiscoveryNQN, p, false)...)
		n++
	}
	binary.LittleEndian.PutUint64(b, d.Generation)
	binary.LittleEndian.PutUint64(b[8:], n)
	return b
}

func entry(subtype byte, nqn string, p Portal, secure bool) []byte {
	b := make([]byte, discoveryEntry)
	b[0], b[1], b[2], b[3] = transportTCP, adrfamIPv4, subtype, tlsUnsaid|disableSQFlow
	address := p.Address.Addr().Unmap()
	if address.Is6() {
		b[1] = adrfamIPv6
	}
	if secure {
		b[3] = tlsRequired | disableSQFlow
		b[768] = tls13 // TSAS
	}
	binary.LittleEndian.PutUint16(b[4:], p.ID)
	binary.LittleEndian.PutUint16(b[6:], anyController)
	binary.LittleEndian.PutUint16(b[8:], maxQueueSize)
	spaces(b[32:64], strconv.Itoa(int(p.Address.Port())))
	copy(b[256:511], nqn)
	spaces(b[512:768], address.String())
	return b
}
