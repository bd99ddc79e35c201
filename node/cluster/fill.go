package cluster

// Fill is what somebody has to be told of how full the pool is.
type Fill string

const (
	Roomy        Fill = ""
	FillWarning  Fill = "warning"  // more is used than the setting says
	FillCritical Fill = "critical" // writes may soon fail
)

const (
	fillCritical = 90 // per cent that are used
	fillFalls    = 3  // per cent that a level is left below where it began, so that it does not come and go
)

// FillOf is the level of a pool that is used to so many per cent. What is set decides
// whether there is a warning at all.
func (s *State) FillOf(percent int) Fill {
	switch {
	case percent < s.Effective().PoolWarning:
		return Roomy
	case percent >= fillCritical:
		return FillCritical
	}
	return FillWarning
}

// FillAfter is the level that is to be noted of a pool that is used to so many per cent.
func (s *State) FillAfter(percent int) Fill {
	now, lasting := s.FillOf(percent), s.FillOf(percent+fillFalls)
	if lasting == s.Fill {
		return lasting
	}
	return now
}

// NoteFill keeps how full the leader found the pool, where that is another level than before.
type NoteFill struct {
	Fill    Fill
	Percent int // that are used
}

func (s *State) noteFill(c *NoteFill) Result {
	switch {
	case c.Fill != Roomy && c.Fill != FillWarning && c.Fill != FillCritical:
		return problem(Invalid, "a pool is at no level %q", c.Fill)
	case c.Percent < 0 || c.Percent > 100:
		return problem(Invalid, "a pool is used to 0 to 100 per cent, not %d", c.Percent)
	case c.Fill != s.Fill:
		s.Fill, s.FilledTo = c.Fill, c.Percent
	}
	return Result{}
}
