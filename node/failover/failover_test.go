package failover

import (
	"fmt"
	"reflect"
	"testing"

	"ashlar/node/cluster"
	"ashlar/node/lease"
	"ashlar/replication/wire"
)

const (
	ms      = int64(1_000_000)
	every   = 100 * ms
	version = 7
)

// rig is a planner on node 1, with the voters of all nodes, which answer it at
// once unless cut off. Node n renews its lease with the voters in hears[n].
type rig struct {
	*testing.T
	st      *cluster.State
	now     int64
	planner *Planner
	relays  []Relay // of the latest tick
	voters  []wire.NodeID
	voter   map[wire.NodeID]*lease.Voter
	hears   map[wire.NodeID][]wire.NodeID // by node: the voters that hear it
	mute    map[wire.NodeID]bool          // voters whose answers do not come
	version uint64
	asked   int
}

// newRig has nodes that are all up, the first voters of them voters, each with a
// disk, after a minute of peace.
func newRig(t *testing.T, nodes, voters int) *rig {
	r := &rig{T: t, st: cluster.New(), planner: New(1), voter: map[wire.NodeID]*lease.Voter{}, version: version,
		hears: map[wire.NodeID][]wire.NodeID{}, mute: map[wire.NodeID]bool{}}
	r.commit(cluster.Command{Create: &cluster.Create{ID: "c0ffee", Name: "lab", SegmentBytes: 1 << 20,
		Node: cluster.AddNode{Name: "n1", Peer: "n1"}}})
	for i := 1; i <= nodes; i++ {
		id, name := wire.NodeID(i), fmt.Sprintf("n%d", i)
		if i > 1 {
			r.commit(cluster.Command{AddNode: &cluster.AddNode{Name: name, Peer: name}})
		}
		r.commit(cluster.Command{Register: &cluster.Register{Node: id, Peer: name}})
		r.commit(cluster.Command{AddDisk: &cluster.AddDisk{ID: cluster.DiskID(name), Node: id}})
		if i <= voters {
			r.commit(cluster.Command{SetVoter: &cluster.SetVoter{Node: id, Voter: true}})
			r.voters = append(r.voters, id)
			r.voter[id] = lease.NewVoter(id, 0)
		}
	}
	for id := range r.st.Nodes {
		r.hears[id] = r.voters
	}
	for range 600 {
		if got := r.tick(); len(got) > 0 || r.asked > 0 {
			t.Fatalf("in peace: %v, %d asks", got, r.asked)
		}
	}
	return r
}

func (r *rig) commit(c cluster.Command) cluster.Result {
	r.Helper()
	next, result := r.st.Apply(r.st.Index+1, c)
	if result.Problem != "" {
		r.Fatalf("%+v: %s", c, result.Problem)
	}
	r.st = next
	return result
}

// tick is 100 ms of all: renewals, the planner, answers of voters. What the
// planner proposes is not committed.
func (r *rig) tick() []cluster.Command {
	r.now += every
	for id, by := range r.hears {
		n := r.st.Nodes[id]
		for _, v := range by {
			if n.Up {
				r.voter[v].Renew(r.now, lease.Renew{Node: id, Incarnation: n.Incarnation, Sent: r.now}, n.Incarnation, r.version)
			}
		}
	}
	out := r.planner.Tick(r.now, r.st, r.voter[1], r.version, r.voters)
	for _, a := range out.Asks {
		r.asked++
		r.answer(a)
	}
	r.relays = out.Relays
	return out.Proposes
}

func (r *rig) answer(a Ask) {
	if r.mute[a.Voter] {
		return
	}
	out := Answer{Voter: a.Voter, Incarnation: r.st.Nodes[a.Voter].Incarnation, Version: r.version}
	for _, d := range a.Dead {
		if r.voter[a.Voter].Condemn(r.now, d.Node, d.Incarnation) {
			out.Dead = append(out.Dead, d)
		}
	}
	r.planner.Answered(out)
}

// silent has nodes stop: nobody hears them, and they answer nothing.
func (r *rig) silent(nodes ...wire.NodeID) {
	for _, n := range nodes {
		r.hears[n], r.mute[n] = nil, true
	}
}

// until ticks until something is proposed, for at most so long.
func (r *rig) until(limit int64) []cluster.Command {
	for end := r.now + limit; r.now < end; {
		if got := r.tick(); len(got) > 0 {
			return got
		}
	}
	return nil
}

func (r *rig) expect(got []cluster.Command, want ...cluster.Command) {
	r.Helper()
	if len(got) != len(want) || len(got) > 0 && !reflect.DeepEqual(got, want) {
		r.Fatalf("proposed %s, want %s", show(got), show(want))
	}
}

