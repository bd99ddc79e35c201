package scsi

import (
	"bytes"
	"encoding/binary"
	"slices"

	"ashlar/target"
	"ashlar/target/reserve"
)

// The limits of RECEIVE COPY RESULTS, OPERATING PARAMETERS, enforced here.
const (
	maxCopies       = 16       // under way at once, of a target: each takes a piece of memory
	maxCopyTargets  = 16       //
	maxCopySegments = 4        //
	maxCopyList     = 8 << 10  // bytes of target and segment descriptors
	copyPieceBytes  = 1 << 20  // one read of a copy
	copyHoleBytes   = 64 << 10 // of zeros are a hole, at least
)

// maxCopySegment is the most bytes of one segment: all of them are to be copied
// within 4 s.
func maxCopySegment(blockSize uint64) uint64 { return min(0xFFFF*blockSize, 32<<20) }

func copyCommands() []command {
	results := func(name string, action, list byte, run func(*Task)) command {
		return command{name: "RECEIVE COPY RESULTS, " + name, action: true, direction: DataIn, reserved: reserve.Writes, run: run,
			usage: b(0x84, action, list, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0)}
	}
	return []command{
		{name: "EXTENDED COPY(LID1)", usage: b(0x83, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0), action: true,
			reserved: reserve.Writes, out: outCopy, direction: DataOut, run: extendedCopy},
		results("COPY STATUS", 0x00, 0xFF, copyStatus),
		results("OPERATING PARAMETERS", 0x03, 0, copyParameters),
		results("FAILED SEGMENT DETAILS", 0x04, 0xFF, failedSegment),
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

// place is a logical unit that a copy reads or writes: one of the target that
// carries it out, or of another that the host may use through this node.
type place struct {
	unit      *unit
	nexus     target.Nexus // as which that is done: reservations there are for it or against it
	info      target.Info
	protected bool // against writes
}

// segment is one copy of a run of bytes.
type segment struct {
	from, to     *place
	source, dest uint64 // where what is left begins there, bytes
	bytes        uint64 // left
}

// copyTask is where a copy has got to.
type copyTask struct {
	segments   []segment
	repeatable bool // from the beginning, even if a part was copied
	at         int
	begun      bool   // the current segment's places have been asked for again
	backward   bool   // from the current segment's end: its ranges overlap
	offset     uint64 // of the current piece in what is left of the segment, bytes
	bytes      uint64 // of the current piece
	put        uint64 // of that, written
	blocks     []byte // those of the source that hold the piece
	edge       []byte // a block of the destination of which the piece is a part, and what it is to be
	tries      int    // left, to write that block while others write it as well
	wrote      bool
	record     *copied
}

// extendedCopy is EXTENDED COPY(LID1) (SPC-4 6.4) between logical units that the
// host may use, of this target and of others. What a reservation forbids the
// host, it forbids its copies.
func extendedCopy(t *Task) {
	n := binary.BigEndian.Uint32(t.CDB[10:])
	if n == 0 {
		t.good()
		return
	}
	list, s := t.parseCopy(t.Data, uint64(n))
	if s != noSense {
		t.check(s)
		return
	}
	if t.Nexus.target.copies.Add(1) > maxCopies {
		t.Nexus.target.copies.Add(-1)
		t.end(StatusTaskSetFull)
		return
	}
	t.copy = &copyTask{segments: list.segments, repeatable: list.repeatable()}
	if list.recorded {
		r, free := t.Nexus.beginCopy(t.unit, list.id)
		if !free {
			t.check(operationInProgress)
			return
		}
		t.copy.record = r
	}
	places := slices.DeleteFunc(list.places, func(p *place) bool { return p == nil })
	t.places.Store(&places)
	t.Transfer = uint64(n)
	copyNext(t)
}

// copyNext reads what the next piece needs.
func copyNext(t *Task) {
	c := t.copy
	for c.at < len(c.segments) && c.segments[c.at].bytes == 0 {
		c.at, c.begun = c.at+1, false
		t.Nexus.countSegment(c.record)
	}
	if c.at == len(c.segments) {
		t.Nexus.endCopy(c.record, nil)
		t.good()
		return
	}
	s := &c.segments[c.at]
	if !c.begun {
		c.begun, c.backward = true, s.overlaps()
	}
	c.offset, c.bytes = s.piece(c.backward)
	size := uint64(s.from.info.BlockSize)
	first, last := (s.source+c.offset)/size, ratio(s.source+c.offset+c.bytes, size)
	c.blocks = grow(c.blocks, (last-first)*size)
	t.submitCopy(s.from, target.Read, first, last-first, c.blocks, copyWrite)
}

// overlaps says whether a copy from the beginning on would overwrite what it has
// yet to read.
func (s *segment) overlaps() bool {
	return s.from.unit == s.to.unit && s.dest > s.source && s.dest < s.source+s.bytes
}

// repeatable says whether a copy reads nothing that it has written.
func (l *copyList) repeatable() bool {
	if len(l.segments) > 1 {
		return false
	}
	for _, s := range l.segments {
		if s.overlaps() || s.from.unit == s.to.unit && s.source >= s.dest && s.source < s.dest+s.bytes {
			return false
		}
	}
	return true
}

// piece is the next part of a segment: whole blocks of the destination, or a part
// of one.
func (s *segment) piece(backward bool) (offset, bytes uint64) {
	size := uint64(s.to.info.BlockSize)
	edge := (size - s.dest%size) % size // bytes before the first whole block
	if backward {
		edge = (s.dest + s.bytes) % size // and after the last
	}
	switch {
	case edge > 0:
		bytes = min(s.bytes, edge)
	case s.bytes < size:
		bytes = s.bytes
	default:
		bytes = min(s.bytes, copyPieceBytes) / size * size
	}
	if backward {
		offset = s.bytes - bytes
	}
	return offset, bytes
}

// copyWrite writes the piece: whole blocks as they are, a part of one by reading the
// block, and writing it if it is still the same.
func copyWrite(t *Task) {
	c := t.copy
	s := &c.segments[c.at]
	size, at := uint64(s.to.info.BlockSize), s.dest+c.offset
	if at%size == 0 && c.bytes%size == 0 {
		c.put = 0
		copyBlocks(t)
		return
	}
	c.edge, c.tries = grow(c.edge, 2*size), orTries
	copyEdge(t)
}

// piece is the data of the current piece.
func (c *copyTask) piece() []byte {
	s := &c.segments[c.at]
	return c.blocks[(s.source+c.offset)%uint64(s.from.info.BlockSize):][:c.bytes]
}

// copyBlocks writes the next of the piece's whole blocks: data, or a hole, which
// takes no space.
func copyBlocks(t *Task) {
	c := t.copy
	if c.put == c.bytes {
		pieceCopied(t)
		return
	}
	s := &c.segments[c.at]
	size, at := uint64(s.to.info.BlockSize), s.dest+c.offset+c.put
	kind, data := nextRun(c.piece()[c.put:])
	n := uint64(len(data))
	if kind == target.Unmap {
		data = nil
	}
	c.put += n
	t.submitCopy(s.to, kind, at/size, n/size, data, copyBlocks)
}

// nextRun is how much of data, from its beginning on, is a hole or is none.
func nextRun(data []byte) (target.Kind, []byte) {
	n := min(len(data), copyHoleBytes)
	hole := allZero(data[:n])
	for n < len(data) {
		step := min(len(data)-n, copyHoleBytes)
		if allZero(data[n:n+step]) != hole {
			break
		}
		n += step
	}
	if hole {
		return target.Unmap, data[:n]
	}
	return target.Write, data[:n]
}

func copyEdge(t *Task) {
	c := t.copy
	s := &c.segments[c.at]
	size := uint64(s.to.info.BlockSize)
	t.submitCopy(s.to, target.Read, (s.dest+c.offset)/size, 1, c.edge[:size], copyEdgeBack)
}

func copyEdgeBack(t *Task) {
	c := t.copy
	s := &c.segments[c.at]
	size, at := uint64(s.to.info.BlockSize), s.dest+c.offset
	copy(c.edge[size:], c.edge[:size])
	copy(c.edge[size+at%size:], c.piece())
	t.submitCopy(s.to, target.CompareAndWrite, at/size, 1, c.edge, pieceCopied)
}

// pieceCopied takes note of a piece that has been copied.
func pieceCopied(t *Task) {
	c := t.copy
	s := &c.segments[c.at]
	if !c.backward {
		s.source, s.dest = s.source+c.bytes, s.dest+c.bytes
	}
	s.bytes -= c.bytes
	t.Nexus.countBytes(c.record, c.bytes)
	copyNext(t)
}

// submitCopy sends an operation to a place. The place's head knows whether this node
// is up to date; but the command is as old as it is: a Device takes nothing of it
// later than any command's.
func (t *Task) submitCopy(p *place, kind target.Kind, lba, blocks uint64, data []byte, then func(*Task)) {
	if t.cut.Load() && !t.aborting.Load() {
		t.pauseCopy(StatusBusy)
		return
	}
	if !t.reaches(p) {
		t.abortCopy(unreachableTarget)
		return
	}
	stamp := p.unit.device.Stamp()
	stamp.Read = t.Stamp.Read
	t.copy.wrote = t.copy.wrote || kind != target.Read
	t.submitTo(p.unit.device, p.nexus, stamp, kind, lba, blocks, data, then)
}

// copyFailed ends a copy whose operation failed for a reason that is final.
func (t *Task) copyFailed() bool {
	c := t.copy
	if c == nil {
		return false
	}
	switch t.Op.Status {
	case target.Busy, target.Full, target.Aborted:
		t.pauseCopy(outcomes[t.Op.Status].status)
	case target.Miscompare:
		if c.tries--; c.tries > 0 {
			copyEdge(t)
		} else {
			t.pauseCopy(StatusBusy)
		}
	case target.Gone:
		t.abortCopy(unreachableTarget)
	case target.NoSpace:
		t.abortCopy(spaceAllocation) // hosts stop and wait for space at this one alone
	default:
		t.abortCopy(thirdPartyFailure)
	}
	return true
}

// pauseCopy ends a copy that the host may send again, unless it would copy what it
// has written.
func (t *Task) pauseCopy(status byte) {
	if t.copy.wrote && !t.copy.repeatable {
		t.abortCopy(thirdPartyFailure)
		return
	}
	t.end(status)
}

// abortCopy ends a copy in the segment that it has got to, whose number is told
// in the third and fourth byte of COMMAND-SPECIFIC INFORMATION (SPC-4 6.4.3.3).
func (t *Task) abortCopy(s sense) {
	s.specific, s.specified = uint32(t.copy.at), true
	t.Nexus.endCopy(t.copy.record, s.put(make([]byte, senseRoom), t.modes.descriptorSense))
	t.check(s)
}

// leaveCopy is the end of a copy's task, whatever it was.
func (t *Task) leaveCopy() {
	t.Nexus.target.copies.Add(-1)
	t.Nexus.dropCopy(t.unit, t.copy.record)
	t.copy = nil
	t.places.Store(nil)
}

// find is the place of an NAA designator: a unit of the task's own target, or of
// another that the host may use.
func (t *Task) find(naa [16]byte) *place {
	own := t.Nexus.target
	if u := own.named(naa); u != nil {
		p := &place{unit: u, nexus: t.Nexus.id, info: u.device.Info()}
		p.protected = p.info.ReadOnly || t.Nexus.modesOf(u).writeProtect
		return p
	}
	if own.find == nil {
		return nil
	}
	other := own.find(t.Nexus.host, naa)
	if other == nil {
		return nil
	}
	u := other.named(naa)
	if u == nil {
		return nil
	}
	p := &place{unit: u, nexus: t.Nexus.id, info: u.device.Info()}
	p.protected = p.info.ReadOnly
	if n := other.nexusOf(t.Nexus.host, u); n != nil {
		p.nexus = n.id
		p.protected = p.protected || n.modesOf(u).writeProtect
	}
	return p
}

// reaches says whether the host may still use a place.
func (t *Task) reaches(p *place) bool {
	own := t.Nexus.target
	if p.unit.target != own && own.find(t.Nexus.host, p.info.NAA) != p.unit.target {
		return false
	}
	return p.unit.target.named(p.info.NAA) == p.unit
}

// named is the logical unit with an NAA designator.
func (t *Target) named(naa [16]byte) *unit {
	for _, u := range *t.units.Load() {
		if i := u.device.Info(); bytes.Equal(i.NAA[:], naa[:]) {
			return u
		}
	}
	return nil
}

// nexusOf is the nexus as which a host uses a unit: one that reservations allow to
// write, if it has one. nil: it is not logged in to this target.
func (t *Target) nexusOf(host string, u *unit) (found *Nexus) {
	reservations := u.device.Reservations()
	allowed := func(n *Nexus) bool { return reservations.Allows(n.id.Ports(), reserve.Writes) }
	better := func(n *Nexus) bool {
		switch {
		case found == nil:
			return true
		case allowed(n) != allowed(found):
			return allowed(n)
		case n.id.Host != found.id.Host:
			return n.id.Host < found.id.Host
		}
		return n.id.Generation > found.id.Generation
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for n := range t.nexuses {
		if n.host == host && better(n) {
			found = n
		}
	}
	return found
}
