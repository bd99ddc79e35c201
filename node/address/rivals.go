package address

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"ashlar/node/address/frame"
)

// Rival is a neighbour that uses an address of this machine, too.
type Rival struct {
	Address   netip.Addr
	Interface string
	MAC       net.HardwareAddr
}

// Rivals asks the neighbours, until ctx ends, whether somebody else uses one of this machine's addresses (RFC 5227, 2.1.1 and RFC 4862, 5.4: a
// probe claims nothing). Those that no Ethernet interface has are left out.
func Rivals(ctx context.Context, own []netip.Addr) ([]Rival, error) {
	all, err := addresses()
	if err != nil {
		return nil, err
	}
	links, err := ethernets()
	if err != nil {
		return nil, err
	}
	var mine []frame.MAC // a machine with two interfaces on a network answers for itself
	for _, l := range links {
		mine = append(mine, l.mac)
	}
	var (
		mu    sync.Mutex
		found []Rival
		ears  []*ear
		tell  []func() error
	)
	defer func() {
		for _, e := range ears {
			e.close()
		}
	}()
	for _, c := range all {
		l, ok := links[c.index]
		ip := c.prefix.Addr()
		if !ok || !l.up || !slices.Contains(own, ip) {
			continue
		}
		e, err := listen(l, ip, func(m frame.Message) {
			mu.Lock()
			defer mu.Unlock()
			if m.Uses && !slices.Contains(mine, m.MAC) && !slices.ContainsFunc(found, func(r Rival) bool { return r.Address == ip && r.MAC.String() == net.HardwareAddr(m.MAC[:]).String() }) {
				found = append(found, Rival{ip, l.name, net.HardwareAddr(m.MAC[:])})
			}
		})
		if err != nil {
			return nil, err
		}
		ears = append(ears, e)
		tell = append(tell, func() error { return e.say(frame.Probe(l.mac, ip)) })
	}
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		for _, say := range tell {
			err = errors.Join(err, say())
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(found), err
		}
		if err != nil {
			return nil, err
		}
	}
}

// probeEvery is how soon a neighbour is asked again that may have missed it.
const probeEvery = 100 * time.Millisecond
