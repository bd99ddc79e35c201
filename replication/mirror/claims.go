package mirror

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strings"

	"ashlar/replication/wire"
)

// A COMPARE AND WRITE that is carried out twice finds its own work and calls that
// a miscompare. So each that wrote leaves a claim: its data goes to the copies
// together with it, they remember it once they have stored the data, and show it
// to the next head with their promise. DESIGN.md says when a claim is honoured.

const (
	claimLife = 30 * Second
	claimsMax = 1024
)

// claimID is a claim's name: a command that wrote in two segments has two.
type claimID struct {
	command wire.Command
	segment wire.Segment
}

// claim is one as the head knows it.
type claim struct {
	wire.Claim
	born    int64
	pending bool             // its write is not on all copies yet; it holds its lock
	said    [][]wire.Version // by block: those that copies told of, until their tail is settled
}

func (c *claim) id() claimID { return claimID{c.Command, c.Segment} }

// meets says whether the claim is about some of count blocks of a segment.
func meets(c *wire.Claim, s wire.Segment, block, count uint32) bool {
	return c.Segment == s && block < c.Block+uint32(len(c.Versions)) && c.Block < block+count
}

// claims are a head's, oldest first, and the verdicts on commands whose claims
// it may yet learn of.
type claims struct {
	list     []*claim
	byID     map[claimID]*claim
	verdicts map[wire.Command]bool // orphaned?
	judged   []judged              // verdicts in order of coming
}

type judged struct {
	command wire.Command
	at      int64
}

func newClaims() claims {
	return claims{byID: map[claimID]*claim{}, verdicts: map[wire.Command]bool{}}
}

// remember adds a claim. Where that makes it forget another one, a command that
// its portal sends again may have been carried out without anybody's knowing.
func (h *Head) remember(c *claim) {
	t := &h.claims
	if len(t.list) >= claimsMax {
		h.segments[t.list[0].Segment].forgot = h.epoch
		t.remove(t.list[0])
	}
	t.list = append(t.list, c)
	t.byID[c.id()] = c
}

func (t *claims) remove(c *claim) {
	delete(t.byID, c.id())
	t.list = slices.DeleteFunc(t.list, func(o *claim) bool { return o == c })
}

func (t *claims) expire(now int64) {
	for len(t.list) > 0 && now-t.list[0].born > claimLife {
		t.remove(t.list[0])
	}
	for len(t.judged) > 0 && (now-t.judged[0].at > claimLife || len(t.judged) > verdictsMax) {
		delete(t.verdicts, t.judged[0].command)
		t.judged = t.judged[1:]
	}
}

func (t *claims) verdict(now int64, c wire.Command, orphaned bool) {
	if _, known := t.verdicts[c]; !known {
		t.judged = append(t.judged, judged{c, now})
	}
	t.verdicts[c] = orphaned
}

// keyOf is what a repetition of a command by the same host has in common with it.
// The host's name is the initiator's, without the port that each session has
// another of ("iqn...,i,0x...").
func keyOf(op *Op) (k wire.Key) {
	host, _, _ := strings.Cut(op.Nexus.Host, ",i,")
	d := sha256.New()
	var b [24]byte
	binary.BigEndian.PutUint64(b[:], op.Offset)
	binary.BigEndian.PutUint64(b[8:], op.Length)
	binary.BigEndian.PutUint64(b[16:], uint64(len(host)))
	d.Write(b[:])
	d.Write([]byte(host))
	d.Write(op.Data)
	copy(k[:], d.Sum(nil))
	return k
}

// executed says what became of a command that may have been sent before: known
// is false where it was not carried out.
func (h *Head) executed(op *Op) (s wire.Status, known bool) {
	if op.Command.Number == 0 {
		return 0, false
	}
	have, lack, forgot := 0, 0, false
	for p := range h.pieces(op.Offset, op.Length) {
		if h.claims.byID[claimID{op.Command, p.seg.index}] != nil {
			have++
		} else {
			lack++
		}
		forgot = forgot || op.First <= p.seg.forgot
	}
	switch {
	case lack == 0:
		return wire.OK, true
	case have > 0:
		return wire.Busy, true // of two segments a head's death has left one behind
	case op.First != 0 && !h.bugs.ClaimsForgotten && forgot:
		return wire.Busy, true // nobody knows any more
	}
	return 0, false
}

