package scsi

import (
	"bytes"
	"encoding/binary"

	"ashlar/target"
)

// The limits of RECEIVE COPY RESULTS, OPERATING PARAMETERS, enforced here.
const (
	maxCopyTargets  = 16
	maxCopySegments = 64
	maxCopyList     = 8 << 10 // bytes of target and segment descriptors
	copyPieceBytes  = 1 << 20 // one read and one write of a copy

	copyHeader       = 16
	identification32 = 0xE4 // CSCD descriptor type: identification descriptor
	targetBytes      = 32
	blockToBlock     = 0x02 // segment descriptor type
	segmentBytes     = 28
)

// segment is one copy of a run of blocks.
type segment struct {
	from, to *unit
	lba, at  uint64 // where it begins there
	blocks   uint64
}

// copied is what became of a copy, kept for RECEIVE COPY RESULTS.
type copied struct {
	list   byte   // list identifier
	known  bool   // there was a copy
	failed bool   // it ended with an error
	done   uint16 // segments processed
}

func copyCommands() []command {
	results := func(name string, action, list byte, run func(*Task)) command {
		return command{name: "RECEIVE COPY RESULTS, " + name, action: true, direction: DataIn, run: run,
			usage: b(0x84, action, list, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0)}
	}
	return []command{
		{name: "EXTENDED COPY(LID1)", usage: b(0x83, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0), action: true,
			out: outCopy, direction: DataOut, run: extendedCopy},
		results("COPY STATUS", 0x00, 0xFF, copyStatus),
		results("OPERATING PARAMETERS", 0x03, 0, copyParameters),
	}
}

// outCopy is a PARAMETER LIST LENGTH in bytes 10 to 13; what is too long is
// refused without being collected.
func outCopy(cdb []byte, _, _ uint64) uint64 {
	n := uint64(binary.BigEndian.Uint32(cdb[10:]))
	if n > copyHeader+maxCopyList {
		return 0
	}
	return n
}

// extendedCopy is EXTENDED COPY(LID1) (SPC-4 6.4) between logical units of this
// target. What a reservation forbids the host, it forbids its copies.
func extendedCopy(t *Task) {
	list := t.Data
	n := binary.BigEndian.Uint32(t.CDB[10:])
	if n == 0 {
		t.good()
		return
	}
	segments, s := t.parseCopy(list, uint64(n))
	if s != noSense {
		t.check(s)
		return
	}
	t.Transfer = uint64(n)
	t.copy = copyTask{segments: segments, result: copied{list: list[0], known: true}}
	copyNext(t)
}

// copyTask is where a copy has got to.
type copyTask struct {
	segments []segment
	piece    []byte
	result   copied
}

// copyNext reads the next piece.
func copyNext(t *Task) {
	c := &t.copy
	for len(c.segments) > 0 && c.segments[0].blocks == 0 {
		c.segments = c.segments[1:]
		c.result.done++
	}
	if len(c.segments) == 0 {
		t.Nexus.setCopied(t.unit, c.result)
		t.good()
		return
	}
	s := &c.segments[0]
	size := t.blockSize()
	n := min(s.blocks, copyPieceBytes/size)
	c.piece = grow(c.piece, n*size)
	t.submitTo(s.from.device, target.Read, s.lba, n, c.piece, copyWrite)
}

func copyWrite(t *Task) {
	s := &t.copy.segments[0]
	n := uint64(len(t.copy.piece)) / t.blockSize()
	at := s.at
	s.lba, s.at, s.blocks = s.lba+n, s.at+n, s.blocks-n
	t.submitTo(s.to.device, target.Write, at, n, t.copy.piece, copyNext)
}

// copyFailed ends a copy whose operation failed for a reason that is final.
func (t *Task) copyFailed() bool {
	if t.command.code() != 0x83 || outcomes[t.Op.Status].status == StatusBusy || outcomes[t.Op.Status].status == StatusTaskSetFull {
		return false
	}
	t.copy.result.failed = true
	t.Nexus.setCopied(t.unit, t.copy.result)
	t.check(thirdPartyFailure)
	return true
}

// parseCopy reads the parameter list.
func (t *Task) parseCopy(list []byte, length uint64) ([]segment, sense) {
	if length < copyHeader || uint64(len(list)) != length {
		return nil, parameterListLength
	}
	targets, segments := uint64(binary.BigEndian.Uint16(list[2:])), uint64(binary.BigEndian.Uint32(list[8:]))
	inline := uint64(binary.BigEndian.Uint32(list[12:]))
	switch {
	case targets > maxCopyTargets*targetBytes:
		return nil, tooManyTargets
	case segments > maxCopySegments*segmentBytes:
		return nil, tooManySegments
	case inline != 0, targets+segments != length-copyHeader:
		return nil, parameterListLength
	case targets%targetBytes != 0:
		return nil, badParameter(2)
	}
	units, s := t.parseTargets(list[copyHeader:][:targets])
	if s != noSense {
		return nil, s
	}
	return t.parseSegments(list[copyHeader+targets:], units, int(copyHeader+targets))
}

// parseTargets finds the logical units that descriptors name by their NAA.
func (t *Task) parseTargets(list []byte) (units []*unit, _ sense) {
	for at := 0; at < len(list); at += targetBytes {
		d := list[at:][:targetBytes]
		if d[0] != identification32 {
			return nil, unsupportedTarget
		}
		if d[1]&0x1F != directAccess {
			return nil, wrongTargetType
		}
		u := t.Nexus.target.named(d)
		if u == nil {
			return nil, unreachableTarget
		}
		if u.device.Info().BlockSize != t.info.BlockSize {
			return nil, wrongTargetType
		}
		units = append(units, u)
	}
	return units, noSense
}

