package failover

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"ashlar/node/cluster"
	"ashlar/replication/latency"
	"ashlar/replication/wire"
)

// slowWorld is a cluster in which everything takes as long as the test says. Its
// nodes report what they would measure, and what the Gray of the leader proposes
// is carried out. Its copies catch up in 2 s.
type slowWorld struct {
	*testing.T
	st      *cluster.State
	gray    *Gray
	now     int64
	wall    int64                 // ms
	nodes   map[wire.NodeID]int64 // what each adds to an answer, ns
	disks   map[wire.NodeID]int64 // what its disk adds to a write
	links   map[pair]int64        // what is added from a head to a copy
	caught  map[pair]int64        // when a copy, of volume "from" on node "about", had caught up
	refused []string
	said    []cluster.Command
	quiet   map[wire.VolumeID]bool // nobody writes to it
}

const calm = 2 * ms

func newSlowWorld(t *testing.T, nodes int, copies ...int) *slowWorld {
	r := newRig(t, nodes, 3)
	w := &slowWorld{T: t, st: r.st, gray: NewGray(), now: r.now, wall: 1_700_000_000_000, nodes: map[wire.NodeID]int64{}, disks: map[wire.NodeID]int64{},
		links: map[pair]int64{}, caught: map[pair]int64{}, quiet: map[wire.VolumeID]bool{}}
	for i, n := range copies {
		w.apply(cluster.Command{CreateVolume: &cluster.CreateVolume{Name: fmt.Sprint("v", i), Bytes: 4096, Copies: n}})
	}
	return w
}

func (w *slowWorld) apply(c cluster.Command) bool {
	w.Helper()
	next, r := w.st.Apply(w.st.Index+1, c)
	w.st = next
	if r.Problem != "" {
		w.refused = append(w.refused, fmt.Sprintf("%s: %s", show([]cluster.Command{c}), r.Problem))
	}
	return r.Problem == ""
}

func facts(ns int64) latency.Facts { return latency.Facts{Count: 20, P50: ns, P99: ns, Max: ns} }

// step is 300 ms: reports, the leader's look, and what follows.
func (w *slowWorld) step() {
	w.Helper()
	w.now += 300 * ms
	w.wall += 300
	for _, from := range w.st.NodeIDs() {
		if !w.st.Nodes[from].Up {
			continue
		}
		r := Report{Disks: []DiskFacts{{cluster.DiskID(fmt.Sprintf("n%d", from)), facts(calm + w.disks[from])}}}
		hops := map[wire.NodeID]bool{}
		for _, id := range w.st.VolumeIDs() {
			v := w.st.Volumes[id]
			if v.Head != from || w.quiet[id] {
				continue
			}
			for _, n := range v.Segments[0].InSync() {
				hops[n] = true
				var others []int64
				for _, o := range v.Segments[0].InSync() {
					if o != n {
						others = append(others, w.takes(from, o))
					}
				}
				if takes := w.takes(from, n); takes > WaitLeast {
					r.Waits = append(r.Waits, Wait{Volume: id, Epoch: v.Epoch, Node: n, Promised: true, Others: median(others), Facts: facts(takes)})
				}
			}
		}
		for _, n := range w.st.NodeIDs() {
			if n != from && w.st.Nodes[n].Up {
				r.Links = append(r.Links, NodeFacts{n, facts(calm + max(w.nodes[n], w.nodes[from]) + w.links[pair{from, n}])})
			}
			if hops[n] {
				r.Hops = append(r.Hops, NodeFacts{n, facts(w.takes(from, n))})
			}
		}
		w.gray.Reported(w.now, from, r)
	}
	w.said = w.gray.Tick(w.now, w.wall, w.st)
	for _, c := range w.said {
		before := w.st
		if w.apply(c) {
			w.check(before, c)
		}
	}
	w.catchUp()
}

// takes is how long a write from a head to a copy does.
func (w *slowWorld) takes(head, n wire.NodeID) int64 {
	return calm + w.disks[n] + max(w.nodes[n], w.nodes[head]) + w.links[pair{head, n}]
}

