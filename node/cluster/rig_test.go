package cluster

import (
	"encoding/json"
	"fmt"
	"testing"

	"ashlar/node/address/assign"
	"ashlar/replication/wire"
)

const mib = 1 << 20

// rig applies commands one after the other and checks after each what always
// holds.
type rig struct {
	t testing.TB
	*State
}

// newRig is a cluster of nodes "n1", "n2", ... that are up, each with one disk
// "d1", "d2", ... The first voters of them are voters.
func newRig(t testing.TB, nodes, voters int) *rig {
	r := &rig{t, New()}
	r.good(Command{Create: &Create{ID: "c0ffee", Name: "lab", SegmentBytes: mib, Node: node(1)}})
	for i := 2; i <= nodes; i++ {
		n := node(i)
		r.good(Command{AddNode: &n})
	}
	for i := 1; i <= nodes; i++ {
		r.up(wire.NodeID(i))
		r.good(Command{AddDisk: &AddDisk{ID: disk(i), Node: wire.NodeID(i), Path: "/dev/sdb", Size: 1 << 40}})
		if i > 1 && i <= voters {
			r.good(Command{SetVoter: &SetVoter{Node: wire.NodeID(i), Voter: true}})
		}
	}
	return r
}

func node(i int) AddNode {
	return AddNode{Name: fmt.Sprintf("n%d", i), Peer: fmt.Sprintf("10.0.0.%d:7600", i), Gossip: fmt.Sprintf("10.0.0.%d:7601", i),
		Portals: []string{fmt.Sprintf("10.0.1.%d:3260", i)}}
}

func disk(i int) DiskID { return DiskID(fmt.Sprintf("d%d", i)) }

// do applies c at the next index.
func (r *rig) do(c Command) Result {
	r.t.Helper()
	before := r.State
	next, result := before.Apply(before.Index+1, c)
	checkStep(r.t, before, next, c, result)
	r.State = next
	return result
}

func (r *rig) good(c Command) Result {
	r.t.Helper()
	result := r.do(c)
	if result.Problem != "" {
		r.t.Fatalf("%s: %s", text(c), result.Problem)
	}
	return result
}

// refuse expects a Problem of that code, which no command that changes the state has.
func (r *rig) refuse(code Code, c Command) {
	r.t.Helper()
	if result := r.do(c); result.Code != code || result.Problem == "" {
		r.t.Fatalf("%s: %+v, want %s", text(c), result, code)
	}
}

// up starts the node's next incarnation, which opens its disks.
func (r *rig) up(n wire.NodeID) wire.Incarnation {
	r.t.Helper()
	i := r.register(n)
	for _, id := range r.DiskIDs() {
		if d := r.Disks[id]; d.Node == n && !d.Failed {
			r.good(Command{NoteDisk: &NoteDisk{ID: id, From: d.Nonce, To: fmt.Sprint(r.Index), Incarnation: i}})
		}
	}
	return i
}

func (r *rig) register(n wire.NodeID) wire.Incarnation {
	r.t.Helper()
	a := node(int(n))
	return r.good(Command{Register: &Register{Node: n, Peer: a.Peer, Gossip: a.Gossip, Portals: a.Portals}}).Incarnation
}

// down fences nodes together, on their kernels' word.
func (r *rig) down(nodes ...wire.NodeID) {
	r.t.Helper()
	r.good(Command{Fence: &Fence{Dead: r.dead(nodes...), Refused: true}})
}

func (r *rig) dead(nodes ...wire.NodeID) (l []Dead) {
	for _, n := range nodes {
		l = append(l, Dead{n, r.Nodes[n].Incarnation})
	}
	return l
}

func (r *rig) ballots(voters ...wire.NodeID) (l []Ballot) {
	for _, v := range voters {
		l = append(l, Ballot{v, r.Nodes[v].Incarnation})
	}
	return l
}

// volume makes one of that many segments.
func (r *rig) volume(name string, copies, segments int) wire.VolumeID {
	r.t.Helper()
	return r.good(Command{CreateVolume: &CreateVolume{Name: name, Bytes: uint64(segments) * mib, Copies: copies}}).Volume
}

// joins is the command that takes the copies of all segments that node has of v
// into the sets as they are now.
func (r *rig) joins(v wire.VolumeID, n wire.NodeID) Command {
	j := &Join{Volume: v, Epoch: r.Volumes[v].Epoch, Node: n, Incarnation: r.Nodes[n].Incarnation}
	for i, g := range r.Volumes[v].Segments {
		j.Segments = append(j.Segments, SegmentGen{wire.Segment(i), g.Gen})
	}
	return Command{Join: j}
}

func (r *rig) expectInSync(v wire.VolumeID, segment int, nodes ...wire.NodeID) {
	r.t.Helper()
	if got := r.Volumes[v].Segments[segment].InSync(); fmt.Sprint(got) != fmt.Sprint(nodes) {
		r.t.Fatalf("in sync are %v, want %v", got, nodes)
	}
}

func (r *rig) expectHead(v wire.VolumeID, head wire.NodeID, epoch uint64) {
	r.t.Helper()
	if got := r.Volumes[v]; got.Head != head || got.Epoch != epoch {
		r.t.Fatalf("the head is node %d at epoch %d, want %d at %d", got.Head, got.Epoch, head, epoch)
	}
}

