package consensus

import (
	"slices"
	"sync"

	"github.com/hashicorp/raft"
)

// configurations follows raft's latest configuration with its index, which
// raft itself does not tell: its GetConfiguration leaves the index 0. The latest one rules
// elections from the moment it is in the log, committed or not.
type configurations struct {
	mu    sync.Mutex
	known []indexed // ascending; at most one is not committed, so a few suffice
}

type indexed struct {
	index         uint64
	configuration raft.Configuration
}

const configurationsKept = 4

// readConfigurations finds those in the newest snapshot and in the log behind it.
func readConfigurations(logs raft.LogStore, snapshots raft.SnapshotStore) (*configurations, error) {
	c := &configurations{}
	metas, err := snapshots.List()
	if err != nil {
		return nil, err
	}
	first, err := logs.FirstIndex()
	if err != nil {
		return nil, err
	}
	last, err := logs.LastIndex()
	if err != nil {
		return nil, err
	}
	if len(metas) > 0 {
		c.add(metas[0].ConfigurationIndex, metas[0].Configuration)
		first = max(first, metas[0].Index+1)
	}
	for i := max(first, 1); i <= last; i++ {
		var l raft.Log
		if err := logs.GetLog(i, &l); err != nil {
			return nil, err
		}
		c.stored([]*raft.Log{&l})
	}
	return c, nil
}

func (c *configurations) stored(logs []*raft.Log) {
	for _, l := range logs {
		if l.Type == raft.LogConfiguration {
			c.add(l.Index, raft.DecodeConfiguration(l.Data))
		}
	}
}

func (c *configurations) add(index uint64, configuration raft.Configuration) {
	c.truncated(index)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known = append(c.known, indexed{index, configuration})
	if n := len(c.known) - configurationsKept; n > 0 {
		c.known = slices.Delete(c.known, 0, n)
	}
}

// truncated forgets what the log lost at its end, from that index on.
func (c *configurations) truncated(from uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known = slices.DeleteFunc(c.known, func(k indexed) bool { return k.index >= from })
}

// latest has index 0 where there is none.
func (c *configurations) latest() (index uint64, servers []raft.Server) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.known) == 0 {
		return 0, nil
	}
	k := c.known[len(c.known)-1]
	return k.index, slices.Clone(k.configuration.Servers)
}