func (w *slowWorld) catchUp() {
	for _, id := range w.st.VolumeIDs() {
		v := w.st.Volumes[id]
		for _, r := range v.Segments[0].Replicas {
			k := pair{wire.NodeID(id), r.Node}
			switch {
			case r.InSync || r.Demoted || !w.st.Usable(r) || v.Head == 0:
				delete(w.caught, k)
			case w.caught[k] == 0:
				w.caught[k] = w.now + 2000*ms
			case w.now >= w.caught[k]:
				w.apply(cluster.Command{Join: &cluster.Join{Volume: id, Epoch: v.Epoch, Node: r.Node, Incarnation: w.st.Nodes[r.Node].Incarnation,
					Segments: []cluster.SegmentGen{{Gen: v.Segments[0].Gen}}}})
			}
		}
	}
}

// check holds what must be so of every demotion.
func (w *slowWorld) check(before *cluster.State, c cluster.Command) {
	w.Helper()
	if c.Demote == nil {
		return
	}
	for _, x := range c.Demote.Volumes {
		was, is := before.Volumes[x.Volume].Segments[0], w.st.Volumes[x.Volume].Segments[0]
		if len(was.InSync())-len(is.InSync()) > 1 {
			w.Fatalf("volume %d lost two copies at once: %v, then %v", x.Volume, was.InSync(), is.InSync())
		}
		if v := w.st.Volumes[x.Volume]; len(is.InSync()) < max(1, v.MinInSync) {
			w.Fatalf("volume %d is left with %v", x.Volume, is.InSync())
		}
		if d := before.DemotedLately(x.Volume, w.wall); d {
			w.Fatalf("volume %d loses another copy within a minute", x.Volume)
		}
	}
}

// run says what was proposed within d.
func (w *slowWorld) run(d int64) (all []cluster.Command) {
	w.Helper()
	for end := w.now + d; w.now < end; {
		w.step()
		all = append(all, w.said...)
	}
	return all
}

func (w *slowWorld) volume() *cluster.Volume { return w.st.Volumes[1] }

// other is a node with a copy of the first volume that is not its head.
func (w *slowWorld) other() wire.NodeID {
	for _, n := range w.volume().Segments[0].InSync() {
		if n != w.volume().Head {
			return n
		}
	}
	w.Fatal("there is no other copy")
	return 0
}

func TestACopyOnASlowDiskIsLeftOutAfter10SecondsAndComesBackWhenItIsWell(t *testing.T) {
	w := newSlowWorld(t, 3, 2)
	if all := w.run(30 * second); len(all) > 0 {
		t.Fatalf("in peace: %s", show(all))
	}
	slow := w.other()
	w.disks[slow] = 300 * ms
	if all := w.run(9 * second); len(all) > 0 {
		t.Fatalf("too soon: %s", show(all))
	}
	all := w.run(3 * second)
	if len(all) != 1 || all[0].Demote == nil || all[0].Demote.Node != slow || all[0].Demote.Disk == "" {
		t.Fatalf("proposed %s", show(all))
	}
	if all := w.run(300 * second); len(all) > 0 {
		t.Fatalf("while it is slow: %s", show(all))
	}
	w.disks[slow] = 0
	all = w.run(4 * second)
	if len(all) != 1 || all[0].Readmit == nil {
		t.Fatalf("when it is well: %s", show(all))
	}
	if w.run(4 * second); len(w.volume().Segments[0].InSync()) != 2 {
		t.Error("it did not come back")
	}
}

func TestAStuckCopyIsLeftOutAtOnce(t *testing.T) {
	w := newSlowWorld(t, 3, 2)
	w.run(5 * second)
	w.disks[w.other()] = stuckMax
	if all := w.run(1 * second); len(all) != 1 || all[0].Demote == nil {
		t.Fatalf("proposed %s", show(all))
	}
}

