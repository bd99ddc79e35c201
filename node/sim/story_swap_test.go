package sim

import (
	"testing"

	"ashlar/replication/wire"
)

// swap begins a comparison with what an operation wrote, of the same block.
func (s *story) swap(h *host, after *operation) *operation {
	s.lastTag++
	op := &operation{volume: 1, kind: wire.OpCompareAndWrite, offset: after.offset, length: after.length, tag: s.lastTag, expected: after.tag, then: func() {}}
	h.start(op)
	return op
}

// twin begins the same over a host's other path.
func (s *story) twin(op *operation) *operation {
	op.h.startTwin(op)
	return op.twin
}

func (s *story) want(op *operation, status wire.Status) {
	s.Helper()
	if s.ends(op); s.bugs == (Planted{}) && op.status != status {
		s.Errorf("%v, want %v", op, status)
	}
}

// unheard is a comparison by a host at node 3 that is carried out by the head on
// node 1, which cannot say so.
func (s *story) unheard(h *host, w *operation) *operation {
	s.net.sever(s.server(1).at, s.server(3).at)
	op := s.swap(h, w)
	s.until(second, func() bool { return s.holds(cell{1, 0}) == op.tag })
	s.run(100 * millisecond)
	return op
}

// A comparison is carried out, and its head dies before its portal hears of it.
func answerLostWithHead(t *testing.T, bug string) *Result {
	s := tell(t, 3, 2, bug)
	s.leaderIs(2)
	h := s.host(3)
	w := s.write(h, 0)
	op := s.unheard(h, w)
	s.server(1).crash()
	s.headIs(2)
	s.mend(1, 3)
	s.want(op, wire.OK)
	s.server(1).start()
	return s.verdict()
}

// A comparison is carried out, and before its portal hears of it both copies' nodes
// begin anew: nobody knows any more, so nobody may say that it was not.
func rememberedByNobody(t *testing.T, bug string) *Result {
	s := tell(t, 3, 2, bug)
	s.leaderIs(3)
	h := s.host(3)
	w := s.write(h, 0)
	op := s.unheard(h, w)
	s.server(1).kill()
	s.server(2).kill()
	s.mend(1, 3)
	s.server(1).start()
	s.server(2).start()
	s.ends(op)
	return s.verdict()
}

// A host never hears that its comparison was carried out, and repeats it over its
// other path when it has given the first up.
func answerLostWithPath(t *testing.T, bug string) *Result {
	s := tell(t, 3, 2, bug)
	s.leaderIs(3)
	h := s.host(2, 3)
	w := s.write(h, 0)
	s.net.sever(s.server(2).at, h.at)
	op := s.swap(h, w)
	s.want(op, wire.OK)
	if len(op.attempts) < 2 {
		t.Error("it was not repeated")
	}
	return s.verdict()
}

// The same, and meanwhile another host has written there.
func overwrittenMeanwhile(t *testing.T, bug string) *Result {
	s := tell(t, 3, 2, bug)
	s.leaderIs(3)
	h, other := s.host(2, 3), s.host(3)
	w := s.write(h, 0)
	s.net.sever(s.server(2).at, h.at)
	op := s.swap(h, w)
	s.until(second, func() bool { return s.holds(cell{1, 0}) == op.tag })
	s.want(s.swap(other, op), wire.OK)
	s.want(op, wire.Miscompare)
	return s.verdict()
}

// Two processes of a host ask for the same, the second when the first answer has
// arrived and the host's word of that has not.
func twoProcesses(t *testing.T, bug string) *Result {
	s := tell(t, 3, 2, bug)
	h := s.host(2, 3)
	op := s.swap(h, s.write(h, 0))
	s.net.link(h.at, s.server(2).at).slow = second
	s.want(op, wire.OK)
	s.want(s.twin(op), wire.Miscompare)
	return s.verdict()
}

// The same, when it has.
func twoProcessesInTurn(t *testing.T, bug string) *Result {
	s := tell(t, 3, 2, bug)
	h := s.host(2, 3)
	op := s.swap(h, s.write(h, 0))
	s.want(op, wire.OK)
	s.run(second)
	s.want(s.twin(op), wire.Miscompare)
	return s.verdict()
}

// A portal without a session with the head holds a write while another host resets
// the unit, and has a session again when that is long answered.
func resetOfWhatIsHeld(t *testing.T, bug string) *Result {
	s := tell(t, 3, 2, bug)
	s.leaderIs(2)
	h, other := s.host(3), s.host(1)
	s.write(h, 0)
	s.net.sever(s.server(3).at, s.server(1).at)
	s.net.reset(s.server(3).process.out[1].c)
	s.begin(h, wire.OpWrite, 0)
	s.run(100 * millisecond)
	r := other.paths[0][0].reset()
	s.run(3200 * millisecond)
	s.read(other, 0)
	if d := r.done - r.began; r.done == 0 || d >= 4*second {
		t.Errorf("the reset was answered after %d ms", d/millisecond)
	}
	s.net.mend(s.server(3).at, s.server(1).at)
	s.run(second)
	return s.verdict()
}

