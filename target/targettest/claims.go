package targettest

import (
	"bytes"
	"strings"

	"ashlar/target"
)

// claim stands for a CompareAndWrite that was carried out and whose answer the
// host has not acknowledged yet: repeated after its session has ended, it must
// not find its own work and call that a miscompare.
type claim struct {
	host     string // the initiator's name, without its port
	at, n    uint64 // bytes
	data     []byte // both halves
	orphaned bool   // its session ended before the host had acknowledged
}

type claims []*claim

// claimsMax bounds what hosts never acknowledge.
const claimsMax = 1024

// claim remembers an operation that was just carried out; dataMu is held. What it
// gives is for Op.Settle.
func (m *memory) claim(op *target.Op, at, n uint64) func(acknowledged bool) {
	if n == 0 {
		return nil
	}
	c := &claim{host: initiator(op.Nexus), at: at, n: n, data: bytes.Clone(op.Data)}
	if m.claims = append(m.claims, c); len(m.claims) > claimsMax {
		m.claims = m.claims[1:]
	}
	return func(acknowledged bool) {
		m.dataMu.Lock()
		defer m.dataMu.Unlock()
		if c.orphaned = !acknowledged; acknowledged {
			m.claims.remove(func(o *claim) bool { return o == c })
		}
	}
}

// repeats says whether an operation is one again whose answer was never heard.
func (l claims) repeats(op *target.Op) bool {
	for _, c := range l {
		if c.orphaned && c.host == initiator(op.Nexus) && bytes.Equal(c.data, op.Data) && c.begins(op) {
			return true
		}
	}
	return false
}

// begins says whether an operation of the same length is for the same range.
func (c *claim) begins(op *target.Op) bool {
	return op.LBA*(c.n/uint64(op.Blocks)) == c.at
}

// end forgets the claims on a range that is written.
func (l *claims) end(at, n uint64) {
	l.remove(func(c *claim) bool { return c.at < at+n && at < c.at+c.n })
}

func (l *claims) remove(match func(*claim) bool) {
	kept := (*l)[:0]
	for _, c := range *l {
		if !match(c) {
			kept = append(kept, c)
		}
	}
	clear((*l)[len(kept):])
	*l = kept
}

// initiator is a nexus's host without its port.
func initiator(n target.Nexus) string {
	name, _, _ := strings.Cut(n.Host, ",i,")
	return name
}
