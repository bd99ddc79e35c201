package disk

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"

	"ashlar/replication/wire"
	"ashlar/target/pages"
)

const (
	controlMagic  = 0x43485341 // "ASHC"
	controlHeader = 128
	replicaRow    = 64
	promiseRow    = 16

	rowDamaged = 1 << 0
)

// control is a checkpoint's root: which replicas there are, what was promised, and from
// where the journal is to be replayed on top of the metadata pages numbered up to it.
type control struct {
	number       uint64 // of the checkpoint
	tail         uint64 // journal position of the first record that the pages lack, bytes since Format
	nextSeq      uint64 // sequence number of that record
	nextInstance uint64
	pagesEnd     uint32 // no page of this checkpoint lies in this slot or a later one
	replicas     []controlReplica
	promises     []promise
}

type controlReplica struct {
	Replica
	instance uint64 // one life of a replica, from Create or Reset on; never reused
	commit   Version
	pages    uint32 // metadata pages of this instance
	hash     uint64 // XOR of pageHash over them: a lost page is noticed
	damaged  bool
}

type promise struct {
	volume wire.VolumeID
	epoch  uint64
}

// marshal: magic, CRC of all behind it, length, nonce, the fields, rows of replicas, rows of promises.
func (c *control) marshal(nonce [16]byte) []byte {
	length := controlHeader + len(c.replicas)*replicaRow + len(c.promises)*promiseRow
	b := pages.Make(int(roundUp(int64(length), blockSize)))
	le := binary.LittleEndian
	le.PutUint32(b[0:], controlMagic)
	le.PutUint32(b[8:], uint32(length))
	le.PutUint32(b[12:], FormatVersion)
	copy(b[16:], nonce[:])
	le.PutUint64(b[32:], c.number)
	le.PutUint64(b[40:], c.tail)
	le.PutUint64(b[48:], c.nextSeq)
	le.PutUint64(b[56:], c.nextInstance)
	le.PutUint32(b[64:], c.pagesEnd)
	le.PutUint32(b[68:], uint32(len(c.replicas)))
	le.PutUint32(b[72:], uint32(len(c.promises)))
	row := b[controlHeader:]
	for i := range c.replicas {
		c.replicas[i].marshal(row)
		row = row[replicaRow:]
	}
	for _, p := range c.promises {
		le.PutUint64(row[0:], uint64(p.volume))
		le.PutUint64(row[8:], p.epoch)
		row = row[promiseRow:]
	}
	le.PutUint32(b[4:], crc32.Checksum(b[8:length], castagnoli))
	return b
}

func (r *controlReplica) marshal(b []byte) {
	le := binary.LittleEndian
	le.PutUint64(b[0:], uint64(r.Volume))
	le.PutUint32(b[8:], uint32(r.Segment))
	if r.damaged {
		le.PutUint32(b[12:], rowDamaged)
	}
	le.PutUint64(b[16:], r.instance)
	le.PutUint64(b[24:], r.commit.Epoch)
	le.PutUint64(b[32:], r.commit.Seq)
	le.PutUint64(b[40:], r.hash)
	le.PutUint32(b[48:], r.pages)
}

func (r *controlReplica) unmarshal(b []byte) {
	le := binary.LittleEndian
	r.Volume = wire.VolumeID(le.Uint64(b[0:]))
	r.Segment = wire.Segment(le.Uint32(b[8:]))
	r.damaged = le.Uint32(b[12:])&rowDamaged != 0
	r.instance = le.Uint64(b[16:])
	r.commit = Version{Epoch: le.Uint64(b[24:]), Seq: le.Uint64(b[32:])}
	r.hash = le.Uint64(b[40:])
	r.pages = le.Uint32(b[48:])
}

// readControl reads one slot; ErrDamaged when it is not whole.
func readControl(dev Device, g *geometry, nonce [16]byte, slot int64) (*control, error) {
	at := g.control + slot*g.controlSlot
	b := pages.Make(blockSize)
	if _, err := dev.ReadAt(b, at); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	length := int64(le.Uint32(b[8:]))
	if le.Uint32(b) != controlMagic || length < controlHeader || length > g.controlSlot || [16]byte(b[16:32]) != nonce {
		return nil, ErrDamaged
	}
	if length > blockSize {
		b = pages.Make(int(roundUp(length, blockSize)))
		if _, err := dev.ReadAt(b, at); err != nil {
			return nil, err
		}
	}
	if crc32.Checksum(b[8:length], castagnoli) != le.Uint32(b[4:]) {
		return nil, ErrDamaged
	}
	return decodeControl(b[:length])
}

func decodeControl(b []byte) (*control, error) {
	le := binary.LittleEndian
	c := &control{number: le.Uint64(b[32:]), tail: le.Uint64(b[40:]), nextSeq: le.Uint64(b[48:]),
		nextInstance: le.Uint64(b[56:]), pagesEnd: le.Uint32(b[64:])}
	replicas, promises := int(le.Uint32(b[68:])), int(le.Uint32(b[72:]))
	if len(b) != controlHeader+replicas*replicaRow+promises*promiseRow {
		return nil, ErrDamaged
	}
	row := b[controlHeader:]
	c.replicas = make([]controlReplica, replicas)
	for i := range c.replicas {
		c.replicas[i].unmarshal(row)
		row = row[replicaRow:]
	}
	c.promises = make([]promise, promises)
	for i := range c.promises {
		c.promises[i] = promise{wire.VolumeID(le.Uint64(row)), le.Uint64(row[8:])}
		row = row[promiseRow:]
	}
	return c, nil
}

// controlSlots are where a checkpoint's two copies lie: the pair that does not hold its predecessor.
func controlSlots(number uint64) [2]int64 {
	first := int64(number%2) * 2
	return [2]int64{first, first + 1}
}

// loadControl picks the newest checkpoint. Its copies are written one after the
// other, so a crash leaves at most one slot of four in pieces; more means that
// the newest may be among the lost, and an older one is never taken for it.
func loadControl(dev Device, g *geometry, nonce [16]byte) (*control, error) {
	var newest *control
	var slots [4]*control
	whole := 0
	for i := range slots {
		c, err := readControl(dev, g, nonce, int64(i))
		if err != nil {
			continue
		}
		slots[i] = c
		whole++
		if newest == nil || newest.number < c.number {
			newest = c
		}
	}
	if whole < 3 {
		return nil, fmt.Errorf("%w: %d of 4 control slots are whole", ErrDamaged, whole)
	}
	// Before anything else is written the newest must lie twice, or damage to its
	// only copy would later bring its predecessor back unnoticed; and all four be whole.
	own := controlSlots(newest.number)
	for i, c := range slots {
		if c == nil || c.number != newest.number && slices.Contains(own[:], int64(i)) {
			if _, err := dev.WriteThrough(newest.marshal(nonce), g.control+int64(i)*g.controlSlot); err != nil {
				return nil, fmt.Errorf("%w: %w", ErrFailed, err)
			}
		}
	}
	return newest, nil
}

// writeControl makes a checkpoint valid.
func writeControl(dev Device, g *geometry, nonce [16]byte, c *control) error {
	b := c.marshal(nonce)
	for _, slot := range controlSlots(c.number) {
		if _, err := dev.WriteThrough(b, g.control+slot*g.controlSlot); err != nil {
			return err
		}
	}
	return nil
}