func TestAClusterThatIsSlowThroughoutBlamesNobody(t *testing.T) {
	for nodes := 2; nodes <= 5; nodes++ {
		w := newSlowWorld(t, nodes, 2, 2)
		r := rand.New(rand.NewPCG(1, uint64(nodes)))
		for range 400 {
			for n := range w.st.Nodes {
				w.disks[n] = 400*ms + r.Int64N(2500*ms)
				w.nodes[n] = 300*ms + r.Int64N(300*ms)
			}
			if w.step(); len(w.said) > 0 {
				t.Fatalf("%d nodes: %s", nodes, show(w.said))
			}
		}
	}
}

func TestASlowHeadMovesAndItsCopyIsLeftOut(t *testing.T) {
	for name, slow := range map[string]func(w *slowWorld, n wire.NodeID){
		"disk": func(w *slowWorld, n wire.NodeID) { w.disks[n] = 300 * ms },
		"node": func(w *slowWorld, n wire.NodeID) { w.nodes[n] = 300 * ms },
	} {
		w := newSlowWorld(t, 3, 2)
		w.run(5 * second)
		head := w.volume().Head
		slow(w, head)
		all := w.run(40 * second)
		if name == "disk" { // its copy leaves first
			slices.Reverse(all)
		}
		if len(all) != 2 || all[0].MoveHead == nil || all[1].Demote == nil || all[1].Demote.Node != head || w.volume().Head == head {
			t.Errorf("a slow %s: %s", name, show(all))
		}
	}
}

// TestAHeadBehindABadWayMovesAndHealthyCopiesStay: all see it slow, and it sees
// all slow; the others see each other well.
func TestAHeadBehindABadWayMovesAndHealthyCopiesStay(t *testing.T) {
	w := newSlowWorld(t, 4, 3)
	w.run(5 * second)
	head := w.volume().Head
	w.nodes[head] = 400 * ms
	all := w.run(20 * second)
	if len(all) == 0 || all[0].MoveHead == nil {
		t.Fatalf("proposed %s", show(all))
	}
	for _, c := range all {
		if c.Demote != nil && c.Demote.Node != head {
			t.Errorf("a healthy copy left: %s", show(all))
		}
	}
}

func TestASlowWayBetweenTwoCostsThatCopyOnly(t *testing.T) {
	w := newSlowWorld(t, 4, 3, 3)
	w.run(5 * second)
	head, n := w.volume().Head, w.other()
	w.links[pair{head, n}], w.links[pair{n, head}] = 300*ms, 300*ms
	for _, c := range w.run(20 * second) {
		if d := c.Demote; d == nil || d.Node != n && d.Node != head || d.Disk != "" {
			t.Errorf("proposed %s", show([]cluster.Command{c}))
		}
	}
	if slices.Contains(w.volume().Segments[0].InSync(), n) {
		t.Error("the copy behind the slow way stayed")
	}
}

func TestTheLastCopiesStayHoweverSlow(t *testing.T) {
	w := newSlowWorld(t, 4, 3)
	w.run(5 * second)
	set := w.volume().Segments[0].InSync()
	for _, n := range set[1:] {
		w.disks[n] = 1500 * ms
	}
	w.run(300 * second)
	if left := w.volume().Segments[0].InSync(); len(left) != 2 {
		t.Errorf("left are %v of %v", left, set)
	}
	if len(w.refused) > 0 {
		t.Errorf("proposed what is refused: %q", w.refused)
	}
}

// TestADemotedCopyIsBackAtOnceWhereWritesWouldWaitForIt: another of its set died.
func TestADemotedCopyIsBackAtOnceWhereWritesWouldWaitForIt(t *testing.T) {
	w := newSlowWorld(t, 4, 3)
	w.run(5 * second)
	slow := w.other()
	w.disks[slow] = 500 * ms
	w.run(15 * second)
	dies := w.other()
	w.apply(cluster.Command{Fence: &cluster.Fence{Dead: []cluster.Dead{{Node: dies, Incarnation: w.st.Nodes[dies].Incarnation}}, Refused: true}})
	all := w.run(3 * second)
	if len(all) != 1 || all[0].Readmit == nil || all[0].Readmit.Node != slow {
		t.Fatalf("proposed %s", show(all))
	}
}

