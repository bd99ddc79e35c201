package engine

import (
	"slices"
	"time"

	"ashlar/node/cluster"
	"ashlar/node/disk"
)

const (
	badEvery  = time.Second // the cluster is told so often
	badWaits  = 256         // places of a disk that wait for that; what is bad beyond is found again
	badAtOnce = 64
)

// Bad notes places that a disk of this node could not give. All blocks of a metadata
// page that is lost are one place.
func (e *Engine) Bad(s *disk.Store, b *disk.ChecksumError) {
	at := time.Now().UnixMilli()
	e.mu.Lock()
	defer e.mu.Unlock()
	for id, store := range e.stores {
		if store != s {
			continue
		}
		for _, block := range b.Blocks {
			if first, lost := s.Lost(b.Replica, block); lost {
				block = first
			}
			bad := cluster.BadBlock{Volume: b.Volume, Segment: b.Segment, Block: block, At: at}
			if n := len(e.bad[id]); n == badWaits || n > 0 && e.bad[id][n-1] == bad {
				continue
			}
			e.bad[id] = append(e.bad[id], bad)
		}
	}
}

// countBad has the cluster count bad blocks.
func (e *Engine) countBad() {
	e.mu.Lock()
	all := e.bad
	e.bad = map[cluster.DiskID][]cluster.BadBlock{}
	e.mu.Unlock()
	st := e.Consensus.State()
	for id, list := range all {
		d := st.Disks[id]
		if d == nil || d.Failed {
			continue
		}
		list = slices.DeleteFunc(list, d.Counted)
		for part := range slices.Chunk(list, badAtOnce) {
			e.propose(cluster.Command{BadBlocks: &cluster.BadBlocks{Disk: id, Blocks: part}})
		}
	}
}
