package sim

import (
	"slices"
	"testing"

	"ashlar/node/cluster"
	"ashlar/replication/wire"
)

// story is a world without chance faults, in which a test says what happens.
type story struct {
	*world
	*testing.T
}

// tell begins a story with nodes that all vote and one volume, whose head is
// node 1 and whose other copies are on the nodes after it.
func tell(t *testing.T, nodes, copies int, bug string) *story {
	return tellOf(t, nodes, volumePlan{segments: 1, copies: copies}, bug)
}

// tellOf is the same with a volume of several segments.
func tellOf(t *testing.T, nodes int, v volumePlan, bug string) *story {
	p, ok := Plant(bug)
	if !ok {
		t.Fatalf("no bug is named %q", bug)
	}
	s := &story{newWorld(Options{Seed: 1, Planted: p, Trace: testing.Verbose()}, nodes, nodes, 0, 0, []volumePlan{v}), t}
	s.working = true
	s.run(3 * second)
	return s
}

// host logs in through the portals of some nodes; it uses the first while that works.
func (s *story) host(nodes ...wire.NodeID) *host {
	h := &host{w: s.world, name: string(rune('a' + len(s.hosts))), at: place(len(s.servers) + len(s.hosts)), known: map[cell]tag{}}
	var paths []*path
	for _, n := range nodes {
		x := &path{h: h, volume: 1, s: s.server(n), waiting: map[int]*operation{}}
		paths = append(paths, x)
		x.connect()
	}
	h.paths = [][]*path{paths}
	s.hosts = append(s.hosts, h)
	s.until(5*second, func() bool { return paths[len(paths)-1].up })
	return h
}

func (s *story) begin(h *host, kind wire.OpKind, block uint64) *operation {
	return s.beginOf(h, kind, block, 1)
}

func (s *story) beginOf(h *host, kind wire.OpKind, block, blocks uint64) *operation {
	s.lastTag++
	op := &operation{volume: 1, kind: kind, offset: block * wire.BlockSize, length: blocks * wire.BlockSize, tag: s.lastTag, then: func() {}}
	if kind == wire.OpZero {
		op.tag = 0
	}
	h.start(op)
	return op
}

func (s *story) ends(op *operation) *operation {
	s.Helper()
	defer s.run(microsecond) // or the next one might seem to begin before
	if !s.until(30*second, func() bool { return op.ended != 0 }) {
		s.Fatalf("no end: %v", op)
	}
	return op
}

func (s *story) write(h *host, block uint64) *operation {
	s.Helper()
	return s.ends(s.begin(h, wire.OpWrite, block))
}
func (s *story) read(h *host, block uint64) tag {
	s.Helper()
	return s.ends(s.begin(h, wire.OpRead, block)).read[0]
}

func (s *story) cut(a, b wire.NodeID) {
	s.net.sever(s.server(a).at, s.server(b).at)
	s.net.sever(s.server(b).at, s.server(a).at)
}

func (s *story) mend(a, b wire.NodeID) {
	s.net.mend(s.server(a).at, s.server(b).at)
	s.net.mend(s.server(b).at, s.server(a).at)
}

func (s *story) volume() *cluster.Volume { return s.raft.last().Volumes[1] }

func (s *story) orderOf(c cluster.Command) {
	p := s.server(s.raft.leader).process
	p.run(fromControl, func() { p.propose(c, func(cluster.Result) {}) })
}

// headIs waits until a node is the head.
func (s *story) headIs(n wire.NodeID) {
	s.Helper()
	if !s.until(10*second, func() bool { return s.volume().Head == n }) {
		s.Fatalf("the head is node %d, not %d", s.volume().Head, n)
	}
}

func (s *story) moveHeadTo(n wire.NodeID) {
	s.Helper()
	s.orderOf(cluster.Command{MoveHead: &cluster.MoveHead{Volume: 1, Epoch: s.volume().Epoch, To: n}})
	s.headIs(n)
}

