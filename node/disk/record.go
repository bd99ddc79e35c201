package disk

import (
	"encoding/binary"
	"errors"
	"hash/crc32"

	"ashlar/replication/wire"
)

const (
	recordMagic  = 0x4a485341 // "ASHJ"
	recordHeader = 64
	entryBytes   = 48

	maxEntriesBytes = 128 << 10 // of one record
)

// entryKind is what a journal entry does. The numbers are on disks.
type entryKind uint8

const (
	entryWrite   entryKind = 1
	entryCreate  entryKind = 2
	entryRemove  entryKind = 3
	entryReset   entryKind = 4
	entryPromise entryKind = 5
	entryCommit  entryKind = 6
)

// entry is one change of the store. All kinds share one form; which fields count:
//
//	write    instance, replica, block, count, version or versions, crcs and places unless zero
//	create   instance (new), replica
//	remove   instance
//	reset    instance (old), replica, version.Seq (new instance)
//	promise  replica.Volume, version.Epoch
//	commit   instance, version
type entry struct {
	kind     entryKind
	zero     bool
	past     bool // the data is in its place, and not in the record; whole chunks
	instance uint64
	Replica
	block, count uint32
	version      Version
	versions     []Version
	crcs         []uint32
	places       []uint32 // of the chunks that it touches, in order
}

const (
	flagZero     = 1 << 0
	flagVersions = 1 << 1
	flagPast     = 1 << 2
)

// size is how many bytes of a record's header the entry takes; its places need not be known yet.
func (e *entry) size() int {
	n := entryBytes + 16*len(e.versions)
	if e.hasData() {
		n += 4 * int(e.count+e.chunkCount())
	}
	return n
}

func (e *entry) hasData() bool { return e.kind == entryWrite && !e.zero }

// chunkCount is how many chunks the entry's blocks lie in.
func (e *entry) chunkCount() uint32 { return (e.block+e.count-1)/chunkBlocks - e.block/chunkBlocks + 1 }

// eachChunk calls f with the group and the number in it of each of them, in order.
func (e *entry) eachChunk(f func(i int, group, c uint32)) {
	first := e.block / chunkBlocks
	for i := range e.chunkCount() {
		f(int(i), (first+i)/groupChunks, (first+i)%groupChunks)
	}
}

// blocks is how many blocks of data the record carries for this entry.
func (e *entry) blocks() uint32 {
	if !e.hasData() || e.past {
		return 0
	}
	return e.count
}

func (e *entry) versionOf(i uint32) Version {
	if e.versions != nil {
		return e.versions[i]
	}
	return e.version
}

func (e *entry) lowest() Version {
	if e.versions == nil {
		return e.version
	}
	low := e.versions[0]
	for _, v := range e.versions {
		if v.Less(low) {
			low = v
		}
	}
	return low
}

func (e *entry) marshal(b []byte) []byte {
	var flags uint8
	if e.zero {
		flags |= flagZero
	}
	if e.versions != nil {
		flags |= flagVersions
	}
	if e.past {
		flags |= flagPast
	}
	le := binary.LittleEndian
	b = append(b, byte(e.kind), flags, 0, 0)
	b = le.AppendUint32(b, e.count)
	b = le.AppendUint64(b, e.instance)
	b = le.AppendUint64(b, uint64(e.Volume))
	b = le.AppendUint32(b, uint32(e.Segment))
	b = le.AppendUint32(b, e.block)
	b = le.AppendUint64(b, e.version.Epoch)
	b = le.AppendUint64(b, e.version.Seq)
	for _, v := range e.versions {
		b = le.AppendUint64(b, v.Epoch)
		b = le.AppendUint64(b, v.Seq)
	}
	for _, c := range e.crcs {
		b = le.AppendUint32(b, c)
	}
	for _, p := range e.places {
		b = le.AppendUint32(b, p)
	}
	return b
}

var errBadRecord = errors.New("disk: not a whole journal record")

