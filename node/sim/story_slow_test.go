package sim

import (
	"testing"

	"ashlar/replication/wire"
)

// writesFast says whether a host's writes take no longer than they should; where
// they do, the story ends badly.
func (s *story) writesFast(h *host) (broken []string) {
	for range 5 {
		w := s.begin(h, wire.OpWrite, 0)
		if !s.until(250*millisecond, func() bool { return w.ended != 0 }) {
			broken = append(broken, "a slow copy holds writes up")
		}
		s.ends(w)
	}
	return broken
}

// busy has a host write, one thing after the other, for d.
func (s *story) busy(h *host, d int64) {
	for end := s.now + d; s.now < end; s.run(100 * millisecond) {
		s.ends(s.begin(h, wire.OpWrite, 1))
	}
}

func (s *story) inSync() int { return len(s.volume().Segments[0].InSync()) }

// One of two copies is on a disk that takes up to a second, and answers. It
// leaves; writes are fast again, and stay so while it is out; when the disk is well, it comes back.
func slowCopy(t *testing.T, bug string) *Result {
	s := tell(t, 3, 2, bug)
	s.leaderIs(3)
	h := s.host(1)
	s.busy(h, 8*second)
	s.server(2).disk.slow = 1000 * millisecond
	s.busy(h, 20*second)
	broken := s.writesFast(h)
	s.server(2).disk.slow = 0
	if bug == "" && !s.until(40*second, func() bool { return s.inSync() == 2 }) {
		t.Error("it did not come back")
	}
	r := s.verdict()
	r.Violations = append(r.Violations, broken...)
	return r
}

// The head's own disk is slow: its copy leaves, and the head moves to the other.
func slowHead(t *testing.T, bug string) *Result {
	s := tell(t, 3, 2, bug)
	s.leaderIs(3)
	h := s.host(3)
	s.busy(h, 8*second)
	s.server(1).disk.slow = 1000 * millisecond
	s.busy(h, 40*second)
	broken := s.writesFast(h)
	if bug == "" && s.volume().Head != 2 {
		t.Error("the head stayed on the slow disk")
	}
	r := s.verdict()
	r.Violations = append(r.Violations, broken...)
	return r
}

// A copy that is stuck leaves before its hosts are told that the volume is busy.
func stuckCopy(t *testing.T, bug string) *Result {
	s := tell(t, 3, 3, bug)
	s.leaderIs(3)
	h := s.host(1)
	s.busy(h, 8*second)
	s.server(2).disk.slow = 3600 * second
	begun := s.now
	s.write(h, 0)
	if took := s.now - begun; bug == "" && took > 3500*millisecond {
		t.Errorf("a write took %d ms", took/millisecond)
	}
	s.server(2).crash() // or what is in its hands would take an hour
	s.server(2).disk.slow = 0
	s.server(2).start()
	return s.verdict()
}

// The head's own disk keeps a write for long, and leaves: the host has its answer, or is told that the volume
// is busy, while the disk is about to take the data from the memory that the host's command came in.
func answeredBeforeStored(t *testing.T, bug string) *Result {
	s := tell(t, 3, 2, bug)
	s.leaderIs(3)
	h := s.host(1)
	s.busy(h, 8*second)
	s.server(1).disk.slow = 30 * second
	w := s.begin(h, wire.OpWrite, 0)
	s.run(40 * second)
	s.server(1).disk.slow = 0
	s.ends(w)
	return s.verdict()
}

// The unit is reset through the head's own portal while both disks have a write in their hands.
func resetUnderAWrite(t *testing.T, bug string) *Result {
	s := tell(t, 3, 2, bug)
	s.leaderIs(3)
	h := s.host(1)
	s.write(h, 0)
	s.server(1).disk.slow, s.server(2).disk.slow = second, second
	w := s.begin(h, wire.OpWrite, 0)
	s.run(millisecond)
	r := h.paths[0][0].reset()
	s.run(3 * second)
	s.server(1).disk.slow, s.server(2).disk.slow = 0, 0
	s.ends(w)
	if r.done == 0 {
		t.Error("the reset was not answered")
	}
	return s.verdict()
}

// The head's own disk hangs for good, and can promise nothing to another head: its
// copy leaves first.
func stuckHead(t *testing.T, bug string) *Result {
	s := tell(t, 3, 2, bug)
	s.leaderIs(3)
	h := s.host(3)
	s.busy(h, 8*second)
	s.server(1).disk.slow = 3600 * second
	w := s.begin(h, wire.OpWrite, 0)
	if !s.until(8*second, func() bool { return w.ended != 0 }) && bug == "" {
		t.Error("a write waits for a head whose disk hangs")
	}
	if bug == "" {
		s.headIs(2)
		if broken := s.writesFast(h); len(broken) > 0 {
			t.Error(broken)
		}
	}
	s.server(1).kill()
	s.server(1).disk.slow = 0
	s.server(1).start()
	s.ends(w)
	return s.verdict()
}

// A copy comes back and hangs while it catches up: it is not needed, and holds nothing up.
func stuckJoiner(t *testing.T, bug string) *Result {
	s := tell(t, 3, 2, bug)
	s.leaderIs(3)
	h := s.host(1)
	for b := range uint64(8) {
		s.write(h, b)
	}
	s.server(2).kill()
	s.until(10*second, func() bool { return s.inSync() == 1 })
	for b := range uint64(8) {
		s.write(h, b)
	}
	s.server(2).disk.slow = 200 * millisecond
	s.server(2).start()
	if !s.until(5*second, func() bool { return len(s.server(1).process.reign(1).head.Progress()) > 0 }) {
		t.Fatal("nobody catches up")
	}
	s.server(2).disk.slow = 3600 * second
	w := s.begin(h, wire.OpWrite, 0)
	s.until(3500*millisecond, func() bool { return w.ended != 0 })
	r0 := &Result{}
	if s.inSync() == 1 && (w.ended == 0 || w.ended-w.attempts[0] > 3500*millisecond) {
		r0.Violations = append(r0.Violations, "a copy that catches up holds writes up")
	}
	s.server(2).crash()
	s.server(2).disk.slow = 0
	s.server(2).start()
	r := s.verdict()
	r.Violations = append(r.Violations, r0.Violations...)
	return r
}

// All disks are slow alike: nobody leaves.
func slowAll(t *testing.T, bug string) *Result {
	s := tell(t, 3, 3, bug)
	s.leaderIs(3)
	h := s.host(1)
	for _, x := range s.servers {
		x.disk.slow = 1000 * millisecond
	}
	s.busy(h, 40*second)
	if s.inSync() != 3 || len(s.raft.last().Demotions) > 0 {
		t.Errorf("%d copies are in sync: %+v", s.inSync(), s.raft.last().Demotions)
	}
	return s.verdict()
}

var slowStories = []aStory{
	{"a copy on a slow disk", slowCopy, []string{"SlowKept", "DemotedJoins"}},
	{"a head on a slow disk", slowHead, []string{"SlowKept"}},
	{"a copy that is stuck", stuckCopy, nil},
	{"a head whose disk is stuck", stuckHead, nil},
	{"a write that is answered before it is stored", answeredBeforeStored, []string{"ReturnedEarly", "LentForgotten", "FlightReused"}},
	{"a reset under a write that takes long", resetUnderAWrite, []string{"SpentEarly", "RequestReused"}},
	{"a joiner that is stuck", stuckJoiner, []string{"JoinerKept"}},
	{"all are slow alike", slowAll, nil},
}
