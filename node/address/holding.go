package address

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"ashlar/node/address/claim"
	"ashlar/node/address/frame"
	"ashlar/target/boottime"
)

// lifetimeMax, seconds, is how long the kernel of a machine whose daemon stands
// still keeps an address, at most (and up to a second longer, since it looks
// once a second).
const lifetimeMax = 3

// lookEvery parts attempts to find an interface, ns.
const lookEvery = int64(500_000_000)

// holding is the keeper's goroutine's view of one address.
type holding struct {
	*Keeper
	Portal
	link    link // where it may be, or where it is to be
	ear     *ear
	claim   *claim.Claim // nil until the interface is found
	unlock  func()       // of this machine's other processes
	there   bool         // may be on the interface
	looked  int64        // for an interface
	taken   int64        // when the address was put on it
	problem error
}

func (h *holding) show() Holding {
	s := Holding{Portal: h.Portal, Interface: h.link.name, Problem: h.problem}
	if h.claim == nil {
		return s
	}
	rival, conflicts := h.claim.Rival()
	s.State, s.Conflicts = h.claim.State(), conflicts
	switch {
	case s.State == claim.Contested:
		s.Problem = fmt.Errorf("%s is %w (%s)", h.Address, ErrContested, net.HardwareAddr(rival[:]))
	case s.State == claim.Held && !h.link.up:
		s.Problem = fmt.Errorf("%s %w", h.link.name, ErrDown)
	}
	return s
}

// hear takes what a neighbour said. This machine's other interfaces, which may be
// on the same link, are no neighbours: Linux answers for an address at each of
// them.
func (h *holding) hear(m frame.Message) {
	if h.claim == nil || m.MAC == h.link.mac {
		return
	}
	links, err := ethernets()
	if err != nil {
		h.problem = err
		return
	}
	for _, l := range links {
		if l.mac == m.MAC {
			return
		}
	}
	h.do(h.claim.Hear(boottime.Now(), m))
}

// step does what is due.
func (h *holding) step() {
	now := boottime.Now()
	if h.claim == nil {
		if h.looked != 0 && now-h.looked < lookEvery {
			return
		}
		h.looked = now
		if h.problem = h.begin(); h.problem != nil {
			return
		}
	}
	h.do(h.claim.Tick(now, h.c.Lease()))
}

// begin finds the interface and listens there, if nobody else on this machine
// has the address.
func (h *holding) begin() (err error) {
	if err := h.takeOff(); err != nil {
		return err
	}
	h.link = link{}
	all, err := addresses()
	if err != nil {
		return err
	}
	if !h.Fabric.Contains(h.Address) {
		return fmt.Errorf("%s is not in %s: %w", h.Address, h.Fabric, ErrNoInterface)
	}
	l, err := carrier(h.Fabric, all)
	if err != nil {
		return err
	}
	if h.unlock == nil {
		if h.unlock, err = lock(h.Address); err != nil {
			return err
		}
	}
	if err := clearOwn(h.Address, all); err != nil {
		return err
	}
	hear := func(m frame.Message) {
		h.mu.Lock()
		if len(h.heard) < heardMax {
			h.heard = append(h.heard, m)
		}
		h.mu.Unlock()
		h.poke()
	}
	e, err := listen(l, h.Address, hear)
	if err != nil {
		return err
	}
	h.link, h.ear, h.claim = l, e, claim.New(l.mac)
	return nil
}

// clearOwn takes off what a former process, or a failed removal, has left of an
// address. Somebody else's is left alone, and an error.
func clearOwn(address netip.Addr, all []configured) error {
	for _, c := range all {
		switch {
		case c.prefix.Addr() != address:
		case !c.ours:
			return fmt.Errorf("%s: %w", address, ErrForeign)
		default:
			if err := remove(c.index, address); err != nil {
				return err
			}
		}
	}
	return nil
}

// do carries out what the claim wants, until something fails.
func (h *holding) do(actions []claim.Action) {
	for _, a := range actions {
		if a == claim.Announce && h.claim.State() != claim.Held {
			return // the kernel has lost it
		}
		var err error
		switch a {
		case claim.Probe:
			err = h.ear.say(frame.Probe(h.link.mac, h.Address))
		case claim.Announce:
			err = h.announce()
		case claim.Install:
			h.taken = boottime.Now()
			if err = h.install(false); err == nil {
				settle(h.Address)
			}
		case claim.Renew:
			err = h.renew()
		case claim.Remove:
			err = h.takeOff()
		}
		if err != nil {
			h.failed(a, err)
			return
		}
	}
	if len(actions) > 0 {
		h.problem = nil
	}
}

