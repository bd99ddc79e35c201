package scsi

import (
	"encoding/binary"

	"ashlar/target"
)

// transitionSeconds is the IMPLICIT TRANSITION TIME: commands are held for at
// most 4 s while the access state moves.
const transitionSeconds = 5

// reportPortGroups is REPORT TARGET PORT GROUPS (SPC-4 6.38). Each group is
// the one port of a node; states change implicitly only, and a host never sees
// a group in transition, standby or unavailable.
func reportPortGroups(t *Task) {
	groups, _ := t.unit.device.Groups()
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
		optimizedAndNon   = 0x03 // AO_SUP, AN_SUP
		statusByTheTarget = 0x02 // altered by implicit asymmetric access state transition
	)
	d := make([]byte, 12)
	d[0] = byte(g.State)
	if g.State == target.Optimized {
		d[0] |= preferred
	}
	d[1] = optimizedAndNon
	binary.BigEndian.PutUint16(d[2:], g.ID)
	d[5] = statusByTheTarget
	d[7] = 1
	binary.BigEndian.PutUint16(d[10:], g.ID)
	return d
}
