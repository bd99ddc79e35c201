package reserve

import "slices"

// set gives a nexus a key.
func (c *change) set(n Nexus, key uint64) {
	i, ok := c.registrant(n)
	if ok {
		c.Registrants[i].Key = key
		return
	}
	c.Registrants = slices.Insert(c.Registrants, i, Registrant{n, key})
}

// end takes the reservation off.
func (c *change) end() { c.Type, c.Holder = None, Nexus{} }

// unregister takes a nexus off. If it was the holder, the reservation ends, and
// where others had its access they are told (SPC-4 5.13.11.3).
func (c *change) unregister(n Nexus) {
	i, ok := c.registrant(n)
	if !ok {
		return
	}
	held := c.Holds(n)
	c.Registrants = slices.Delete(c.Registrants, i, i+1)
	if !held || c.Type.AllRegistrants() && len(c.Registrants) > 0 {
		return
	}
	shared := c.Type.shared()
	c.end()
	if shared {
		c.notifyAll(ReservationsReleased)
	}
}

// register is REGISTER and REGISTER AND IGNORE EXISTING KEY (SPC-4 5.13.7). The
// key of the nexus that asks must be right; that of the same host's other ports,
// with ALL_TG_PT, follows it.
func (c *change) register(r *Request) bool {
	key := c.Registered(r.Nexus)
	if r.Kind == Register && key != r.Key {
		return c.fail(Conflict)
	}
	if len(r.Others) > 0 && (key != 0 || r.Kind != Register) {
		return c.fail(InvalidPlace)
	}
	if r.Service == 0 && key == 0 {
		return false
	}
	for _, n := range r.places() {
		switch {
		case r.Service == 0:
			c.unregister(n)
		case n.Host == r.Nexus.Host || c.Registered(n) == 0:
			c.set(n, r.Service)
		}
	}
	if len(c.Registrants) > RegistrantsMax {
		return c.fail(NoResources)
	}
	c.APTPL = r.APTPL
	c.Generation++
	return true
}

// places are the nexuses that a registration covers.
func (r *Request) places() []Nexus {
	all := []Nexus{r.Nexus}
	for _, host := range append([]string{r.Nexus.Host}, r.Others...) {
		ports := r.Ports
		if len(ports) == 0 {
			ports = []uint16{r.Nexus.Port}
		}
		for _, p := range ports {
			all = append(all, Nexus{host, p})
		}
	}
	return all
}

// move is REGISTER AND MOVE (SPC-4 5.13.8).
func (c *change) move(r *Request) bool {
	switch {
	case c.Type == None:
		return c.fail(InvalidField)
	case c.Type.AllRegistrants() || !c.Holds(r.Nexus):
		return c.fail(Conflict)
	case r.Service == 0:
		return c.fail(InvalidKey)
	case r.To == r.Nexus || r.To.Host == "":
		return c.fail(InvalidPlace)
	}
	c.set(r.To, r.Service)
	c.Holder = r.To
	if r.Unregister {
		c.unregister(r.Nexus)
	}
	if len(c.Registrants) > RegistrantsMax {
		return c.fail(NoResources)
	}
	c.APTPL = r.APTPL
	c.Generation++
	return true
}

// reserve is RESERVE (SPC-4 5.13.9). A holder may ask again for what it has.
func (c *change) reserve(r *Request) bool {
	switch {
	case !r.Type.valid():
		return c.fail(InvalidField)
	case c.Type == None:
		c.take(r)
		return true
	case c.Type != r.Type || !c.Holds(r.Nexus):
		return c.fail(Conflict)
	}
	return false
}

func (c *change) take(r *Request) {
	c.Type, c.Holder = r.Type, r.Nexus
	if r.Type.AllRegistrants() {
		c.Holder = Nexus{}
	}
}

// releaseReservation is RELEASE (SPC-4 5.13.11.2). Who does not hold the
// reservation releases nothing, with success.
func (c *change) releaseReservation(r *Request) bool {
	switch {
	case c.Type == None || !c.Holds(r.Nexus):
		return false
	case c.Type != r.Type:
		return c.fail(InvalidRelease)
	}
	c.end()
	if r.Type.shared() {
		c.notifyAll(ReservationsReleased)
	}
	return true
}

// clear is CLEAR (SPC-4 5.13.11.5).
func (c *change) clear() bool {
	c.notifyAll(ReservationsPreempted)
	c.Registrants = nil
	c.end()
	c.Generation++
	return true
}

// preempt is PREEMPT and PREEMPT AND ABORT (SPC-4 5.13.11.4). The reservation is
// taken over when its holder has the key, or when all registrants hold it and
// the key is 0; otherwise the registrations with the key are all that goes.
func (c *change) preempt(r *Request) bool {
	takeOver := false
	switch {
	case c.Type == None:
	case c.Type.AllRegistrants():
		takeOver = r.Service == 0
	default:
		takeOver = r.Service == c.Registered(c.Holder)
	}
	switch {
	case takeOver && !r.Type.valid():
		return c.fail(InvalidField)
	case r.Service == 0 && !takeOver:
		return c.fail(InvalidKey)
	}
	gone := c.withKey(r.Service)
	if takeOver {
		gone = slices.DeleteFunc(gone, func(n Nexus) bool { return n == r.Nexus })
	} else if len(gone) == 0 {
		return c.fail(Conflict)
	}
	if takeOver {
		before := c.Type
		c.take(r)
		c.remove(gone, r.Kind)
		if before != r.Type {
			c.notifyAll(ReservationsReleased)
		}
	} else {
		c.remove(gone, r.Kind)
	}
	c.Generation++
	return true
}

// withKey are the registrants with a key; all, for key 0.
func (c *change) withKey(key uint64) (all []Nexus) {
	for _, r := range c.Registrants {
		if key == 0 || r.Key == key {
			all = append(all, r.Nexus)
		}
	}
	return all
}

// remove takes preempted registrants off. None of them holds the reservation,
// unless all registrants do.
func (c *change) remove(gone []Nexus, k Kind) {
	for _, n := range gone {
		i, _ := c.registrant(n)
		c.Registrants = slices.Delete(c.Registrants, i, i+1)
		c.notify(n, RegistrationsPreempted)
		if k == PreemptAndAbort && n != c.by {
			c.result.Abort = append(c.result.Abort, n)
		}
	}
	if len(c.Registrants) == 0 {
		c.end()
	}
}