// provokeFor is how long after it was taken an address's former connections are
// sought, ns. It is longer than a segment takes to get lost twice.
const provokeFor = int64(3_000_000_000)

// announce tells the neighbours, and then the hosts that wait for an answer of
// the former holder.
func (h *holding) announce() error {
	if err := h.ear.say(frame.Announce(h.link.mac, h.Address)...); err != nil {
		return err
	}
	if h.c.Connections == nil || boottime.Now()-h.taken > provokeFor {
		return nil
	}
	for _, c := range h.c.Connections(h.Address) {
		if err := provoke(c); err != nil {
			h.c.Log.Warn("a host could not be told that its connection is over", "host", c.Host, "error", err)
		}
	}
	return nil
}

// failed begins anew where the address cannot be kept, or is not known to be
// there.
func (h *holding) failed(a claim.Action, err error) {
	h.problem = err
	switch {
	case a == claim.Announce: // the link is down: Renew sees it return
	case a == claim.Remove: // the lifetime does it
	case a == claim.Renew && !errors.Is(err, errLapsed) && !errors.Is(err, errChanged) && !errors.Is(err, ErrForeign):
		// The kernel was busy. The lifetime has room for the next time.
	default:
		h.restart()
	}
}

// restart forgets the interface, and looks for it anew soon.
func (h *holding) restart() {
	if err := h.takeOff(); err != nil {
		h.problem = err // begin tries again
	}
	if h.ear != nil {
		h.ear.close()
	}
	h.ear, h.claim, h.looked = nil, nil, boottime.Now()
}

var (
	errLapsed  = errors.New("the lease lapsed while the address was installed")
	errChanged = errors.New("is another interface now, or gone")
)

// install puts the address on the interface, or gives it more time, for what is
// left of the lease, in the whole seconds that the kernel counts. This process
// may have stood still between looking at the lease and the kernel's doing: so it
// looks again afterwards.
func (h *holding) install(renew bool) error {
	left := h.c.Lease() - boottime.Now()
	if left <= 0 {
		return errLapsed
	}
	h.there = true
	err := install(h.link, h.Address, int(min((left+999_999_999)/1_000_000_000, lifetimeMax)), renew)
	if errors.Is(err, syscall.EEXIST) {
		h.there = false
		return fmt.Errorf("%s: %w", h.Address, ErrForeign)
	}
	if err == nil && boottime.Now() >= h.c.Lease() {
		err = errLapsed
	}
	return explain(fmt.Sprintf("install %s on %s", h.Address, h.link.name), err)
}

// renew gives the address more time, if it is still there and the interface is
// what it was.
func (h *holding) renew() error {
	all, err := addresses()
	if err != nil {
		return err
	}
	there := false
	for _, c := range all {
		switch {
		case c.prefix.Addr() != h.Address:
		case c.index == h.link.index && c.prefix.IsSingleIP(): // marked, or the kernel marks none
			there = true
		default:
			return fmt.Errorf("%s: %w", h.Address, ErrForeign)
		}
	}
	if !there {
		h.there = false
		h.claim.Missing(boottime.Now())
		return nil
	}
	links, err := ethernets()
	if err != nil {
		return err
	}
	now, ok := links[h.link.index]
	if !ok || now.mac != h.link.mac || now.name != h.link.name {
		return fmt.Errorf("%s %w", h.link.name, errChanged)
	}
	if now.up && !h.link.up {
		h.claim.Returned(boottime.Now())
	}
	h.link = now
	return h.install(true)
}

// takeOff removes the address from the interface, if we have put it there.
func (h *holding) takeOff() error {
	if !h.there {
		return nil
	}
	if err := remove(h.link.index, h.Address); err != nil {
		return err
	}
	h.there = false
	return nil
}

// release takes the address off and lets go of all else.
func (h *holding) release() error {
	if err := h.takeOff(); err != nil {
		return err
	}
	if h.ear != nil {
		h.ear.close()
	}
	if h.unlock != nil {
		h.unlock()
	}
	h.ear, h.claim, h.unlock = nil, nil, nil
	return nil
}
