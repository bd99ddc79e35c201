package disk

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"ashlar/replication/wire"
)

// Options bound what a store takes of the node. Zero fields have defaults.
type Options struct {
	Readers    int   // reads in the device at once; default 32
	Writers    int   // in the device at once, of write-backs and of writes past the journal each; default 16
	DirtyBytes int64 // most journal bytes one overlay keeps in memory, of two; default 64 MiB, at most half of the journal
	CachePages int   // metadata pages in memory, 2.6 KiB each for 512 KiB of data; default 16,384
}

func (o *Options) setDefaults(g *geometry) {
	if o.Readers <= 0 {
		o.Readers = 32
	}
	if o.Writers <= 0 {
		o.Writers = 16
	}
	if o.DirtyBytes <= 0 {
		o.DirtyBytes = 64 << 20
	}
	o.DirtyBytes = min(o.DirtyBytes, g.journalSize/2)
	if o.CachePages <= 0 {
		o.CachePages = 16384
	}
}

// Store is an open disk. All methods may be called from several goroutines.
//
// Four kinds of goroutine share it under mu: recordsInFlight of them write the journal and
// apply what became durable, one writes back and makes checkpoints, some write past the journal, some read.
type Store struct {
	dev *gate
	id  Identity
	geometry
	o Options

	taking sync.Mutex // held by the goroutine that takes the next batch; before mu
	mu     sync.Mutex
	queued *sync.Cond // mayTake, closing or err changed: for the one that takes
	work   *sync.Cond // flight, the journal's room or err changed
	due    *sync.Cond // wanted, stopping or err changed: for the one that makes checkpoints

	replicas     map[Replica]*replica
	promises     map[wire.VolumeID]uint64
	nextInstance uint64
	commits      map[*replica]struct{} // commit points that no journal record carries yet

	space   space
	slotMap *bitmap
	slotEnd uint32 // no slot at or above it was ever taken
	groups  uint32 // in use, at most maxGroups

	active, frozen *overlay // frozen is being written back; active is newer
	writtenBack    float64  // which part of frozen's data is
	spare          *overlay // empty, or nil
	buffers        bufferPool
	cache          pageCache
	emptied        []emptied

	// Journal positions count bytes since Format, and a record is placed before it is
	// applied: tail <= head <= placed.
	queue        fifo[*op]
	queuedBlocks uint32   // of data
	heldBlocks   uint32   // of queued writes that were promised room
	flight       []*batch // placed and not applied, in the order of their records
	tail         uint64   // oldest record that a crash would replay
	head         uint64   // end of the last applied record
	nextSeq      uint64   // number of the first that is not applied
	placed       uint64   // end of the last placed record
	placedSeq    uint64   // number of the next to be placed

	harmed   bool   // recovery found pages lost, or replicas damaged, that were not before
	number   uint64 // of the last checkpoint
	wanted   bool   // a checkpoint is due
	stopping bool   // last checkpoint, then no more

	closing bool // no new work is taken
	err     error
	failed  chan struct{}

	large     fifo[*op] // whose data is to be written past the journal
	largeWork *sync.Cond
	written   []*op // of them, and not flushed
	flushing  bool
	passing   int // of them, that the journal's queue has not yet

	reads    fifo[*Read]
	readWork *sync.Cond

	journals, readers, passers sync.WaitGroup // goroutines
	checkpointsDone            chan struct{}

	beating sync.Mutex // before mu
	beat    []byte     // what Beat writes

	labeling sync.Mutex // before mu
	labels   labels

	stats          Stats
	checksumErrors atomic.Uint64
}

// Identity is what Format was given.
func (s *Store) Identity() Identity { return s.id }

// lowPart of the chunks or pages is what a disk should have free.
const lowPart = 20

// start lets the goroutines loose on a recovered store.
func (s *Store) start() {
	s.placed, s.placedSeq = s.head, s.nextSeq
	s.journals.Add(recordsInFlight)
	for range recordsInFlight {
		go s.runJournal()
	}
	go s.runCheckpoints()
	s.passers.Add(s.o.Writers)
	for range s.o.Writers {
		go s.runLarge()
	}
	s.readers.Add(s.o.Readers)
	for range s.o.Readers {
		go s.runReads()
	}
}

// fail ends the store: a failed write may have reached the disk in part and a failed flush may
// have dropped anything, so nothing that this store would write later could be trusted.
func (s *Store) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return
	}
	s.err = fmt.Errorf("%w: %w", ErrFailed, err)
	s.flight = nil // nothing of it will be applied, and its batches are used again
	s.dev.shut.Store(true)
	close(s.failed)
	s.queued.Broadcast()
	s.work.Broadcast()
	s.due.Signal()
}

// Retire ends a store that the cluster does not want any more, as a failed write does: nothing is written
// to it, and reads go on.
func (s *Store) Retire() { s.fail(ErrRetired) }

// Failed is closed when the store has failed.
func (s *Store) Failed() <-chan struct{} { return s.failed }

