package disk_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"ashlar/node/disk"
	"ashlar/node/disk/disktest"
	"ashlar/replication/wire"
)

func TestWritesSurviveReopenWithVersionsAndChecksums(t *testing.T) {
	dev, r := formatted(t), replica(7, 3)
	s := open(t, dev)
	check(t, s.Create(r))
	check(t, put(s, r, 100, 60, v(1, 5))) // across groups and chunks
	check(t, zero(s, r, 110, 5, v(1, 6)))
	for _, state := range []string{"in the journal", "written back", "without cached pages"} {
		holds(t, s, r, 100, 10, v(1, 5))
		isZero(t, s, r, 110, 5, v(1, 6))
		isZero(t, s, r, 0, 100, v(0, 0))
		switch state {
		case "in the journal":
			s.Checkpoint()
		case "written back":
			s.DropCache()
		}
	}
	check(t, s.Close())
	s = open(t, dev.Again())
	holds(t, s, r, 115, 45, v(1, 5))
	read := get(s, r, 109, 2)
	if read.CRC[1] != wire.BlockCRC(r.Volume, r.Segment, 110, make([]byte, wire.BlockSize)) {
		t.Error("a zeroed block's CRC is not that of zeros")
	}
	audit(t, s)
	check(t, s.Close())
}

func TestOlderVersionIsRefusedWherever_TheNewerOneIs(t *testing.T) {
	r := replica(1, 0)
	s := open(t, formatted(t))
	check(t, s.Create(r))
	check(t, put(s, r, 0, 8, v(2, 10)))
	for _, where := range []string{"active", "page", "uncached page"} {
		wantError(t, put(s, r, 7, 2, v(2, 9)), disk.ErrVersion)
		wantError(t, zero(s, r, 0, 1, v(1, 99)), disk.ErrVersion)
		isZero(t, s, r, 8, 1, v(0, 0)) // refused as a whole
		holds(t, s, r, 0, 8, v(2, 10))
		check(t, put(s, r, 0, 1, v(2, 10))) // equal is no decrease
		switch where {
		case "active":
			s.Checkpoint()
		case "page":
			s.Checkpoint()
			s.DropCache()
		}
	}
	check(t, put(s, r, 20, 4, v(1, 1))) // a copy of an older block beside newer ones
	holds(t, s, r, 20, 4, v(1, 1))
	check(t, s.Close())
}

func TestOlderVersionIsRefusedWithinOneBatch(t *testing.T) {
	r := replica(1, 0)
	dev := disktest.NewFaulty(formatted(t))
	s := open(t, dev)
	check(t, s.Create(r))
	release := dev.Hold()
	results := make(chan error, 3)
	for _, seq := range []uint64{1, 9, 8} { // 1 holds the device; 9 and 8 queue up behind it
		w := dataWrite(r, uint32(seq/8), 1, v(1, seq))
		w.Done = func(w *disk.Write) { results <- w.Err }
		s.Write(w)
	}
	release()
	var refused int
	for range 3 {
		if errors.Is(<-results, disk.ErrVersion) {
			refused++
		}
	}
	if refused != 1 {
		t.Fatalf("%d writes were refused, want the older one of two", refused)
	}
	holds(t, s, r, 1, 1, v(1, 9))
	check(t, s.Close())
}

func TestCopyKeepsTheVersionOfEachBlock(t *testing.T) {
	r := replica(1, 0)
	s := open(t, formatted(t))
	check(t, s.Create(r))
	w := &disk.Write{Replica: r, Block: 126, Count: 4, Versions: []disk.Version{v(1, 4), v(1, 3), v(2, 1), v(1, 1)}}
	for i, version := range w.Versions {
		b := content(r, 126+uint32(i), version)
		w.Data = append(w.Data, b...)
		w.CRC = append(w.CRC, wire.BlockCRC(r.Volume, r.Segment, 126+uint32(i), b))
	}
	check(t, submit(s, w))
	s.Checkpoint()
	for i, version := range w.Versions {
		holds(t, s, r, 126+uint32(i), 1, version)
	}
	check(t, s.Close())
}

