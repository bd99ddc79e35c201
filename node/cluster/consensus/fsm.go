package consensus

import (
	"encoding/json"
	"fmt"
	"io"
	"sync/atomic"

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
	broken  error // not nil: an entry could not be understood, so the state no longer counts
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
	state, result := m.view.Load().state.Apply(l.Index, c)
	m.publish(state, l.Index)
	return result
}

// Snapshot costs nothing: a State is immutable.
func (m *machine) Snapshot() (raft.FSMSnapshot, error) {
	if m.broken != nil {
		return nil, m.broken
	}
	return snapshot{m.view.Load().state}, nil
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
	m.publish(state, state.Index)
	return nil
}

type snapshot struct{ state *cluster.State }

func (s snapshot) Persist(sink raft.SnapshotSink) error {
	if err := json.NewEncoder(sink).Encode(s.state); err != nil {
		sink.Cancel()
		return fmt.Errorf("consensus: snapshot: %w", err)
	}
	return sink.Close()
}

func (snapshot) Release() {}
