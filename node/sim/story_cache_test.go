package sim

import (
	"testing"

	"ashlar/replication/wire"
)

// cachedVolume is a world whose volume has a write cache, with a host that comes in through a node without a copy.
func cachedVolume(t *testing.T, bug string) (*story, *host) { return cachedVolumeOf(t, 3, bug) }

func cachedVolumeOf(t *testing.T, nodes int, bug string) (*story, *host) {
	s := tellOf(t, nodes, volumePlan{segments: 1, copies: 2, cache: true}, bug)
	s.leaderIs(wire.NodeID(nodes))
	h := s.host(3)
	for b := range uint64(segmentBlocks) {
		s.write(h, b)
	}
	s.run(second)
	return s, h
}

// heldWrite is a cachedVolume with a write to block 3 that is in both memories alone.
func heldWrite(t *testing.T, bug string) (*story, *host) {
	s, h := cachedVolume(t, bug)
	s.hold(1)
	s.hold(2)
	s.write(h, 3)
	return s, h
}

// loseMemories ends the processes of both copies before anything of their memories is on disks, and starts them again.
func (s *story) loseMemories() {
	for n := wire.NodeID(1); n <= 2; n++ {
		s.forget(n)
		s.server(n).kill()
		s.release(n)
	}
	s.run(100 * millisecond)
	s.server(1).start()
	s.server(2).start()
	s.until(10*second, func() bool { return s.insync() == 2 })
}

// A copy that is alone in its set answers for what is on its disk.
func aloneWithACache(t *testing.T, bug string) *Result {
	s, h := cachedVolume(t, bug)
	s.server(2).kill()
	s.until(10*second, func() bool { return s.insync() == 1 })
	s.run(second)
	s.hold(1)
	w := s.begin(h, wire.OpWrite, 3)
	s.run(200 * millisecond)
	s.forget(1)
	s.server(1).kill()
	s.release(1)
	s.server(1).start()
	s.server(2).start()
	s.ends(w)
	return s.verdict()
}

// A write is answered long before it is on a disk, and read at once.
func readFromACache(t *testing.T, bug string) *Result {
	s, h := cachedVolume(t, bug)
	s.server(1).disk.slow, s.server(2).disk.slow = 200*millisecond, 200*millisecond
	for b := range uint64(segmentBlocks) {
		began := s.now
		if s.write(h, b); s.now-began > 20*millisecond {
			s.Fatalf("a write to memory took %d ms", (s.now-began)/millisecond)
		}
		s.read(h, b)
	}
	return s.verdict()
}

// A copy has a write in memory only when a second has gone by, and loses it; its head is gone, too.
func commitOfACache(t *testing.T, bug string) *Result {
	s, h := cachedVolume(t, bug)
	s.hold(2)
	s.write(h, 3)
	s.run(1950 * millisecond) // its node is complained of after two seconds
	s.forget(2)
	s.server(2).kill()
	s.server(1).kill()
	s.release(2)
	s.run(100 * millisecond)
	s.server(1).start()
	s.server(2).start()
	s.until(10*second, func() bool { return s.insync() == 2 })
	return s.verdict()
}

// A FLUSH is under way when all memories are lost.
func lostUnderFlush(t *testing.T, bug string) *Result {
	s, h := heldWrite(t, bug)
	f := s.beginOf(h, wire.OpFlush, 0, 0)
	s.run(100 * millisecond)
	s.loseMemories()
	s.ends(f)
	return s.verdict()
}

// A FLUSH comes when all memories were lost, on a session from before; it is told so. On one from after it is not.
func lostBeforeFlush(t *testing.T, bug string) *Result {
	s, h := heldWrite(t, bug)
	s.loseMemories()
	for range 2 {
		if f := s.ends(s.beginOf(h, wire.OpFlush, 0, 0)); bug == "" && f.status != wire.CacheLost {
			s.Fatalf("a FLUSH after the loss ends with %v", f.status)
		}
	}
	if f := s.ends(s.beginOf(s.host(3), wire.OpFlush, 0, 0)); f.status != wire.OK {
		s.Fatalf("a FLUSH of a later session ends with %v", f.status)
	}
	return s.verdict()
}