func show(l []cluster.Command) (s string) {
	for _, c := range l {
		s += fmt.Sprintf("[fence %+v eject %+v move %+v demote %+v readmit %+v]", c.Fence, c.Eject, c.MoveHead, c.Demote, c.Readmit)
	}
	return s
}

func (r *rig) dead(nodes ...wire.NodeID) (l []cluster.Dead) {
	for _, n := range nodes {
		l = append(l, cluster.Dead{Node: n, Incarnation: r.st.Nodes[n].Incarnation})
	}
	return l
}

func (r *rig) fence(dead []cluster.Dead, voters ...wire.NodeID) cluster.Command {
	f := &cluster.Fence{Dead: dead}
	for _, v := range voters {
		f.Ballots = append(f.Ballots, cluster.Ballot{Voter: v, Incarnation: r.st.Nodes[v].Incarnation})
	}
	return cluster.Command{Fence: f}
}

func TestADeadNodeIsFencedWhenAMajoritysPromisesHaveRunOut(t *testing.T) {
	r := newRig(t, 4, 3)
	r.silent(4)
	start := r.now
	got := r.until(5000 * ms)
	r.expect(got, r.fence(r.dead(4), 1, 2, 3))
	if took := r.now - start; took < lease.Promise-every || took > lease.Promise+2*every {
		t.Errorf("after %d ms", took/ms)
	}
	r.commit(got[0])
	r.expect(r.until(5000 * ms))
}

func TestADeadVoterIsFencedByTheOthers(t *testing.T) {
	r := newRig(t, 3, 3)
	r.silent(3)
	got := r.until(5000 * ms)
	r.expect(got, r.fence(r.dead(3), 1, 2))
	r.commit(got[0])
}

func TestNodesThatDieTogetherAreFencedInOneCommand(t *testing.T) {
	r := newRig(t, 5, 5)
	v := r.commit(cluster.Command{CreateVolume: &cluster.CreateVolume{Name: "v", Bytes: 4096, Copies: 2}}).Volume
	r.commit(cluster.Command{MoveHead: &cluster.MoveHead{Volume: v, Epoch: 1, To: 2}})
	r.silent(2, 4)
	got := r.until(5000 * ms)
	r.expect(got, r.fence(r.dead(2, 4), 1, 3, 5))
	r.commit(got[0])
}

func TestNobodyIsFencedWithoutAMajority(t *testing.T) {
	r := newRig(t, 3, 3)
	r.silent(2, 3)
	r.expect(r.until(10_000 * ms))
	if r.asked == 0 {
		t.Error("nobody was asked")
	}
	// The leader has not condemned them on its own: they come back as they were.
	for _, n := range []wire.NodeID{2, 3} {
		if g := r.voter[1].Renew(r.now, lease.Renew{Node: n, Incarnation: 1, Sent: r.now}, 1, r.version); !g.Granted {
			t.Errorf("node %d is told %+v", n, g)
		}
	}
}

func TestWhomTheOthersHearIsNotFencedThoughTheLeaderDoesNot(t *testing.T) {
	r := newRig(t, 4, 3)
	r.hears[4] = []wire.NodeID{2, 3}
	r.expect(r.until(10_000 * ms))
	r.hears[4] = r.voters
	r.tick()
	asked := r.asked
	r.expect(r.until(3000 * ms))
	if asked == 0 || r.asked != asked {
		t.Errorf("%d asks, then %d", asked, r.asked)
	}
}

func TestWhomTheLeaderHearsNobodyIsAskedAbout(t *testing.T) {
	r := newRig(t, 4, 3)
	r.hears[4] = []wire.NodeID{1}
	r.expect(r.until(10_000 * ms))
	if r.asked > 0 {
		t.Errorf("%d asks", r.asked)
	}
}

func TestAProofOfDeathNeedsNoVotesAndNoWaiting(t *testing.T) {
	r := newRig(t, 3, 3)
	r.planner.Refused(cluster.Dead{Node: 2, Incarnation: 9}) // not the one that is up
	r.expect(r.tick())
	for _, d := range r.dead(2, 3) {
		r.planner.Refused(d)
	}
	want := cluster.Command{Fence: &cluster.Fence{Dead: r.dead(2, 3), Refused: true}}
	got := r.tick()
	r.expect(got, want)
	for range 4 { // on its way
		r.expect(r.tick())
	}
	r.expect(r.tick(), want) // lost
	r.commit(want)
	r.expect(r.until(3000 * ms))
}

func TestABallotOfAnotherConfigurationIsAskedForAgain(t *testing.T) {
	r := newRig(t, 4, 3)
	r.silent(4)
	for _, v := range []wire.NodeID{2, 3} {
		r.mute[v] = true
		r.planner.Answered(Answer{Voter: v, Incarnation: 1, Version: version - 1, Dead: r.dead(4)})
	}
	r.expect(r.until(3000 * ms))
	r.mute[3] = false
	r.expect(r.until(3000*ms), r.fence(r.dead(4), 1, 3))
}

