// Package wire is what nodes say to each other about volumes: identities,
// versions, checksums, and the messages with their encoding.
package wire

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
)

// BlockSize is the unit of order, checksum and version, bytes.
const BlockSize = 4096

// NodeID is a server's number in its cluster, from 1, never reused.
type NodeID uint16

// Incarnation is one run of a node's process: higher with each start, never reused.
type Incarnation uint64

// VolumeID is a volume's number in its cluster, from 1, never reused.
type VolumeID uint64

// Segment is a piece of a volume's address space, by index.
type Segment uint32

// Version orders the writes of one segment: the epoch of the head that ordered
// a write, and its place in that reign. The zero Version is "never written".
type Version struct{ Epoch, Seq uint64 }

// Less orders by epoch, then sequence.
func (v Version) Less(w Version) bool {
	return v.Epoch < w.Epoch || v.Epoch == w.Epoch && v.Seq < w.Seq
}

// LostVersion stands for the version of a block of which a copy knows nothing any
// more: higher than any other, so that whoever compares copies takes the block for
// one that differs.
var LostVersion = Version{math.MaxUint64, math.MaxUint64}

func (v Version) String() string { return fmt.Sprintf("%d.%d", v.Epoch, v.Seq) }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// BlockCRC is the CRC32C of one block's data, seeded with where it belongs, so
// that data which is whole but in the wrong place does not match.
func BlockCRC(volume VolumeID, segment Segment, block uint32, data []byte) uint32 {
	var seed [16]byte
	binary.BigEndian.PutUint64(seed[0:], uint64(volume))
	binary.BigEndian.PutUint32(seed[8:], uint32(segment))
	binary.BigEndian.PutUint32(seed[12:], block)
	crc := ^uint32(0) // byte by byte: crc32.Checksum would take the seed to the heap
	for _, b := range seed {
		crc = castagnoli[byte(crc)^b] ^ crc>>8
	}
	return crc32.Update(^crc, castagnoli, data)
}