func TestChangesListsWhatIsNewerInPieces(t *testing.T) {
	r := replica(1, 0)
	s := open(t, formatted(t))
	check(t, s.Create(r))
	check(t, put(s, r, 0, 8, v(1, 1)))
	check(t, put(s, r, 130, 4, v(1, 2)))
	s.Checkpoint()
	check(t, zero(s, r, 132, 2, v(1, 3)))
	check(t, put(s, r, 300, 8, v(1, 4)))
	var got []string
	for from, more := uint32(0), true; more; more = from != 0 {
		changes, next, err := s.Changes(r, v(1, 1), from, 3)
		check(t, err)
		for _, c := range changes {
			got = append(got, fmt.Sprint(c.Block, c.Version, c.Zero))
		}
		from = next
	}
	want := []string{"130 1.2 false", "131 1.2 false", "132 1.3 true", "133 1.3 true"}
	for b := 300; b < 308; b++ {
		want = append(want, fmt.Sprintf("%d 1.4 false", b))
	}
	if !slices.Equal(got, want) {
		t.Errorf("changes\n%v, want\n%v", got, want)
	}
	check(t, s.Close())
}

func TestWhatIsWrittenOfARangeIsThatAlone(t *testing.T) {
	s := open(t, formatted(t))
	defer s.Close()
	r := replica(1, 0)
	check(t, s.Create(r))
	check(t, put(s, r, 120, 20, v(1, 1))) // over a border of groups
	check(t, zero(s, r, 130, 2, v(1, 2)))
	got, err := s.Written(r, 125, 8)
	check(t, err)
	if len(got) != 8 || got[0].Block != 125 || got[7].Block != 132 {
		t.Fatalf("%+v", got)
	}
	for _, c := range got {
		want := v(1, 1)
		if c.Zero {
			want = v(1, 2)
		}
		if c.Version != want || c.Zero != (c.Block == 130 || c.Block == 131) {
			t.Errorf("%+v", c)
		}
	}
	if got, err := s.Written(r, 140, 100); err != nil || len(got) > 0 {
		t.Errorf("beyond: %+v, %v", got, err)
	}
	_, err = s.Written(r, testSegment-1, 2)
	wantError(t, err, disk.ErrRange)
}

func TestZeroedChunksGiveTheirSpaceBackAndKeepTheirVersion(t *testing.T) {
	r := replica(1, 0)
	dev := formatted(t)
	s := open(t, dev)
	check(t, s.Create(r))
	check(t, put(s, r, 0, 64, v(1, 1)))
	s.Checkpoint()
	if used := s.Stats().Used; used != 2*128<<10 {
		t.Fatalf("%d bytes in use, want two chunks", used)
	}
	check(t, zero(s, r, 0, testSegment, v(1, 2)))
	if used := s.Stats().Used; used != 0 {
		t.Fatalf("%d bytes in use after zeroing all", used)
	}
	check(t, s.Close())
	s = open(t, dev.Again())
	isZero(t, s, r, 0, 128, v(1, 2))
	isZero(t, s, r, 128, testSegment-128, v(0, 0)) // never written
	extents, err := s.Extents(r, 0, testSegment)
	check(t, err)
	if len(extents) != 1 || extents[0].Mapped {
		t.Errorf("extents %v", extents)
	}
	audit(t, s)
	check(t, s.Close())
}

