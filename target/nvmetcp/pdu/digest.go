package pdu

import (
	"encoding/binary"
	"hash/crc32"
)

// DigestSize is the length of a header or data digest, bytes.
const DigestSize = 4

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Digest is a CRC32C in the making (NVMe TCP Transport 3.3.1).
type Digest uint32

func (d Digest) Add(b []byte) Digest { return Digest(crc32.Update(uint32(d), castagnoli, b)) }

// Put writes the digest as it goes over the wire.
func (d Digest) Put(b []byte) { binary.LittleEndian.PutUint32(b, uint32(d)) }

// Matches says whether b holds the digest.
func (d Digest) Matches(b []byte) bool { return binary.LittleEndian.Uint32(b) == uint32(d) }