// repeats says whether a command that miscompares is the repetition of one whose
// answer its host never heard, and nobody has written there since. Where the
// first one's portal cannot say what became of its answer, Busy is the answer.
func (h *Head) repeats(op *Op) wire.Status {
	at := 0
	for p := range h.pieces(op.Offset, op.Length) {
		seen := op.versions[at:][:p.count]
		at += int(p.count)
		i := slices.IndexFunc(h.claims.list, func(c *claim) bool {
			return c.Segment == p.seg.index && c.Key == op.key && h.stands(c, seen)
		})
		if i < 0 {
			return wire.Miscompare
		}
		switch c := h.claims.list[i]; {
		case c.Orphaned || h.bugs.ClaimLive:
		case !h.peer(c.Command.Node).connected:
			return wire.Busy
		default:
			return wire.Miscompare // another command: the first one's answer is under way
		}
	}
	return wire.OK
}

// stands says whether what a claim's command wrote is still there.
func (h *Head) stands(c *claim, seen []wire.Version) bool {
	return h.bugs.ClaimChanged || !c.pending && !c.Changed && slices.Equal(c.Versions, seen)
}

// claimsBy are the claims that blocks have by a write which is about to be sent:
// its own, if it is a compare-and-write's, and those of earlier commands that
// wrote elsewhere in the blocks, or that the write does not change. A host's
// write to what a claim is about ends it, which is noted in the flight.
func (h *Head) claimsBy(s *segment, f *flight, block, count uint32, by *Op) (list []wire.Claim) {
	for _, c := range h.claims.list {
		switch {
		case !meets(&c.Claim, s.index, block, count) || c.Changed:
		case by != nil && by.Offset < c.Offset+c.Length && c.Offset < by.Offset+by.Length:
			f.changes = append(f.changes, c)
		default:
			handed := c.Claim
			handed.Versions = slices.Clone(c.Versions)
			for i := range handed.Versions {
				if b := c.Block + uint32(i); b >= block && b < block+count {
					handed.Versions[i] = wire.Version{Epoch: h.epoch, Seq: f.seq}
				}
			}
			list = append(list, handed)
		}
	}
	if by != nil && by.Kind == wire.OpCompareAndWrite && by.Command.Number != 0 && by.Length <= claimBytes {
		c := &claim{born: h.now, pending: true, Claim: wire.Claim{Command: by.Command, Key: by.key, Offset: by.Offset, Length: by.Length,
			Segment: s.index, Block: block, Versions: slices.Repeat([]wire.Version{{Epoch: h.epoch, Seq: f.seq}}, int(count))}}
		h.remember(c)
		list = append(list, c.Claim)
	}
	return list
}

// claimBytes is the longest compare-and-write that has a claim: one piece.
const claimBytes = (pieceBlocks - 1) * wire.BlockSize

// claimed takes over what a write has made of claims, now that its fate is known
// and before anybody else has its blocks.
func (h *Head) claimed(f *flight, stored bool) {
	for i := range f.claims {
		now := &f.claims[i]
		c := h.claims.byID[claimID{now.Command, now.Segment}]
		switch {
		case c == nil: // settled meanwhile
		case stored:
			c.Versions = taken(c.Versions, now, f.block, f.count)
			if c.pending {
				c.pending = false
				h.sentence(c)
			}
		case c.pending:
			h.claims.remove(c)
		}
	}
	for _, c := range f.changes {
		c.Changed = c.Changed || stored
	}
}

// taken is a claim's versions after a write of count blocks: those of other blocks
// another write may have changed meanwhile.
func taken(versions []wire.Version, by *wire.Claim, block, count uint32) []wire.Version {
	versions = slices.Clone(versions)
	for i, v := range by.Versions {
		if b := by.Block + uint32(i); b >= block && b-block < count && i < len(versions) {
			versions[i] = v
		}
	}
	return versions
}

// sentence applies what is known already of a claim that is new here.
func (h *Head) sentence(c *claim) {
	orphaned, known := h.claims.verdicts[c.Command]
	switch {
	case known && !orphaned && !h.bugs.ClaimSettled:
		h.claims.remove(c)
		h.tellClaims(&wire.Claims{Settled: []wire.Command{c.Command}})
	case !c.Orphaned && (known || h.gone(c.Command.Portal)):
		c.Orphaned = true
		h.tellClaims(&wire.Claims{Orphaned: []wire.Command{c.Command}})
	}
}

// Settle takes a portal's verdicts, and has all copies know them.
func (h *Head) Settle(now int64, m *wire.Settle) {
	h.now = now
	if h.deposed {
		return // the portal says it to the next head, too
	}
	var settled, orphaned []wire.Command
	for _, n := range m.Settled {
		settled = append(settled, wire.Command{Portal: m.Portal, Number: n})
	}
	for _, n := range m.Orphaned {
		orphaned = append(orphaned, wire.Command{Portal: m.Portal, Number: n})
	}
	if h.bugs.ClaimSettled {
		settled, orphaned = nil, append(orphaned, settled...)
	}
	for _, c := range settled {
		h.claims.verdict(now, c, false)
	}
	for _, c := range orphaned {
		h.claims.verdict(now, c, true)
	}
	for _, c := range slices.Clone(h.claims.list) {
		if o, known := h.claims.verdicts[c.Command]; o {
			c.Orphaned = true
		} else if known {
			h.claims.remove(c)
		}
	}
	h.tellClaims(&wire.Claims{Settled: settled, Orphaned: orphaned})
}

