package pdu

import (
	"encoding/binary"
	"hash/crc32"
)

// DigestSize is the size of a header or data digest on the wire, bytes.
const DigestSize = 4

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Digest is a CRC32C so far (RFC 7143 13.1). The zero Digest covers nothing.
type Digest uint32

// Add returns the digest over what d covers and b.
func (d Digest) Add(b []byte) Digest {
	return Digest(crc32.Update(uint32(d), castagnoli, b))
}

// Put writes the digest as it is on the wire into the first 4 bytes of b.
func (d Digest) Put(b []byte) { binary.LittleEndian.PutUint32(b, uint32(d)) }

// Matches tells whether the first 4 bytes of b, from the wire, are this digest.
func (d Digest) Matches(b []byte) bool { return binary.LittleEndian.Uint32(b) == uint32(d) }