// leaderIs has the cluster led by a node.
func (s *story) leaderIs(n wire.NodeID) {
	if s.raft.leader != n {
		if p := s.server(s.raft.leader).process; s.raft.leader != 0 && p != nil {
			p.planner = nil
		}
		s.raft.leader = n
		s.raft.term++
		p := s.server(n).process
		p.run(fromControl, func() { p.lead(s.raft.term) })
	}
	s.run(2 * second) // until all know
}

// verdict ends all faults and says whether all is well.
func (s *story) verdict() *Result {
	r := &Result{}
	s.working = false
	s.heal()
	s.settle()
	s.judge(r)
	s.report(r)
	if s.trace != nil && r.Bad() == (s.bugs == Planted{}) {
		s.Log(s.trace)
	}
	return r
}

// aStory is told once as the protocol is, which must end well, and once with
// each remedy left out that it shows the need of.
type aStory struct {
	name string
	tell func(t *testing.T, bug string) *Result
	bugs []string
}

// A head that has not heard that it is one no more, cut off from the new one,
// whose lease holds: it must not answer from its own copy once that has left the set.
func lateNews(t *testing.T, bug string) *Result {
	s := tell(t, 3, 2, bug)
	s.leaderIs(3)
	near, far := s.host(1), s.host(2)
	s.write(near, 0)
	s.server(1).deaf = true
	s.cut(1, 2)
	s.moveHeadTo(2)
	w := s.begin(far, wire.OpWrite, 0)
	s.until(8*second, func() bool { return w.ended != 0 })
	s.run(microsecond)
	r := s.begin(near, wire.OpRead, 0)
	s.run(second)
	s.server(1).deaf = false
	s.mend(1, 2)
	s.ends(w)
	s.ends(r)
	return s.verdict()
}

// A write reaches one copy of three and its head dies. Whatever the next head
// answers of it must be true of the heads after it, too.
func threeHeads(t *testing.T, bug string) *Result {
	s := tell(t, 5, 3, bug)
	s.leaderIs(5)
	here, there := s.host(1), s.host(4)
	s.write(there, 0)
	s.cut(1, 3)
	s.server(1).disk.slow = 3600 * second
	w := s.begin(here, wire.OpWrite, 0)
	s.run(50 * millisecond)
	s.server(1).crash()
	s.until(10*second, func() bool { return s.volume().Head > 1 })
	for range 2 {
		s.read(there, 0)
		s.moveHeadTo(5 - s.volume().Head) // 2 and 3
		s.read(there, 0)
	}
	s.server(1).disk.slow = 0
	s.mend(1, 3)
	s.server(1).start()
	s.ends(w)
	return s.verdict()
}

// Both copies are gone at once, and one is back: it holds all, and serves alone.
func oneOfTwoBack(t *testing.T, bug string) *Result {
	s := tell(t, 5, 2, bug)
	s.leaderIs(5)
	h := s.host(3, 4)
	w := s.write(h, 0)
	s.server(1).crash()
	s.server(2).crash()
	s.run(5 * second)
	if len(s.volume().Segments[0].InSync()) == 0 {
		t.Fatal("the set was emptied")
	}
	s.server(2).start()
	if got := s.read(h, 0); got != w.tag {
		t.Errorf("read %d, not %d", got, w.tag)
	}
	s.write(h, 0)
	s.server(1).start()
	return s.verdict()
}

// The copy that went first is back, the one with the later writes is not: what
// was acknowledged is not there, so nothing is served.
func lastCopyStays(t *testing.T, bug string) *Result {
	s := tell(t, 5, 2, bug)
	s.leaderIs(5)
	h := s.host(3, 4)
	s.server(1).crash()
	s.headIs(2)
	w := s.write(h, 0)
	s.server(2).crash()
	s.run(4 * second)
	s.server(1).start()
	r := s.begin(h, wire.OpRead, 0)
	s.run(10 * second)
	if bug == "" && (r.ended != 0 || s.volume().Head != 0) {
		t.Error("a copy without the last write served")
	}
	s.server(2).start()
	if s.ends(r); bug == "" && r.read[0] != w.tag {
		t.Errorf("read %d, not %d", r.read[0], w.tag)
	}
	return s.verdict()
}