func TestABallotThatTheClusterWouldRefuseSpoilsNoFence(t *testing.T) {
	for name, change := range map[string]func(*rig){
		"its voter restarted": func(r *rig) { r.commit(cluster.Command{Register: &cluster.Register{Node: 2, Peer: "n2"}}) },
		"its voter is fenced": func(r *rig) { r.commit(cluster.Command{Fence: &cluster.Fence{Dead: r.dead(2), Refused: true}}) },
		"it is of no voter":   func(r *rig) { r.commit(cluster.Command{SetVoter: &cluster.SetVoter{Node: 2}}) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 6, 5)
			r.T = t
			r.planner.Answered(Answer{Voter: 2, Incarnation: 1, Version: version, Dead: r.dead(6)})
			r.mute[2] = true
			r.hears[6] = nil
			change(r)
			got := r.until(5000 * ms)
			r.expect(got, r.fence(r.dead(6), 1, 3, 4, 5))
			r.commit(got[0])
		})
	}
}

func TestALeaderThatIsFencedCondemnsNobody(t *testing.T) {
	r := newRig(t, 4, 3)
	r.commit(cluster.Command{Fence: &cluster.Fence{Dead: r.dead(1), Refused: true}})
	r.silent(4)
	r.expect(r.until(5000 * ms))
	if g := r.voter[1].Renew(r.now, lease.Renew{Node: 4, Incarnation: 1}, 1, version); !g.Granted {
		t.Errorf("node 4 is told %+v", g)
	}
}

func TestANodeThatJustCameUpHasTimeForItsFirstLease(t *testing.T) {
	r := newRig(t, 4, 3)
	r.hears[4] = nil
	r.commit(cluster.Command{Register: &cluster.Register{Node: 4, Peer: "n4"}})
	r.expect(r.until(1000 * ms))
	r.hears[4] = r.voters
	r.expect(r.until(5000 * ms))
}

// withVolume has a volume of three copies with that head, and a complaint of its
// head that does not name yet whom it is about.
func withVolume(t *testing.T, head wire.NodeID) (*rig, Complaint) {
	r := newRig(t, 4, 3)
	v := r.commit(cluster.Command{CreateVolume: &cluster.CreateVolume{Name: "v", Bytes: 4 << 20, Copies: 3}}).Volume
	if r.st.Volumes[v].Head != head {
		r.commit(cluster.Command{MoveHead: &cluster.MoveHead{Volume: v, Epoch: 1, To: head}})
	}
	return r, Complaint{Volume: v, Epoch: r.st.Volumes[v].Epoch, From: head, Promised: true}
}

func (r *rig) complain(c Complaint, about wire.NodeID) {
	c.About = about
	r.planner.Complained(r.now, c)
}

func (c Complaint) eject(about wire.NodeID) cluster.Command {
	return cluster.Command{Eject: &cluster.Eject{Volume: c.Volume, Epoch: c.Epoch, Node: about}}
}

func (c Complaint) move() cluster.Command {
	return cluster.Command{MoveHead: &cluster.MoveHead{Volume: c.Volume, Epoch: c.Epoch}}
}

func TestACopyThatItsHeadCannotReachIsEjected(t *testing.T) {
	r, c := withVolume(t, 2)
	r.complain(c, 3)
	r.expect(r.tick(), c.eject(3))
	r.expect(r.until(3000 * ms)) // once for a complaint
	r.complain(c, 3)
	r.complain(c, 3)
	r.expect(r.tick(), c.eject(3))
	r.complain(c, 3)
	r.expect(r.tick()) // on its way
}

func TestAHeadThatReachesNobodyMoves(t *testing.T) {
	r, c := withVolume(t, 2)
	r.complain(c, 3)
	r.complain(c, 4)
	r.expect(r.tick(), c.move())
}

func TestAHeadOfWhichOthersComplainMoves(t *testing.T) {
	r, c := withVolume(t, 2)
	r.planner.Complained(r.now, Complaint{Volume: 99, From: 4, About: 2, Promised: true})
	r.complain(c, 3)
	r.expect(r.tick(), c.move())
}

// TestACutBetweenTwoNodesDoesNotMoveHeadsToAndFro: each is head of a volume and
// complains of the other; all others reach both.
func TestACutBetweenTwoNodesDoesNotMoveHeadsToAndFro(t *testing.T) {
	r, c := withVolume(t, 2)
	w := r.commit(cluster.Command{CreateVolume: &cluster.CreateVolume{Name: "w", Bytes: 4 << 20, Copies: 3}}).Volume
	if r.st.Volumes[w].Head != 3 {
		r.commit(cluster.Command{MoveHead: &cluster.MoveHead{Volume: w, Epoch: 1, To: 3}})
	}
	d := Complaint{Volume: w, Epoch: r.st.Volumes[w].Epoch, From: 3, Promised: true}
	r.complain(c, 3)
	r.complain(d, 2)
	r.expect(r.tick(), c.eject(3), d.eject(2))
}

