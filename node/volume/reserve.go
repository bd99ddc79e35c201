package volume

import (
	"encoding/json"
	"fmt"
	"sync/atomic"

	"ashlar/node/cluster"
	"ashlar/replication/mirror"
	"ashlar/replication/wire"
	"ashlar/target"
	"ashlar/target/reserve"
)

// reserveAsk is what an OpReserve carries to the head. Its ID is the same when
// a portal sends it again, to whichever head: the cluster then gives the first
// answer again.
type reserveAsk struct {
	ID      string
	Request reserve.Request
}

// reserveAnswer is what it carries back: the result, and the reservations in
// which it is true.
type reserveAnswer struct {
	Result reserve.Result
	After  *reserve.State
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("volume: " + err.Error()) // these types have nothing that JSON lacks
	}
	return b
}

// asks counts the requests of this process, over all volumes.
var asks atomic.Uint64

func (v *Volume) reserveAsk(r *reserve.Request) reserveAsk {
	return reserveAsk{fmt.Sprintf("reserve-%d-%d.%d.%d", v.id, v.self, v.incarnation, asks.Add(1)), *r}
}

// Reservations is target.Device's.
func (v *Volume) Reservations() *reserve.State { return v.reservations.Load() }

// adopt takes newer reservations, and has the front ends tell their hosts.
func (v *Volume) adopt(s *reserve.State) {
	old := v.reservations.Load()
	if s == nil || old != nil && s.Change <= old.Change {
		return
	}
	v.reservations.Store(s)
	v.tell(target.Reserved)
}

// reservedBy gives a front end the answer of the head. Its reservations are seen
// here before that, though the cluster's state may come later.
func (v *Volume) reservedBy(op *target.Op, r *mirror.Request) {
	var a reserveAnswer
	if err := json.Unmarshal(r.Data, &a); err != nil {
		v.log.Error("the head's answer to a reservation is malformed", "volume", v.id, "error", err)
		op.Status = target.Busy
		return
	}
	v.adopt(a.After)
	op.Reserved, op.After = a.Result, a.After
}

// proposeReserve has the cluster agree on a change that a host asks the head
// for. To look takes no agreement: all changes go through the head.
func (v *Volume) proposeReserve(head *mirror.Head, op *mirror.Op) {
	var ask reserveAsk
	now := v.now
	if err := json.Unmarshal(op.Data, &ask); err != nil {
		v.log.Error("a portal's request for a reservation is malformed", "volume", v.id, "error", err)
		head.Unreserved(now, op)
		return
	}
	o := op.Private.(*operation)
	if ask.Request.Kind == reserve.Look {
		var s reserve.State
		if v.agreed.Reservations != nil {
			s = *v.agreed.Reservations
		}
		_, o.reserved = reserve.Apply(s, ask.Request)
		head.Reserved(now, op, 0, nil)
		return
	}
	v.node.Reserve(ask.ID, cluster.Reserve{Volume: v.id, Request: ask.Request}, func(r cluster.Result, err error) {
		v.run(func() {
			if v.head == head {
				v.agreedOn(head, o, r, err)
			}
		})
	})
}

func (v *Volume) agreedOn(head *mirror.Head, o *operation, r cluster.Result, err error) {
	now := v.now
	if err != nil || r.Reserved == nil {
		v.log.Warn("no agreement on a reservation", "volume", v.id, "error", err, "why", r.Problem)
		head.Unreserved(now, &o.Op)
		return
	}
	o.reserved, o.changes = r.Reserved.Result, r.Reserved.Result.Status == reserve.Good
	var abort []wire.Nexus
	for _, n := range o.reserved.Abort {
		abort = append(abort, wire.Nexus{Host: n.Host, Port: n.Port})
	}
	head.Reserved(now, &o.Op, r.Reserved.Change, abort)
}

// rules are the reservations as the head machine asks for them.
type rules struct{ *reserve.State }

func (r rules) Allows(n wire.Nexus, k wire.OpKind) bool {
	access := reserve.Writes
	switch k {
	case wire.OpRead, wire.OpVerify, wire.OpExtents:
		access = reserve.Reads
	case wire.OpReserve:
		access = reserve.Always
	}
	return r.State.Allows(reserve.Nexus{Host: n.Host, Port: n.Port}, access)
}

func (r rules) Changes() uint64 { return r.Change }
