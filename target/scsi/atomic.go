package scsi

import (
	"encoding/binary"

	"ashlar/target"
)

// spanAtomic is WRITE ATOMIC(16): 16 bits of length, after the boundary.
func spanAtomic(cdb []byte) (lba, blocks uint64) {
	return binary.BigEndian.Uint64(cdb[2:]), uint64(binary.BigEndian.Uint16(cdb[12:]))
}

// maxAtomic is the most blocks that WRITE ATOMIC(16) can be asked for by its CDB.
// What the device promises may be less, and is in VPD page B0h.
func maxAtomic(uint64) uint64 { return 0xFFFF }

// writeAtomic is WRITE ATOMIC(16) (SBC-4 5.48). Every write of a device is atomic
// within its unit; no boundary divides one. A write that crosses a multiple of
// the unit is refused, for which VPD page B0h has no field: hosts align atomic
// writes to their length, as the pages of a file and of a database are.
func writeAtomic(t *Task) {
	unit := uint64(t.info.Atomic) / t.blockSize()
	boundary := binary.BigEndian.Uint16(t.CDB[10:])
	switch {
	case boundary != 0:
		t.check(badField(10))
	case t.blocks > unit, t.blocks%atomicAlignment(&t.info) != 0:
		t.check(badField(12))
	case t.lba%atomicAlignment(&t.info) != 0:
		t.check(badField(2))
	case t.blocks > 0 && t.lba/unit != (t.lba+t.blocks-1)/unit:
		t.check(badField(2))
	case !t.outExact(t.blocks*t.blockSize()) && t.blocks > 0:
		t.check(invalidUnitField) // a part of it would not be atomic
	default:
		writeBlocks(t)
	}
}

// atomicAlignment is the alignment and the granularity of VPD page B0h, blocks.
func atomicAlignment(i *target.Info) uint64 { return uint64(max(i.Physical/i.BlockSize, 1)) }

// orTries bounds how often a step of ORWRITE begins again because another host has
// written in between. Each time, somebody's write has got through.
const orTries = 64

// orWrite is ORWRITE(16) (SBC-3 5.8): step by step what is there is read, combined,
// and written if it is still there.
func orWrite(t *Task) {
	n := t.blocks * t.blockSize()
	t.Transfer = n
	if n == 0 {
		t.nothing()
		return
	}
	if !t.outExact(n) {
		t.check(invalidUnitField)
		return
	}
	t.chain = chain{lba: t.lba, left: t.blocks, pattern: make([]byte, 2*min(n, patternPieceBytes))}
	orNext(t)
}

func orNext(t *Task) {
	c := &t.chain
	if c.left == 0 {
		t.good()
		return
	}
	c.tries = orTries
	orRead(t)
}

// orBlocks is how many blocks the current step has.
func (t *Task) orBlocks() uint64 {
	return min(t.chain.left, uint64(len(t.chain.pattern))/2/t.blockSize())
}

func orRead(t *Task) {
	n := t.orBlocks()
	t.submit(target.Read, t.chain.lba, n, t.chain.pattern[:n*t.blockSize()], orWriteBack)
}

func orWriteBack(t *Task) {
	c, n, size := &t.chain, t.orBlocks(), t.blockSize()
	old, next := c.pattern[:n*size], c.pattern[n*size:2*n*size]
	sent := t.Data[(c.lba-t.lba)*size:]
	for i := range next {
		next[i] = old[i] | sent[i]
	}
	t.submit(target.CompareAndWrite, c.lba, n, c.pattern[:2*n*size], orWritten)
}

func orWritten(t *Task) {
	n := t.orBlocks()
	t.chain.lba, t.chain.left = t.chain.lba+n, t.chain.left-n
	orNext(t)
}

// orAgain begins a step of an ORWRITE again that another write came in between of.
func (t *Task) orAgain() bool {
	if t.command.code() != 0x8B || t.Op.Status != target.Miscompare {
		return false
	}
	if t.chain.tries--; t.chain.tries == 0 {
		t.end(StatusBusy)
		return true
	}
	orRead(t)
	return true
}
