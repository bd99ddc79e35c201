package volume

import (
	"encoding/json"
	"maps"
	"slices"

	"ashlar/replication/mirror"
	"ashlar/replication/wire"
	"ashlar/target/reserve"
)

// tellMax bounds how long the head waits until the other nodes have heard what
// their hosts are to be told, ns. A node that is stuck for longer drops its hosts'
// connections before it serves them again.
const tellMax = mirror.Second

// telling is what the other nodes are being told, and what follows when they know.
type telling struct {
	began int64
	left  map[wire.NodeID]bool
	then  func()
}

// tellNodes tells all nodes that can be reached, then goes on.
func (v *Volume) tellNodes(m *wire.Tell, then func()) {
	v.lastID++
	m.Req, m.Volume = v.lastID, v.id
	t := &telling{began: v.now, left: maps.Clone(v.links), then: then}
	v.tellings[m.Req] = t
	for _, n := range slices.Sorted(maps.Keys(t.left)) {
		v.node.Send(n, v.id, m, false)
	}
	v.toldBy(m.Req, v.self)
}

// toldBy takes a node off those that are to know.
func (v *Volume) toldBy(req uint64, n wire.NodeID) {
	t := v.tellings[req]
	if t == nil {
		return
	}
	if delete(t.left, n); len(t.left) == 0 {
		delete(v.tellings, req)
		t.then()
	}
}

// toldByNobody goes on without a node whose session has ended.
func (v *Volume) toldByNobody(n wire.NodeID) {
	for _, req := range slices.Sorted(maps.Keys(v.tellings)) {
		v.toldBy(req, n)
	}
}

func (v *Volume) giveUpTelling(now int64) {
	if len(v.tellings) == 0 {
		return
	}
	for _, req := range slices.Sorted(maps.Keys(v.tellings)) {
		if t := v.tellings[req]; now-t.began > tellMax {
			v.log.Warn("nodes do not hear what their hosts are to be told", "volume", v.id, "nodes", slices.Sorted(maps.Keys(t.left)))
			delete(v.tellings, req)
			t.then()
		}
	}
}

// hear is what the head tells this node.
func (v *Volume) hear(m *wire.Tell) {
	var s *reserve.State
	if err := json.Unmarshal(m.Data, &s); err != nil {
		v.log.Error("the head's word of the reservations is malformed", "volume", v.id, "error", err)
		return
	}
	v.adopt(s)
}