// A portal is cut off from the head with a write that it holds. The unit is reset
// without its answer, and it is back before it has given the write up.
func resetUnheard(t *testing.T, bug string) *Result {
	s := tell(t, 3, 2, bug)
	s.leaderIs(2)
	h, other := s.host(3), s.host(1)
	s.write(h, 0)
	s.cut(1, 3)
	s.net.reset(s.server(3).process.out[1].c)
	s.net.reset(s.server(1).process.out[3].c)
	s.run(100 * millisecond)
	s.begin(h, wire.OpWrite, 0)
	s.run(10 * millisecond)
	r := other.paths[0][0].reset()
	s.until(4*second, func() bool { return r.done != 0 })
	s.run(millisecond)
	s.read(other, 0)
	s.run(200 * millisecond) // the head has told it once more, in vain
	s.mend(1, 3)
	s.run(700 * millisecond)
	return s.verdict()
}

// The head holds a write until there are copies enough, and the node dies through which it came. The unit is reset, and
// then there are.
func resetAfterThePortalsDeath(t *testing.T, bug string) *Result {
	s := tell(t, 5, 3, bug)
	s.leaderIs(5)
	h, other := s.host(4), s.host(1)
	s.write(h, 0)
	s.server(2).kill()
	s.server(3).kill()
	s.until(3*second, func() bool { return s.insync() == 1 })
	s.hold(2)
	s.server(2).start()
	s.until(second, func() bool { return s.raft.last().Nodes[2].Up })
	s.begin(h, wire.OpWrite, 0)
	s.run(20 * millisecond)
	s.server(4).kill()
	s.until(second, func() bool { return !s.raft.last().Nodes[4].Up })
	s.run(100 * millisecond) // until the head knows
	r := other.paths[0][0].reset()
	s.until(3*second, func() bool { return r.done != 0 })
	s.run(millisecond)
	s.read(other, 0)
	s.release(2)
	s.finish(2)
	if !s.until(second, func() bool { return s.insync() == 2 }) {
		t.Error("the copy is not back in time")
	}
	s.run(100 * millisecond)
	s.read(other, 0)
	return s.verdict()
}

// A copy's node stands still with a write on its way to it. The unit is reset
// meanwhile, through the head's node and through another, and the node goes on.
func resetWhileACopyStandsStill(t *testing.T, bug string) *Result {
	s := tell(t, 4, 2, bug)
	s.leaderIs(4)
	h, other := s.host(3), s.host(1)
	s.write(h, 0)
	s.server(2).pause()
	first := s.begin(h, wire.OpWrite, 0)
	s.run(50 * millisecond)
	for _, x := range []*path{other.paths[0][0], h.paths[0][0]} {
		r := x.reset()
		if !s.until(4*second, func() bool { return r.done != 0 }) {
			t.Errorf("a reset was not answered in time")
		}
		t.Logf("answered after %d ms", (r.done-r.began)/millisecond)
	}
	s.server(2).resume()
	s.ends(first)
	return s.verdict()
}

// The head stands still, with a write on its way, while the unit is reset: the next
// head says when that holds.
func resetWhileTheHeadStandsStill(t *testing.T, bug string) *Result {
	s := tell(t, 4, 2, bug)
	s.leaderIs(4)
	h, other := s.host(3), s.host(4)
	s.write(h, 0)
	first := s.begin(h, wire.OpWrite, 0)
	s.server(1).pause()
	s.run(50 * millisecond)
	r := other.paths[0][0].reset()
	if !s.until(4*second, func() bool { return r.done != 0 }) {
		t.Errorf("the reset was not answered in time")
	}
	t.Logf("answered after %d ms", (r.done-r.began)/millisecond)
	s.read(other, 0)
	s.server(1).resume()
	s.ends(first)
	return s.verdict()
}

var swapStories = []aStory{
	{"a comparison whose head dies", answerLostWithHead, []string{"ClaimsKept"}},
	{"a comparison that nobody remembers", rememberedByNobody, []string{"ClaimsForgotten"}},
	{"a comparison whose answer is lost", answerLostWithPath, nil},
	{"a comparison that comes again too late", overwrittenMeanwhile, []string{"ClaimChanged"}},
	{"two processes that ask for the same", twoProcesses, []string{"ClaimLive"}},
	{"two processes that ask for the same in turn", twoProcessesInTurn, []string{"ClaimSettled"}},
	{"a reset of what a portal holds", resetOfWhatIsHeld, []string{"ClearNothing"}},
	{"a reset that a portal does not hear of", resetUnheard, []string{"AwaitsNothing"}},
	{"a reset after the death of a portal", resetAfterThePortalsDeath, []string{"FenceSparesDead"}},
	{"a reset while a copy stands still", resetWhileACopyStandsStill, nil},
	{"a reset while the head stands still", resetWhileTheHeadStandsStill, nil},
}