// All nodes lose power with writes under way.
func allAtOnce(t *testing.T, bug string) *Result {
	s := tell(t, 3, 3, bug)
	h := s.host(1, 2)
	var last *operation
	for b := range uint64(8) {
		s.write(h, b)
		last = s.begin(h, wire.OpWrite, b)
	}
	for _, x := range s.servers {
		x.crash()
	}
	s.run(2 * second)
	for _, x := range s.servers {
		x.start()
	}
	s.ends(last)
	return s.verdict()
}

// A portal stands still with a write in its buffers. Its host goes on through
// another and writes again; the old bytes must not come after that.
func oldBytes(t *testing.T, bug string) *Result {
	s := tell(t, 3, 2, bug)
	h := s.host(2, 3)
	s.server(2).pause()
	s.begin(h, wire.OpWrite, 0)
	s.run(6 * second)
	s.write(h, 0)
	s.server(2).resume()
	s.run(2 * second)
	return s.verdict()
}

// A host that goes on with another path the moment that one breaks. What it sent
// before hangs in the network between portal and head, for longer than a token lives.
func atOnce(t *testing.T, bug string) *Result {
	s := tell(t, 3, 2, bug)
	s.leaderIs(3)
	h := s.host(2, 3)
	h.hasty = true
	s.net.sever(s.server(2).at, s.server(1).at)
	first := s.begin(h, wire.OpWrite, 0)
	s.run(50 * millisecond)
	s.net.reset(h.paths[0][0].c)
	s.ends(first)
	h.paths[0] = h.paths[0][1:]
	s.write(h, 0)
	s.run(1200 * millisecond)
	s.net.mend(s.server(2).at, s.server(1).at)
	s.run(2 * second)
	return s.verdict()
}

// A portal answers Busy to what it has sent with a young token a moment before: that is under way for
// longer, and comes to the head when the host has carried it out through another portal, and gone on.
func busyUnderWay(t *testing.T, bug string) *Result {
	s := tell(t, 3, 2, bug)
	s.leaderIs(2)
	h := s.host(3, 2)
	portal, head := s.server(3).at, s.server(1).at
	s.net.sever(portal, head)
	first := s.begin(h, wire.OpWrite, 0)
	s.run(3300 * millisecond)
	s.net.sever(head, portal)
	s.net.mend(portal, head)
	s.run(10 * millisecond) // the head refuses it: it is old
	s.net.sever(portal, head)
	s.net.mend(head, portal)
	s.until(second, func() bool { return len(first.resent) > 0 })
	h.paths[0] = h.paths[0][1:] // it turns to the other once that one has answered
	s.until(second, func() bool { return len(first.attempts) > 1 })
	s.ends(first)
	s.write(h, 0)
	s.net.mend(portal, head)
	s.run(2 * second)
	return s.verdict()
}

// A copy catches up and its node dies in the midst of it: what was on its way
// there is not taken for copied.
func halfCopied(t *testing.T, bug string) *Result {
	s := tell(t, 3, 2, bug)
	s.leaderIs(3)
	h := s.host(1, 3)
	s.server(2).crash()
	s.run(4 * second)
	for b := range uint64(8) {
		s.write(h, b)
	}
	s.server(2).start()
	s.until(10*second, func() bool {
		copying := s.server(1).process.reign(1).head.Progress()
		return len(copying) > 0 && len(s.server(2).disk.pending) > 1
	})
	s.server(2).disk.pending[0].done = true // it is lost
	s.server(2).kill()
	s.server(2).start() // at once, so that nobody hears that it was dead
	return s.verdict()
}

