package scsi

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"ashlar/target"
	"ashlar/target/targettest"
)

// hosts is two nodes' targets of one volume, and a nexus through each.
type hosts struct {
	*rig
	second *rig
}

func newHosts(t *testing.T) *hosts {
	h := &hosts{rig: newRig(t, twoNodes())}
	h.second = &rig{T: t, memory: h.memory.Through(2), target: NewTarget(Config{Name: targetName})}
	if err := h.second.target.Add(0, h.second.memory); err != nil {
		t.Fatal(err)
	}
	h.second.nexus = h.second.loginAt("b", 2)
	return h
}

// loginAt is a nexus by a port, whose initiator port is as iSCSI names it.
func (r *rig) loginAt(host string, port uint16) *Nexus {
	n := r.target.Login(target.Nexus{Host: hostName + host + ",i,0x000000000001", Port: port, Generation: 1}, hostName+host)
	r.target.Execute(&Task{Nexus: n, CDB: make([]byte, 6), Done: func(*Task) {}})
	return n
}

const (
	register = iota
	reserveAction
	release
	clearAction
	preempt
	preemptAndAbort
	registerAndIgnore
)

func prOut(action, kind byte, key, service uint64, flags byte, more ...byte) (cdb, list []byte) {
	list = make([]byte, 24, 24+len(more))
	binary.BigEndian.PutUint64(list, key)
	binary.BigEndian.PutUint64(list[8:], service)
	list[20] = flags
	list = append(list, more...)
	cdb = []byte{0x5F, action, kind, 0, 0, 0, 0, byte(len(list) >> 8), byte(len(list)), 0}
	return cdb, list
}

func (r *rig) prout(want string, action, kind byte, key, service uint64) {
	r.Helper()
	cdb, list := prOut(action, kind, key, service, 0)
	r.expect(want, cdb, list)
}

func (r *rig) prin(action byte) []byte {
	r.Helper()
	return r.good([]byte{0x5E, action, 0, 0, 0, 0, 0, 0x40, 0, 0}, nil)
}

// TestTheCommandMatrix gives every command to a nexus that is not registered,
// under a reservation of each type of another node's nexus, and under RESERVE(6).
func TestTheCommandMatrix(t *testing.T) {
	classes := map[string]struct{ r6, we, ea bool }{ // what conflicts
		"always":   {},
		"presence": {r6: true},
		"reads":    {r6: true, ea: true},
		"writes":   {r6: true, we: true, ea: true},
	}
	commands := []struct{ cdb, class string }{
		{"00 00 00 00 00 00", "presence"},
		{"03 00 00 00 ff 00", "always"},
		{"12 00 00 00 ff 00", "always"},
		{"a0 00 00 00 00 00 00 00 04 00 00 00", "always"},
		{"a3 0a 00 00 00 00 00 00 04 00 00 00", "always"},
		{"a3 0c 00 00 00 00 00 00 04 00 00 00", "reads"},
		{"a3 0d 00 00 00 00 00 00 04 00 00 00", "reads"},
		{"25 00 00 00 00 00 00 00 00 00", "always"},
		{"9e 10 00 00 00 00 00 00 00 00 00 00 00 20 00 00", "always"},
		{"9e 12 00 00 00 00 00 00 00 00 00 00 00 20 00 00", "reads"},
		{"1a 00 3f 00 ff 00", "reads"},
		{"5a 00 3f 00 00 00 00 00 ff 00", "reads"},
		{"15 10 00 00 00 00", "writes"},
		{"55 10 00 00 00 00 00 00 00 00", "writes"},
		{"1b 00 00 00 01 00", "presence"},
		{"08 00 00 00 01 00", "reads"},
		{"28 00 00 00 00 00 00 00 01 00", "reads"},
		{"2f 00 00 00 00 00 00 00 01 00", "reads"},
		{"34 00 00 00 00 00 00 00 01 00", "reads"},
		{"35 00 00 00 00 00 00 00 00 00", "writes"},
		{"0a 00 00 00 01 00", "writes"},
		{"2a 00 00 00 00 00 00 00 01 00", "writes"},
		{"2e 00 00 00 00 00 00 00 01 00", "writes"},
		{"41 00 00 00 00 00 00 00 01 00", "writes"},
		{"93 09 00 00 00 00 00 00 00 00 00 00 00 01 00 00", "writes"},
		{"89 00 00 00 00 00 00 00 00 00 00 00 00 01 00 00", "writes"},
		{"83 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00", "writes"},
		{"84 03 00 00 00 00 00 00 00 00 00 00 00 ff 00 00", "writes"},
		{"4d 00 00 00 00 00 00 00 ff 00", "always"},
	}
	for _, kind := range []byte{0, 1, 3, 5, 6, 7, 8} {
		h := newHosts(t)
		if kind == 0 {
			h.expect("00", raw("16 00 00 00 00 00"), nil)
		} else {
			h.prout("00", register, 0, 0, 1)
			h.prout("00", reserveAction, kind, 1, 0)
		}
		for _, c := range commands {
			cdb := raw(c.cdb)
			var out []byte
			if direction, n := Demand(cdb, h.target, 0); direction == DataOut {
				out = make([]byte, n)
			}
			class := classes[c.class]
			want := "00"
			if kind == 0 && class.r6 || kind%2 == 1 && kind != 3 && class.we || (kind == 3 || kind == 6 || kind == 8) && class.ea {
				want = "18"
			}
			if got := verdict(h.second.do(cdb, out)); got != want {
				t.Errorf("type %d, % x of a stranger: %s, want %s", kind, cdb, got, want)
			}
			if got := verdict(h.do(cdb, out)); got != "00" {
				t.Errorf("type %d, % x of the holder: %s", kind, cdb, got)
			}
		}
	}
}