func TestAnIdleVolumeLosesNothing(t *testing.T) {
	w := newSlowWorld(t, 3, 2)
	w.quiet[1] = true
	w.disks[w.other()] = 5 * second
	if all := w.run(60 * second); len(all) > 0 {
		t.Errorf("proposed %s", show(all))
	}
}

// TestWhatIsSlowNowAndThenStaysOutLongerAndLonger, also from leader to leader.
func TestWhatIsSlowNowAndThenStaysOutLongerAndLonger(t *testing.T) {
	w := newSlowWorld(t, 3, 2)
	w.run(5 * second)
	slow := w.other()
	var at []int64
	for range 60 { // for an hour: 35 s bad, 25 s well
		w.disks[slow] = 300 * ms
		bad := w.run(35 * second)
		w.disks[slow] = 0
		for _, c := range append(bad, w.run(25*second)...) {
			if c.Demote != nil {
				at = append(at, w.now)
			}
		}
		w.gray = NewGray()
	}
	if len(at) < 5 || len(at) > 10 {
		t.Errorf("it left %d times in an hour", len(at))
	}
	if last := at[len(at)-1] - at[len(at)-2]; last < coolMost*ms {
		t.Errorf("at last it was back after %d s", last/second)
	}
}

// TestNoWeatherCostsAvailability: whatever is slow, dies and comes back, no set
// gets below what its volume needs because of slowness, none loses two copies in
// a minute (check), and when all is well all copies come back.
func TestNoWeatherCostsAvailability(t *testing.T) {
	demotions, moves := 0, 0
	for seed := range uint64(20) {
		w := newSlowWorld(t, 3+int(seed%3), 2, 3, 3, 2)
		r := rand.New(rand.NewPCG(seed, 9))
		for range 600 {
			n := wire.NodeID(1 + r.IntN(len(w.st.Nodes)))
			long := []int64{0, 0, 20 * ms, 90 * ms, 400 * ms, 3 * second}[r.IntN(6)]
			switch r.IntN(40) {
			case 0:
				w.disks[n] = long
			case 1:
				w.nodes[n] = long
			case 2:
				w.links[pair{n, wire.NodeID(1 + r.IntN(len(w.st.Nodes)))}] = long
			case 3:
				if r.IntN(4) == 0 && w.st.Nodes[n].Up {
					w.apply(cluster.Command{Fence: &cluster.Fence{Dead: []cluster.Dead{{Node: n, Incarnation: w.st.Nodes[n].Incarnation}}, Refused: true}})
				} else if !w.st.Nodes[n].Up {
					w.apply(cluster.Command{Register: &cluster.Register{Node: n, Peer: fmt.Sprint("n", n)}})
				}
			case 4:
				if r.IntN(4) == 0 {
					w.gray = NewGray() // another leader
				}
			}
			w.step()
			for _, c := range w.said {
				if c.Demote != nil {
					demotions++
				} else if c.MoveHead != nil {
					moves++
				}
			}
		}
		clear(w.nodes)
		clear(w.disks)
		clear(w.links)
		for _, n := range w.st.NodeIDs() {
			if !w.st.Nodes[n].Up {
				w.apply(cluster.Command{Register: &cluster.Register{Node: n, Peer: fmt.Sprint("n", n)}})
			}
		}
		w.run(coolMost*ms + 20*second)
		for id, v := range w.st.Volumes {
			if got := len(v.Segments[0].InSync()); got != v.Copies {
				t.Fatalf("seed %d: volume %d has %d copies in sync", seed, id, got)
			}
		}
	}
	if demotions < 20 || moves < 10 {
		t.Errorf("%d demotions, %d moves: this weather checks little", demotions, moves)
	}
	t.Logf("%d demotions, %d moves", demotions, moves)
}

// TestABusyVolumeIsNotSlow: both of its copies take longer than idle disks do.
func TestABusyVolumeIsNotSlow(t *testing.T) {
	w := newSlowWorld(t, 5, 2)
	for _, n := range w.volume().Segments[0].InSync() {
		w.disks[n] = 200 * ms
	}
	if all := w.run(60 * second); len(all) > 0 {
		t.Errorf("proposed %s", show(all))
	}
}
