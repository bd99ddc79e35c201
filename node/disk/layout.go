package disk

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"ashlar/replication/wire"
	"ashlar/target/pages"
)

// FormatVersion is that of a store. A program opens no other.
const FormatVersion = 3

const (
	blockSize   = wire.BlockSize
	chunkBlocks = 32 // 4 KiB blocks in a chunk, the unit of allocation
	chunkBytes  = chunkBlocks * blockSize
	groupChunks = 4 // chunks that one metadata page describes
	groupBlocks = groupChunks * chunkBlocks

	edge       = 128 << 10 // kept at both ends of the device for superblocks
	minDevice  = 64 << 20
	minJournal = 256 << 10
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Identity is who a store is.
type Identity struct {
	Cluster, Disk [16]byte
	SegmentBlocks uint32   // 4 KiB blocks per segment
	Nonce         [16]byte // random, new with each Format: tells a store from its copies and predecessors
}

// FormatOptions change the defaults of Format.
type FormatOptions struct {
	Force   bool  // overwrite a store that is there
	Journal int64 // bytes; 0: 1/16 of the device, between 16 MiB and 512 MiB
}

// geometry says where the parts of a store lie, in bytes from the start of the device.
type geometry struct {
	size        int64
	control     int64 // four control slots
	controlSlot int64 // bytes of one
	label       int64 // two label slots
	labelSlot   int64 // bytes of one
	journal     int64
	journalSize int64
	pages       int64 // metadata page slots
	pageSlots   uint32
	spareSlots  uint32 // kept free, so that a checkpoint can always write its pages
	chunks      int64
	chunkCount  uint32
	tableRows   uint32 // most replicas, and most promises
}

func roundUp(n, unit int64) int64 { return (n + unit - 1) / unit * unit }

// plan divides a device.
func plan(size, journal int64, segmentBlocks uint32) (geometry, error) {
	g := geometry{size: size &^ (blockSize - 1), journalSize: journal}
	if g.size < minDevice {
		return g, fmt.Errorf("%w: %d bytes, at least %d are needed", ErrTooSmall, g.size, minDevice)
	}
	if journal == 0 {
		g.journalSize = min(max(g.size/16, 16<<20), 512<<20)
	}
	g.journalSize = roundUp(max(g.journalSize, minJournal), blockSize)
	g.tableRows = uint32(1024 + 16*(g.size>>30))
	g.control = edge
	g.controlSlot = roundUp(controlHeader+int64(g.tableRows)*(replicaRow+promiseRow), blockSize)
	g.label = g.control + 4*g.controlSlot
	g.labelSlot = blockSize + labelRoom(g.size)
	g.journal = g.label + 2*g.labelSlot
	g.pages = g.journal + g.journalSize

	// Twice the pages that a dense disk needs: scattered chunks need one
	// each, and zeroed groups without chunks keep theirs.
	room := g.size - edge - g.pages
	perSegment := int64(segmentBlocks+groupBlocks-1) / groupBlocks
	g.spareSlots = uint32(max(perSegment, min(room/blockSize/64, 16384), 256))
	chunks := (room - int64(g.spareSlots)*blockSize) / (chunkBytes + blockSize/2)
	if chunks < 8 || room < 0 {
		return g, fmt.Errorf("%w: journal and metadata leave no room for data", ErrTooSmall)
	}
	g.chunkCount = uint32(min(chunks, 1<<31))
	g.pageSlots = g.chunkCount/2 + g.spareSlots
	g.chunks = roundUp(g.pages+int64(g.pageSlots)*blockSize, blockSize)
	for g.chunks+int64(g.chunkCount)*chunkBytes > g.size-edge {
		g.chunkCount--
	}
	return g, nil
}

// maxGroups is how many metadata pages may be in use, so that spareSlots stay free.
func (g *geometry) maxGroups() uint32 { return g.pageSlots - g.spareSlots }

// maxData is the most data one journal record carries, bytes.
func (g *geometry) maxData() int64 { return min(g.journalSize/8&^(blockSize-1), 1<<20) }

func (g *geometry) superblocks() [4]int64 {
	return [4]int64{0, 64 << 10, g.size - 64<<10, g.size - blockSize}
}

var superblockMagic = [8]byte{'A', 's', 'h', 'l', 'a', 'r', 'S', 'B'}

type superblock struct {
	id Identity
	geometry
}

// A superblock is magic, CRC of the rest, format version, identity, geometry. It
// is written once, by Format, and never changes.
func (s *superblock) marshal() []byte {
	b := pages.Make(blockSize)
	copy(b, superblockMagic[:])
	e := b[12:12]
	e = binary.LittleEndian.AppendUint32(e, FormatVersion)
	e = append(e, s.id.Cluster[:]...)
	e = append(e, s.id.Disk[:]...)
	e = append(e, s.id.Nonce[:]...)
	e = binary.LittleEndian.AppendUint32(e, s.id.SegmentBlocks)
	for _, n := range []int64{s.size, s.control, s.controlSlot, s.label, s.labelSlot, s.journal, s.journalSize, s.pages, s.chunks} {
		e = binary.LittleEndian.AppendUint64(e, uint64(n))
	}
	for _, n := range []uint32{s.pageSlots, s.spareSlots, s.chunkCount, s.tableRows} {
		e = binary.LittleEndian.AppendUint32(e, n)
	}
	sealSuperblock(b)
	return b
}

func sealSuperblock(b []byte) {
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b[12:blockSize], castagnoli))
}