func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// checkStep holds what is so of every command.
func checkStep(t testing.TB, before, next *State, c Command, r Result) {
	t.Helper()
	if (r.Problem == "") != (r.Code == "") {
		t.Fatalf("%s: code %q with problem %q", text(c), r.Code, r.Problem)
	}
	if r.Problem != "" {
		same := *before
		same.Index, same.Answered, same.Ordered = next.Index, next.Answered, next.Ordered
		if text(&same) != text(next) {
			t.Fatalf("%s was refused (%s) and changed the state from\n%s to\n%s", text(c), r.Problem, text(before), text(next))
		}
	}
	if next.LastNode < before.LastNode || next.LastVolume < before.LastVolume {
		t.Fatalf("%s: numbers went back", text(c))
	}
	for id, n := range next.Nodes {
		if old := before.Nodes[id]; old != nil && n.Incarnation < old.Incarnation || id > next.LastNode || n.ID != id {
			t.Fatalf("%s: node %+v after %+v", text(c), n, old)
		}
	}
	for id, v := range next.Volumes {
		checkVolume(t, before.Volumes[id], next, v, c)
	}
	checkJobs(t, before, next, c)
	for _, a := range next.Addresses {
		checkAddress(t, before, next, a, c)
	}
}

// checkAddress: an address has one holder, and goes to the next one only when
// that one is over or has said that it gave it up.
func checkAddress(t testing.TB, before, next *State, a Address, c Command) {
	t.Helper()
	old := before.AddressAt(a.Address.Address)
	if old == nil {
		if a.Group < groupOfAddresses || a.Group >= groupOfAddresses+next.LastAddress {
			t.Fatalf("%s: group %#x", text(c), a.Group)
		}
		return
	}
	if a.Group == old.Group && (a.Gen < old.Gen || a.Gen == old.Gen && a.Holder != old.Holder) {
		t.Fatalf("%s: %+v after %+v", text(c), a, *old)
	}
	handed := c.MoveAddress != nil && c.MoveAddress.Kind == assign.Release
	if a.Holder != old.Holder && !handed && !old.Over(before.AddressNodes()) {
		t.Fatalf("%s: node %d took %s from node %d", text(c), a.Holder, a.Address.Address, old.Holder)
	}
}

func checkVolume(t testing.TB, old *Volume, s *State, v *Volume, c Command) {
	t.Helper()
	fail := func(what string) {
		t.Helper()
		t.Fatalf("%s: %s:\n%s\nwas\n%s", text(c), what, text(v), text(old))
	}
	if v.Head != 0 && (s.Nodes[v.Head] == nil || !s.Nodes[v.Head].Up || s.Nodes[v.Head].Incarnation != v.HeadIncarnation) {
		fail("its head is not up")
	}
	if old != nil && v.Head != 0 && (v.Head != old.Head || v.HeadIncarnation != old.HeadIncarnation) &&
		(v.Epoch != old.Epoch+1 || v.HeadIndex != s.Index) {
		fail("a reign began without an epoch and an index of its own")
	}
	if old != nil && v.Head == old.Head && v.HeadIncarnation == old.HeadIncarnation && v.Epoch != old.Epoch {
		fail("an epoch without a new reign")
	}
	if old != nil && v.Bytes < old.Bytes || len(v.Segments) != s.segmentsOf(v.Bytes) {
		fail("its size")
	}
	anyUsable := false
	for i, g := range v.Segments {
		var was *Segment // nil: it is new
		if old != nil && i < len(old.Segments) {
			was = &old.Segments[i]
		}
		usable, opened, unusable := 0, 0, 0
		nodes := map[wire.NodeID]bool{}
		for _, r := range g.Replicas {
			if nodes[r.Node] {
				fail("two copies on one node")
			}
			nodes[r.Node] = true
			if s.Disks[r.Disk] == nil || s.Disks[r.Disk].Node != r.Node {
				fail("a copy on a disk that is not its node's")
			}
			switch {
			case r.InSync && s.Opened(r):
				usable++
				opened++
			case r.InSync && s.Usable(r):
				usable++
			case r.InSync:
				unusable++
			}
		}
		anyUsable = anyUsable || usable > 0
		if what := badMove(v, g, was, c); what != "" {
			fail(what)
		}
		switch {
		case usable+unusable == 0:
			fail("an in-sync set is empty")
		case opened > 0 && unusable > 0:
			fail("a set waits for a copy that cannot answer, and need not")
		case was != nil && opened == 0 && grew(g, *was):
			fail("a copy left for others of which none is known to be there")
		case was != nil && text(g.Replicas) != text(was.Replicas) && g.Gen <= was.Gen:
			fail("copies changed under one generation")
		case was != nil && c.Demote != nil && grew(g, *was) && usable < max(1, v.MinInSync):
			fail("a demotion cost more than slowness")
		case was != nil && c.Join == nil && grew(*was, g):
			fail("a copy came into the set without having caught up")
		}
	}
	if v.Head == 0 && anyUsable {
		fail("no head although there could be one")
	}
}

func grew(old, now Segment) bool {
	for _, r := range now.Replicas {
		if was := old.On(r.Node); r.InSync && (was == nil || !was.InSync || was.Disk != r.Disk) {
			return true
		}
	}
	return false
}
