package disk

import "ashlar/replication/wire"

// Version orders the writes of a segment; the zero Version is "never written".
type Version = wire.Version

// Replica names one copy of one segment. A disk holds at most one replica of a segment.
type Replica struct {
	Volume  wire.VolumeID
	Segment wire.Segment
}

// ReplicaState is a replica as the disk knows it.
type ReplicaState struct {
	Replica
	Commit Version // the highest commit point that SetCommit was told
	Mapped uint64  // 4 KiB blocks that hold data
	// Lost counts 4 KiB blocks whose entry in the version map has decayed. Until they are overwritten,
	// with any version, they read as checksum errors, and Changes gives them LostVersion.
	Lost uint64
	// Damaged: the disk lost so much of the replica's version map that it can
	// neither say nor take what is in it. Reads, writes and Changes fail with
	// ErrDamaged until Reset or Remove.
	Damaged bool
}

// Write is one write. The caller fills the first part and leaves all of it
// alone until Done is called; then it may be used again.
//
// To zero what was never written is no change: a zero write leaves out each group of 128 blocks
// (512 KiB) none of whose blocks was ever given data. These blocks keep version zero and take no space.
// Zeros with Versions are a copy of what had data elsewhere once, and always keep them.
type Write struct {
	Replica
	Block, Count uint32    // 4 KiB blocks in the segment
	Data         []byte    // Count*4096 bytes; nil: the blocks become zeros and give their space back
	CRC          []uint32  // wire.BlockCRC of each block; nil with nil Data
	Version      Version   // of all blocks
	Versions     []Version // if set: one per block, instead of Version (a copy from another replica)
	Cache        bool      // asks whether it is held: see Store.Write
	// Done is called exactly once, from a goroutine of the store, and must not
	// block. Err is nil when the write is on stable storage, else ErrVersion,
	// ErrNoSpace, ErrNoReplica, ErrRange, ErrDamaged, ErrFailed, ErrClosed or *ChecksumError.
	Done    func(*Write)
	Err     error
	Private any

	op op // its way through the journal
}

// Reset makes a write that is Done ready to be another.
func (w *Write) Reset() { *w = Write{op: op{runs: w.op.runs[:0]}} }

// Read is one read. The caller fills the first part and leaves all of it alone until Done is called.
type Read struct {
	Replica
	Block, Count uint32 // 4 KiB blocks in the segment
	Data         []byte // Count*4096 bytes
	// Scrub: metadata pages too are read from the device, where memory has them or not, and do not
	// take the place of others there. One that has decayed is written anew from memory, or its
	// blocks are lost. Data always comes from the device, but for what is not written back yet.
	Scrub bool
	// CRC and Versions get one element per block; they are allocated when their
	// capacity is below Count. Never-written and zeroed blocks are zeros with the CRC of zeros.
	CRC      []uint32
	Versions []Version
	// Done is called exactly once, from a goroutine of the store, and must not
	// block for long: it holds up other reads.
	Done    func(*Read)
	Err     error
	Private any
}

// Change is a block's state in the version map.
type Change struct {
	Block   uint32
	Version Version
	CRC     uint32 // 0 when Zero or lost
	Zero    bool
}

// Extent is a run of blocks of a segment that hold data, or do not.
type Extent struct {
	Block, Count uint32
	Mapped       bool
}

// Stats is what a store holds and did since it was opened.
type Stats struct {
	Capacity, Used, Free     int64 // of the data area, bytes, in chunks of 128 KiB
	Low                      bool  // below 5 % of chunks or metadata pages are free
	JournalSize, JournalUsed int64 // bytes
	Dirty                    int64 // journal bytes that wait in memory for write-back
	Writes, Batches          uint64
	Checkpoints              uint64
	ChecksumErrors           uint64 // bad blocks that reads came upon
	PageErrors               uint64 // metadata pages that were found decayed or missing
}
