package scsi

import (
	"encoding/binary"

	"ashlar/target"
	"ashlar/target/reserve"
)

// maxReserveList bounds the parameter list of PERSISTENT RESERVE OUT, bytes: room
// for some hundred TransportIDs.
const maxReserveList = 32 << 10

// reservationCommands are those of SPC-4 and SPC-2 that make and tell
// reservations. Whether a reservation forbids them is said by reserve.Apply.
func reservationCommands() []command {
	in := func(name string, action byte, run func(*Task)) command {
		return command{name: "PERSISTENT RESERVE IN, " + name, usage: b(0x5E, action, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0), action: true,
			direction: DataIn, run: run}
	}
	out := func(name string, action, typed byte) command {
		return command{name: "PERSISTENT RESERVE OUT, " + name, usage: b(0x5F, action, typed, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0), action: true,
			out: outReserve, direction: DataOut, run: reserveOut}
	}
	return []command{
		in("READ KEYS", 0x00, reserveIn(readKeys)),
		in("READ RESERVATION", 0x01, reserveIn(readReservation)),
		in("REPORT CAPABILITIES", 0x02, reserveIn(reportCapabilities)),
		in("READ FULL STATUS", 0x03, reserveIn(readFullStatus)),
		out("REGISTER", 0x00, 0),
		out("RESERVE", 0x01, 0xFF),
		out("RELEASE", 0x02, 0xFF),
		out("CLEAR", 0x03, 0),
		out("PREEMPT", 0x04, 0xFF),
		out("PREEMPT AND ABORT", 0x05, 0xFF),
		out("REGISTER AND IGNORE EXISTING KEY", 0x06, 0),
		out("REGISTER AND MOVE", 0x07, 0),
		{name: "RESERVE(6)", usage: b(0x16, 0, 0, 0, 0, 0), refuse: 0x1F, run: reserveUnit},
		{name: "RELEASE(6)", usage: b(0x17, 0, 0, 0, 0, 0), refuse: 0x1F, run: releaseUnit},
		{name: "RESERVE(10)", usage: b(0x56, 0, 0, 0, 0, 0, 0, 0, 0, 0), refuse: 0x12, run: reserveUnit},
		{name: "RELEASE(10)", usage: b(0x57, 0, 0, 0, 0, 0, 0, 0, 0, 0), refuse: 0x12, run: releaseUnit},
	}
}

// outReserve is a PARAMETER LIST LENGTH in bytes 5 to 8. What is longer than any
// list is refused without being collected.
func outReserve(cdb []byte, _, _ uint64) uint64 {
	n := uint64(binary.BigEndian.Uint32(cdb[5:]))
	if n > maxReserveList {
		return 0
	}
	return n
}

// outKinds are the service actions of PERSISTENT RESERVE OUT.
var outKinds = [...]reserve.Kind{reserve.Register, reserve.Reserve, reserve.Release, reserve.Clear, reserve.Preempt,
	reserve.PreemptAndAbort, reserve.RegisterAndIgnore, reserve.RegisterAndMove}

// reserveOut is PERSISTENT RESERVE OUT (SPC-4 6.16).
func reserveOut(t *Task) {
	r, s := t.parseReserve()
	if s != noSense {
		t.check(s)
		return
	}
	t.Transfer = uint64(len(t.Data))
	t.reserve(r, reserveDone)
}

// reserveUnit and releaseUnit are RESERVE and RELEASE (SPC-2 7.21, 7.16) of the
// whole unit for the nexus itself; third parties are refused by the table.
func reserveUnit(t *Task) {
	t.reserve(&reserve.Request{Kind: reserve.ReserveUnit, Session: t.Nexus.id.Generation}, reserveDone)
}

func releaseUnit(t *Task) { t.reserve(&reserve.Request{Kind: reserve.ReleaseUnit}, reserveDone) }

// reserve sends a request for the task's nexus.
func (t *Task) reserve(r *reserve.Request, then func(*Task)) {
	r.Nexus = t.Nexus.id.Ports()
	t.Op.Request = r
	t.submit(target.Reserve, 0, 0, nil, then)
}