func (s *superblock) unmarshal(b []byte) error {
	if !bytes.Equal(b[:8], superblockMagic[:]) {
		return ErrNoStore
	}
	if crc32.Checksum(b[12:blockSize], castagnoli) != binary.LittleEndian.Uint32(b[8:]) {
		return fmt.Errorf("%w: superblock checksum", ErrDamaged)
	}
	switch v := binary.LittleEndian.Uint32(b[12:]); {
	case v > FormatVersion:
		return fmt.Errorf("%w: format %d, this release reads format %d alone", ErrTooNew, v, FormatVersion)
	case v < FormatVersion:
		return fmt.Errorf("%w: format %d, this release reads format %d alone", ErrTooOld, v, FormatVersion)
	}
	b = b[16:]
	b = b[copy(s.id.Cluster[:], b):]
	b = b[copy(s.id.Disk[:], b):]
	b = b[copy(s.id.Nonce[:], b):]
	s.id.SegmentBlocks, b = binary.LittleEndian.Uint32(b), b[4:]
	for _, p := range []*int64{&s.size, &s.control, &s.controlSlot, &s.label, &s.labelSlot, &s.journal, &s.journalSize, &s.pages, &s.chunks} {
		*p, b = int64(binary.LittleEndian.Uint64(b)), b[8:]
	}
	for _, p := range []*uint32{&s.pageSlots, &s.spareSlots, &s.chunkCount, &s.tableRows} {
		*p, b = binary.LittleEndian.Uint32(b), b[4:]
	}
	return nil
}

// readSuperblock returns any whole superblock. All are equal in a store whose
// Format completed, and Format erases all before it writes the first, so one is
// enough; two that differ were never written by one Format.
func readSuperblock(dev Device) (*superblock, error) {
	g := geometry{size: dev.Size() &^ (blockSize - 1)}
	if g.size < minDevice {
		return nil, ErrNoStore
	}
	var found *superblock
	result := ErrNoStore
	block := pages.Make(blockSize)
	for _, at := range g.superblocks() {
		if _, err := dev.ReadAt(block, at); err != nil {
			result = fmt.Errorf("%w: superblock at %d: %w", ErrDamaged, at, err)
			continue
		}
		var s superblock
		if err := s.unmarshal(block); err != nil {
			if err != ErrNoStore {
				result = err
			}
			continue
		}
		if found != nil && *found != s {
			return nil, fmt.Errorf("%w: its superblocks are of different stores", ErrDamaged)
		}
		found = &s
	}
	if found == nil {
		return nil, result
	}
	if found.size > g.size {
		return nil, fmt.Errorf("%w: the device has %d bytes, the store was made for %d", ErrDamaged, g.size, found.size)
	}
	return found, nil
}

// Probe reads who the store on dev is: ErrNoStore, ErrTooNew, ErrTooOld or ErrDamaged otherwise.
func Probe(dev Device) (Identity, error) {
	s, err := readSuperblock(dev)
	if err != nil {
		return Identity{}, err
	}
	return s.id, nil
}

// Format makes an empty store. A zero id.Nonce is drawn. Superblocks are erased first
// and written last: a crash leaves the old store, none, or the new one.
func Format(dev Device, id Identity, o FormatOptions) error {
	if !o.Force {
		if _, err := readSuperblock(dev); err == nil {
			return fmt.Errorf("%w: it carries an Ashlar store", ErrInUse)
		} else if err != ErrNoStore {
			return fmt.Errorf("%w: it may carry an Ashlar store: %w", ErrInUse, err)
		}
	}
	if id.SegmentBlocks == 0 {
		return fmt.Errorf("%w: segments of no blocks", ErrRange)
	}
	if id.Nonce == [16]byte{} {
		rand.Read(id.Nonce[:])
	}
	g, err := plan(dev.Size(), o.Journal, id.SegmentBlocks)
	if err != nil {
		return err
	}
	for _, write := range []func() error{
		func() error { return writeZeros(dev, g.superblocks()) },
		func() error { return formatBody(dev, &g, id.Nonce) },
	} {
		if err := write(); err != nil {
			return fmt.Errorf("format: %w", err)
		}
		if err := dev.Sync(); err != nil {
			return fmt.Errorf("format: %w", err)
		}
	}
	s := superblock{id: id, geometry: g}
	for _, at := range g.superblocks() {
		if _, err := dev.WriteThrough(s.marshal(), at); err != nil {
			return fmt.Errorf("format: %w", err)
		}
	}
	return nil
}

func writeZeros(dev Device, at [4]int64) error {
	zeros := pages.Make(blockSize)
	for _, off := range at {
		if _, err := dev.WriteAt(zeros, off); err != nil {
			return err
		}
	}
	return nil
}

// formatBody writes the four control slots and two empty labels, and fills the journal with zeros, so
// that a file has its blocks before the first write waits for them. Metadata pages need no
// erasing: they carry the nonce.
func formatBody(dev Device, g *geometry, nonce [16]byte) error {
	for slot := range int64(4) {
		empty := control{number: uint64(slot / 2), nextInstance: 1, nextSeq: 1}
		if _, err := dev.WriteAt(empty.marshal(nonce), g.control+slot*g.controlSlot); err != nil {
			return err
		}
	}
	for number := range uint64(2) {
		if err := writeLabel(dev, g, nonce, &label{number: number}); err != nil {
			return err
		}
	}
	zeros := pages.Make(1 << 20)
	for at := int64(0); at < g.journalSize; at += int64(len(zeros)) {
		part := zeros[:min(int64(len(zeros)), g.journalSize-at)]
		if _, err := dev.WriteAt(part, g.journal+at); err != nil {
			return err
		}
	}
	return nil
}
