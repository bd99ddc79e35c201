//go:build faults

package faults

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"time"

	"ashlar/scripts/internal/clusters"
	"ashlar/target/targettest/initiator"
)

// Service actions and types of PERSISTENT RESERVE OUT (SPC-4 6.16.2, 6.15.3.4).
const (
	prRegister        = 0x00
	prReserve         = 0x01
	prClear           = 0x03
	prPreemptAndAbort = 0x05

	typeWriteExclusive            = 1
	typeWriteExclusiveRegistrants = 5
)

// reserveOut is PERSISTENT RESERVE OUT with the basic parameter list (SPC-4
// 6.16.3). aptpl asks that it outlives a loss of power; registrations only.
func reserveOut(action, kind byte, key, service uint64, aptpl bool) *initiator.Command {
	list := make([]byte, 24)
	binary.BigEndian.PutUint64(list, key)
	binary.BigEndian.PutUint64(list[8:], service)
	if aptpl {
		list[20] = 1
	}
	return &initiator.Command{CDB: []byte{0x5f, action, kind, 0, 0, 0, 0, 0, byte(len(list)), 0}, Out: list}
}

// reservations are what a unit tells of itself by PERSISTENT RESERVE IN.
type reservations struct {
	generation uint32
	keys       []uint64
	holder     uint64 // key of the reservation, if there is one
	kind       byte
}

// reserveIn reads keys and reservation (SPC-4 6.15.2, 6.15.3).
func reserveIn(t *testing.T, h *host) (r reservations) {
	t.Helper()
	ask := func(action byte) []byte {
		c := &initiator.Command{CDB: []byte{0x5e, action, 0, 0, 0, 0, 0, 2, 0, 0}, In: make([]byte, 512)}
		h.must(t, c)
		return c.In[:8+binary.BigEndian.Uint32(c.In[4:])]
	}
	keys := ask(0)
	r.generation = binary.BigEndian.Uint32(keys)
	for keys = keys[8:]; len(keys) > 0; keys = keys[8:] {
		r.keys = append(r.keys, binary.BigEndian.Uint64(keys))
	}
	slices.Sort(r.keys)
	if held := ask(1)[8:]; len(held) > 0 {
		r.holder, r.kind = binary.BigEndian.Uint64(held), held[13]&0xf
	}
	return r
}

func (r reservations) String() string {
	return fmt.Sprintf("generation %d, keys %x, held by %x with type %d", r.generation, r.keys, r.holder, r.kind)
}

// After all nodes died at once registrations and a reservation are there, and
// forbid what they forbid, through every node. A RESERVE(6) has gone with its
// session (SPC-2 5.5.1).
func TestReservationsOutliveTheDeathOfAllNodes(t *testing.T) {
	t.Parallel()
	c := clusters.New(t, clusters.Plan{Addresses: neighbourhood(4)})
	v := c.Publish("v", "16M", 2, secondIQN)
	holder := newHost(t, c.Nodes[0], v.IQN, clusters.HostIQN, 1)
	second := newHost(t, c.Nodes[1], v.IQN, clusters.HostIQN, 1) // another path of the same host
	const firstKey, secondKey = 0xa1, 0xa2
	holder.must(t, reserveOut(prRegister, 0, 0, firstKey, true))
	second.must(t, reserveOut(prRegister, 0, 0, secondKey, true))
	holder.must(t, reserveOut(prReserve, typeWriteExclusive, firstKey, 0, false))
	w := c.Publish("w", "16M", 2, secondIQN)
	unit := newHost(t, c.Nodes[0], w.IQN, clusters.HostIQN, 1)
	unit.must(t, &initiator.Command{CDB: []byte{0x16, 0, 0, 0, 0, 0}})
	expectConflict(t, newHost(t, c.Nodes[1], w.IQN, secondIQN, 1), span{0, 1}.write(1))
	before := reserveIn(t, second)
	if !slices.Equal(before.keys, []uint64{firstKey, secondKey}) || before.holder != firstKey || before.kind != typeWriteExclusive {
		t.Fatal(before)
	}
	c.KillAll()
	for _, n := range c.Nodes {
		n.Start()
	}
	c.AwaitInSync("v", time.Minute)
	for _, n := range c.Nodes {
		stranger := newHost(t, n, v.IQN, secondIQN, 2)
		if after := reserveIn(t, stranger); after.String() != before.String() {
			t.Errorf("through %s: %v; before: %v", n.Name, after, before)
		}
		stranger.must(t, span{0, 1}.readCommand())
		expectConflict(t, stranger, span{0, 1}.write(1))
	}
	c.AwaitInSync("w", time.Minute)
	newHost(t, c.Nodes[1], w.IQN, secondIQN, 1).must(t, span{0, 1}.write(2))
	expectConflict(t, second, span{0, 1}.write(2)) // registered only
	holder.must(t, span{0, 1}.write(3))
	if got := reserveIn(t, holder); got.String() != before.String() {
		t.Errorf("at the end: %v", got)
	}
}

func expectConflict(t *testing.T, h *host, c *initiator.Command) {
	t.Helper()
	if err := h.do(t.Context(), c); c.Status != statusConflict {
		t.Errorf("%x through %s: status %#x, %v, want a reservation conflict", c.CDB, h.node.Name, c.Status, err)
	}
}
