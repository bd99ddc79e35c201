package sim

import (
	"testing"

	"ashlar/node/cluster"
	"ashlar/replication/wire"
)

func (s *story) drainDiskOf(n wire.NodeID, drained bool) {
	s.orderOf(cluster.Command{SetDiskDrained: &cluster.SetDiskDrained{Disk: s.server(n).diskID, Drained: drained}})
}

// has says whether a node has a copy of segment 0 by the cluster's word, in sync or not.
func (s *story) has(n wire.NodeID) bool { return s.volume().Segments[0].On(n) != nil }

// The disk with one of two copies is drained while a host writes: the copy that
// takes its place holds all that was written before and meanwhile.
func drainedDisk(t *testing.T, bug string) *Result {
	s := tell(t, 3, 2, bug)
	h := s.host(3)
	for b := range uint64(4) {
		s.write(h, b)
	}
	s.drainDiskOf(2, true)
	moved := func() bool { return !s.has(2) }
	for b := uint64(0); b < 40 && !moved(); b++ {
		s.write(h, b%4)
	}
	if !s.until(20*second, moved) && bug == "" {
		t.Error("the copy stays on the drained disk")
	}
	s.read(h, 1)
	s.server(1).crash() // what is left has to be enough
	s.headIs(3)
	s.read(h, 1)
	s.server(1).start()
	s.drainDiskOf(2, false)
	return s.verdict()
}

// The disk of the head's own copy is drained: the head follows its copies.
func drainedDiskOfHead(t *testing.T, bug string) *Result {
	s := tell(t, 3, 2, bug)
	h := s.host(3)
	s.write(h, 0)
	was := s.volume().Head
	s.drainDiskOf(was, true)
	if !s.until(20*second, func() bool { return !s.has(was) && s.volume().Head != was }) && bug == "" {
		t.Errorf("the head is node %d, and its copy is there: %v", s.volume().Head, s.has(was))
	}
	s.write(h, 0)
	s.drainDiskOf(was, false)
	return s.verdict()
}

// A head that hears late what is agreed writes to a copy that has gone: nobody
// is thrown out for that.
func movedBehindTheHead(t *testing.T, bug string) *Result {
	s := tell(t, 3, 2, bug)
	s.leaderIs(3)
	h := s.host(1)
	s.write(h, 0)
	s.drainDiskOf(2, true)
	s.until(20*second, func() bool { return len(s.volume().Segments[0].InSync()) == 3 })
	s.server(1).deaf = true
	s.until(20*second, func() bool { return !s.has(2) })
	w := s.begin(h, wire.OpWrite, 0)
	s.run(150 * millisecond)
	s.server(1).deaf = false
	s.ends(w)
	if n := s.inSync(); n != 2 && bug == "" {
		t.Errorf("%d copies are in sync", n)
	}
	s.drainDiskOf(2, false)
	return s.verdict()
}

// All copies leave a head's node, and the head follows them. The old one hears of none of
// it, and its copy obeys it still: what it answers a host must not be old.
func movedAwayFromTheHead(t *testing.T, bug string) *Result {
	s := tell(t, 3, 2, bug)
	s.leaderIs(3)
	near, far := s.host(1), s.host(3)
	s.write(near, 0)
	s.drainDiskOf(1, true)
	s.until(20*second, func() bool { return len(s.volume().Segments[0].InSync()) == 3 })
	s.server(1).deaf = true
	s.until(20*second, func() bool { return !s.has(1) && s.volume().Head != 1 })
	s.write(far, 0)
	r := s.begin(near, wire.OpRead, 0)
	s.run(second)
	s.server(1).deaf = false
	s.ends(r)
	s.drainDiskOf(1, false)
	return s.verdict()
}

var moveStories = []aStory{
	{"a drained disk", drainedDisk, []string{"MovedEarly"}},
	{"a drained disk of the head", drainedDiskOfHead, nil},
	{"a head whose copies have all gone", movedAwayFromTheHead, []string{"FormerForgotten"}},
	{"a copy that goes before its head knows", movedBehindTheHead, nil},
}
