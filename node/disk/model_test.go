package disk_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"ashlar/node/disk"
)

// model is what a store must hold: of each block its version and whether it is zeros.
type model struct {
	replicas map[disk.Replica]*[testSegment]blockState
	commits  map[disk.Replica]disk.Version
	promises map[int]uint64
}

type blockState struct {
	version disk.Version
	data    bool
}

func newModel() *model {
	return &model{map[disk.Replica]*[testSegment]blockState{}, map[disk.Replica]disk.Version{}, map[int]uint64{}}
}

func (m *model) compare(t *testing.T, s *disk.Store) {
	t.Helper()
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	list := s.Replicas()
	if len(list) != len(m.replicas) {
		t.Fatalf("replicas %v, want %d", list, len(m.replicas))
	}
	for _, state := range list {
		blocks := m.replicas[state.Replica]
		if state.Commit != m.commits[state.Replica] {
			t.Fatalf("commit point %v, want %v", state.Commit, m.commits[state.Replica])
		}
		var mapped uint64
		for i, b := range blocks {
			if b.data {
				mapped++
				holds(t, s, state.Replica, uint32(i), 1, b.version)
			} else {
				isZero(t, s, state.Replica, uint32(i), 1, b.version)
			}
		}
		if mapped != state.Mapped {
			t.Fatalf("%d blocks mapped, want %d", state.Mapped, mapped)
		}
		m.compareMap(t, s, state.Replica)
	}
	for volume, epoch := range m.promises {
		if p := s.Promised(replica(volume, 0).Volume); p != epoch {
			t.Fatalf("promised %d, want %d", p, epoch)
		}
	}
}

// compareMap compares Changes and Extents with the model.
func (m *model) compareMap(t *testing.T, s *disk.Store, r disk.Replica) {
	t.Helper()
	blocks := m.replicas[r]
	after := blocks[0].version
	changes, next, err := s.Changes(r, after, 0, testSegment)
	check(t, err)
	if next != 0 {
		t.Fatal("more changes than blocks")
	}
	for i, b := range blocks {
		if !after.Less(b.version) {
			continue
		}
		if len(changes) == 0 || changes[0].Block != uint32(i) || changes[0].Version != b.version || changes[0].Zero == b.data {
			t.Fatalf("changes of %v miss block %d: %v", r, i, b)
		}
		changes = changes[1:]
	}
	extents, err := s.Extents(r, 0, testSegment)
	check(t, err)
	for _, e := range extents {
		for i := e.Block; i < e.Block+e.Count; i++ {
			if blocks[i].data != e.Mapped {
				t.Fatalf("extent %v covers block %d", e, i)
			}
		}
	}
}

// inWrittenGroup says whether a block, or one that shares its metadata page, was ever given data.
func inWrittenGroup(blocks *[testSegment]blockState, block uint32) bool {
	first := block &^ 127
	for _, b := range blocks[first:min(first+128, testSegment)] {
		if b.version != (disk.Version{}) {
			return true
		}
	}
	return false
}

// write applies a write to the model: what error the store must give.
func (m *model) write(r disk.Replica, block, count uint32, version disk.Version, data bool) error {
	blocks := m.replicas[r]
	if blocks == nil {
		return disk.ErrNoReplica
	}
	for _, b := range blocks[block : block+count] {
		if version.Less(b.version) {
			return disk.ErrVersion
		}
	}
	for i := block; i < block+count; i++ {
		if data || inWrittenGroup(blocks, i) {
			blocks[i] = blockState{version, data}
		}
	}
	return nil
}

func TestRandomOperationsAgainstAModel(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { runModel(t, rand.New(rand.NewPCG(seed, 1)), 500) })
	}
}

func runModel(t *testing.T, r *rand.Rand, steps int) {
	dev, m := formatted(t), newModel()
	s := open(t, dev)
	seq := uint64(1)
	for range steps {
		rep := replica(1, r.IntN(3))
		block := r.Uint32N(testSegment)
		count := 1 + r.Uint32N(min(testSegment-block, 150))
		switch n := r.IntN(100); {
		case n < 75:
			version := v(1, seq)
			seq++
			if r.IntN(5) == 0 {
				version.Seq = 1 + r.Uint64N(seq)
			}
			data := r.IntN(3) > 0
			want := m.write(rep, block, count, version, data)
			if count > 8 && want == disk.ErrVersion {
				continue // it is cut, and some parts may pass
			}
			var err error
			if data {
				err = put(s, rep, block, count, version)
			} else {
				err = zero(s, rep, block, count, version)
			}
			if !errors.Is(err, want) {
				t.Fatalf("write of %v: %v, want %v", version, err, want)
			}
		case n < 83:
			m.order(t, s, r, rep)
		case n < 88:
			m.promises[1] = max(m.promises[1], seq)
			check(t, s.Promise(1, seq))
		case n < 93:
			if m.replicas[rep] != nil {
				m.commits[rep] = v(1, seq)
				s.SetCommit(rep, v(1, seq))
			}
		case n < 96:
			s.Checkpoint()
			s.DropCache()
			check(t, s.Audit())
		case n < 98:
			m.compare(t, s)
		default:
			check(t, s.Close())
			dev = dev.Again()
			s = open(t, dev)
			m.compare(t, s)
			check(t, s.Audit())
		}
	}
	check(t, s.Close())
	s = open(t, dev.Again())
	m.compare(t, s)
	check(t, s.Close())
}

// order creates, removes or resets a replica.
func (m *model) order(t *testing.T, s *disk.Store, r *rand.Rand, rep disk.Replica) {
	switch have := m.replicas[rep] != nil; {
	case !have:
		check(t, s.Create(rep))
		m.replicas[rep] = new([testSegment]blockState)
	case r.IntN(2) == 0:
		check(t, s.Reset(rep))
		m.replicas[rep] = new([testSegment]blockState)
		delete(m.commits, rep)
	default:
		check(t, s.Remove(rep))
		delete(m.replicas, rep)
		delete(m.commits, rep)
	}
}
