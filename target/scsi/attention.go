package scsi

import "slices"

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
	inquiryChanged         attention = 0x3F03 // INQUIRY DATA HAS CHANGED
	inventoryChanged       attention = 0x3F0E // REPORTED LUNS DATA HAS CHANGED
)

func (a attention) sense() sense { return sense{key: keyUnitAttention, code: uint16(a)} }

// raise establishes a condition, unless it is pending already (SAM-5 5.14): so a
// nexus has at most one of a kind, in the order in which they came to be. A reset
// comes before the others, and says more than some:
//
//   - after POWER ON the host looks at everything anew, so nothing else from
//     before is told;
//   - a unit that was reset has no commands left that could have been cleared.
func (n *Nexus) raise(u *unit, a attention) {
	n.mu.Lock()
	defer n.mu.Unlock()
	k := n.unit(u)
	pending := func(a attention) bool { return slices.Contains(k.attentions, a) }
	switch {
	case a == powerOn || a == unitReset && pending(powerOn):
		k.attentions = append(k.attentions[:0], powerOn)
	case pending(a):
	case a == unitReset:
		k.clear(commandsCleared)
		k.attentions = slices.Insert(k.attentions, 0, a)
	default:
		k.attentions = append(k.attentions, a)
	}
}

// clear ends a condition.
func (k *nexusUnit) clear(a attention) {
	k.attentions = slices.DeleteFunc(k.attentions, func(b attention) bool { return b == a })
}

// takeAttention reports and clears the first pending condition of a unit. That the
// inventory has changed is reported once for all units (LUICLR in VPD page 86h).
func (n *Nexus) takeAttention(u *unit) (attention, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	k := n.units[u]
	if k == nil || len(k.attentions) == 0 {
		return 0, false
	}
	a := k.attentions[0]
	if a == inventoryChanged {
		n.clearInventory()
	} else {
		k.clear(a)
	}
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
	n.clearInventory()
}

// clearInventory does so; mu is held.
func (n *Nexus) clearInventory() {
	for _, k := range n.units {
		k.clear(inventoryChanged)
	}
}
