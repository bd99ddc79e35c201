package reserve

// RESERVE and RELEASE of SPC-2, as SPC-4 5.13.3 has them beside persistent
// reservations (CRH): they conflict while anybody is registered, except that for
// those who have the unit anyway they do nothing, with success.

func (c *change) hasAnyway(n Nexus) bool {
	return c.Holds(n) || c.Type.shared() && c.Registered(n) != 0
}

func (c *change) reserveUnit(r *Request) bool {
	switch {
	case c.hasAnyway(r.Nexus):
		return false
	case len(c.Registrants) > 0 || c.Unit != nil && c.Unit.Nexus != r.Nexus:
		return c.fail(Conflict)
	case c.Unit != nil && c.Unit.Session == r.Session:
		return false
	}
	c.Unit = &Unit{r.Nexus, r.Session}
	return true
}

// releaseUnit does nothing, with success, for who has not reserved the unit.
func (c *change) releaseUnit() bool {
	if len(c.Registrants) > 0 && !c.hasAnyway(c.by) {
		return c.fail(Conflict)
	}
	return c.endUnit(c.Unit != nil && c.Unit.Nexus == c.by)
}

func (c *change) endUnit(yes bool) bool {
	if yes {
		c.Unit = nil
	}
	return yes
}

// losePower is the loss of power of all of the unit (SPC-4 5.13.5): what APTPL
// does not keep is gone, the generation included, and hosts are told of the loss itself.
func (c *change) losePower() bool {
	c.Unit = nil
	if !c.APTPL {
		c.Registrants, c.Generation = nil, 0
		c.end()
	}
	return true
}
