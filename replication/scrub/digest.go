package scrub

import (
	"crypto/sha256"
	"encoding/binary"

	"ashlar/replication/wire"
)

// A volume's root hash is the same from each of its copies, and changes with any
// of its data. It is made of what the copies keep of their blocks, so it costs
// no more than to ask for that:
//
//	leaf     SHA-256 over the blocks of a LeafBlocks long piece of a segment, in order, that do not read as
//	         zeros: each its number in the segment and the CRC32C of its data, both 4 bytes, big-endian. The
//	         CRC32C is seeded with the volume, the segment and the block (wire.BlockCRC). A piece of nothing
//	         but zeros has a leaf, too: that of no blocks.
//	root     SHA-256 over all leaves of all segments, in order.
//
// Versions are no part of it, since to write the same again does not change what a
// volume holds. It is worth what CRC32C is: it tells decay and mistakes, not forgery.

// LeafBlocks is how many blocks a leaf is of: 1 MiB.
const LeafBlocks = 256

// Leaf is a piece's hash.
type Leaf [sha256.Size]byte

// LeafOf condenses what a copy holds of one piece. It counts the blocks in it that
// do not read as zeros.
func LeafOf(volume wire.VolumeID, segment wire.Segment, changes []wire.Change) (leaf Leaf, blocks int) {
	h := sha256.New()
	var entry [8]byte
	for _, k := range changes {
		if reads(volume, segment, k) {
			continue
		}
		binary.BigEndian.PutUint32(entry[:4], k.Block)
		binary.BigEndian.PutUint32(entry[4:], k.CRC)
		h.Write(entry[:])
		blocks++
	}
	h.Sum(leaf[:0])
	return leaf, blocks
}

// Root condenses all leaves of a volume.
func Root(leaves []Leaf) (root Leaf) {
	h := sha256.New()
	for _, l := range leaves {
		h.Write(l[:])
	}
	h.Sum(root[:0])
	return root
}