// The one copy that has the tail of a dead head's writes leaves its set before
// the next head has read it: the write was never acknowledged, and the volume goes on.
func tailGone(t *testing.T, bug string) *Result {
	s := tell(t, 5, 3, bug)
	s.leaderIs(5)
	here, there := s.host(1), s.host(4)
	s.write(there, 0)
	s.cut(1, 2)
	s.server(1).disk.slow = 3600 * second
	s.begin(here, wire.OpWrite, 0)
	s.run(50 * millisecond)
	s.server(1).crash()
	holder := s.server(3)
	s.until(10*second, func() bool { return holder.disk.promises[1] == 2 })
	holder.disk.slow = 3600 * second // it has told of its tail, and is asked for the data
	s.run(10 * millisecond)
	holder.crash()
	s.server(1).disk.slow, holder.disk.slow = 0, 0
	s.until(10*second, func() bool { return len(s.volume().Segments[0].InSync()) == 1 })
	r := s.begin(there, wire.OpRead, 0)
	s.until(10*second, func() bool { return r.ended != 0 })
	if bug == "" && r.ended == 0 {
		t.Error("the block is not served")
	}
	end := s.verdict()
	if r.ended == 0 || r.ended > s.now-60*second && bug != "" {
		end.Stuck++
	}
	return end
}

// A head that is cut off from all nodes, but not from its hosts.
func cutOff(t *testing.T, bug string) *Result {
	s := tell(t, 3, 2, bug)
	s.leaderIs(3)
	near, far := s.host(1), s.host(2)
	s.write(near, 0)
	s.cut(1, 2)
	s.cut(1, 3)
	s.headIs(2)
	s.write(far, 0)
	r := s.begin(near, wire.OpRead, 0)
	s.run(100 * millisecond)
	s.mend(1, 2)
	s.mend(1, 3)
	s.ends(r)
	return s.verdict()
}

// The leader does not hear a head whom another voter still grants its lease.
func heardByOne(t *testing.T, bug string) *Result {
	s := tell(t, 3, 2, bug)
	s.leaderIs(3)
	near, far := s.host(1), s.host(2)
	s.write(near, 0)
	s.cut(1, 3)
	s.run(1500 * millisecond)
	s.cut(1, 2)
	w := s.begin(far, wire.OpWrite, 0)
	s.ends(w)
	r := s.begin(near, wire.OpRead, 0)
	s.run(millisecond)
	s.mend(1, 3)
	s.mend(1, 2)
	s.ends(r)
	return s.verdict()
}

// A write is on its head's own copy only when the head dies. The copy is back
// when others have gone on without that write, and must not keep it.
func ownTail(t *testing.T, bug string) *Result {
	s := tell(t, 3, 2, bug)
	s.leaderIs(3)
	h := s.host(1)
	s.write(h, 0)
	s.run(500 * millisecond)
	s.cut(1, 2)
	s.begin(h, wire.OpWrite, 0)
	s.run(50 * millisecond)
	s.net.sever(h.at, s.server(1).at) // the host does not write it again
	s.server(1).crash()
	s.headIs(2)
	s.mend(1, 2)
	s.server(1).start()
	s.until(10*second, func() bool { return len(s.volume().Segments[0].InSync()) == 2 })
	s.run(second)
	differing := s.differing()
	r := s.verdict()
	r.Differing += differing
	return r
}

// A voter dies right after it granted a lease, and is back before that ends.
func voterBack(t *testing.T, bug string) *Result {
	s := tell(t, 3, 2, bug)
	s.leaderIs(3)
	near, far := s.host(1), s.host(3)
	s.write(near, 0)
	s.cut(1, 3)
	s.run(2500 * millisecond)
	s.server(2).kill()
	s.cut(1, 2)
	s.server(2).start()
	s.until(1300*millisecond, func() bool { return s.volume().Head == 2 })
	w := s.begin(far, wire.OpWrite, 0)
	s.until(500*millisecond, func() bool { return w.ended != 0 })
	s.run(microsecond)
	r := s.begin(near, wire.OpRead, 0)
	s.run(millisecond)
	s.mend(1, 3)
	s.mend(1, 2)
	s.ends(r)
	s.ends(w)
	return s.verdict()
}

// A dead head's write comes late, to one of two copies.
func lateWrite(t *testing.T, bug string) *Result {
	s := tell(t, 5, 3, bug)
	s.leaderIs(5)
	h := s.host(1)
	s.write(h, 0)
	s.run(500 * millisecond) // until it is below all commit points
	s.net.sever(s.server(1).at, s.server(2).at)
	for _, n := range []wire.NodeID{3, 4, 5} {
		s.cut(1, n)
	}
	s.begin(h, wire.OpWrite, 0)
	s.until(2800*millisecond, func() bool { return s.volume().Head > 1 })
	s.run(300 * millisecond)
	s.net.mend(s.server(1).at, s.server(2).at)
	s.run(100 * millisecond)
	s.server(1).crash()
	s.run(second)
	r := &Result{Differing: s.differing()}
	end := s.verdict()
	end.Differing += r.Differing
	return end
}

