package scsi

import (
	"encoding/binary"

	"ashlar/target"
)

// writeSame is WRITE SAME (SBC-3 5.45). With UNMAP the range is unmapped, and
// reads as zeros, whatever the block is: SBC-3 would have a block of other than
// zeros written, but Linux's target and the conformance tools have it so, and no
// host depends on either. Without UNMAP zeros become a Zero operation, and any
// other block is written as data.
func writeSame(t *Task) {
	size := t.blockSize()
	t.Transfer = t.command.out(t.CDB, t.blocks, size)
	if !t.outExact(t.Transfer) {
		t.check(invalidUnitField)
		return
	}
	n := t.blocks
	if n == 0 { // WSNZ is zero: up to the last block
		n = t.info.Blocks - t.lba
		if n > maxSame(t.blockSize()) {
			t.check(badField(t.command.lengthAt))
			return
		}
	}
	switch {
	case t.CDB[1]&unmap != 0:
		t.chain = chain{kind: target.Unmap, lba: t.lba, left: n}
		discardNext(t)
	case allZero(t.Data):
		t.chain = chain{kind: target.Zero, lba: t.lba, left: n}
		discardNext(t)
	default:
		t.beginPattern(target.Write, n)
	}
}

// beginPattern begins a chain that writes or verifies n blocks with the one in
// Data, in pieces of bounded memory.
func (t *Task) beginPattern(kind target.Kind, n uint64) {
	size := t.blockSize()
	pattern := make([]byte, min(n*size, patternPieceBytes))
	for at := uint64(0); at < uint64(len(pattern)); at += size {
		copy(pattern[at:], t.Data[:size])
	}
	t.chain = chain{kind: kind, lba: t.lba, left: n, pattern: pattern}
	patternNext(t)
}

func patternNext(t *Task) {
	c := &t.chain
	if c.left == 0 {
		t.good()
		return
	}
	size := t.blockSize()
	n := min(c.left, uint64(len(c.pattern))/size)
	lba := c.lba
	c.lba, c.left = lba+n, c.left-n
	t.submit(c.kind, lba, n, c.pattern[:n*size], patternNext)
}

// discardNext sends the next Zero or Unmap operation: the rest of the current
// extent, then the next one.
func discardNext(t *Task) {
	c := &t.chain
	for c.left == 0 {
		if len(c.extents) == 0 {
			t.good()
			return
		}
		c.lba, c.left = c.extents[0].lba, c.extents[0].blocks
		c.extents = c.extents[1:]
	}
	n := min(c.left, discardPieceBytes/t.blockSize())
	lba := c.lba
	c.lba, c.left = lba+n, c.left-n
	t.submit(c.kind, lba, n, nil, discardNext)
}

// unmapBlocks is UNMAP. All block descriptors are checked before the first
// takes effect.
func unmapBlocks(t *Task) {
	length := outList16(t.CDB, 0, 0)
	t.Transfer = length
	if length == 0 {
		t.nothing()
		return
	}
	extents, s := parseUnmap(t.Data, length, &t.info)
	if s != noSense {
		t.check(s)
		return
	}
	t.chain = chain{kind: target.Unmap, extents: extents}
	discardNext(t)
}

// parseUnmap reads the parameter list of UNMAP (SBC-3 5.28): an 8-byte header
// and block descriptors of 16 bytes.
func parseUnmap(list []byte, length uint64, info *target.Info) ([]extent, sense) {
	if uint64(len(list)) < length || len(list) < 8 {
		return nil, parameterListLength
	}
	described := int(binary.BigEndian.Uint16(list[2:]))
	if described > len(list)-8 {
		return nil, parameterListLength
	}
	n := described / 16
	if n > maxUnmapDescriptors {
		return nil, badParameter(2)
	}
	extents := make([]extent, 0, n)
	var total uint64
	for i := range n {
		at := 8 + 16*i
		e := extent{binary.BigEndian.Uint64(list[at:]), uint64(binary.BigEndian.Uint32(list[at+8:]))}
		if e.lba > info.Blocks || e.blocks > info.Blocks-e.lba {
			return nil, lbaOutOfRange
		}
		if total += e.blocks; total > maxUnmap(uint64(info.BlockSize)) {
			return nil, badParameter(at + 8)
		}
		extents = append(extents, e)
	}
	return extents, noSense
}

// maxStatusDescriptors bounds one answer to GET LBA STATUS.
const maxStatusDescriptors = 64

// lbaStatus is GET LBA STATUS: the host may get fewer descriptors than it has
// room for, and asks again from where they end.
func lbaStatus(t *Task) {
	room := max(min(t.allocation(), 8+16*maxStatusDescriptors), 8+16)
	n := int(room-8) / 16
	if cap(t.Op.Extents) < n {
		t.Op.Extents = make([]target.Extent, 0, n)
	}
	t.Op.Extents = t.Op.Extents[:0:n]
	t.submit(target.LBAStatus, t.lba, 0, nil, lbaStatusDone)
}

func lbaStatusDone(t *Task) {
	list := make([]byte, 8, 8+16*len(t.Op.Extents))
	for _, e := range t.Op.Extents {
		var d [16]byte
		blocks := min(e.Blocks, 0xFFFFFFFF)
		binary.BigEndian.PutUint64(d[:], e.LBA)
		binary.BigEndian.PutUint32(d[8:], uint32(blocks))
		if !e.Mapped {
			d[12] = 1 // deallocated
		}
		list = append(list, d[:]...)
		if blocks < e.Blocks {
			break // descriptors are contiguous: the host asks for the rest
		}
	}
	binary.BigEndian.PutUint32(list, uint32(len(list)-4))
	t.reply(list, t.allocation())
}

// allZero says whether b has only zero bytes; it is true for none.
func allZero(b []byte) bool {
	for ; len(b) >= 8; b = b[8:] {
		if binary.LittleEndian.Uint64(b) != 0 {
			return false
		}
	}
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}
