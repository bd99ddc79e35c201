package scsi

import (
	"encoding/binary"

	"ashlar/target/reserve"
)

// reserveIn is PERSISTENT RESERVE IN (SPC-4 6.15) with one service action's
// parameter data. The reservations are asked for where they are decided, so that
// no node tells what another has changed already.
func reserveIn(list func(*reserve.State) []byte) func(*Task) {
	done := func(t *Task) {
		if t.Op.Reserved.Status != reserve.Good {
			reserveDone(t)
			return
		}
		s := t.Op.After
		if s == nil {
			s = &reserve.State{}
		}
		t.reply(list(s), uint64(binary.BigEndian.Uint16(t.CDB[7:])))
	}
	return func(t *Task) { t.reserve(&reserve.Request{Kind: reserve.Look}, done) }
}

// reserveList is parameter data with its header: PRGENERATION and the length,
// which is told whole however much of it is sent.
func reserveList(s *reserve.State, body []byte) []byte {
	list := make([]byte, 8, 8+len(body))
	binary.BigEndian.PutUint32(list, s.Generation)
	binary.BigEndian.PutUint32(list[4:], uint32(len(body)))
	return append(list, body...)
}

func readKeys(s *reserve.State) []byte {
	var body []byte
	for _, r := range s.Registrants {
		body = binary.BigEndian.AppendUint64(body, r.Key)
	}
	return reserveList(s, body)
}

// readReservation has no key where all registrants hold the reservation.
func readReservation(s *reserve.State) []byte {
	if s.Type == reserve.None {
		return reserveList(s, nil)
	}
	body := make([]byte, 16)
	if !s.Type.AllRegistrants() {
		binary.BigEndian.PutUint64(body, s.Registered(s.Holder))
	}
	body[13] = byte(s.Type)
	return reserveList(s, body)
}

// reportCapabilities is SPC-4 6.15.4.
func reportCapabilities(s *reserve.State) []byte {
	const crh, sipC, atpC, ptplC = 0x10, 0x08, 0x04, 0x01
	const tmv, testUnitReady, ptplA = 0x80, 0x10, 0x01
	d := []byte{0, 8, crh | sipC | atpC | ptplC, tmv | testUnitReady, 0, 0, 0, 0}
	if s.APTPL {
		d[3] |= ptplA
	}
	var mask uint16
	for _, t := range reserve.Types {
		mask |= 1 << t
	}
	d[4], d[5] = byte(mask), byte(mask>>8)
	return d
}

// readFullStatus is SPC-4 6.15.5. Every registration is told with its own port:
// ALL_TG_PT is zero.
func readFullStatus(s *reserve.State) []byte {
	const holder = 0x01
	var body []byte
	for _, r := range s.Registrants {
		id := transportID(r.Host)
		d := make([]byte, 24, 24+len(id))
		binary.BigEndian.PutUint64(d, r.Key)
		if s.Holds(r.Nexus) {
			d[12], d[13] = holder, byte(s.Type)
		}
		binary.BigEndian.PutUint16(d[18:], r.Port)
		binary.BigEndian.PutUint32(d[20:], uint32(len(id)))
		body = append(append(body, d...), id...)
	}
	return reserveList(s, body)
}

// tellReserved tells the nexuses what has become of their reservations since
// they were last told. Where that is no longer known, everything may have changed.
func (t *Target) tellReserved(u *unit) {
	s := u.device.Reservations()
	if s == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	notices, known := s.Since(u.change)
	u.change = max(u.change, s.Change)
	for n := range t.nexuses {
		if !known {
			n.raise(u, powerOn)
			continue
		}
		for _, o := range notices {
			if o.Nexus == n.id.Ports() {
				n.raise(u, reserveAttentions[o.Attention])
			}
		}
	}
}

var reserveAttentions = [...]attention{
	reserve.ReservationsPreempted:  reservationsPreempted,
	reserve.ReservationsReleased:   reservationsReleased,
	reserve.RegistrationsPreempted: registrationsPreempted,
}
