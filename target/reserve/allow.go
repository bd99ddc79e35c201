package reserve

// Access is what a command does, as far as reservations go (SPC-4 table 66,
// SBC-3 table 12, SPC-2 table 10).
type Access uint8

const (
	Always   Access = iota // in spite of any reservation: INQUIRY
	Presence               // in spite of a persistent reservation: TEST UNIT READY
	Reads                  // looks at the medium or at what the unit is set to
	Writes                 // changes either
)

// Allows says whether a nexus may do so. A nil State has no reservations.
func (s *State) Allows(n Nexus, a Access) bool {
	if s == nil || a == Always {
		return true
	}
	if s.Unit != nil && s.Unit.Nexus != n {
		return false
	}
	if s.Type == None || a == Presence || s.Holds(n) {
		return true
	}
	if s.Type.shared() && s.Registered(n) != 0 {
		return true
	}
	return a == Reads && s.Type.readable()
}
