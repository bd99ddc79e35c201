package cluster

import (
	"encoding/json"
	"reflect"
	"testing"

	"ashlar/replication/wire"
	"ashlar/target/reserve"
)

func (r *rig) reserve(v wire.VolumeID, q reserve.Request) Reserved {
	r.t.Helper()
	return *r.good(Command{Reserve: &Reserve{v, q}}).Reserved
}

// TestARequestToReserveIsAppliedOnce: a head that takes over proposes again what
// the former one was asked for, and gives the host the first answer.
func TestARequestToReserveIsAppliedOnce(t *testing.T) {
	r := newRig(t, 3, 3)
	v := r.volume("v", 2, 1)
	host := reserve.Nexus{Host: "iqn.a,i,0x000000000001", Port: 1}
	c := Command{Request: "same", Reserve: &Reserve{v, reserve.Request{Kind: reserve.Register, Nexus: host, Service: 1}}}
	first := r.good(c)
	r.good(Command{MoveHead: &MoveHead{Volume: v, Epoch: r.Volumes[v].Epoch}})
	again := r.good(c)
	if !reflect.DeepEqual(first, again) || first.Reserved.Result.Status != reserve.Good {
		t.Errorf("%+v, then %+v", first.Reserved, again.Reserved)
	}
	if s := r.Volumes[v].Reservations; s.Generation != 1 || s.Registered(host) != 1 {
		t.Errorf("%+v", s)
	}
	if other := r.reserve(v, c.Reserve.Request); other.Result.Status != reserve.Conflict {
		t.Errorf("another request: %+v", other)
	}
}

// TestReservationsOutliveNodesButRESERVE6DoesNot: registrations and their
// reservation stay whatever node dies; RESERVE(6) ends with its session's node.
func TestReservationsOutliveNodesButRESERVE6DoesNot(t *testing.T) {
	r := newRig(t, 3, 3)
	v, w := r.volume("v", 2, 1), r.volume("w", 2, 1)
	two, three := reserve.Nexus{Host: "iqn.a,i,0x000000000001", Port: 2}, reserve.Nexus{Host: "iqn.a,i,0x000000000001", Port: 3}
	r.reserve(v, reserve.Request{Kind: reserve.Register, Nexus: two, Service: 1})
	r.reserve(v, reserve.Request{Kind: reserve.Reserve, Nexus: two, Key: 1, Type: reserve.ExclusiveAccess})
	r.reserve(w, reserve.Request{Kind: reserve.ReserveUnit, Nexus: two, Session: 1})
	r.down(3)
	if r.Volumes[w].Reservations.Unit == nil {
		t.Error("RESERVE(6) ended with another node")
	}
	r.down(2)
	if !r.Volumes[v].Reservations.Holds(two) {
		t.Error("the reservation ended with its node")
	}
	if r.Volumes[w].Reservations.Unit != nil {
		t.Error("RESERVE(6) outlived its session")
	}
	r.up(3)
	r.reserve(w, reserve.Request{Kind: reserve.ReserveUnit, Nexus: three, Session: 2})
	r.up(3)
	if r.Volumes[w].Reservations.Unit != nil {
		t.Error("RESERVE(6) outlived its node's incarnation")
	}
}

// TestReservationsSurviveTheStateOnDisk: all nodes may lose their power at once.
func TestReservationsSurviveTheStateOnDisk(t *testing.T) {
	r := newRig(t, 1, 1)
	v := r.volume("v", 1, 1)
	for port := range uint16(3) {
		r.reserve(v, reserve.Request{Kind: reserve.Register, Nexus: reserve.Nexus{Host: "iqn.a,i,0x000000000001", Port: port + 1}, Service: 7, APTPL: true})
	}
	r.reserve(v, reserve.Request{Kind: reserve.Reserve, Nexus: reserve.Nexus{Host: "iqn.a,i,0x000000000001", Port: 2}, Key: 7, Type: reserve.WriteExclusiveRegistrantsOnly})
	stored, err := json.Marshal(r.State)
	if err != nil {
		t.Fatal(err)
	}
	var back State
	if err := json.Unmarshal(stored, &back); err != nil || !reflect.DeepEqual(back.Volumes[v].Reservations, r.Volumes[v].Reservations) {
		t.Errorf("%v: %+v", err, back.Volumes[v].Reservations)
	}
}