func (e *entry) unmarshal(b []byte) ([]byte, error) {
	if len(b) < entryBytes {
		return nil, errBadRecord
	}
	le := binary.LittleEndian
	flags := b[1]
	*e = entry{kind: entryKind(b[0]), zero: flags&flagZero != 0, past: flags&flagPast != 0, count: le.Uint32(b[4:]), instance: le.Uint64(b[8:]),
		Replica: Replica{wire.VolumeID(le.Uint64(b[16:])), wire.Segment(le.Uint32(b[24:]))}, block: le.Uint32(b[28:]),
		version: Version{Epoch: le.Uint64(b[32:]), Seq: le.Uint64(b[40:])}}
	b = b[entryBytes:]
	if flags&flagVersions != 0 {
		if uint64(len(b)) < 16*uint64(e.count) {
			return nil, errBadRecord
		}
		e.versions = make([]Version, e.count)
		for i := range e.versions {
			e.versions[i] = Version{Epoch: le.Uint64(b), Seq: le.Uint64(b[8:])}
			b = b[16:]
		}
	}
	if e.hasData() {
		if e.count == 0 || uint64(e.block)+uint64(e.count) > 1<<32 || uint64(len(b)) < 4*(uint64(e.count)+uint64(e.chunkCount())) {
			return nil, errBadRecord
		}
		e.crcs, e.places = make([]uint32, e.count), make([]uint32, e.chunkCount())
		for _, list := range [][]uint32{e.crcs, e.places} {
			for i := range list {
				list[i], b = le.Uint32(b), b[4:]
			}
		}
	}
	return b, nil
}

// record is one device write of the journal: a header with the entries, padded to 4 KiB, then the
// data of the writes, in order. The header has its CRC; each block of data is
// covered by its own CRC in the header.
type record struct {
	seq     uint64 // one higher than the record before
	at      uint64 // journal position, bytes since Format
	behind  uint32 // records just before this one that were not known to be durable when it was issued
	entries []*entry
	data    []byte
}

// recordSize returns the bytes of header and data.
func recordSize(entriesBytes int, blocks uint32) (header, data int64) {
	return roundUp(int64(recordHeader+entriesBytes), blockSize), int64(blocks) * blockSize
}

// marshalHeader fills b, the record's header in zeros; b is as long as recordSize says.
func (r *record) marshalHeader(b []byte, nonce [16]byte) {
	le := binary.LittleEndian
	le.PutUint32(b[0:], recordMagic)
	le.PutUint32(b[8:], FormatVersion)
	le.PutUint32(b[12:], uint32(len(b)))
	le.PutUint32(b[16:], uint32(len(r.data)/blockSize))
	le.PutUint32(b[20:], uint32(len(r.entries)))
	le.PutUint64(b[24:], r.seq)
	le.PutUint64(b[32:], r.at)
	copy(b[40:], nonce[:])
	le.PutUint32(b[56:], r.behind)
	rest := b[recordHeader:recordHeader]
	for _, e := range r.entries {
		rest = e.marshal(rest)
	}
	le.PutUint32(b[4:], crc32.Checksum(b[8:], castagnoli))
}

// headerLength checks the first block of a record: the length of header and data, bytes.
func headerLength(b []byte, nonce [16]byte) (header, data int64, err error) {
	le := binary.LittleEndian
	if le.Uint32(b) != recordMagic || [16]byte(b[40:56]) != nonce || le.Uint32(b[8:]) != FormatVersion {
		return 0, 0, errBadRecord
	}
	header, data = int64(le.Uint32(b[12:])), int64(le.Uint32(b[16:]))*blockSize
	if header%blockSize != 0 || header < blockSize || header > maxHeader {
		return 0, 0, errBadRecord
	}
	return header, data, nil
}

// maxHeader bounds a record's header: the entries of a full batch and the commit points that ride along.
const maxHeader = maxEntriesBytes + 64<<10

// unmarshalHeader decodes and checks the header, but for the entries.
func (r *record) unmarshalHeader(header []byte) error {
	le := binary.LittleEndian
	if crc32.Checksum(header[8:], castagnoli) != le.Uint32(header[4:]) {
		return errBadRecord
	}
	r.seq, r.at, r.behind = le.Uint64(header[24:]), le.Uint64(header[32:]), le.Uint32(header[56:])
	return nil
}

// unmarshal decodes header and data of a record and checks all of it.
func (r *record) unmarshal(header, data []byte) error {
	if err := r.unmarshalHeader(header); err != nil {
		return err
	}
	le := binary.LittleEndian
	r.data = data
	r.entries = make([]*entry, 0, min(le.Uint32(header[20:]), maxHeader/entryBytes))
	rest := header[recordHeader:]
	var err error
	for range le.Uint32(header[20:]) {
		e := new(entry)
		if rest, err = e.unmarshal(rest); err != nil {
			return err
		}
		r.entries = append(r.entries, e)
	}
	for _, e := range r.entries {
		for i := range e.blocks() {
			if len(data) < blockSize || wire.BlockCRC(e.Volume, e.Segment, e.block+i, data[:blockSize]) != e.crcs[i] {
				return errBadRecord
			}
			data = data[blockSize:]
		}
	}
	return nil
}
