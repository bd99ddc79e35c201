package cluster

import (
	"fmt"
	"testing"

	"ashlar/replication/wire"
)

func TestARequestThatComesTwiceIsDoneOnceAndAnsweredAlike(t *testing.T) {
	r := newRig(t, 3, 3)
	v := r.volume("v", 2, 1)
	for i, c := range []Command{
		{AddNode: &AddNode{Name: "n9", Peer: "10.0.0.9:7600"}},
		{Register: &Register{Node: 3, Peer: node(3).Peer}},
		{CreateVolume: &CreateVolume{Name: "w", Bytes: mib, Copies: 1}},
		{AddHost: &AddHost{Name: "h", IQN: "iqn.1993-08.org.debian:01:a"}},
		{SetExport: &SetExport{Volume: "w", Host: "h"}},
		{MoveHead: &MoveHead{Volume: v, Epoch: 1}},
		{DeleteVolume: &DeleteVolume{Name: "no-such"}}, // problems too
		{Fence: &Fence{Dead: []Dead{{3, 2}}, Refused: true}},
	} {
		c.Request = fmt.Sprintf("request-%d", i)
		first := r.do(c)
		once := *r.State
		second := r.do(c)
		if first != second {
			t.Errorf("%s: %+v, then %+v", text(c), first, second)
		}
		once.Index = r.Index
		if text(&once) != text(r.State) {
			t.Errorf("%s was done twice:\n%s\n%s", text(c), text(&once), text(r.State))
		}
	}
	if r.LastNode != 4 || r.Nodes[3].Incarnation != 2 {
		t.Errorf("last node %d, incarnation %d", r.LastNode, r.Nodes[3].Incarnation)
	}
}

func TestCommandsWithoutARequestAreEachDone(t *testing.T) {
	r := newRig(t, 1, 1)
	a, b := r.up(1), r.up(1)
	if b != a+1 || len(r.Answered) != 0 {
		t.Errorf("incarnations %d, %d; %d answers kept", a, b, len(r.Answered))
	}
}

func TestTheLatestRequestsAreRememberedAndNoMore(t *testing.T) {
	r := newRig(t, 1, 1)
	register := func(i int) wire.Incarnation {
		return r.good(Command{Request: fmt.Sprint(i), Register: &Register{Node: 1}}).Incarnation
	}
	first := register(0)
	for i := 1; i <= answeredMax; i++ {
		register(i)
	}
	if len(r.Answered) != answeredMax || r.Answered[0].Request != "1" {
		t.Fatalf("%d answers from %q on", len(r.Answered), r.Answered[0].Request)
	}
	if got := register(1); got != first+1 {
		t.Errorf("the oldest that is remembered is answered %d", got)
	}
	if got := register(0); got != first+answeredMax+1 {
		t.Errorf("one that is forgotten is done again, as %d", got)
	}
}

func TestANewerCommandIsNotGuessedAt(t *testing.T) {
	r := newRig(t, 1, 1)
	r.refuse(Invalid, Command{Version: FormatVersion + 1, Register: &Register{Node: 1}})
	r.refuse(Invalid, Command{Version: FormatVersion})
	r.good(Command{Version: FormatVersion, Register: &Register{Node: 1}})
}

func TestThereIsOneClusterAndNothingBeforeIt(t *testing.T) {
	r := &rig{t, New()}
	create := Create{ID: "c0ffee", Name: "lab", SegmentBytes: mib, Node: node(1)}
	with := func(change func(*Create)) Command {
		c := create
		change(&c)
		return Command{Create: &c}
	}
	r.refuse(Refused, Command{AddNode: &AddNode{Name: "a", Peer: "b"}})
	r.refuse(Refused, Command{})
	r.refuse(Invalid, with(func(c *Create) { c.ID = "" }))
	r.refuse(Invalid, with(func(c *Create) { c.Name = "My Lab" }))
	r.refuse(Invalid, with(func(c *Create) { c.Node.Name = "" }))
	for _, size := range []uint64{0, mib - 1, mib / 2, 3 * mib, 8 << 30} {
		r.refuse(Invalid, with(func(c *Create) { c.SegmentBytes = size }))
	}
	for _, size := range []uint64{mib, 1 << 30, 4 << 30} {
		(&rig{t, New()}).good(with(func(c *Create) { c.SegmentBytes = size }))
	}
	if got := r.good(Command{Create: &create}); got.Node != 1 || !r.Nodes[1].Voter {
		t.Errorf("%+v, %+v", got, r.Nodes[1])
	}
	r.refuse(Exists, Command{Create: &create})
}