func TestARegistrationIsSeenThroughEveryNode(t *testing.T) {
	h := newHosts(t)
	h.prout("00", register, 0, 0, 0xABC)
	h.second.prout("00", register, 0, 0, 0xDEF)
	h.prout("00", reserveAction, 5, 0xABC, 0)
	for i, r := range []*rig{h.rig, h.second} {
		for action, name := range []string{"keys", "reservation", "capabilities", "full-status"} {
			if i == 0 {
				compareGolden(t, "reserve-in-"+name, r.prin(byte(action)))
			} else if !bytes.Equal(r.prin(byte(action)), h.prin(byte(action))) {
				t.Errorf("%s differ between nodes", name)
			}
		}
	}
}

func TestKeysAreCutAtTheAllocationLengthAndCountedWhole(t *testing.T) {
	h := newHosts(t)
	h.prout("00", register, 0, 0, 0xABC)
	h.second.prout("00", register, 0, 0, 0xDEF)
	got := h.good(raw("5e 00 00 00 00 00 00 00 0c 00"), nil)
	if want := raw("00000002 00000010 00000000"); !bytes.Equal(got, want) {
		t.Errorf("% x, want % x", got, want)
	}
}

// TestEachNexusIsToldOfWhatItLost, through its own node, once, and the one that
// asked never.
func TestEachNexusIsToldOfWhatItLost(t *testing.T) {
	for _, c := range []struct {
		rule string
		kind byte // of the reservation of the first
		do   func(h *hosts)
		want string
	}{
		{"released", 5, func(h *hosts) { h.prout("00", release, 5, 1, 0) }, "02 6/2a04"},
		{"released by unregistering", 6, func(h *hosts) { h.prout("00", register, 0, 1, 0) }, "02 6/2a04"},
		{"write exclusive is released in silence", 1, func(h *hosts) { h.prout("00", release, 1, 1, 0) }, "00"},
		{"cleared", 5, func(h *hosts) { h.prout("00", clearAction, 0, 1, 0) }, "02 6/2a03"},
		{"preempted", 5, func(h *hosts) { h.prout("00", preempt, 5, 1, 2) }, "02 6/2a05"},
		{"preempted and aborted", 5, func(h *hosts) { h.prout("00", preemptAndAbort, 5, 1, 2) }, "02 6/2a05"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			h := newHosts(t)
			h.prout("00", register, 0, 0, 1)
			h.second.prout("00", register, 0, 0, 2)
			h.prout("00", reserveAction, c.kind, 1, 0)
			c.do(h)
			h.second.expect(c.want, raw("00 00 00 00 00 00"), nil)
			h.second.expect("00", raw("00 00 00 00 00 00"), nil)
			h.expect("00", raw("00 00 00 00 00 00"), nil)
		})
	}
}

// TestAfterPreemptAndAbortNothingOfThePreemptedLands: its write, held back
// behind the other node, is aborted before the answer.
func TestAfterPreemptAndAbortNothingOfThePreemptedLands(t *testing.T) {
	h := newHosts(t)
	h.prout("00", register, 0, 0, 1)
	h.second.prout("00", register, 0, 0, 2)
	h.memory.Intercept(func(o *target.Op) targettest.Verdict { return targettest.Verdict{Hold: o.Kind == target.Write} })
	late := h.second.task(h.second.nexus, 0, ranged(0x2A, 0, 0, 1), blocksOf(0xAA, 1))
	ended := false
	late.Done = func(*Task) { ended = true }
	h.second.target.Execute(late)
	h.memory.Intercept(nil)
	if ended {
		t.Fatal("the write was not held")
	}
	h.prout("00", preemptAndAbort, 5, 1, 2)
	if !ended {
		t.Error("the write is still under way after the answer")
	}
	h.memory.Release()
	if d := h.good(ranged(0x28, 0, 0, 1), nil); d[0] != 0 {
		t.Error("the write of the preempted nexus landed")
	}
}

