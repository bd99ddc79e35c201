package scsi

import (
	"encoding/binary"
	"slices"
	"time"

	"ashlar/target"
)

// transitionSeconds is the IMPLICIT TRANSITION TIME: commands are held for at
// most 4 s while the access state moves.
const transitionSeconds = 5

// unavailable is a path's state after Withdraw (SPC-4 5.16.2.4.5).
const unavailable target.PathState = 3

// A host that looks after its paths has checked this one lately, and not only when it logged in: disk drivers do that,
// too.
const (
	checksWithin = time.Minute
	checksAfter  = 10 * time.Second
)

// Withdraw makes the path of a host that looks after its paths unavailable for good: from now on its commands end with NOT
// READY, 04h/0Ch, upon which it goes on over another path at once. It is false for a host that
// seems to know of no other path, which would take that for an error.
func (n *Nexus) Withdraw() bool {
	checked := n.checked.Load()
	if checked-n.began < int64(checksAfter) || clock()-checked > int64(checksWithin) {
		return false
	}
	n.withdrawn.Store(true)
	return true
}

// reportPortGroups is REPORT TARGET PORT GROUPS (SPC-4 6.38). Each group is
// the one port of a node; states change implicitly only, and a host never sees
// a group in transition or standby, and its own as unavailable only once that was withdrawn.
func reportPortGroups(t *Task) {
	groups, _ := t.unit.device.Groups()
	if i := slices.IndexFunc(groups, func(g target.PortGroup) bool { return g.ID == t.Nexus.id.Port }); i >= 0 && t.Nexus.withdrawn.Load() {
		groups = slices.Clone(groups)
		groups[i].State = unavailable
	}
	var list []byte
	switch t.CDB[1] >> 5 {
	case 0: // length only header
		list = make([]byte, 4, 4+12*len(groups))
	case 1: // extended header
		list = make([]byte, 8, 8+12*len(groups))
		list[4], list[5] = 0x10, transitionSeconds
	default:
		t.check(badField(1))
		return
	}
	for _, g := range groups {
		list = append(list, portGroup(g)...)
	}
	binary.BigEndian.PutUint32(list, uint32(len(list)-4))
	t.reply(list, t.allocation())
}

// portGroup is one target port group descriptor with its one port.
func portGroup(g target.PortGroup) []byte {
	const (
		preferred         = 0x80
		supported         = 0x0B // U_SUP, AN_SUP, AO_SUP
		statusByTheTarget = 0x02 // altered by implicit asymmetric access state transition
	)
	d := make([]byte, 12)
	d[0] = byte(g.State)
	if g.State == target.Optimized {
		d[0] |= preferred
	}
	d[1] = supported
	binary.BigEndian.PutUint16(d[2:], g.ID)
	d[5] = statusByTheTarget
	d[7] = 1
	binary.BigEndian.PutUint16(d[10:], g.ID)
	return d
}