// TestANewHeadIsNotTakenForTheOneThatWasCutOff: what the old one said is still
// remembered when the new one complains of it.
func TestANewHeadIsNotTakenForTheOneThatWasCutOff(t *testing.T) {
	r, c := withVolume(t, 2)
	r.complain(c, 3)
	r.complain(c, 4)
	got := r.tick()
	r.expect(got, c.move())
	head := r.commit(got[0]).Node
	for range 6 {
		r.expect(r.tick())
	}
	c.From, c.Epoch = head, r.st.Volumes[c.Volume].Epoch
	r.complain(c, 2)
	r.expect(r.tick(), c.eject(2))
}

func TestAHeadStaysThatTheOthersAgreeWith(t *testing.T) {
	r, c := withVolume(t, 2)
	for _, from := range []wire.NodeID{1, 9} {
		for _, about := range []wire.NodeID{3, 4} {
			r.planner.Complained(r.now, Complaint{Volume: 99, From: from, About: about, Promised: true})
		}
	}
	r.complain(c, 3)
	r.complain(c, 4)
	r.expect(r.tick(), c.eject(3))
}

func TestOldComplaintsSayNothing(t *testing.T) {
	r, c := withVolume(t, 2)
	r.planner.Complained(r.now, Complaint{Volume: 99, From: 4, About: 2, Promised: true})
	r.expect(r.until(hearsay + every))
	r.complain(c, 3)
	r.expect(r.tick(), c.eject(3))
}

func TestAComplaintThatIsOverOrWrongIsIgnored(t *testing.T) {
	r, c := withVolume(t, 2)
	for name, change := range map[string]func(*Complaint){
		"another epoch":     func(c *Complaint) { c.Epoch-- },
		"not the head":      func(c *Complaint) { c.From = 3 },
		"no such volume":    func(c *Complaint) { c.Volume = 99 },
		"of no node":        func(c *Complaint) { c.About = 99 },
		"nobody's, of none": func(c *Complaint) { c.From, c.About = 0, 0 },
	} {
		wrong := c
		wrong.About = 4
		change(&wrong)
		r.planner.Complained(r.now, wrong)
		if got := r.tick(); len(got) > 0 {
			t.Errorf("%s: %s", name, show(got))
		}
	}
	r.commit(cluster.Command{Fence: &cluster.Fence{Dead: r.dead(4), Refused: true}})
	r.complain(c, 4)
	r.expect(r.tick())
}

// A head whose own copy is in the way cannot be helped by taking the copy out:
// another node becomes the head, and takes it out if need be.
func TestAHeadThatComplainsOfItselfIsMoved(t *testing.T) {
	r, c := withVolume(t, 2)
	r.complain(c, 2)
	r.expect(r.tick(), c.move())
}

func TestNobodysComplaintOfAVolumeWithoutAHeadIsIgnored(t *testing.T) {
	r := newRig(t, 4, 3)
	id := r.commit(cluster.Command{CreateVolume: &cluster.CreateVolume{Name: "v", Bytes: 4096, Copies: 2}}).Volume
	r.commit(cluster.Command{Fence: &cluster.Fence{Dead: r.dead(1, 2), Refused: true}})
	v := r.st.Volumes[id]
	if v.Head != 0 {
		t.Fatalf("the head is %d", v.Head)
	}
	r.complain(Complaint{Volume: id, Epoch: v.Epoch, Promised: true}, 3)
	r.expect(r.tick())
}

func TestAComplaintWaitsForALeaseThatIsRunningOut(t *testing.T) {
	r, c := withVolume(t, 2)
	r.silent(4)
	got := r.until(5000 * ms)
	r.expect(got, r.fence(r.dead(4), 1, 2, 3))
	r.complain(c, 4)
	r.expect(r.tick())
}

// A node that has not promised the head's epoch may still obey an older head, so
// the leader asks it for its promise before its copies leave their sets.
func TestACopyThatMayObeyAnOlderHeadIsNotEjected(t *testing.T) {
	r, c := withVolume(t, 2)
	c.Promised = false
	r.complain(c, 3)
	r.expect(r.tick())
	want := Relay{Node: 3, Volume: c.Volume, Epoch: c.Epoch}
	if len(r.relays) != 1 || r.relays[0] != want {
		t.Fatalf("asked for %v, want %v", r.relays, want)
	}
	r.planner.Promised(want)
	r.complain(c, 3)
	r.expect(r.tick(), c.eject(3))
}
