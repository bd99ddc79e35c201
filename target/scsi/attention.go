package scsi

// attention is a unit attention condition: its additional sense code and
// qualifier.
type attention uint16

const (
	powerOn                attention = 0x2900 // POWER ON, RESET, OR BUS DEVICE RESET OCCURRED
	unitReset              attention = 0x2903 // BUS DEVICE RESET FUNCTION OCCURRED
	reservationsPreempted  attention = 0x2A03 // RESERVATIONS PREEMPTED
	reservationsReleased   attention = 0x2A04 // RESERVATIONS RELEASED
	registrationsPreempted attention = 0x2A05 // REGISTRATIONS PREEMPTED
	accessStateChanged     attention = 0x2A06 // ASYMMETRIC ACCESS STATE CHANGED
	capacityChanged        attention = 0x2A09 // CAPACITY DATA HAS CHANGED
	commandsCleared        attention = 0x2F00 // COMMANDS CLEARED BY ANOTHER INITIATOR
	inventoryChanged       attention = 0x3F0E // REPORTED LUNS DATA HAS CHANGED
)

func (a attention) sense() sense { return sense{key: keyUnitAttention, code: uint16(a)} }

// raise establishes a condition, unless it or one that says more is pending
// already (SAM-5 5.14): after POWER ON the host looks at everything anew.
func (n *Nexus) raise(u *unit, a attention) {
	n.mu.Lock()
	defer n.mu.Unlock()
	k := n.unit(u)
	for _, b := range k.attentions {
		if b == a || b == powerOn && a == unitReset {
			return
		}
	}
	k.attentions = append(k.attentions, a)
}

// takeAttention reports and clears the oldest pending condition of a unit.
func (n *Nexus) takeAttention(u *unit) (attention, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	k := n.units[u]
	if k == nil || len(k.attentions) == 0 {
		return 0, false
	}
	a := k.attentions[0]
	k.attentions = append(k.attentions[:0], k.attentions[1:]...)
	return a, true
}

// inventoryChanged establishes REPORTED LUNS DATA HAS CHANGED on every unit.
func (n *Nexus) inventoryChanged(units map[uint16]*unit) {
	for _, u := range units {
		n.raise(u, inventoryChanged)
	}
}

// inventoryReported clears that condition on every unit (SPC-4 6.33).
func (n *Nexus) inventoryReported() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, k := range n.units {
		kept := k.attentions[:0]
		for _, a := range k.attentions {
			if a != inventoryChanged {
				kept = append(kept, a)
			}
		}
		k.attentions = kept
	}
}