func TestResetAndRemoveForgetContentForGood(t *testing.T) {
	dev, a, b := formatted(t), replica(1, 0), replica(1, 1)
	s := open(t, dev)
	check(t, s.Create(a))
	check(t, s.Create(b))
	wantError(t, s.Create(a), disk.ErrExists)
	check(t, put(s, a, 0, 100, v(1, 1)))
	check(t, put(s, b, 0, 100, v(1, 1)))
	s.SetCommit(a, v(1, 1))
	s.Checkpoint()
	check(t, s.Reset(a))
	check(t, s.Remove(b))
	check(t, s.Create(b))
	for range 2 {
		isZero(t, s, a, 0, testSegment, v(0, 0))
		isZero(t, s, b, 0, testSegment, v(0, 0))
		if c := s.Commit(a); c != v(0, 0) {
			t.Errorf("commit point %v after reset", c)
		}
		audit(t, s)
		check(t, s.Close())
		dev = dev.Again()
		s = open(t, dev)
	}
	check(t, s.Remove(b))
	wantError(t, s.Remove(b), disk.ErrNoReplica)
	wantError(t, put(s, b, 0, 1, v(1, 1)), disk.ErrNoReplica)
	check(t, s.Close())
}

func TestPromiseNeverLowers(t *testing.T) {
	dev := formatted(t)
	s := open(t, dev)
	check(t, s.Promise(9, 5))
	check(t, s.Promise(9, 4))
	s.Abandon() // durable without a checkpoint
	s = open(t, dev.Again())
	if p := s.Promised(9); p != 5 {
		t.Errorf("promised %d, want 5", p)
	}
	check(t, s.Close())
}

func TestCommitPointRidesWithTheNextRecord(t *testing.T) {
	dev, r := formatted(t), replica(1, 0)
	s := open(t, dev)
	check(t, s.Create(r))
	s.SetCommit(r, v(1, 7))
	s.SetCommit(r, v(1, 6))
	check(t, s.Promise(1, 1))
	s.Abandon()
	s = open(t, dev.Again())
	if c := s.Commit(r); c != v(1, 7) {
		t.Errorf("commit point %v, want 1.7", c)
	}
	check(t, s.Close())
}

func TestFullDiskRefusesAndRecoversSpace(t *testing.T) {
	dev := formatted(t)
	s := open(t, dev)
	var last disk.Replica
	full := false
	for i := 0; !full; i++ {
		last = replica(1, i)
		check(t, s.Create(last))
		for block := uint32(0); block < testSegment && !full; block += 32 {
			err := put(s, last, block, 1, v(1, 1))
			if full = errors.Is(err, disk.ErrNoSpace); !full {
				check(t, err)
			}
		}
	}
	if st := s.Stats(); st.Free != 0 || !st.Low {
		t.Errorf("refused with %d bytes free, low %v", st.Free, st.Low)
	}
	wantError(t, s.Reserve(last, 319, 1), disk.ErrNoSpace)
	check(t, put(s, replica(1, 0), 1, 1, v(1, 2))) // its chunk exists
	check(t, s.Close())

	s = open(t, dev.Again())
	holds(t, s, replica(1, 0), 1, 1, v(1, 2))
	check(t, zero(s, replica(1, 0), 0, 32, v(1, 3)))
	check(t, s.Reserve(last, 319, 1))
	check(t, zero(s, last, 300, 20, v(1, 4)))                           // keeps what is reserved
	wantError(t, put(s, replica(1, 0), 0, 1, v(1, 4)), disk.ErrNoSpace) // the reserved chunk is not for others
	check(t, put(s, last, 319, 1, v(1, 4)))
	audit(t, s)
	check(t, s.Close())
}