// TestFenceSCSI is the sequence of fence_scsi: every host registers and one
// reserves for registrants, then a survivor preempts the dead host's key.
func TestFenceSCSI(t *testing.T) {
	h := newHosts(t)
	h.prout("00", registerAndIgnore, 0, 0, 0x10001)
	h.second.prout("00", registerAndIgnore, 0, 0, 0x10002)
	h.prout("00", reserveAction, 5, 0x10001, 0)
	h.second.prout("18", reserveAction, 5, 0x10002, 0)
	h.second.expect("00", ranged(0x2A, 0, 0, 1), blocksOf(1, 1))
	h.second.prout("00", preemptAndAbort, 5, 0x10002, 0x10001)
	h.second.expect("00", ranged(0x2A, 0, 0, 1), blocksOf(2, 1))
	h.expect("02 6/2a05", ranged(0x2A, 0, 0, 1), blocksOf(3, 1))
	h.expect("18", ranged(0x2A, 0, 0, 1), blocksOf(3, 1))
	if d := h.good(ranged(0x28, 0, 0, 1), nil); d[0] != 2 {
		t.Errorf("block 0 is of %d", d[0])
	}
}

func TestAllTargetPortsAndOtherInitiatorsAreRegistered(t *testing.T) {
	h := newHosts(t)
	friend := transportID(hostName + "friend,i,0x00023d000001")
	cdb, list := prOut(register, 0, 0, 7, 0x08|0x04|0x01, append(binary.BigEndian.AppendUint32(nil, uint32(len(friend))), friend...)...)
	h.expect("00", cdb, list)
	compareGolden(t, "reserve-in-all-ports", h.prin(3))
	s := h.memory.Reservations()
	if len(s.Registrants) != 4 || !s.APTPL {
		t.Errorf("%+v", s)
	}
	h.memory.LosePower()
	h.expect("02 6/2903", raw("00 00 00 00 00 00"), nil)
	if d := h.prin(0); len(d) != 8+4*8 {
		t.Errorf("after a loss of power: % x", d)
	}
}

// TestADeviceNameStandsForItsPorts that are logged in.
func TestADeviceNameStandsForItsPorts(t *testing.T) {
	h := newHosts(t)
	h.loginAt("friend", 1)
	h.loginAt("friend", 2) // the same port of the host
	id := transportID(hostName + "friend")
	cdb, list := prOut(register, 0, 0, 7, 0x08, append(binary.BigEndian.AppendUint32(nil, uint32(len(id))), id...)...)
	h.expect("00", cdb, list)
	if s := h.memory.Reservations(); len(s.Registrants) != 2 || s.Registrants[1].Host != hostName+"friend,i,0x000000000001" {
		t.Errorf("%+v", s.Registrants)
	}
	id = transportID(hostName + "nobody")
	cdb, list = prOut(register, 0, 7, 8, 0x08, append(binary.BigEndian.AppendUint32(nil, uint32(len(id))), id...)...)
	h.expect("02 5/2600", cdb, list)
}

func TestTheReservationMovesToAPortOfAnotherNode(t *testing.T) {
	h := newHosts(t)
	h.prout("00", register, 0, 0, 1)
	h.prout("00", reserveAction, 1, 1, 0)
	move := func(want string, port byte, host string) {
		t.Helper()
		id := transportID(host)
		list := make([]byte, 24)
		list[7], list[15], list[17], list[19], list[23] = 1, 2, 0x02, port, byte(len(id))
		list = append(list, id...)
		h.expect(want, []byte{0x5F, 7, 0, 0, 0, 0, 0, 0, byte(len(list)), 0}, list)
	}
	move("02 5/2600", 9, hostName+"b,i,0x000000000001")
	move("02 5/2600", 2, hostName+"nobody")
	move("00", 2, hostName+"b,i,0x1")
	h.second.expect("00", ranged(0x2A, 0, 0, 1), blocksOf(1, 1))
	h.expect("18", ranged(0x2A, 0, 0, 1), blocksOf(1, 1))
}

