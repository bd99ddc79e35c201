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

func (g *guard) write(what string, f func() error) error {
	if err := g.poisoned(); err != nil {
		return err
	}
	stuck := time.AfterFunc(g.limit, func() {
		g.fail(fmt.Errorf("consensus: %s took longer than %v: the disk hangs", what, g.limit))
	})
	err := f()
	stuck.Stop()
	if err != nil {
		g.fail(fmt.Errorf("consensus: %s: %w", what, err))
	}
	return g.poisoned()
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
