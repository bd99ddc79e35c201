package node

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"ashlar/node/cluster"
	"ashlar/node/events"
)

// chronicle is a history and a state that commands are applied to.
type chronicle struct {
	t *testing.T
	*history
	state *cluster.State
	shut  func() // the history's close, once
}

func newChronicle(t *testing.T) *chronicle {
	c := &chronicle{t: t, state: cluster.New()}
	c.history = c.open(t.TempDir())
	c.apply(cluster.Command{Create: &cluster.Create{ID: "c0ffee", Name: "lab", SegmentBytes: 1 << 20, Node: cluster.AddNode{Name: "n1", Peer: "10.0.0.1:1"}}})
	return c
}

func (c *chronicle) open(path string) *history {
	c.t.Helper()
	h, err := openHistory(&folder{path: path}, slog.New(slog.DiscardHandler))
	if err != nil {
		c.t.Fatal(err)
	}
	c.shut = sync.OnceFunc(h.close)
	c.t.Cleanup(c.shut) // before its folder is removed
	return h
}

// apply has a command make the next state, and gives the one before.
func (c *chronicle) apply(command cluster.Command) (before *cluster.State) {
	c.t.Helper()
	before = c.state
	next, r := before.Apply(before.Index+1, command)
	if r.Problem != "" {
		c.t.Fatal(r.Problem)
	}
	c.Applied(before, next, time.UnixMilli(int64(next.Index)))
	c.state = next
	return before
}

func host(i int) cluster.Command {
	return cluster.Command{AddHost: &cluster.AddHost{Name: fmt.Sprint("h", i), IQN: fmt.Sprint("iqn.2026-11.com.example:", i)}}
}

func (c *chronicle) again() {
	c.t.Helper()
	c.shut()
	c.history = c.open(c.folder.path)
}

// expect is what is known after an event.
func (c *chronicle) expect(since string, limit int, missing bool, want ...string) {
	c.t.Helper()
	var from *events.ID
	if since != "" {
		id, err := events.Parse(since)
		if err != nil {
			c.t.Fatal(err)
		}
		from = &id
	}
	happened := c.after(from, limit)
	var got []string
	for _, e := range happened.Events {
		got = append(got, fmt.Sprint(e.ID, " ", e.Kind))
	}
	if fmt.Sprint(got) != fmt.Sprint(want) || happened.Missing != missing {
		c.t.Errorf("after %q: %q, missing %v; want %q, %v", since, got, happened.Missing, want, missing)
	}
}

func TestARestartKeepsTheHistoryAndTellsNothingTwice(t *testing.T) {
	c := newChronicle(t)
	before := c.apply(host(1))
	for range 2 {
		c.expect("", 10, false, "1.1 cluster-created", "1.2 node-joined", "1.3 node-voter", "2.1 host-added")
		c.expect("1.1", 2, false, "1.2 node-joined", "1.3 node-voter")
		c.expect("1", 1, false, "1.1 cluster-created")
		c.expect("2.1", 10, false)
		c.expect("", 1, false, "2.1 host-added")
		c.again()
		c.Applied(before, c.state, time.Now()) // as raft does with its log at the start
	}
	if at := c.after(nil, 1).Events[0].At; at.UnixMilli() != 2 {
		t.Errorf("it happened at %v", at)
	}
}

func TestWhoWaitsHearsOfTheNextEvent(t *testing.T) {
	c := newChronicle(t)
	newer := c.after(nil, 1).Newer
	c.apply(cluster.Command{SetVoter: &cluster.SetVoter{Node: 1, Voter: true}})
	select {
	case <-newer:
		t.Fatal("a command that changes nothing is an event")
	default:
	}
	c.apply(host(1))
	<-newer
}

func TestASnapshotThatIsTakenOverLeavesAGap(t *testing.T) {
	c := newChronicle(t)
	there := c.state
	for i := range 5 {
		next, _ := there.Apply(there.Index+1, host(i))
		there = next
	}
	c.Restored(there)
	c.state = there
	c.apply(host(9))
	c.expect("1.3", 10, false, "6.0 events-unknown", "7.1 host-added")

	// The state that this node itself was told of is none.
	c.apply(cluster.Command{SetVoter: &cluster.SetVoter{Node: 1, Voter: true}})
	c.Forgets()
	h := c.open(c.folder.path) // as after a crash
	c.history = h
	c.Restored(c.state)
	c.expect("6.0", 10, false, "7.1 host-added")
	c.Restored(c.state.Reform(1, "f00"))
	c.expect("7.1", 10, false)
	c.state, _ = c.state.Apply(c.state.Index+1, host(8))
	c.Restored(c.state.Reform(1, "f00"))
	c.expect("7.1", 10, false, "9.0 cluster-reformed")
}

func TestTheHistoryIsBoundedAndSaysWhatItForgot(t *testing.T) {
	c := newChronicle(t)
	const many = 3 * historyMax
	for i := range many {
		on := i%2 == 0
		c.add(uint64(i+2), events.Event{ID: events.ID{Index: uint64(i + 2), Ordinal: 1}, Kind: events.HostAdded, Warning: on})
		if i%1000 == 0 {
			c.write(false)
		}
	}
	c.again()
	happened := c.after(&events.ID{}, many)
	if n := len(happened.Events); n != historyMax || !happened.Missing || happened.Events[n-1].ID.Index != many+1 {
		t.Errorf("%d events, missing %v", n, happened.Missing)
	}
	c.expect(happened.Events[0].ID.String(), 1, false, happened.Events[1].ID.String()+" host-added")
	if text, err := os.ReadFile(c.folder.events()); err != nil || len(text) > 200*historyMax {
		t.Errorf("the file has %d bytes, %v", len(text), err)
	}
}

func TestATornHistoryIsKeptUpToTheTear(t *testing.T) {
	c := newChronicle(t)
	c.shut()
	path := filepath.Join(c.folder.path, eventsFile)
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString(`{"event":{"id":"2.1","ki`)
		f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	c.history = c.open(c.folder.path)
	c.apply(host(1))
	c.again()
	c.expect("1.3", 10, false, "2.1 host-added")
	if err := os.WriteFile(path, []byte("{\"version\":2}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openHistory(c.folder, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a later release's file was taken for ours")
	}
}