// Err is nil until the store has failed.
func (s *Store) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// refuses says why no new work is taken, if so. mu is held.
func (s *Store) refuses() error {
	if s.err != nil {
		return s.err
	}
	if s.closing {
		return ErrClosed
	}
	return nil
}

// Close completes what was begun, writes all back, and closes the device.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		return ErrClosed
	}
	s.closing = true
	s.queued.Broadcast()
	s.mu.Unlock()
	s.journals.Wait()

	s.mu.Lock()
	s.stopping = true
	s.due.Signal()
	s.mu.Unlock()
	<-s.checkpointsDone

	s.readWork.Broadcast()
	s.readers.Wait()
	s.largeWork.Broadcast()
	s.passers.Wait()
	s.labeling.Lock() // the last SetLabel is through
	defer s.labeling.Unlock()
	s.beating.Lock() // and the last Beat
	defer s.beating.Unlock()
	return errors.Join(s.Err(), s.dev.Close())
}

// replica finds what an operation works on. mu is held.
func (s *Store) replica(r Replica) (*replica, error) {
	rep := s.replicas[r]
	switch {
	case rep == nil:
		return nil, fmt.Errorf("%w: volume %d segment %d", ErrNoReplica, r.Volume, r.Segment)
	case rep.damaged:
		return nil, fmt.Errorf("%w: version map of volume %d segment %d", ErrDamaged, r.Volume, r.Segment)
	}
	return rep, nil
}

func (s *Store) inSegment(block, count uint32) bool {
	return count > 0 && block < s.id.SegmentBlocks && count <= s.id.SegmentBlocks-block
}

// Create makes an empty replica: all blocks never written. It is durable on return. ErrExists, ErrNoSpace.
func (s *Store) Create(r Replica) error { return s.order(entry{kind: entryCreate, Replica: r}) }

// Remove forgets a replica and gives its space back. It is durable on return. ErrNoReplica.
func (s *Store) Remove(r Replica) error { return s.order(entry{kind: entryRemove, Replica: r}) }

// Reset drops all content of a replica: every block is never written again, the
// commit point is zero, and it is no longer damaged. It is durable on return. ErrNoReplica.
func (s *Store) Reset(r Replica) error { return s.order(entry{kind: entryReset, Replica: r}) }

// Promise stores that no lower epoch of the volume will be answered. It is
// durable on return, and never lowers what was promised.
func (s *Store) Promise(volume wire.VolumeID, epoch uint64) error {
	return s.order(entry{kind: entryPromise, Replica: Replica{Volume: volume}, version: Version{Epoch: epoch}})
}

// Promised returns the highest epoch that Promise was given; 0: none.
func (s *Store) Promised(volume wire.VolumeID) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.promises[volume]
}

// order puts an entry through the journal and waits for it.
func (s *Store) order(e entry) error {
	done := make(chan error, 1)
	s.enqueueOne(&op{entry: e, finish: func(err error) { done <- err }}, false)
	return <-done
}

// SetCommit raises the replica's commit point; a lower one is ignored, so is an
// unknown replica. It becomes durable with the next journal record or checkpoint.
func (s *Store) SetCommit(r Replica, v Version) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if rep := s.replicas[r]; rep != nil && rep.commit.Less(v) {
		rep.commit = v
		s.commits[rep] = struct{}{}
	}
}

// Commit returns the highest commit point set; zero for an unknown replica.
func (s *Store) Commit(r Replica) Version {
	s.mu.Lock()
	defer s.mu.Unlock()
	if rep := s.replicas[r]; rep != nil {
		return rep.commit
	}
	return Version{}
}

// Replicas lists what the disk holds, by volume and segment.
func (s *Store) Replicas() []ReplicaState {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]ReplicaState, 0, len(s.replicas))
	for _, rep := range s.sorted() {
		list = append(list, ReplicaState{Replica: rep.Replica, Commit: rep.commit, Mapped: rep.mapped, Lost: rep.lost(), Damaged: rep.damaged})
	}
	return list
}

// sorted returns the replicas by volume and segment. mu is held.
func (s *Store) sorted() []*replica {
	return slices.SortedFunc(maps.Values(s.replicas), func(a, b *replica) int {
		if a.Volume != b.Volume {
			return compare(uint64(a.Volume), uint64(b.Volume))
		}
		return compare(uint64(a.Segment), uint64(b.Segment))
	})
}

func compare(a, b uint64) int {
	if a < b {
		return -1
	}
	return 1
}

// Stats is a snapshot.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	st.Capacity = int64(s.chunkCount) * chunkBytes
	st.Used = int64(s.space.used.used) * chunkBytes
	st.Free = st.Capacity - st.Used
	st.Low = s.space.free() < s.chunkCount/lowPart || s.maxGroups()-s.groups < s.maxGroups()/lowPart
	st.JournalSize, st.JournalUsed = s.journalSize, int64(s.head-s.tail)
	st.Dirty = s.active.bytes
	if s.frozen != nil {
		st.Dirty += s.frozen.bytes
	}
	st.ChecksumErrors = s.checksumErrors.Load()
	return st
}
