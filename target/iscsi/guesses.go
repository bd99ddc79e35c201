package iscsi

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	guessBurst    = 8           // failed proofs of an address in a row
	guessInterval = time.Second // for each one after that
	guessersMost  = 4096        // addresses remembered; beyond that strangers share one
)

// guesses limits failed CHAP proofs by address. An address has guessBurst of
// them, and one more with each guessInterval. Success costs nothing.
type guesses struct {
	mu  sync.Mutex
	due map[netip.Addr]time.Time // when all that was taken will be forgotten
}

// guesser is whose guesses an address counts as: for IPv6 all of a host's network.
func guesser(a net.Addr) netip.Addr {
	peer, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Addr{}
	}
	ip := peer.Addr().Unmap().WithZone("")
	if ip.Is4() {
		return ip
	}
	return netip.PrefixFrom(ip, 64).Masked().Addr()
}

// take counts a guess before it is looked at, so that many at once are no way
// round the limit. It is false if there were too many.
func (g *guesses) take(a netip.Addr) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	a = g.place(a, now)
	due := g.due[a]
	if due.Before(now) {
		due = now
	}
	if due.Sub(now) > (guessBurst-1)*guessInterval {
		return false
	}
	g.due[a] = due.Add(guessInterval)
	return true
}

// giveBack takes a guess off that was right, or none yet.
func (g *guesses) giveBack(a netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	a = g.place(a, time.Now())
	if due, ok := g.due[a]; ok {
		g.due[a] = due.Add(-guessInterval)
	}
}

// place finds where an address is counted; mu is held.
func (g *guesses) place(a netip.Addr, now time.Time) netip.Addr {
	if g.due == nil {
		g.due = make(map[netip.Addr]time.Time)
	}
	if _, known := g.due[a]; known || len(g.due) < guessersMost {
		return a
	}
	for other, due := range g.due {
		if due.Before(now) {
			delete(g.due, other)
		}
	}
	if len(g.due) < guessersMost {
		return a
	}
	return netip.Addr{}
}