// One of two begins anew, and then the other is gone for good.
func oneMemoryAfterTheOther(t *testing.T, bug string) *Result {
	s, h := heldWrite(t, bug)
	s.forget(2)
	s.server(2).kill()
	s.release(2)
	s.server(2).start()
	s.run(50 * millisecond)
	s.forget(1)
	s.server(1).crash()
	s.release(1)
	s.until(20*second, func() bool { return s.volume().Head == 2 })
	f := s.ends(s.beginOf(h, wire.OpFlush, 0, 0))
	if v := s.volume(); bug == "" && (f.status == wire.CacheLost) != (v.Losses > 0) {
		s.Fatalf("the FLUSH ends with %v, losses: %d", f.status, v.Losses)
	}
	return s.verdict()
}

// A new head has one copy's tail to write to the other when it is asked to FLUSH; then it is gone with its copy.
func flushBeforeSettled(t *testing.T, bug string) *Result {
	s, h := cachedVolume(t, bug)
	s.hold(1)
	w := s.write(h, 3)
	s.run(100 * millisecond)
	s.forget(1)
	s.server(1).kill()
	s.release(1)
	s.server(2).disk.slow = 600 * millisecond
	s.server(1).start()
	s.run(50 * millisecond)
	s.ends(s.beginOf(h, wire.OpFlush, 0, 0))
	s.server(2).crash()
	s.until(20*second, func() bool { return s.volume().Head == 1 })
	if got := s.read(h, 3); bug == "" && got != w.tag {
		s.Fatalf("%d was flushed, and %d is read", w.tag, got)
	}
	return s.verdict()
}

// A copy begins anew, and its disk is found late: its node is asked for what it lacks.
func readOfOneThatForgot(t *testing.T, bug string) *Result {
	s, h := cachedVolumeOf(t, 5, bug)
	s.moveHeadTo(3)
	s.run(2 * second)
	s.hold(1)
	s.write(h, 3)
	s.forget(1)
	s.server(1).kill()
	s.release(1)
	d := s.server(1).disk
	d.missing = true
	s.server(1).start()
	s.run(200 * millisecond)
	s.server(1).find(d)
	s.run(5 * millisecond)
	s.read(h, 3)
	return s.verdict()
}

// Two writes to one block are under way when the sessions of the head end: the copies have the newer one already
// when they are sent the older one again.
func sentAgainInOrder(t *testing.T, bug string) *Result {
	s, h := heldWrite(t, bug)
	s.begin(h, wire.OpWrite, 3)
	s.run(20 * millisecond)
	s.resetSessions(1)
	s.release(1)
	s.release(2)
	s.finish(1)
	s.finish(2)
	gen := s.volume().Segments[0].Gen
	s.run(5 * second)
	if bug == "" && s.volume().Segments[0].Gen != gen {
		s.Fatalf("a copy left its set because a session ended")
	}
	return s.verdict()
}

// resetSessions ends those of a node with the two that have copies.
func (s *story) resetSessions(n wire.NodeID) {
	conns, sides := s.net.of(s.server(n).at)
	for i, c := range conns {
		if o := c.ends[1-sides[i]].at; o == s.server(1).at || o == s.server(2).at {
			c.fail(sides[i])
		}
	}
}

var cacheStories = []aStory{
	{"alone with a write cache", aloneWithACache, []string{"CacheAlone"}},
	{"read from a write cache", readFromACache, []string{"CacheOvertaken"}},
	{"a commit point and a write cache", commitOfACache, []string{"CommitHeld"}},
	{"a write cache lost under a FLUSH", lostUnderFlush, []string{"FlushNothing"}},
	{"a write cache lost before a FLUSH", lostBeforeFlush, []string{"LossUntold", "LossUncounted"}},
	{"a FLUSH before a tail is settled", flushBeforeSettled, []string{"FlushUnsettled"}},
	{"a read of a copy that has forgotten", readOfOneThatForgot, []string{"CacheOvertaken"}},
	{"writes of one block sent again", sentAgainInOrder, nil},
	{"one memory lost after the other", oneMemoryAfterTheOther, nil},
}
