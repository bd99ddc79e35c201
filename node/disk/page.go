package disk

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
)

const (
	pageMagic  = 0x50485341 // "ASHP"
	pageHeader = 64
	pageChunk  = 8                           // place and mapped bits of one chunk
	pageBlocks = pageHeader + 16*pageChunk   // room for layers: 16 chunk rows, groupChunks used
	pageEnd    = pageBlocks + 20*groupBlocks // version and CRC of each block
	noChunk    = ^uint32(0)                  // a chunk row without a place
)

var errBadPage = errors.New("disk: not a whole metadata page")

// page is the version map of one group, 128 consecutive blocks of a replica. Once made it never changes.
type page struct {
	instance   uint64
	group      uint32
	checkpoint uint64
	place      [groupChunks]uint32 // chunk number in the data area, or noChunk
	mapped     [groupChunks]uint32 // bit i: block i of the chunk holds data
	bad        blockBits           // version and CRC of these blocks were lost
	version    [groupBlocks]Version
	crc        [groupBlocks]uint32 // of blocks that hold data

	sum uint32 // the page's own CRC
}

// marshal fills one block of zeros: magic, CRC, format, owner, bad blocks, chunk rows, block rows.
func (p *page) marshal(b []byte, nonce [16]byte) {
	le := binary.LittleEndian
	le.PutUint32(b[0:], pageMagic)
	le.PutUint32(b[8:], FormatVersion)
	le.PutUint32(b[12:], p.group)
	copy(b[16:], nonce[:])
	le.PutUint64(b[32:], p.instance)
	le.PutUint64(b[40:], p.checkpoint)
	for i := range p.bad {
		le.PutUint32(b[48+4*i:], p.bad[i])
	}
	for i := range p.place {
		le.PutUint32(b[pageHeader+i*pageChunk:], p.place[i])
		le.PutUint32(b[pageHeader+i*pageChunk+4:], p.mapped[i])
	}
	for i := range p.version {
		row := b[pageBlocks+20*i:]
		le.PutUint64(row[0:], p.version[i].Epoch)
		le.PutUint64(row[8:], p.version[i].Seq)
		le.PutUint32(row[16:], p.crc[i])
	}
	p.sum = crc32.Checksum(b[8:blockSize], castagnoli)
	le.PutUint32(b[4:], p.sum)
}

func (p *page) unmarshal(b []byte, nonce [16]byte) error {
	le := binary.LittleEndian
	p.sum = le.Uint32(b[4:])
	if le.Uint32(b) != pageMagic || [16]byte(b[16:32]) != nonce || crc32.Checksum(b[8:blockSize], castagnoli) != p.sum {
		return errBadPage
	}
	p.group = le.Uint32(b[12:])
	p.instance = le.Uint64(b[32:])
	p.checkpoint = le.Uint64(b[40:])
	for i := range p.bad {
		p.bad[i] = le.Uint32(b[48+4*i:])
	}
	for i := range p.place {
		p.place[i] = le.Uint32(b[pageHeader+i*pageChunk:])
		p.mapped[i] = le.Uint32(b[pageHeader+i*pageChunk+4:])
	}
	for i := range p.version {
		row := b[pageBlocks+20*i:]
		p.version[i] = Version{Epoch: le.Uint64(row[0:]), Seq: le.Uint64(row[8:])}
		p.crc[i] = le.Uint32(row[16:])
	}
	return nil
}

func (p *page) newest() (newest Version) {
	for _, v := range p.version {
		if newest.Less(v) {
			newest = v
		}
	}
	return newest
}

// pageHash is a page's share in its replica's control row (splitmix64 of group and CRC).
func pageHash(group, sum uint32) uint64 {
	x := uint64(group)<<32 | uint64(sum)
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// pageOfHash is the inverse of pageHash: its factors are the inverses of pageHash's, modulo 2^64.
func pageOfHash(x uint64) (group, sum uint32) {
	x = (x ^ x>>31 ^ x>>62) * 0x319642b2d24d8ec3
	x = (x ^ x>>27 ^ x>>54) * 0x96de1b173f119089
	x = x ^ x>>30 ^ x>>60
	x -= 0x9e3779b97f4a7c15
	return uint32(x >> 32), uint32(x)
}
