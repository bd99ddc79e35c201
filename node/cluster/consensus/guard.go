package consensus

import (
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// stores is what raft keeps on disk.
type stores interface {
	raft.LogStore
	raft.StableStore
}

// guard watches every write of raft's stores. One that takes longer than limit,
// or fails, ends this process: raft would lead on with a disk that hangs
// (heartbeats do not touch it), and after a failed fsync nobody knows what the
// disk holds. Nothing is written after the first such event.
type guard struct {
	stores
	limit  time.Duration
	fatal  func(error)
	seen   *configurations
	mu     sync.Mutex
	poison error
}

func (g *guard) write(what string, f func() error) error { return g.within(g.limit, what, f) }

func (g *guard) within(limit time.Duration, what string, f func() error) error {
	if err := g.poisoned(); err != nil {
		return err
	}
	stop := whileRunning(limit, func() {
		g.fail(fmt.Errorf("consensus: %s took longer than %v: the disk hangs", what, limit))
	})
	err := f()
	stop()
	if err != nil {
		g.fail(fmt.Errorf("consensus: %s: %w", what, err))
	}
	return g.poisoned()
}

// whileRunning calls late after a time in which this process ran, unless it is
// stopped before. It goes in steps: a process that stood still (stopped, its
// machine suspended) has lost one of them at most, and is not taken for a disk
// that hangs.
func whileRunning(limit time.Duration, late func()) (stop func()) {
	const steps = 8
	stopped := make(chan struct{})
	go func() {
		t := time.NewTimer(limit / steps)
		defer t.Stop()
		for range steps {
			select {
			case <-stopped:
				return
			case <-t.C:
				t.Reset(limit / steps)
			}
		}
		late()
	}()
	return func() { close(stopped) }
}

func (g *guard) poisoned() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.poison
}

func (g *guard) fail(err error) {
	g.mu.Lock()
	first := g.poison == nil
	if first {
		g.poison = err
	}
	g.mu.Unlock()
	if first {
		g.fatal(err)
	}
}

func (g *guard) StoreLog(l *raft.Log) error { return g.StoreLogs([]*raft.Log{l}) }

func (g *guard) StoreLogs(logs []*raft.Log) error {
	err := g.write("writing the raft log", func() error { return g.stores.StoreLogs(logs) })
	if err == nil {
		g.seen.stored(logs)
	}
	return err
}

func (g *guard) DeleteRange(first, last uint64) error {
	end, err := g.stores.LastIndex()
	if err != nil {
		return err
	}
	err = g.write("trimming the raft log", func() error { return g.stores.DeleteRange(first, last) })
	if err == nil && last >= end {
		g.seen.truncated(first)
	}
	return err
}

func (g *guard) Set(k, v []byte) error {
	return g.write("writing the raft vote", func() error { return g.stores.Set(k, v) })
}

func (g *guard) SetUint64(k []byte, v uint64) error {
	return g.write("writing the raft term", func() error { return g.stores.SetUint64(k, v) })
}

// watchedSnapshots are under the guard too, and show the configurations that
// come with a leader's snapshots.
type watchedSnapshots struct {
	raft.SnapshotStore
	guard *guard
}

const snapshotWriteMax = 30 * time.Second // a call may flush all that was written before

func (w watchedSnapshots) Create(version raft.SnapshotVersion, index, term uint64, configuration raft.Configuration,
	configurationIndex uint64, transport raft.Transport) (sink raft.SnapshotSink, err error) {
	err = w.guard.within(snapshotWriteMax, "beginning a snapshot", func() (err error) {
		sink, err = w.SnapshotStore.Create(version, index, term, configuration, configurationIndex, transport)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &watchedSink{sink, w.guard, indexed{configurationIndex, configuration.Clone()}}, nil
}

type watchedSink struct {
	raft.SnapshotSink
	guard *guard
	with  indexed
}

func (s *watchedSink) Write(p []byte) (n int, err error) {
	err = s.guard.within(snapshotWriteMax, "writing a snapshot", func() (err error) {
		n, err = s.SnapshotSink.Write(p)
		return err
	})
	return n, err
}

// Close adds the configuration unless a newer one is known: this node's own snapshots are older than its log.
func (s *watchedSink) Close() error {
	err := s.guard.within(snapshotWriteMax, "completing a snapshot", s.SnapshotSink.Close)
	seen := s.guard.seen
	if index, _ := seen.latest(); err == nil && s.with.index > index {
		seen.add(s.with.index, s.with.configuration)
	}
	return err
}
