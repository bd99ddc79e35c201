package scsi

import (
	"encoding/binary"

	"ashlar/target"
	"ashlar/target/reserve"
)

// readBlocks is READ: no more blocks are read than the host has room for.
func readBlocks(t *Task) {
	size := t.blockSize()
	t.Transfer = t.blocks * size
	n := min(t.blocks, ratio(uint64(t.Limit), size))
	if n == 0 {
		t.nothing()
		return
	}
	t.Data = grow(t.Data, n*size)
	t.lend(target.Read, n, readDone)
}

func readDone(t *Task) {
	t.Data = t.Op.Data[:min(uint64(len(t.Op.Data)), uint64(t.Limit))]
	t.good()
}

// outBlocksHere is how many of the range's blocks the host sent: all, unless
// it announced less than the CDB asks for.
func (t *Task) outBlocksHere() uint64 { return min(t.blocks, uint64(len(t.Data))/t.blockSize()) }

// outExact says whether the host sent what the CDB asks for, no less and no
// more.
func (t *Task) outExact(n uint64) bool {
	return uint64(len(t.Data)) == n && (t.Limit == 0 || uint64(t.Limit) == n)
}

// endsWithinBlock refuses a write whose host announced less than the CDB asks for,
// and the last block of that in part: whole blocks alone can be written, and GOOD
// would say that all was that came. The residual still tells what is missing.
func (t *Task) endsWithinBlock() bool {
	n := uint64(len(t.Data))
	if n >= t.Transfer || n%t.blockSize() == 0 {
		return false
	}
	if !t.unit.device.Reservations().Allows(t.Nexus.id.Ports(), reserve.Writes) {
		t.end(StatusReservationConflict)
		return true
	}
	t.Status, t.Sense = StatusCheckCondition, invalidUnitField.put(t.senseBytes[:], t.modes.descriptorSense)
	t.finish()
	return true
}

// writeBlocks is WRITE.
func writeBlocks(t *Task) {
	t.Transfer = t.blocks * t.blockSize()
	if t.endsWithinBlock() {
		return
	}
	n := t.outBlocksHere()
	if n == 0 {
		t.nothing()
		return
	}
	t.lend(target.Write, n, (*Task).good)
}

// writeAndVerify is WRITE AND VERIFY: with BYTCHK 0 the medium is read and
// checked, with 1 it is compared with what was written.
func writeAndVerify(t *Task) {
	if byteCheck(t.CDB) > 1 {
		t.check(badField(1))
		return
	}
	t.Transfer = t.blocks * t.blockSize()
	if t.endsWithinBlock() {
		return
	}
	n := t.outBlocksHere()
	if n == 0 {
		t.nothing()
		return
	}
	t.submit(target.Write, t.lba, n, t.Data[:n*t.blockSize()], verifyWritten)
}

func verifyWritten(t *Task) {
	var data []byte
	n := t.outBlocksHere()
	if byteCheck(t.CDB) == 1 {
		data = t.Data[:n*t.blockSize()]
	}
	t.submit(target.Verify, t.lba, n, data, (*Task).good)
}

// verifyBlocks is VERIFY: BYTCHK 0 reads and checks, 1 compares each block
// with its own data, 3 compares every block with one (SBC-3 5.29).
func verifyBlocks(t *Task) {
	check := byteCheck(t.CDB)
	if check == 2 {
		t.check(badField(1))
		return
	}
	t.Transfer = outVerify(t.CDB, t.blocks, t.blockSize())
	n := t.blocks
	if check == 1 {
		n = t.outBlocksHere()
	}
	if check == 3 && n > 0 && !t.outExact(t.blockSize()) {
		t.check(invalidUnitField)
		return
	}
	switch {
	case n == 0:
		t.nothing()
	case check == 0:
		t.submit(target.Verify, t.lba, n, nil, (*Task).good)
	case check == 1:
		t.submit(target.Verify, t.lba, n, t.Data[:n*t.blockSize()], (*Task).good)
	default:
		t.beginPattern(target.Verify, n)
	}
}

// compareAndWrite is COMPARE AND WRITE. The host's data is all there and no more,
// or the number of blocks is wrong: 256 blocks would read as none.
func compareAndWrite(t *Task) {
	n := 2 * t.blocks * t.blockSize()
	if !t.outExact(n) {
		t.check(badField(t.command.lengthAt))
		return
	}
	t.Transfer = n
	if n == 0 {
		t.nothing()
		return
	}
	t.submit(target.CompareAndWrite, t.lba, t.blocks, t.Data, (*Task).good)
}

// miscompareOffset is where the operation that just failed found the first
// difference, as an offset in the host's data-out.
func (t *Task) miscompareOffset() uint64 {
	if t.chain.pattern != nil {
		return t.Op.Offset % t.blockSize()
	}
	return t.Op.Offset
}

// synchronize is SYNCHRONIZE CACHE. All of the unit is made stable, and IMMED
// makes no difference: an answer after the fact satisfies both.
func synchronize(t *Task) { t.submit(target.Flush, 0, 0, nil, (*Task).good) }

// startStop is START STOP UNIT. The medium is shared and fixed: it is started,
// and no host can stop it, eject it or change its power condition.
func startStop(t *Task) {
	const start, ejectOrPower = 0x01, 0xF2
	if t.CDB[4]&ejectOrPower != 0 || t.CDB[4]&start == 0 {
		t.check(badField(4))
		return
	}
	t.good()
}

// readCapacity10 is READ CAPACITY(10): a last LBA that does not fit sends the
// host to READ CAPACITY(16).
func readCapacity10(t *Task) {
	list := make([]byte, 8)
	binary.BigEndian.PutUint32(list, uint32(min(t.info.Blocks-1, 0xFFFFFFFF)))
	binary.BigEndian.PutUint32(list[4:], t.info.BlockSize)
	t.reply(list, 8)
}

// readCapacity16 is READ CAPACITY(16): no protection information, thin
// provisioned, unmapped blocks read as zeros.
func readCapacity16(t *Task) {
	list := make([]byte, 32)
	binary.BigEndian.PutUint64(list, t.info.Blocks-1)
	binary.BigEndian.PutUint32(list[8:], t.info.BlockSize)
	list[13] = byte(log2(max(t.info.Physical/t.info.BlockSize, 1))) // LBPPBE
	list[14] = 0xC0                                                 // LBPME, LBPRZ
	t.reply(list, t.allocation())
}
