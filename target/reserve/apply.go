package reserve

import "slices"

// change is a State in the making.
type change struct {
	State
	by      Nexus
	result  Result
	notices []Notice
}

// Apply is the State after a request, and what it came to. It does not change s.
func Apply(s State, r Request) (State, Result) {
	c := &change{State: s, by: r.Nexus}
	c.Registrants = slices.Clone(s.Registrants)
	changed := c.do(&r)
	if c.result.Status != Good || !changed {
		return s, c.result
	}
	if len(c.Registrants) == 0 {
		c.Registrants = nil
	}
	c.Change++
	c.keepNotices()
	c.check()
	return c.State, c.result
}

func (c *change) do(r *Request) (changed bool) {
	switch r.Kind {
	case ReserveUnit:
		return c.reserveUnit(r)
	case ReleaseUnit:
		return c.releaseUnit()
	case NexusLost:
		return c.endUnit(c.Unit != nil && c.Unit.Nexus == r.Nexus && c.Unit.Session <= r.Session)
	case PortLost:
		return c.endUnit(c.Unit != nil && c.Unit.Port == r.Nexus.Port)
	case UnitReset:
		return c.endUnit(c.Unit != nil)
	case PowerLost:
		return c.losePower()
	}
	if c.Unit != nil {
		return c.fail(Conflict) // SPC-2 5.5.1: even for who has it
	}
	switch r.Kind {
	case Look:
		return false
	case Register, RegisterAndIgnore:
		return c.register(r)
	}
	if key := c.Registered(r.Nexus); key == 0 || key != r.Key {
		return c.fail(Conflict)
	}
	switch r.Kind {
	case RegisterAndMove:
		return c.move(r)
	case Reserve:
		return c.reserve(r)
	case Release:
		return c.releaseReservation(r)
	case Clear:
		return c.clear()
	case Preempt, PreemptAndAbort:
		return c.preempt(r)
	}
	return c.fail(InvalidField)
}

func (c *change) fail(s Status) (changed bool) {
	c.result = Result{Status: s}
	return false
}

// notify tells one nexus, unless it is the one that asked.
func (c *change) notify(n Nexus, a Attention) {
	if n != c.by {
		c.notices = append(c.notices, Notice{Change: c.Change + 1, Nexus: n, Attention: a})
	}
}

// notifyAll tells every registrant but the one that asked.
func (c *change) notifyAll(a Attention) {
	for _, r := range c.Registrants {
		c.notify(r.Nexus, a)
	}
}

// keepNotices adds this change's to those of earlier ones, of which whole
// changes are dropped, oldest first, until they are few enough.
func (c *change) keepNotices() {
	old := c.Notices
	for len(old) > 0 && len(old)+len(c.notices) > noticesKept {
		first := old[0].Change
		old = old[1:]
		for len(old) > 0 && old[0].Change == first {
			old = old[1:]
		}
		c.Forgotten = first
	}
	c.Notices = append(slices.Clone(old), c.notices...)
}

// check panics where a rule of the package is broken.
func (c *change) check() {
	for i := range c.Registrants {
		if c.Registrants[i].Key == 0 || i > 0 && compare(c.Registrants[i-1].Nexus, c.Registrants[i].Nexus) >= 0 {
			panic("reserve: registrants are not in order, or one has no key")
		}
	}
	if c.Type != None && !c.Type.AllRegistrants() && c.Registered(c.Holder) == 0 {
		panic("reserve: the holder is not registered")
	}
	if c.Type.AllRegistrants() && len(c.Registrants) == 0 {
		panic("reserve: a reservation of all registrants, of which there are none")
	}
	if c.Unit != nil && len(c.Registrants) > 0 {
		panic("reserve: RESERVE(6) beside registrants")
	}
}
