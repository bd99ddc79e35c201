package scsi

import "encoding/binary"

// The ranges of CDBs: LBA and number of logical blocks.

// span6 is READ(6) and WRITE(6): 21 bits of LBA, and length zero means 256
// blocks (SBC-3 5.7).
func span6(cdb []byte) (lba, blocks uint64) {
	lba = uint64(binary.BigEndian.Uint32(cdb)) & 0x1FFFFF
	blocks = uint64(cdb[4])
	if blocks == 0 {
		blocks = 256
	}
	return lba, blocks
}

func span10(cdb []byte) (lba, blocks uint64) {
	return uint64(binary.BigEndian.Uint32(cdb[2:])), uint64(binary.BigEndian.Uint16(cdb[7:]))
}

func span12(cdb []byte) (lba, blocks uint64) {
	return uint64(binary.BigEndian.Uint32(cdb[2:])), uint64(binary.BigEndian.Uint32(cdb[6:]))
}

func span16(cdb []byte) (lba, blocks uint64) {
	return binary.BigEndian.Uint64(cdb[2:]), uint64(binary.BigEndian.Uint32(cdb[10:]))
}

// spanCompare is COMPARE AND WRITE: one byte of length (SBC-3 5.2).
func spanCompare(cdb []byte) (lba, blocks uint64) {
	return binary.BigEndian.Uint64(cdb[2:]), uint64(cdb[13])
}

// spanStart is GET LBA STATUS: a place without a length. One block of it must
// exist.
func spanStart(cdb []byte) (lba, blocks uint64) { return binary.BigEndian.Uint64(cdb[2:]), 1 }

// The data-out of CDBs, bytes.

// outBlocks is one logical block per block of the range.
func outBlocks(_ []byte, blocks, blockSize uint64) uint64 { return blocks * blockSize }

// outTwice is the blocks to compare with and the blocks to write.
func outTwice(_ []byte, blocks, blockSize uint64) uint64 { return 2 * blocks * blockSize }

// outPattern is the one block of WRITE SAME(10).
func outPattern(_ []byte, _, blockSize uint64) uint64 { return blockSize }

// outPattern16 is the same, unless NDOB says there is none.
func outPattern16(cdb []byte, _, blockSize uint64) uint64 {
	if cdb[1]&ndob != 0 {
		return 0
	}
	return blockSize
}

// outVerify depends on BYTCHK: nothing, all blocks, or one that all are
// compared with (SBC-3 5.29).
func outVerify(cdb []byte, blocks, blockSize uint64) uint64 {
	switch byteCheck(cdb) {
	case 1:
		return blocks * blockSize
	case 3:
		return min(blocks, 1) * blockSize
	}
	return 0
}

// outList16 is a PARAMETER LIST LENGTH in bytes 7 and 8; outList6 in byte 4.
func outList16(cdb []byte, _, _ uint64) uint64 { return uint64(binary.BigEndian.Uint16(cdb[7:])) }
func outList6(cdb []byte, _, _ uint64) uint64  { return uint64(cdb[4]) }

// byteCheck is the BYTCHK field.
func byteCheck(cdb []byte) byte { return cdb[1] >> 1 & 3 }

// allocation is the ALLOCATION LENGTH of the CDBs that have 32 bits of it: at
// byte 6 of 12-byte CDBs and byte 10 of 16-byte ones.
func (t *Task) allocation() uint64 {
	switch c := t.command; len(c.usage) {
	case 6:
		return uint64(binary.BigEndian.Uint16(t.CDB[3:]))
	case 12:
		return uint64(binary.BigEndian.Uint32(t.CDB[6:]))
	default:
		return uint64(binary.BigEndian.Uint32(t.CDB[10:]))
	}
}

// Demand reads a CDB: which way its data goes, and for data-out how many bytes
// a carrier collects before Execute. A host may announce less than that, which
// is then all there is. A command that will be refused demands nothing.
// For data-in it is the most that the command moves, so a carrier can lend the
// task a buffer.
func Demand(cdb []byte, t *Target, lun uint64) (Direction, uint64) {
	c := lookup(cdb)
	if c == nil || len(cdb) < len(c.usage) {
		return NoData, 0
	}
	if c.span == nil {
		if c.out == nil {
			return c.direction, 0
		}
		return c.direction, c.out(cdb, 0, 0)
	}
	u := t.unit(lun)
	if u == nil || c.direction == NoData {
		return c.direction, 0
	}
	info := u.device.Info()
	lba, blocks := c.span(cdb)
	if c.limit != nil && blocks > c.limit(uint64(info.BlockSize)) || lba > info.Blocks || blocks > info.Blocks-lba {
		return c.direction, 0
	}
	if c.out == nil {
		return c.direction, blocks * uint64(info.BlockSize)
	}
	return c.direction, c.out(cdb, blocks, uint64(info.BlockSize))
}