// TestAWriteThatIsHeldHasRoom, whatever else waits beside it on a disk that is nearly full.
func TestAWriteThatIsHeldHasRoom(t *testing.T) {
	dev := disktest.NewFaulty(formatted(t))
	s := open(t, dev)
	const left = 32 // chunks
	const chunkBlocks, chunkBytes = 32, 128 << 10
	const chunks = testSegment / chunkBlocks // of a segment
	full := 0
	for ; s.Stats().Free > left*chunkBytes; full++ {
		r := replica(1, full/chunks)
		if full%chunks == 0 {
			check(t, s.Create(r))
		}
		check(t, put(s, r, uint32(full%chunks*chunkBlocks), 1, v(1, 1)))
	}
	const writes = 4 * left
	for i := range (writes + chunks - 1) / chunks {
		check(t, s.Create(replica(2, i)))
	}
	release := dev.Hold() // all wait in the queue
	var held [writes]bool
	all := make(chan struct{}, writes)
	var writing [writes]*disk.Write
	for i := range writing {
		w := dataWrite(replica(2, i/chunks), uint32(i%chunks*chunkBlocks), 1, v(1, 1))
		w.Cache = i >= left && i%3 > 0 // those before would take all that there is
		w.Done = func(*disk.Write) { all <- struct{}{} }
		writing[i] = w
		held[i] = s.Write(w)
	}
	release()
	for range writing {
		<-all
	}
	n, refused := 0, 0
	for i, w := range writing {
		switch {
		case held[i] && (w.Err != nil || !w.Cache):
			t.Errorf("write %d was held: %v", i, w.Err)
		case held[i]:
			n++
		case errors.Is(w.Err, disk.ErrNoSpace):
			refused++
		default:
			check(t, w.Err)
		}
	}
	t.Logf("of %d writes %d were held, and %d refused", writes, n, refused)
	if n < left/2 || refused < writes-left {
		t.Error("more should have been")
	}
	audit(t, s)
	check(t, s.Close())
}

// TestCopiedZerosLeaveTheirVersion: the copy they come from had data there once,
// and another one that still has it must learn that it is gone.
func TestCopiedZerosLeaveTheirVersion(t *testing.T) {
	dev, r := formatted(t), replica(1, 0)
	s := open(t, dev)
	check(t, s.Create(r))
	copied := make([]disk.Version, 140)
	for i := range copied {
		copied[i] = v(2, uint64(i)+1)
	}
	check(t, submit(s, &disk.Write{Replica: r, Block: 120, Count: 140, Versions: copied}))
	for range 3 { // running, replayed, written back
		isZero(t, s, r, 0, 120, v(0, 0))
		isZero(t, s, r, 120, 1, v(2, 1))
		isZero(t, s, r, 259, 1, v(2, 140))
		changes, _, err := s.Changes(r, v(0, 0), 0, testSegment)
		check(t, err)
		if len(changes) != 140 || !changes[0].Zero {
			t.Errorf("%d changes, the first %+v", len(changes), changes[0])
		}
		if st := s.Stats(); st.Used != 0 {
			t.Errorf("zeros take %d bytes of data", st.Used)
		}
		s.Abandon()
		dev = dev.Again()
		s = open(t, dev)
		audit(t, s)
	}
	check(t, s.Close())
}

func TestZeroingWhatWasNeverWrittenIsNoChange(t *testing.T) {
	dev, r := formatted(t), replica(1, 0)
	s := open(t, dev)
	check(t, s.Create(r))
	check(t, s.Reserve(r, 300, 1))
	before := s.Stats()
	check(t, zero(s, r, 0, testSegment, v(1, 1)))
	if after := s.Stats(); after != before {
		t.Errorf("%+v, before %+v", after, before)
	}
	check(t, put(s, r, 130, 1, v(1, 1))) // older than the zeros, which nothing remembers
	check(t, zero(s, r, 0, testSegment, v(2, 1)))
	for range 3 { // running, replayed, written back
		isZero(t, s, r, 0, 128, v(0, 0))
		isZero(t, s, r, 130, 1, v(2, 1))
		isZero(t, s, r, 255, 1, v(2, 1))
		isZero(t, s, r, 256, 64, v(0, 0))
		changes, _, err := s.Changes(r, v(0, 0), 0, testSegment)
		check(t, err)
		if len(changes) != 128 || changes[0].Block != 128 {
			t.Errorf("%d changes", len(changes))
		}
		s.Abandon()
		dev = dev.Again()
		s = open(t, dev)
		audit(t, s)
	}
	wantError(t, zero(s, r, 0, testSegment, v(1, 9)), disk.ErrVersion)
	check(t, zero(s, r, 0, 128, v(1, 9)))
	wantError(t, zero(s, replica(1, 1), 0, 1, v(1, 1)), disk.ErrNoReplica)
	check(t, s.Close())
}

