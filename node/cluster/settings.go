package cluster

// How long lost copies are waited for before others are made, seconds: a disk
// that failed does not come back; a node mostly does, and then only what it
// missed has to be copied.
const (
	rebuildAfterDisk = 30
	rebuildAfterNode = 120
	rebuildAfterMax  = 7 * 24 * 3600
)

// Settings are what the operator ordered, 0 where nothing was.
type Settings struct {
	RebuildAfterDisk int `json:",omitempty"` // seconds since a disk failed
	RebuildAfterNode int `json:",omitempty"` // seconds since a node went down
}

// Set orders settings; those that are 0 stay as they are.
type Set struct{ Settings }

// Effective are the settings that hold: what was ordered, or else the defaults.
func (s *State) Effective() Settings {
	out := Settings{RebuildAfterDisk: rebuildAfterDisk, RebuildAfterNode: rebuildAfterNode}
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
	if c.Settings == (Settings{}) {
		return problem(Invalid, "nothing is to be set")
	}
	var next Settings
	if s.Settings != nil {
		next = *s.Settings
	}
	next.take(c.Settings)
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
}
