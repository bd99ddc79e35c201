package cluster

import (
	"testing"

	"ashlar/replication/wire"
)

func TestAFenceNeedsAMajorityOfTheVoters(t *testing.T) {
	for _, c := range []struct {
		name          string
		nodes, voters int
		ballots       func(*rig) []Ballot
		code          Code
	}{
		{"none of three", 4, 3, func(r *rig) []Ballot { return nil }, Refused},
		{"one of three", 4, 3, func(r *rig) []Ballot { return r.ballots(2) }, Refused},
		{"one of three, twice", 4, 3, func(r *rig) []Ballot { return append(r.ballots(2), r.ballots(2)...) }, Refused},
		{"two of three", 4, 3, func(r *rig) []Ballot { return r.ballots(1, 2) }, ""},
		{"three of three", 4, 3, func(r *rig) []Ballot { return r.ballots(3, 2, 1) }, ""},
		{"one of two", 4, 2, func(r *rig) []Ballot { return r.ballots(1) }, Refused},
		{"two of four", 5, 4, func(r *rig) []Ballot { return r.ballots(1, 2) }, Refused},
		{"three of four", 5, 4, func(r *rig) []Ballot { return r.ballots(1, 2, 4) }, ""},
		{"one of one", 4, 1, func(r *rig) []Ballot { return r.ballots(1) }, ""},
		{"one that is no voter", 4, 2, func(r *rig) []Ballot { return r.ballots(1, 3) }, Stale},
		{"one that is no node", 4, 3, func(r *rig) []Ballot { return append(r.ballots(1, 2), Ballot{99, 1}) }, Stale},
		{"one of a voter's former life", 4, 3, func(r *rig) []Ballot { b := r.ballots(1, 2); r.up(2); return b }, Stale},
		{"one of a voter that is fenced", 4, 3, func(r *rig) []Ballot { b := r.ballots(1, 2); r.down(2); return b }, Stale},
		{"one of a voter's life to come", 4, 3, func(r *rig) []Ballot { b := r.ballots(1, 2); b[1].Incarnation++; return b }, Stale},
		{"one that was a voter", 4, 3, func(r *rig) []Ballot {
			r.good(Command{SetVoter: &SetVoter{Node: 2}})
			return r.ballots(1, 2)
		}, Stale},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, c.nodes, c.voters)
			last := wire.NodeID(c.nodes)
			fence := Command{Fence: &Fence{Dead: r.dead(last), Ballots: c.ballots(r)}}
			if got := r.do(fence); got.Code != c.code {
				t.Fatalf("%+v, want %q", got, c.code)
			}
			if r.Nodes[last].Up != (c.code != "") {
				t.Errorf("up: %v", r.Nodes[last].Up)
			}
		})
	}
}

func TestAFenceIsOfIncarnationsThatAreUp(t *testing.T) {
	r := newRig(t, 3, 3)
	old := Command{Fence: &Fence{Dead: r.dead(2, 3), Refused: true}}
	r.up(2)
	r.good(old) // 3 still is what it names
	if !r.Nodes[2].Up || r.Nodes[3].Up {
		t.Errorf("nodes 2 and 3 are up: %v, %v", r.Nodes[2].Up, r.Nodes[3].Up)
	}
	r.refuse(Stale, old)
	r.refuse(Stale, Command{Fence: &Fence{Dead: []Dead{{9, 1}}, Refused: true}})
	r.refuse(Stale, Command{Fence: &Fence{Refused: true}})
	r.refuse(Stale, Command{Fence: &Fence{Dead: []Dead{{1, r.Nodes[1].Incarnation + 1}}, Refused: true}})
}

// TestAVoterMayHelpFenceItself: its own word is the best there is.
func TestAVoterMayHelpFenceItself(t *testing.T) {
	r := newRig(t, 3, 3)
	r.good(Command{Fence: &Fence{Dead: r.dead(2), Ballots: r.ballots(1, 2)}})
}

// TestWhatDiesTogetherIsJudgedTogether: each copy has all acknowledged writes,
// so none may be made worth less than the other by the order of commands.
func TestWhatDiesTogetherIsJudgedTogether(t *testing.T) {
	r := newRig(t, 5, 5)
	v := r.volume("v", 2, 4)
	r.good(Command{Fence: &Fence{Dead: r.dead(1, 2, 3), Ballots: r.ballots(1, 4, 5)}})
	r.expectInSync(v, 0, 1, 2)
	r.expectInSync(v, 1, 1, 3)
	r.expectInSync(v, 2, 4) // by itself it has everything
	r.expectInSync(v, 3, 5)
	r.expectHead(v, 4, 2)
}