// Each group that was written is an entry of its own.
func TestZeroWriteOverScatteredGroups(t *testing.T) {
	const blocks = 1 << 18
	dev, id, r := disktest.NewMemory(1<<30), testIdentity, replica(1, 0)
	id.SegmentBlocks = blocks
	check(t, disk.Format(dev, id, disk.FormatOptions{Journal: testJournal}))
	s, err := disk.Open(dev, id, disk.Options{})
	check(t, err)
	check(t, s.Create(r))
	for block := uint32(0); block < blocks; block += 256 { // every other group
		check(t, put(s, r, block, 1, v(1, 1)))
	}
	check(t, zero(s, r, 0, blocks, v(1, 2)))
	s.Abandon()
	s, err = disk.Open(dev.Again(), id, disk.Options{})
	check(t, err)
	changes, _, err := s.Changes(r, v(1, 1), 0, blocks)
	check(t, err)
	if len(changes) != blocks/2 || changes[0] != (disk.Change{Version: v(1, 2), Zero: true}) || s.Stats().Used != 0 {
		t.Errorf("%d changes, %d bytes in use", len(changes), s.Stats().Used)
	}
	isZero(t, s, r, 128, 128, v(0, 0))
	check(t, s.Close())
}

func TestUnmappingNeedsNoSpace(t *testing.T) {
	dev := formatted(t)
	s := open(t, dev)
	empty := replica(2, 0)
	check(t, s.Create(empty))
	var err error
	for i := 0; err == nil; i++ { // until nothing is left
		check(t, s.Create(replica(1, i)))
		err = put(s, replica(1, i), 0, testSegment, v(1, 1))
	}
	wantError(t, err, disk.ErrNoSpace)
	for range 2 {
		check(t, zero(s, empty, 0, testSegment, v(1, 2)))
		check(t, zero(s, replica(1, 0), 0, testSegment, v(1, 3)))
		isZero(t, s, empty, 0, testSegment, v(0, 0))
		isZero(t, s, replica(1, 0), 0, testSegment, v(1, 3))
		audit(t, s)
		check(t, s.Close())
		dev = dev.Again()
		s = open(t, dev)
	}
	check(t, put(s, empty, 0, 8, v(1, 4)))
	check(t, s.Close())
}

func TestWholeSegmentOfAGibibyteIsZeroedAtOnce(t *testing.T) {
	const blocks = 1 << 18
	dev, id, r := disktest.NewMemory(4<<30), testIdentity, replica(1, 0)
	id.SegmentBlocks = blocks
	check(t, disk.Format(dev, id, disk.FormatOptions{Journal: 16 << 20}))
	s, err := disk.Open(dev, id, disk.Options{})
	check(t, err)
	check(t, s.Create(r))
	check(t, put(s, r, 1000, 100, v(1, 1)))
	check(t, zero(s, r, 0, blocks, v(1, 2)))
	check(t, put(s, r, blocks-1, 1, v(1, 3)))
	check(t, s.Close())
	s, err = disk.Open(dev.Again(), id, disk.Options{})
	check(t, err)
	isZero(t, s, r, 1000, 100, v(1, 2))
	holds(t, s, r, blocks-1, 1, v(1, 3))
	isZero(t, s, r, 896, 104, v(1, 2))
	isZero(t, s, r, 0, 896, v(0, 0))
	if changes, _, err := s.Changes(r, v(1, 1), 0, blocks); err != nil || len(changes) != 256+1 {
		t.Errorf("%d changes, %v", len(changes), err)
	}
	check(t, s.Close())
}

func TestLargeWriteIsCutAndWhole(t *testing.T) {
	r := replica(1, 0)
	s := open(t, formatted(t))
	check(t, s.Create(r))
	check(t, put(s, r, 0, testSegment, v(1, 1))) // far above 1/8 of the journal
	holds(t, s, r, 0, testSegment, v(1, 1))
	check(t, s.Close())
}

