// Package claim takes one portal address and keeps it, for as long as this node's
// lease lasts and no neighbour has the address. It is pure: ticks and what
// neighbours say come in, actions come out. Times are ns of CLOCK_BOOTTIME.
//
// The steps are those of RFC 5227 (IPv4) and RFC 4862, 5.4 (IPv6), but faster:
// probe, wait for an objection, take, announce, defend. Their seconds of waiting
// are for machines that know nothing of each other. Here the cluster has named
// the only taker; the probe is for what it can not know: a former holder that
// does not run but whose kernel still answers, or a stranger.
package claim

import (
	"bytes"

	"ashlar/node/address/frame"
)

// Times, ns.
const (
	probeEvery  = int64(60_000_000)
	probes      = 3                    // the address is taken probeEvery after the last of them
	again       = int64(200_000_000)   // after an objection
	RenewEvery  = int64(300_000_000)   // as the lease
	defendEvery = int64(1_000_000_000) // at most: two that both insist do not flood the link
	remindEvery = int64(10_000_000_000)
)

// announceAfter are the times between the first announcements, any of which may
// be lost, or come before a switch has learned its new topology.
var announceAfter = [...]int64{60_000_000, 200_000_000, 400_000_000, 800_000_000, 1_500_000_000}

// Action is something to do for the address, at once and in order.
type Action int

const (
	Probe    Action = iota // ask the neighbours for it
	Install                // put it on the interface: answered by Missing if that failed
	Renew                  // set its lifetime anew: answered by Missing if it was gone
	Announce               // tell the neighbours
	Remove                 // take it off the interface
)

func (a Action) String() string {
	return [...]string{"probe", "install", "renew", "announce", "remove"}[a]
}

// State of a claim.
type State int

const (
	Waiting   State = iota // for a lease
	Probing                // for an objection
	Contested              // a neighbour has it: to be probed again
	Held
)

func (s State) String() string {
	return [...]string{"waiting", "probing", "contested", "held"}[s]
}

// edges are the legal changes of state.
var edges = map[State][]State{
	Waiting:   {Probing},
	Probing:   {Waiting, Contested, Held},
	Contested: {Waiting, Probing},
	Held:      {Waiting, Probing},
}

// Claim is that of one address.
type Claim struct {
	self      frame.MAC // of the interface
	state     State
	rival     frame.MAC // that objected last
	sent      int       // probes, or announcements while held
	next      int64     // when the next of these is due, or probing begins again
	renew     int64     // when the lifetime is due
	defended  int64
	conflicts int
}

// New is a claim for the interface with the hardware address.
func New(self frame.MAC) *Claim { return &Claim{self: self} }

// State is where the claim is.
func (c *Claim) State() State { return c.state }

// Rival is the neighbour that has the address, where the claim is contested, and
// how often one was heard while it was held.
func (c *Claim) Rival() (mac frame.MAC, conflicts int) { return c.rival, c.conflicts }

func (c *Claim) to(s State) {
	for _, legal := range edges[c.state] {
		if legal == s {
			c.state = s
			return
		}
	}
	panic("claim: from " + c.state.String() + " to " + s.String())
}

// Tick does what is due. lease is when the node's lease ends.
func (c *Claim) Tick(now, lease int64) (do []Action) {
	if now >= lease {
		return c.lapsed()
	}
	switch {
	case c.state == Waiting:
		c.probe(now)
	case c.state == Contested && now >= c.next:
		c.probe(now)
	}
	switch c.state {
	case Probing:
		return c.probing(now)
	case Held:
		return c.keep(now)
	}
	return nil
}

// Next is when Tick has something to do, as far as the lease does not change.
func (c *Claim) Next(lease int64) int64 {
	switch c.state {
	case Waiting:
		return 0
	case Held:
		return min(c.next, c.renew, lease)
	}
	return min(c.next, lease)
}

func (c *Claim) lapsed() []Action {
	if c.state == Waiting {
		return nil
	}
	held := c.state == Held
	c.to(Waiting)
	if held {
		return []Action{Remove}
	}
	return nil
}

func (c *Claim) probe(now int64) {
	c.to(Probing)
	c.sent, c.next = 0, now
}

func (c *Claim) probing(now int64) []Action {
	if now < c.next {
		return nil
	}
	if c.sent < probes {
		c.sent++
		c.next = now + probeEvery
		return []Action{Probe}
	}
	c.to(Held)
	c.sent, c.next, c.renew = 1, now+announceAfter[0], now+RenewEvery
	return []Action{Install, Announce}
}

func (c *Claim) keep(now int64) (do []Action) {
	if now >= c.renew {
		c.renew = now + RenewEvery
		do = append(do, Renew)
	}
	if now >= c.next {
		wait := remindEvery
		if c.sent < len(announceAfter) {
			wait = announceAfter[c.sent]
			c.sent++
		}
		c.next = now + wait
		do = append(do, Announce)
	}
	return do
}

// Hear takes what a neighbour says of the address. Of two that probe at the same
// time, the one with the lower hardware address goes on. (RFC 5227, 2.1.1, has
// both stop: two that stop and go on in step would never end.)
func (c *Claim) Hear(now int64, m frame.Message) []Action {
	switch {
	case m.MAC == c.self:
		return nil
	case c.state == Probing && (m.Uses || bytes.Compare(m.MAC[:], c.self[:]) < 0):
		c.to(Contested)
		c.rival, c.next = m.MAC, now+again
	case c.state == Contested && m.Uses:
		c.rival, c.next = m.MAC, now+again
	case c.state == Held && m.Uses:
		return c.defend(now, m.MAC)
	}
	return nil
}

// defend insists: the cluster has agreed on this holder. The other is a machine
// that stood still while it was fenced, whose kernel does not know yet, or a
// stranger. (RFC 5227, 2.4, case c.)
func (c *Claim) defend(now int64, rival frame.MAC) []Action {
	c.rival = rival
	c.conflicts++
	if c.defended != 0 && now-c.defended < defendEvery {
		return nil
	}
	c.defended = now
	return []Action{Announce}
}

// Missing says that the address is not on the interface: it could not be put
// there, or its lifetime was over, or somebody took it off.
func (c *Claim) Missing(now int64) {
	if c.state == Held {
		c.to(Probing)
		c.sent, c.next = 0, now+again
	}
}

// Returned says that the link was down and is up again, perhaps at another
// switch: all is announced again.
func (c *Claim) Returned(now int64) {
	if c.state == Held {
		c.sent, c.next = 0, now
	}
}