func TestMalformedReserveOutIsRefused(t *testing.T) {
	h := newHosts(t)
	short, list := prOut(register, 0, 0, 1, 0)
	short[8] = 23
	h.expect("02 5/1a00", short, list[:23])
	h.expect("02 5/1a00", raw("5f 00 00 00 00 00 00 00 00 00"), []byte{})
	h.expect("02 5/1a00", raw("5f 00 00 00 00 ff ff ff ff 00"), []byte{})
	long, list := prOut(register, 0, 0, 1, 0, 0, 0, 0, 0)
	h.expect("02 5/1a00", long, list)
	h.expect("02 5/2400", raw("5f 08 00 00 00 00 00 00 18 00"), make([]byte, 24))
	scoped, list := prOut(reserveAction, 0x15, 0, 1, 0)
	h.expect("02 5/2400", scoped, list)
	for i, bad := range [][]byte{{}, {0x45}, {0x45, 0, 0, 4, 'a', ',', 0, 0}, {0x45, 0, 0, 24}, bytes.Repeat([]byte{0x45}, 24), append([]byte{0x45, 0, 0, 20}, bytes.Repeat([]byte{'a'}, 20)...)} {
		cdb, list := prOut(register, 0, 0, 1, 0x08, append(binary.BigEndian.AppendUint32(nil, uint32(len(bad))), bad...)...)
		if len(bad) > 0 {
			h.expect("02 5/2600", cdb, list)
		}
		cdb, list = prOut(register, 0, 0, 1, 0x08, append(binary.BigEndian.AppendUint32(nil, uint32(len(bad)+1)), bad...)...)
		h.expect("02 5/1a00", cdb, list)
		if s := h.memory.Reservations(); s != nil {
			t.Fatalf("list %d: %+v", i, s)
		}
	}
}

func TestRESERVE6EndsWithItsSessionOrAReset(t *testing.T) {
	for name, end := range map[string]func(h *hosts){
		"logout": func(h *hosts) { h.nexus.Logout() },
		"unit reset by another node's nexus": func(h *hosts) {
			h.second.target.Manage(h.second.nexus, LogicalUnitReset, 0, func(TMFResult) {})
			h.second.do(raw("00 00 00 00 00 00"), nil)
		},
		"target reset": func(h *hosts) {
			h.second.target.Manage(h.second.nexus, TargetWarmReset, 0, func(TMFResult) {})
			h.second.do(raw("00 00 00 00 00 00"), nil)
		},
		"nexus reset": func(h *hosts) { h.target.Manage(h.nexus, NexusReset, 0, func(TMFResult) {}) },
		"release":     func(h *hosts) { h.expect("00", raw("57 00 00 00 00 00 00 00 00 00"), nil) },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHosts(t)
			h.expect("00", raw("56 00 00 00 00 00 00 00 00 00"), nil)
			h.second.expect("18", raw("16 00 00 00 00 00"), nil)
			h.second.expect("00", raw("17 00 00 00 00 00"), nil)
			h.second.expect("18", raw("00 00 00 00 00 00"), nil)
			end(h)
			h.second.expect("00", raw("16 00 00 00 00 00"), nil)
		})
	}
}

func TestAThirdPartyIsNotReservedFor(t *testing.T) {
	r := newRig(t, targettest.Options{})
	for _, cdb := range []string{"16 10 00 00 00 00", "16 01 00 00 00 00", "56 10 00 00 00 00 00 00 00 00", "17 10 00 00 00 00"} {
		r.expect("02 5/2400", raw(cdb), nil)
	}
}

func TestATransportIDIsReadAsItIsWritten(t *testing.T) {
	target := NewTarget(Config{Name: targetName})
	for n := range 30 {
		host := fmt.Sprintf("iqn.2001-04.com.example:%0*d,i,0x%012x", n+1, n, n)
		id := append(transportID(host), 1, 2, 3)
		hosts, size := target.parseTransportID(id)
		if size != len(id)-3 || len(hosts) != 1 || hosts[0] != host {
			t.Errorf("%q: %q, %d of %d bytes", host, hosts, size, len(id))
		}
	}
}

// TestACommandOfNoBlocksMeetsTheReservation, though no operation of it reaches
// the device.
func TestACommandOfNoBlocksMeetsTheReservation(t *testing.T) {
	h := newHosts(t)
	h.prout("00", register, 0, 0, 1)
	h.prout("00", reserveAction, 3, 1, 0)
	for _, cdb := range []string{"28 00 00 00 00 00 00 00 00 00", "2a 00 00 00 00 00 00 00 00 00", "2f 00 00 00 00 00 00 00 00 00",
		"42 00 00 00 00 00 00 00 00 00", "8b 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00"} {
		h.second.expect("18", raw(cdb), nil)
		h.expect("00", raw(cdb), nil)
	}
	h.second.expect("18", ranged(0x2A, 0, 0, 1), make([]byte, 100))
}
