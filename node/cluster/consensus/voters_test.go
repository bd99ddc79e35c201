package consensus

import (
	"fmt"
	"testing"

	"github.com/hashicorp/raft"

	"ashlar/node/cluster"
	"ashlar/replication/wire"
)

// situation draws a cluster: one letter per node from 1, capital while it is
// up, small while down; V votes by raft and state, N neither; D votes and is about to stop, X was expelled.
func situation(text string) (*cluster.State, []raft.Server) {
	s := cluster.New()
	s.ID = "c"
	var servers []raft.Server
	for i, letter := range text {
		id := wire.NodeID(i + 1)
		up, votes := letter < 'a', letter == 'V' || letter == 'v' || letter == 'D'
		s.Nodes[id] = &cluster.Node{ID: id, Up: up, Voter: votes, Leaving: letter == 'D', Expelled: letter == 'X'}
		if letter == 'X' {
			continue
		}
		suffrage := raft.Nonvoter
		if votes {
			suffrage = raft.Voter
		}
		servers = append(servers, raft.Server{ID: serverID(id), Suffrage: suffrage})
	}
	return s, servers
}

func TestChoiceOfVoters(t *testing.T) {
	for text, want := range map[string]string{
		"V":       "nothing 0",
		"VN":      "promote 2",
		"VV":      "nothing 0", // neither goes on without the other
		"Vn":      "nothing 0",
		"VD":      "demote 2", // it is about to stop
		"VNn":     "promote 2",
		"VNN":     "promote 2",
		"VVN":     "promote 3",
		"VVn":     "nothing 0",
		"VVX":     "nothing 0", // an expelled node is none
		"VVV":     "nothing 0",
		"VVv":     "nothing 0", // it may come back, and nobody can replace it
		"VVvN":    "promote 4",
		"VVvV":    "demote 3",
		"VVVNN":   "promote 4",
		"VVVVN":   "promote 5",
		"VVVVn":   "demote 4",
		"VVVVV":   "nothing 0",
		"VVVVVN":  "nothing 0",
		"VVVvvNN": "promote 6",
		"VVVvn":   "demote 4",
		"VVvnn":   "nothing 0",
		"NNV":     "promote 1",
	} {
		s, servers := situation(text)
		self := wire.NodeID(1)
		if text == "NNV" {
			self = 3
		}
		if c := nextChange(s, servers, self); fmt.Sprint(c.kind, c.node) != want {
			t.Errorf("%s: %v %d, not %s", text, c.kind, c.node, want)
		}
	}
}

// From any situation in which a majority of voters is up, the steps come to an
// end, at an odd number of voters or at two that are up, and never through a loss of majority.
func TestChoiceOfVotersSettles(t *testing.T) {
	letters := "VvNn"
	for n := 1; n <= 6; n++ {
		for code := range 1 << (2 * n) {
			text := make([]byte, n)
			for i := range text {
				text[i] = letters[code>>(2*i)&3]
			}
			text[0] = 'V' // the leader
			if !majorityUp(text) {
				continue
			}
			start := string(text)
			for step := 0; ; step++ {
				s, servers := situation(string(text))
				c := nextChange(s, servers, 1)
				if c.kind == nothing {
					break
				}
				at := &text[c.node-1]
				switch {
				case c.kind == promote && *at == 'N':
					*at = 'V'
				case c.kind == demote && *at == 'V':
					*at = 'N'
				case c.kind == demote && *at == 'v':
					*at = 'n'
				default:
					t.Fatalf("%s: %v %d", text, c.kind, c.node)
				}
				if !majorityUp(text) || step > 2*n {
					t.Fatalf("%s became %s", start, text)
				}
			}
			if n := count(text, "Vv"); n%2 == 0 && (n > 2 || count(text, "V") < 2) {
				t.Errorf("%s stays at %s", start, text)
			}
		}
	}
}

func count(text []byte, letters string) (n int) {
	for _, c := range text {
		for _, l := range letters {
			if rune(c) == l {
				n++
			}
		}
	}
	return n
}

func majorityUp(text []byte) bool { return count(text, "V") > count(text, "Vv")/2 }

func TestStateAndConfigurationAreMadeTheSameFirst(t *testing.T) {
	s, servers := situation("VNN")
	s.Nodes[2].Voter = true
	if c := nextChange(s, servers, 1); c != (change{record, 2}) {
		t.Error(c)
	}
	s, servers = situation("VNN")
	if c := nextChange(s, servers[:2], 1); c != (change{admit, 3}) {
		t.Error(c)
	}
	delete(s.Nodes, 2)
	if c := nextChange(s, servers, 1); c != (change{remove, 2}) {
		t.Error(c)
	}
	// A voter that was removed leaves the configuration first, and then what the state knows of the voters.
	s, servers = situation("VVV")
	s.Nodes[3].Expelled, s.Nodes[3].Up = true, false
	if c := nextChange(s, servers, 1); c != (change{remove, 3}) {
		t.Error(c)
	}
	if c := nextChange(s, servers[:2], 1); c != (change{record, 3}) {
		t.Error(c)
	}
	s.Nodes[3].Voter = false
	if c := nextChange(s, servers[:2], 1); c.kind != nothing {
		t.Error(c)
	}
	if c := nextChange(cluster.New(), servers, 1); c.kind != nothing {
		t.Error(c)
	}
}

func TestLatestConfigurationFollowsTheLog(t *testing.T) {
	var c configurations
	with := func(index uint64, ids ...wire.NodeID) *raft.Log {
		var k raft.Configuration
		for _, id := range ids {
			k.Servers = append(k.Servers, raft.Server{ID: serverID(id), Address: serverAddress(id)})
		}
		return &raft.Log{Index: index, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(k)}
	}
	check := func(want uint64, voters int) {
		t.Helper()
		if index, servers := c.latest(); index != want || len(servers) != voters {
			t.Fatalf("configuration %d with %d servers, not %d with %d", index, len(servers), want, voters)
		}
	}
	check(0, 0)
	c.stored([]*raft.Log{with(1, 1), entry(2), with(3, 1, 2)})
	check(3, 2)
	c.truncated(3) // never agreed on: another leader's log replaces it
	check(1, 1)
	c.stored([]*raft.Log{entry(3), with(4, 1, 3, 2)})
	check(4, 3)
	c.stored([]*raft.Log{with(2, 1, 2)}) // replaces the log from 2 on
	check(2, 2)
}
