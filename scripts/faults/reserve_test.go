//go:build faults

package faults

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"ashlar/scripts/internal/clusters"
	"ashlar/target/nvme"
	"ashlar/target/targettest/initiator"
)

// Service actions and types of PERSISTENT RESERVE OUT (SPC-4 6.16.2, 6.15.3.4).
const (
	prRegister        = 0x00
	prReserve         = 0x01
	prClear           = 0x03
	prPreemptAndAbort = 0x05

	typeWriteExclusive            = 1
	typeExclusiveAccess           = 3
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
	c := clusters.New(t, clusters.Plan{Addresses: neighbourhood()})
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

// A host of one protocol that reserves forbids those of the other what it forbids
// its own, through every node, and also after all nodes died at once.
func TestReservationsOfBothProtocolsOutliveTheDeathOfAllNodes(t *testing.T) {
	t.Parallel()
	c := clusters.New(t, clusters.Plan{Addresses: neighbourhood()})
	nqns := map[string]string{clusters.HostIQN: hostNQN, secondIQN: secondHostNQN}
	v, w := c.Publish("v", "16M", 2, secondIQN), c.Publish("w", "16M", 2, secondIQN)
	publishNVMe(t, c, v, nqns)
	publishNVMe(t, c, w, nqns)
	const scsiKey, nvmeKey = 0xa1, 0xb1
	// v is reserved with SCSI, w with NVMe; both have a registrant of the other kind.
	holderV := newHost(t, c.Nodes[0], v.IQN, clusters.HostIQN, 1)
	holderW := newNVMeHost(t, c.Nodes[1], w, secondHostNQN)
	otherV := newNVMeHost(t, c.Nodes[2], v, secondHostNQN)
	otherW := newHost(t, c.Nodes[2], w.IQN, clusters.HostIQN, 1)
	holderV.must(t, reserveOut(prRegister, 0, 0, scsiKey, true))
	otherV.register(t, nvmeKey)
	holderV.must(t, reserveOut(prReserve, typeExclusiveAccess, scsiKey, 0, false))
	holderW.register(t, nvmeKey)
	otherW.must(t, reserveOut(prRegister, 0, 0, scsiKey, true))
	holderW.reserve(t, nvmeKey, exclusiveAccessNVMe)

	look := func(when string) {
		t.Helper()
		for _, n := range c.Nodes {
			// A SCSI reservation as NVMe's hosts are told of it, and the other way round.
			r := newNVMeHost(t, n, v, hostNQN).report(t)
			if want := map[uint64]bool{scsiKey: true, nvmeKey: false}; r.kind != exclusiveAccessNVMe || !maps.Equal(r.keys, want) {
				t.Errorf("%s, through %s, NVMe is told of v: %+v", when, n.Name, r)
			}
			s := reserveIn(t, newHost(t, n, w.IQN, secondIQN, 2))
			if !slices.Equal(s.keys, []uint64{scsiKey, nvmeKey}) || s.holder != nvmeKey || s.kind != typeExclusiveAccess {
				t.Errorf("%s, through %s, SCSI is told of w: %v", when, n.Name, s)
			}
			// Neither strangers nor those who are registered may read or write.
			for _, op := range []nvme.Opcode{nvme.Read, nvme.Write} {
				expectNVMeConflict(t, newNVMeHost(t, n, v, hostNQN), op)
				expectNVMeConflict(t, newNVMeHost(t, n, v, secondHostNQN), op)
				expectNVMeConflict(t, newNVMeHost(t, n, w, hostNQN), op)
			}
			for _, target := range []string{v.IQN, w.IQN} {
				stranger := newHost(t, n, target, secondIQN, 3)
				expectConflict(t, stranger, span{0, 1}.readCommand())
				expectConflict(t, stranger, span{0, 1}.write(1))
			}
			expectConflict(t, otherW, span{0, 1}.write(1))
			// An NVMe host holds its reservation through every node.
			h := newNVMeHost(t, n, w, secondHostNQN)
			h.must(t, h.command(nvme.Write, 0, make([]byte, lbaBytes)))
		}
		holderV.must(t, span{0, 1}.write(2))
	}
	look("before")
	c.KillAll()
	for _, n := range c.Nodes {
		n.Start()
	}
	c.AwaitInSync("v", time.Minute)
	c.AwaitInSync("w", time.Minute)
	look("after the death of all nodes")

	// Each protocol's registrant takes over from the other one's holder.
	otherW.must(t, reserveOut(prPreemptAndAbort, typeExclusiveAccess, scsiKey, nvmeKey, false))
	expectNVMeConflict(t, holderW, nvme.Write)
	otherW.must(t, span{0, 1}.write(3))
	otherV.preempt(t, nvmeKey, scsiKey, exclusiveAccessNVMe)
	expectConflict(t, holderV, span{0, 1}.write(3))
	otherV.must(t, otherV.command(nvme.Write, 0, make([]byte, lbaBytes)))
}

func expectConflict(t *testing.T, h *host, c *initiator.Command) {
	t.Helper()
	if err := h.do(t.Context(), c); c.Status != statusConflict {
		t.Errorf("%x through %s: status %#x, %v, want a reservation conflict", c.CDB, h.node.Name, c.Status, err)
	}
}