// A copy's node restarts, and hears first of a head of old.
func oldHeadFirst(t *testing.T, bug string) *Result {
	s := tell(t, 5, 3, bug)
	s.leaderIs(5)
	h := s.host(1)
	s.write(h, 0)
	s.run(500 * millisecond)
	for n := wire.NodeID(2); n <= 5; n++ {
		s.cut(1, n)
	}
	s.begin(h, wire.OpWrite, 0)
	s.until(5*second, func() bool { return s.volume().Head > 1 })
	s.run(500 * millisecond)
	other := 5 - s.volume().Head // 2 and 3
	s.server(other).kill()
	s.cut(2, 3)
	s.mend(1, other)
	s.server(other).start()
	s.run(1500 * millisecond)
	s.server(1).crash()
	s.mend(2, 3)
	s.run(2 * second)
	r := &Result{Differing: s.differing()}
	end := s.verdict()
	end.Differing += r.Differing
	return end
}

var stories = []aStory{
	{"a head that has not heard of the next", lateNews, []string{"EjectUnpromised", "RelayUnproven"}},
	{"three heads round one unacknowledged write", threeHeads, []string{"NoReconcile"}},
	{"both copies gone and one back", oneOfTwoBack, nil},
	{"the last in-sync copy is never dropped", lastCopyStays, []string{"UncleanElection"}},
	{"all nodes killed at once", allAtOnce, nil},
	{"a head that is cut off", cutOff, []string{"NoLease", "LeaseAlone", "LeaseStretched"}},
	{"a head that one voter hears", heardByOne, []string{"VoterEager"}},
	{"a copy's own tail", ownTail, []string{"NoTail"}},
	{"a voter that is back too soon", voterBack, []string{"VoterForgets"}},
	{"a write of a dead head", lateWrite, []string{"NoEpochCheck"}},
	{"an old head speaks first", oldHeadFirst, []string{"NoPromise"}},
	{"old bytes in a portal that stood still", oldBytes, nil},
	{"a host that retries at once", atOnce, []string{"NoTokens"}},
	{"a portal that gives a command up which is under way", busyUnderWay, []string{"LateTaken"}},
	{"a joiner dies while it is copied to", halfCopied, []string{"LostCopied"}},
	{"the only copy with the tail is gone", tailGone, []string{"TailHolder"}},
}

func allStories() []aStory {
	return slices.Concat(stories, swapStories, orderStories, joinStories, diskStories, scrubStories, slowStories, moveStories, cacheStories)
}

// TestEveryPlantedBugHasAStory keeps the switches and the stories together.
func TestEveryPlantedBugHasAStory(t *testing.T) {
	var told []string
	for _, x := range allStories() {
		told = append(told, x.bugs...)
	}
	names := BugNames()
	for _, name := range names {
		if !slices.Contains(told, name) {
			t.Errorf("no story shows %s", name)
		}
	}
	if len(names) < 40 {
		t.Errorf("only %d bugs are planted", len(names))
	}
}

// shows says whether a story shows a bug: by its end, or because an assertion of the
// real packages stops it.
func (x aStory) shows(t *testing.T, bug string) (seen bool) {
	defer func() {
		if p := recover(); p != nil {
			t.Log(p)
			seen = true
		}
	}()
	return x.tell(t, bug).Bad()
}

func TestStories(t *testing.T) {
	for _, x := range allStories() {
		t.Run(x.name, func(t *testing.T) {
			if r := x.tell(t, ""); r.Bad() {
				t.Error(r)
			}
		})
		for _, bug := range x.bugs {
			t.Run(x.name+"/"+bug, func(t *testing.T) {
				if !x.shows(t, bug) {
					t.Errorf("%s was not caught", bug)
				}
			})
		}
	}
}
