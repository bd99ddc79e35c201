package consensus

import (
	"encoding/json"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"ashlar/node/cluster"
)

// snapshotMax bounds a snapshot, bytes: a state of a petabyte has a tenth of it.
const snapshotMax = 1 << 30

// machine applies agreed commands to the state. Raft calls it from one goroutine.
type machine struct {
	view    atomic.Pointer[view]
	changed func(*cluster.State) // before the state is published; must not block for long
	fatal   func(error)
	told    Observer // nil: nobody is
	broken  error    // not nil: an entry could not be understood, so the state no longer counts
}

// Observer is told of all that is agreed on, in order. Applied and Restored come from one goroutine, before the state
// is published, and may not block.
type Observer interface {
	// Applied: a command made a state of another. at is when it was proposed, by the leader's clock, or zero. After a
	// start commands come again that were applied before.
	Applied(before, after *cluster.State, at time.Time)

	// Restored: the state is that of a snapshot, whatever it was before.
	Restored(after *cluster.State)

	// Forgets: what was told so far may never be told again.
	Forgets()
}

// view is the state as applied up to an index, and a channel that closes when there is a newer one.
type view struct {
	state   *cluster.State
	applied uint64
	newer   chan struct{}
}

func newMachine(changed func(*cluster.State), fatal func(error)) *machine {
	m := &machine{changed: changed, fatal: fatal}
	m.view.Store(&view{state: cluster.New(), newer: make(chan struct{})})
	return m
}

func (m *machine) publish(s *cluster.State, applied uint64) {
	m.changed(s)
	old := m.view.Swap(&view{s, applied, make(chan struct{})})
	close(old.newer)
}

// Apply gives a cluster.Result. A command that this program does not understand
// ends it: nodes that skip what others do would disagree from then on.
func (m *machine) Apply(l *raft.Log) any {
	var c cluster.Command
	err := json.Unmarshal(l.Data, &c)
	if err == nil && c.Version > cluster.FormatVersion {
		err = fmt.Errorf("version %d, this program knows %d", c.Version, cluster.FormatVersion)
	}
	if err != nil && m.broken == nil {
		m.broken = fmt.Errorf("consensus: command %d: %w", l.Index, err)
		m.fatal(m.broken)
	}
	if m.broken != nil {
		return cluster.Result{Code: cluster.Invalid, Problem: m.broken.Error()}
	}
	before := m.view.Load().state
	state, result := before.Apply(l.Index, c)
	if m.told != nil {
		m.told.Applied(before, state, l.AppendedAt)
	}
	m.publish(state, l.Index)
	return result
}

// Snapshot costs nothing: a State is immutable.
func (m *machine) Snapshot() (raft.FSMSnapshot, error) {
	if m.broken != nil {
		return nil, m.broken
	}
	return snapshot{m.view.Load().state, m.told}, nil
}

func (m *machine) Restore(from io.ReadCloser) error {
	defer from.Close()
	limited := &io.LimitedReader{R: from, N: snapshotMax + 1}
	state := cluster.New()
	if err := json.NewDecoder(limited).Decode(state); err != nil {
		if limited.N <= 0 {
			err = fmt.Errorf("larger than %d bytes", snapshotMax)
		}
		return fmt.Errorf("consensus: snapshot: %w", err)
	}
	if state.Version > cluster.FormatVersion {
		return fmt.Errorf("consensus: snapshot has version %d, this program knows %d", state.Version, cluster.FormatVersion)
	}
	if m.told != nil {
		m.told.Restored(state)
	}
	m.publish(state, state.Index)
	return nil
}

type snapshot struct {
	state *cluster.State
	told  Observer
}

func (s snapshot) Persist(sink raft.SnapshotSink) error {
	if s.told != nil {
		s.told.Forgets()
	}
	if err := json.NewEncoder(sink).Encode(s.state); err != nil {
		sink.Cancel()
		return fmt.Errorf("consensus: snapshot: %w", err)
	}
	return sink.Close()
}

func (snapshot) Release() {}