func TestMalformedWritesAreRefused(t *testing.T) {
	r := replica(1, 0)
	s := open(t, formatted(t))
	check(t, s.Create(r))
	wantError(t, put(s, r, testSegment-1, 2, v(1, 1)), disk.ErrRange)
	wantError(t, put(s, r, ^uint32(0), 1, v(1, 1)), disk.ErrRange)
	w := dataWrite(r, 0, 2, v(1, 1))
	w.CRC[1]++
	var sum *disk.ChecksumError
	if err := submit(s, w); !errors.As(err, &sum) || !slices.Equal(sum.Blocks, []uint32{1}) {
		t.Errorf("a write with a wrong CRC: %v", err)
	}
	isZero(t, s, r, 0, 2, v(0, 0))
	check(t, s.Close())
	wantError(t, put(s, r, 0, 1, v(1, 1)), disk.ErrClosed)
}

func TestFormatAndOpenRefuseWhatIsNotTheirs(t *testing.T) {
	dev := formatted(t)
	wantError(t, disk.Format(dev, testIdentity, disk.FormatOptions{}), disk.ErrInUse)
	id, err := disk.Probe(dev)
	check(t, err)
	if id != testIdentity {
		t.Errorf("identity %v", id)
	}
	_, err = disk.Open(dev, disk.Identity{Cluster: [16]byte{9}}, disk.Options{})
	wantError(t, err, disk.ErrWrongDisk)
	_, err = disk.Probe(disktest.NewMemory(testDevice))
	wantError(t, err, disk.ErrNoStore)
	wantError(t, disk.Format(disktest.NewMemory(1<<20), testIdentity, disk.FormatOptions{}), disk.ErrTooSmall)
}

func TestForcedFormatLeavesNothingOfTheOldStore(t *testing.T) {
	dev, r := formatted(t), replica(1, 0)
	s := open(t, dev)
	check(t, s.Create(r))
	check(t, put(s, r, 0, 200, v(5, 5)))
	check(t, s.Close())
	dev = dev.Again()
	id := testIdentity
	id.Nonce = [16]byte{44}
	check(t, disk.Format(dev, id, disk.FormatOptions{Force: true, Journal: testJournal}))
	s = open(t, dev)
	if list := s.Replicas(); len(list) != 0 {
		t.Fatalf("replicas %v", list)
	}
	check(t, s.Create(r))
	check(t, put(s, r, 0, 1, v(1, 1)))
	check(t, s.Close())
	s = open(t, dev.Again())
	isZero(t, s, r, 1, 199, v(0, 0))
	check(t, s.Close())
}

// tempFile is a file on a real file system.
func tempFile(t testing.TB, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	f, err := os.Create(path)
	check(t, err)
	check(t, f.Truncate(size))
	check(t, f.Close())
	return path
}

func TestStoreOnAFile(t *testing.T) {
	path, r := tempFile(t, testDevice), replica(1, 0)
	dev, err := disk.OpenFile(path)
	check(t, err)
	check(t, disk.Format(dev, testIdentity, disk.FormatOptions{Journal: testJournal}))
	s := open(t, dev)
	_, err = disk.OpenFile(path)
	wantError(t, err, disk.ErrInUse)
	check(t, s.Create(r))
	for seq := uint64(1); seq < 40; seq++ { // several times round the journal
		check(t, put(s, r, uint32(seq%4), 8, v(1, seq)))
	}
	check(t, s.Close())
	dev, err = disk.OpenFile(path)
	check(t, err)
	s = open(t, dev)
	holds(t, s, r, 3, 8, v(1, 39))
	odd := &disk.Read{Replica: r, Block: 3, Count: 2, Data: make([]byte, 2*4096+1)[1:]} // not aligned
	done := make(chan struct{})
	odd.Done = func(*disk.Read) { close(done) }
	s.Read(odd)
	<-done
	check(t, odd.Err)
	if !slices.Equal(odd.Data[4096:], content(r, 4, v(1, 39))) {
		t.Error("a read into memory that is not aligned differs")
	}
	check(t, s.Close())
}
