package cluster

// How long lost copies are waited for before others are made, seconds: a disk
// that failed does not come back; a node mostly does, and then only what it
// missed has to be copied.
const (
	rebuildAfterDisk = 30
	rebuildAfterNode = 120
	rebuildAfterMax  = 7 * 24 * 3600
)

// poolWarning is how much of the pool may be used before somebody is told, per cent.
const poolWarning = 80

// How often the copies of each volume are compared, seconds.
const (
	scrubLight = 24 * 3600
	scrubDeep  = 7 * 24 * 3600
	scrubMax   = 365 * 24 * 3600
)

// How fast the heads of a node have copies catch up, bytes per second: hosts' waiting presses
// them to the floor, and without any they go up to the ceiling.
const (
	rebuildFloor   = 16 << 20
	rebuildCeiling = 1 << 30
	rebuildSlowest = 1 << 20
	rebuildFastest = 1 << 40
)

// On and Off are what a setting can be that is one or the other.
const (
	On  = "on"
	Off = "off"
)

// Settings are what the operator ordered, 0 where nothing was.
type Settings struct {
	RebuildAfterDisk int `json:",omitempty"` // seconds since a disk failed
	RebuildAfterNode int `json:",omitempty"` // seconds since a node went down
	ScrubLight       int `json:",omitempty"` // seconds between two comparisons of what all copies know of their blocks
	ScrubDeep        int `json:",omitempty"` // and between two that read all data, too

	RebuildFloor   uint64 `json:",omitempty"` // bytes per second of each node
	RebuildCeiling uint64 `json:",omitempty"` // the same

	Rebalance string `json:",omitempty"` // On or Off

	PoolWarning int `json:",omitempty"` // per cent of the pool that may be used before somebody is told
}

// Set orders settings; those that are 0 stay as they are.
type Set struct{ Settings }

// Effective are the settings that hold: what was ordered, or else the defaults.
func (s *State) Effective() Settings {
	out := Settings{RebuildAfterDisk: rebuildAfterDisk, RebuildAfterNode: rebuildAfterNode, RebuildFloor: rebuildFloor, RebuildCeiling: rebuildCeiling, Rebalance: On, ScrubLight: scrubLight, ScrubDeep: scrubDeep, PoolWarning: poolWarning}
	if s.Settings != nil {
		out.take(*s.Settings)
	}
	return out
}

func (s *State) set(c *Set) Result {
	for _, seconds := range []int{c.RebuildAfterDisk, c.RebuildAfterNode} {
		if seconds < 0 || seconds > rebuildAfterMax {
			return problem(Invalid, "a rebuild begins 1 second to 7 days after a loss, not %d seconds", seconds)
		}
	}
	for _, seconds := range []int{c.ScrubLight, c.ScrubDeep} {
		if seconds < 0 || seconds > scrubMax {
			return problem(Invalid, "copies are compared every second to every 365 days, not every %d seconds", seconds)
		}
	}
	for _, rate := range []uint64{c.RebuildFloor, c.RebuildCeiling} {
		if rate != 0 && (rate < rebuildSlowest || rate > rebuildFastest) {
			return problem(Invalid, "a rebuild's speed is 1 MiB to 1 TiB per second, not %d bytes", rate)
		}
	}
	if c.Rebalance != "" && c.Rebalance != On && c.Rebalance != Off {
		return problem(Invalid, "rebalancing is on or off, not %q", c.Rebalance)
	}
	if c.PoolWarning < 0 || c.PoolWarning > 99 {
		return problem(Invalid, "a pool's warning comes at 1 to 99 per cent, not at %d", c.PoolWarning)
	}
	if c.Settings == (Settings{}) {
		return problem(Invalid, "nothing is to be set")
	}
	var next Settings
	if s.Settings != nil {
		next = *s.Settings
	}
	next.take(c.Settings)
	effective := Settings{RebuildFloor: rebuildFloor, RebuildCeiling: rebuildCeiling}
	if effective.take(next); effective.RebuildFloor > effective.RebuildCeiling {
		return problem(Invalid, "a floor of %d bytes per second is above the ceiling of %d", effective.RebuildFloor, effective.RebuildCeiling)
	}
	s.Settings = &next
	return Result{}
}

// take goes over to what is ordered in o.
func (t *Settings) take(o Settings) {
	if o.RebuildAfterDisk != 0 {
		t.RebuildAfterDisk = o.RebuildAfterDisk
	}
	if o.RebuildAfterNode != 0 {
		t.RebuildAfterNode = o.RebuildAfterNode
	}
	if o.ScrubLight != 0 {
		t.ScrubLight = o.ScrubLight
	}
	if o.ScrubDeep != 0 {
		t.ScrubDeep = o.ScrubDeep
	}
	if o.RebuildFloor != 0 {
		t.RebuildFloor = o.RebuildFloor
	}
	if o.RebuildCeiling != 0 {
		t.RebuildCeiling = o.RebuildCeiling
	}
	if o.Rebalance != "" {
		t.Rebalance = o.Rebalance
	}
	if o.PoolWarning != 0 {
		t.PoolWarning = o.PoolWarning
	}
}