// orphanGone marks the claims of commands that came in through portals which are gone.
func (h *Head) orphanGone() {
	var orphaned []wire.Command
	for _, c := range h.claims.list {
		if !c.Orphaned && h.gone(c.Command.Portal) {
			c.Orphaned = true
			orphaned = append(orphaned, c.Command)
		}
	}
	if len(orphaned) > 0 {
		h.tellClaims(&wire.Claims{Orphaned: orphaned})
	}
}

// tellClaims sends to all nodes with copies. One that does not hear it remembers
// a claim for longer, which the portal's word, or its end, puts right.
func (h *Head) tellClaims(m *wire.Claims) {
	m.Volume, m.Epoch = h.volume, h.epoch
	for _, n := range h.peerIDs() {
		if p := h.peers[n]; p.connected && p.prepared {
			h.out.Sends = append(h.out.Sends, Send{n, m})
		}
	}
}

// keepClaims has a node that is in a segment's set remember the claims that it
// has not stored itself: it has caught up, or begun anew.
func (h *Head) keepClaims(node wire.NodeID, of func(*segment) bool) {
	m := &wire.Claims{Volume: h.volume, Epoch: h.epoch}
	for _, c := range h.claims.list {
		s := h.segments[c.Segment]
		if k := s.member(node); k != nil && k.InSync && !c.pending && of(s) {
			m.Keep = append(m.Keep, c.Claim)
		}
	}
	if p := h.peer(node); len(m.Keep) > 0 && p.connected && p.prepared {
		h.out.Sends = append(h.out.Sends, Send{node, m})
	}
}

// collect takes the claims that a copy shows with its promise.
func (h *Head) collect(node wire.NodeID, list []wire.Claim) {
	for _, c := range list {
		if int(c.Segment) >= len(h.segments) {
			continue
		}
		if s := h.segments[c.Segment]; s.state == preparing {
			s.shown = append(s.shown, shown{node, c})
		}
	}
}

// shown is a claim as a node has it.
type shown struct {
	node  wire.NodeID
	claim wire.Claim
}

// adopt takes over the claims that in-sync copies have shown: those commands were
// carried out, unless what they wrote turns out to be lost (see lose).
func (h *Head) adopt(s *segment) {
	for i := range s.shown {
		x := &s.shown[i]
		if m := s.member(x.node); m == nil || !m.InSync || s.tails[x.node] == nil {
			continue
		}
		c := h.claims.byID[claimID{x.claim.Command, x.claim.Segment}]
		if c == nil {
			c = &claim{Claim: x.claim, born: h.now, said: make([][]wire.Version, len(x.claim.Versions))}
			c.Versions = slices.Clone(x.claim.Versions)
			h.remember(c)
		}
		c.Orphaned, c.Changed = c.Orphaned || x.claim.Orphaned, c.Changed || x.claim.Changed
		for i, v := range x.claim.Versions {
			if i < len(c.said) {
				c.said[i] = append(c.said[i], v)
				if c.Versions[i].Less(v) {
					c.Versions[i] = v
				}
			}
		}
	}
	s.shown = nil
	for _, m := range s.view.Members {
		if m.InSync && s.tails[m.Node] != nil {
			s.forgot = max(s.forgot, min(h.peer(m.Node).forgot, h.epoch-1))
		}
	}
	for _, c := range slices.Clone(h.claims.list) {
		if c.Segment == s.index {
			h.sentence(c)
		}
	}
}

// lose looks at blocks of a tail that are about to be written again: where a
// claim's data is not there, nor anything later, nobody has seen it, and nobody will.
func (h *Head) lose(s *segment, f *fetch) {
	for _, c := range slices.Clone(h.claims.list) {
		if c.said != nil && meets(&c.Claim, s.index, f.block, f.count) && !c.survives(f) {
			h.claims.remove(c)
			h.tellClaims(&wire.Claims{Settled: []wire.Command{c.Command}})
		}
	}
}

func (c *claim) survives(f *fetch) bool {
	c.Versions = slices.Clone(c.Versions)
	for i, has := range c.Versions {
		b := c.Block + uint32(i)
		if b < f.block || b >= f.block+f.count {
			continue
		}
		switch v := f.versions[b-f.block]; {
		case v == has:
		case slices.Contains(c.said[i], v):
			c.Versions[i] = v
		case has.Less(v):
			c.Changed = true
		default:
			return false
		}
	}
	return true
}