// reserveDone tells the host what its request came to.
func reserveDone(t *Task) {
	switch t.Op.Reserved.Status {
	case reserve.Good:
		t.good()
	case reserve.Conflict:
		t.end(StatusReservationConflict)
	case reserve.InvalidField:
		t.check(invalidField)
	case reserve.InvalidKey:
		t.check(badParameter(8))
	case reserve.InvalidPlace:
		t.check(badParameter(20))
	case reserve.InvalidRelease:
		t.check(invalidRelease)
	default:
		t.check(noRegistrationResources)
	}
}

// parseReserve reads the CDB and the parameter list of PERSISTENT RESERVE OUT.
func (t *Task) parseReserve() (*reserve.Request, sense) {
	const scope = 0xF0
	list := t.Data
	if n := binary.BigEndian.Uint32(t.CDB[5:]); n < 24 || uint64(n) != uint64(len(list)) {
		return nil, parameterListLength
	}
	r := &reserve.Request{Kind: outKinds[t.CDB[1]&0x1F], Key: binary.BigEndian.Uint64(list), Service: binary.BigEndian.Uint64(list[8:])}
	switch r.Kind {
	case reserve.RegisterAndMove:
		return r, t.parseMove(r, list)
	case reserve.Register, reserve.RegisterAndIgnore:
		return r, t.parseRegister(r, list)
	case reserve.Clear:
	default:
		if t.CDB[2]&scope != 0 {
			return nil, badField(2)
		}
		r.Type = reserve.Type(t.CDB[2] & 0x0F)
	}
	if len(list) != 24 {
		return nil, parameterListLength
	}
	return r, noSense
}

// parseRegister reads what only REGISTER and its variant have: APTPL,
// ALL_TG_PT, and the TransportIDs of SPEC_I_PT (SPC-4 6.16.3).
func (t *Task) parseRegister(r *reserve.Request, list []byte) sense {
	const specIPT, allTGPT, aptpl = 0x08, 0x04, 0x01
	r.APTPL = list[20]&aptpl != 0
	if list[20]&allTGPT != 0 {
		groups, _ := t.unit.device.Groups()
		for _, g := range groups {
			r.Ports = append(r.Ports, g.ID)
		}
	}
	if list[20]&specIPT == 0 {
		if len(list) != 24 {
			return parameterListLength
		}
		return noSense
	}
	if r.Kind != reserve.Register {
		return badParameter(20)
	}
	if len(list) < 28 || uint64(binary.BigEndian.Uint32(list[24:])) != uint64(len(list)-28) {
		return parameterListLength
	}
	for at := 28; at < len(list); {
		hosts, n := t.Nexus.target.parseTransportID(list[at:])
		if n == 0 {
			return badParameter(at)
		}
		r.Others = append(r.Others, hosts...)
		at += n
	}
	if len(r.Others) > reserve.RegistrantsMax {
		return noRegistrationResources
	}
	return noSense
}

// parseMove reads the parameter list of REGISTER AND MOVE (SPC-4 6.16.4).
func (t *Task) parseMove(r *reserve.Request, list []byte) sense {
	const unreg, aptpl = 0x02, 0x01
	if uint64(binary.BigEndian.Uint32(list[20:])) != uint64(len(list)-24) {
		return parameterListLength
	}
	r.Unregister, r.APTPL = list[17]&unreg != 0, list[17]&aptpl != 0
	r.To.Port = binary.BigEndian.Uint16(list[18:])
	groups, _ := t.unit.device.Groups()
	known := false
	for _, g := range groups {
		known = known || g.ID == r.To.Port
	}
	if !known {
		return badParameter(18)
	}
	hosts, n := t.Nexus.target.parseTransportID(list[24:])
	if n == 0 || n != len(list)-24 || len(hosts) != 1 {
		return badParameter(24)
	}
	r.To.Host = hosts[0]
	return noSense
}
