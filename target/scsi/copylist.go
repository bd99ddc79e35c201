package scsi

import "encoding/binary"

// The parameter list of EXTENDED COPY(LID1) (SPC-4 6.4.3).
const (
	copyHeader       = 16
	identification32 = 0xE4 // CSCD descriptor type: identification descriptor
	targetBytes      = 32
	blockToBlock     = 0x02 // segment descriptor types
	bytesToBytes     = 0x0A // from a block and a byte offset in it to the same
	segmentBytes     = 28   // of blockToBlock
	byteSegmentBytes = 32   // of bytesToBytes
)

// copyList is a parameter list that can be carried out.
type copyList struct {
	id       byte
	recorded bool // hosts may ask what became of it
	places   []*place
	segments []segment
}

// parseCopy reads a parameter list.
func (t *Task) parseCopy(list []byte, length uint64) (l copyList, _ sense) {
	const usage, notUsed, reserved = 0x18, 0x18, 0x08 // LIST ID USAGE 11b and 01b
	if length < copyHeader || uint64(len(list)) != length {
		return l, parameterListLength
	}
	l.id, l.recorded = list[0], list[1]&usage != notUsed
	targets, segments := uint64(binary.BigEndian.Uint16(list[2:])), uint64(binary.BigEndian.Uint32(list[8:]))
	inline := uint64(binary.BigEndian.Uint32(list[12:]))
	switch {
	case list[1]&usage == reserved:
		return l, badParameter(1)
	case !l.recorded && l.id != 0:
		return l, badParameter(0)
	case targets > maxCopyTargets*targetBytes:
		return l, tooManyTargets
	case segments > maxCopySegments*byteSegmentBytes:
		return l, tooManySegments
	case inline != 0, targets+segments != length-copyHeader:
		return l, parameterListLength
	case targets%targetBytes != 0:
		return l, badParameter(2)
	}
	s := t.parsePlaces(&l, list[copyHeader:][:targets])
	if s == noSense {
		s = t.parseSegments(&l, list[copyHeader+targets:], int(copyHeader+targets))
	}
	return l, s
}

// parsePlaces finds the logical units that descriptors name.
func (t *Task) parsePlaces(l *copyList, list []byte) sense {
	for at := 0; at < len(list); at += targetBytes {
		p, s := t.parsePlace(list[at:][:targetBytes], copyHeader+at)
		if s != noSense {
			return s
		}
		l.places = append(l.places, p)
	}
	return noSense
}

// parsePlace reads an identification descriptor (SPC-4 6.4.4.4), which names a
// unit by its NAA designator as in VPD page 83h. It begins at byte at of the list.
// One that names nothing (NUL) has no place; LU ID TYPE is of other descriptors.
func (t *Task) parsePlace(d []byte, at int) (*place, sense) {
	const null, device = 0x20, 0x1F
	switch {
	case d[0] != identification32:
		return nil, unsupportedTarget
	case d[1]&null != 0:
		return nil, noSense
	case d[1]&device != directAccess:
		return nil, wrongTargetType
	case d[4]&0x0F != binaryCode || d[5]&0x3F != ofUnit|naaDesignator || d[7] != 16:
		return nil, unreachableTarget
	}
	p := t.find([16]byte(d[8:24]))
	if p == nil {
		return nil, unreachableTarget
	}
	if size := binary.BigEndian.Uint32(d[28:]) & 0xFFFFFF; size != 0 && size != p.info.BlockSize {
		return nil, badParameter(at + 29)
	}
	return p, noSense
}

// parseSegments reads the segment descriptors, which begin at byte start of the list.
func (t *Task) parseSegments(l *copyList, list []byte, start int) sense {
	for at := 0; at < len(list); {
		d := list[at:]
		size := segmentBytes
		if d[0] == bytesToBytes {
			size = byteSegmentBytes
		} else if d[0] != blockToBlock {
			return unsupportedSegment
		}
		if len(d) < size {
			return parameterListLength
		}
		d = d[:size]
		if d[0] == blockToBlock && binary.BigEndian.Uint16(d[2:]) != segmentBytes-4 ||
			d[0] == bytesToBytes && binary.BigEndian.Uint16(d[2:]) != byteSegmentBytes-4 {
			return badParameter(start + at + 2)
		}
		s, problem := t.parseSegment(l.places, d, start+at)
		if problem != noSense {
			problem.specific, problem.specified = uint32(len(l.segments)), problem.key == keyCopyAborted
			return problem
		}
		if l.segments = append(l.segments, s); len(l.segments) > maxCopySegments {
			return tooManySegments
		}
		at += size
	}
	return noSense
}

// parseSegment reads a segment descriptor, which begins at byte at of the list.
func (t *Task) parseSegment(places []*place, d []byte, at int) (s segment, _ sense) {
	from, to := int(binary.BigEndian.Uint16(d[4:])), int(binary.BigEndian.Uint16(d[6:]))
	if from >= len(places) || to >= len(places) || places[from] == nil || places[to] == nil {
		return s, noSuchTarget
	}
	s = segment{from: places[from], to: places[to]}
	source, dest := uint64(s.from.info.BlockSize), uint64(s.to.info.BlockSize)
	var skip, leave uint64
	if d[0] == bytesToBytes {
		s.bytes = uint64(binary.BigEndian.Uint32(d[8:]))
		skip, leave = uint64(binary.BigEndian.Uint16(d[28:])), uint64(binary.BigEndian.Uint16(d[30:]))
		if skip >= source {
			return s, badParameter(at + 28)
		}
		if leave >= dest {
			return s, badParameter(at + 30)
		}
	} else {
		const countsDestination = 0x02 // DC
		s.bytes = uint64(binary.BigEndian.Uint16(d[10:])) * source
		if d[1]&countsDestination != 0 {
			s.bytes = s.bytes / source * dest
		}
		if s.bytes%source != 0 || s.bytes%dest != 0 {
			return s, inexactSegment
		}
	}
	if s.bytes > maxCopySegment(max(source, dest)) {
		return s, badParameter(at + 8)
	}
	sourceLBA, destLBA := binary.BigEndian.Uint64(d[12:]), binary.BigEndian.Uint64(d[20:])
	if s.from.beyond(sourceLBA, skip+s.bytes) || s.to.beyond(destLBA, leave+s.bytes) {
		return s, copyOutOfRange
	}
	s.source, s.dest = sourceLBA*source+skip, destLBA*dest+leave
	if s.to.protected {
		return s, writeProtected
	}
	return s, noSense
}

// beyond says whether a range of bytes from a block on ends beyond the unit.
func (p *place) beyond(lba, bytes uint64) bool {
	return lba > p.info.Blocks || ratio(bytes, uint64(p.info.BlockSize)) > p.info.Blocks-lba
}