// named is the logical unit of an identification descriptor with its NAA.
func (t *Target) named(d []byte) *unit {
	if d[4]&0x0F != binaryCode || d[5]&0x3F != ofUnit|naaDesignator || d[7] != 16 {
		return nil
	}
	for _, u := range *t.units.Load() {
		if naa := u.device.Info().NAA; bytes.Equal(naa[:], d[8:24]) {
			return u
		}
	}
	return nil
}

func (t *Task) parseSegments(list []byte, units []*unit, start int) (all []segment, _ sense) {
	for at := 0; at < len(list); at += segmentBytes {
		d := list[at:]
		if d[0] != blockToBlock {
			return nil, unsupportedSegment
		}
		if len(d) < segmentBytes {
			return nil, parameterListLength
		}
		if binary.BigEndian.Uint16(d[2:]) != segmentBytes-4 {
			return nil, badParameter(start + at + 2)
		}
		from, to := int(binary.BigEndian.Uint16(d[4:])), int(binary.BigEndian.Uint16(d[6:]))
		if from >= len(units) || to >= len(units) {
			return nil, unreachableTarget
		}
		s := segment{from: units[from], to: units[to], blocks: uint64(binary.BigEndian.Uint16(d[10:])),
			lba: binary.BigEndian.Uint64(d[12:]), at: binary.BigEndian.Uint64(d[20:])}
		if beyond(s.from, s.lba, s.blocks) || beyond(s.to, s.at, s.blocks) {
			return nil, copyOutOfRange
		}
		if t.modes.writeProtect && s.to == t.unit {
			return nil, writeProtected
		}
		all = append(all, s)
	}
	return all, noSense
}

func beyond(u *unit, lba, blocks uint64) bool {
	capacity := u.device.Info().Blocks
	return lba > capacity || blocks > capacity-lba
}

// copyStatus is RECEIVE COPY RESULTS, COPY STATUS (SPC-4 6.19.2), of the nexus's
// last copy on this unit. A copy that is not over has not been answered yet.
func copyStatus(t *Task) {
	const completed, failed = 0x01, 0x02
	c := t.Nexus.lastCopied(t.unit)
	if !c.known || c.list != t.CDB[2] {
		t.check(badField(2))
		return
	}
	list := make([]byte, 12)
	binary.BigEndian.PutUint32(list, 8)
	list[4] = completed
	if c.failed {
		list[4] = failed
	}
	binary.BigEndian.PutUint16(list[5:], c.done)
	t.reply(list, t.allocation())
}

// copyParameters is RECEIVE COPY RESULTS, OPERATING PARAMETERS (SPC-4 6.19.4).
func copyParameters(t *Task) {
	list := make([]byte, 44, 46)
	binary.BigEndian.PutUint16(list[8:], maxCopyTargets)
	binary.BigEndian.PutUint16(list[10:], maxCopySegments)
	binary.BigEndian.PutUint32(list[12:], maxCopyList)
	binary.BigEndian.PutUint32(list[16:], uint32(min(0xFFFF*t.blockSize(), 0xFFFFFFFF)))
	binary.BigEndian.PutUint16(list[34:], 0xFF)
	list[36] = 0xFF // copies at once: bounded by the window alone
	list[37] = byte(log2(t.info.BlockSize))
	list = append(list, blockToBlock, identification32)
	list[43] = 2
	binary.BigEndian.PutUint32(list, uint32(len(list)-4))
	t.reply(list, t.allocation())
}

// thirdPartyCopy is page 8Fh: the commands (0001h) and the descriptors (0008h,
// 000Ch) that there are (SPC-4 7.8.17).
func thirdPartyCopy(t *Task) []byte {
	descriptor := func(kind uint16, body ...byte) []byte {
		for len(body)%4 != 0 {
			body = append(body, 0)
		}
		d := binary.BigEndian.AppendUint16(nil, kind)
		return append(binary.BigEndian.AppendUint16(d, uint16(len(body))), body...)
	}
	all := descriptor(0x0001, 8, 0x83, 1, 0x00, 0x84, 2, 0x00, 0x03)
	limits := make([]byte, 28)
	binary.BigEndian.PutUint16(limits[4:], maxCopyTargets)
	binary.BigEndian.PutUint16(limits[6:], maxCopySegments)
	binary.BigEndian.PutUint32(limits[8:], maxCopyList)
	all = append(all, descriptor(0x0004, limits...)...)
	all = append(all, descriptor(0x0008, 2, blockToBlock, identification32)...)
	return append(all, descriptor(0x8001, generalCopy(t)...)...)
}

// generalCopy is the general copy operations descriptor.
func generalCopy(t *Task) []byte {
	d := make([]byte, 32)
	binary.BigEndian.PutUint32(d, 0xFF)
	binary.BigEndian.PutUint32(d[4:], 0xFF)
	binary.BigEndian.PutUint32(d[8:], uint32(min(0xFFFF*t.blockSize(), 0xFFFFFFFF)))
	d[12] = byte(log2(t.info.BlockSize))
	return d
}

func (n *Nexus) setCopied(u *unit, c copied) {
	n.mu.Lock()
	n.unit(u).copied = c
	n.mu.Unlock()
}

func (n *Nexus) lastCopied(u *unit) copied {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.unit(u).copied
}
