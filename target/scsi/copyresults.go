package scsi

import (
	"encoding/binary"
	"slices"
)

// copied is what became of a copy, kept for RECEIVE COPY RESULTS. All of it is
// under Nexus.mu.
type copied struct {
	list     byte // list identifier
	status   byte // COPY MANAGER STATUS
	segments uint16
	bytes    uint64
	sense    []byte // of a copy that failed, until it has been told
}

// COPY MANAGER STATUS (SPC-4 6.19.2).
const (
	copyInProgress = 0x00
	copyCompleted  = 0x01
	copyEndedBadly = 0x02
)

// copiesKept is how many ended copies of a nexus a unit remembers.
const copiesKept = 16

// beginCopy makes a record of a copy and forgets an ended one of the same list
// identifier. It is false while such a copy is under way.
func (n *Nexus) beginCopy(u *unit, list byte) (*copied, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	k := n.unit(u)
	if i := k.copy(list); i >= 0 {
		if k.copies[i].status == copyInProgress {
			return nil, false
		}
		k.copies = slices.Delete(k.copies, i, i+1)
	}
	r := &copied{list: list}
	k.copies = append(k.copies, r)
	return r, true
}

// copy is where the record of a list identifier is, or -1.
func (k *nexusUnit) copy(list byte) int {
	return slices.IndexFunc(k.copies, func(r *copied) bool { return r.list == list })
}

func (n *Nexus) countSegment(r *copied) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if r != nil {
		r.segments++
	}
}

func (n *Nexus) countBytes(r *copied, bytes uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if r != nil {
		r.bytes += bytes
	}
}

// endCopy keeps how a copy ended: with sense data, or well.
func (n *Nexus) endCopy(r *copied, sense []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if r == nil {
		return
	}
	r.status, r.sense = copyCompleted, sense
	if sense != nil {
		r.status = copyEndedBadly
	}
}

// dropCopy forgets a copy that ended without a result, and the oldest of too many.
func (n *Nexus) dropCopy(u *unit, r *copied) {
	n.mu.Lock()
	defer n.mu.Unlock()
	k := n.units[u]
	if r == nil || k == nil { // nobody will ask, or the unit is no more
		return
	}
	ended := 0
	k.copies = slices.DeleteFunc(k.copies, func(o *copied) bool { return o == r && r.status == copyInProgress })
	for _, o := range k.copies {
		if o.status != copyInProgress {
			ended++
		}
	}
	if oldest := slices.IndexFunc(k.copies, func(o *copied) bool { return o.status != copyInProgress }); ended > copiesKept {
		k.copies = slices.Delete(k.copies, oldest, oldest+1)
	}
}

// copyRecord is the record of a list identifier as it is now.
func (n *Nexus) copyRecord(u *unit, list byte) (copied, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	k := n.unit(u)
	i := k.copy(list)
	if i < 0 {
		return copied{}, false
	}
	return *k.copies[i], true
}

// takeCopySense is the sense data of a copy that failed, which is told once.
func (n *Nexus) takeCopySense(u *unit, list byte) []byte {
	n.mu.Lock()
	defer n.mu.Unlock()
	k := n.unit(u)
	i := k.copy(list)
	if i < 0 {
		return nil
	}
	s := k.copies[i].sense
	k.copies[i].sense = nil
	return s
}

// copyStatus is RECEIVE COPY RESULTS, COPY STATUS (SPC-4 6.19.2), of a copy that
// is under way or one of the nexus's last on this unit.
func copyStatus(t *Task) {
	const inBytes, inKiB = 0x00, 0x01
	c, known := t.Nexus.copyRecord(t.unit, t.CDB[2])
	if !known {
		t.check(badField(2))
		return
	}
	list := make([]byte, 12)
	binary.BigEndian.PutUint32(list, 8)
	list[4] = c.status
	binary.BigEndian.PutUint16(list[5:], c.segments)
	list[7] = inBytes
	if c.bytes > 0xFFFFFFFF {
		list[7], c.bytes = inKiB, c.bytes>>10
	}
	binary.BigEndian.PutUint32(list[8:], uint32(c.bytes))
	t.reply(list, t.allocation())
}

// failedSegment is RECEIVE COPY RESULTS, FAILED SEGMENT DETAILS (SPC-4 6.19.5):
// once, how a copy ended that did not end well.
func failedSegment(t *Task) {
	s := t.Nexus.takeCopySense(t.unit, t.CDB[2])
	if s == nil {
		t.check(badField(2))
		return
	}
	list := make([]byte, 60, 60+len(s))
	list[56] = StatusCheckCondition
	binary.BigEndian.PutUint16(list[58:], uint16(len(s)))
	list = append(list, s...)
	binary.BigEndian.PutUint32(list, uint32(len(list)-4))
	t.reply(list, t.allocation())
}

// copyParameters is RECEIVE COPY RESULTS, OPERATING PARAMETERS (SPC-4 6.19.4).
// DATA SEGMENT GRANULARITY is a block: bytes are copied too, and cost more.
func copyParameters(t *Task) {
	list := make([]byte, 44, 48)
	binary.BigEndian.PutUint16(list[8:], maxCopyTargets)
	binary.BigEndian.PutUint16(list[10:], maxCopySegments)
	binary.BigEndian.PutUint32(list[12:], maxCopyList)
	binary.BigEndian.PutUint32(list[16:], uint32(maxCopySegment(t.blockSize())))
	binary.BigEndian.PutUint16(list[34:], maxCopies)
	list[36] = maxCopies
	list[37] = byte(log2(t.info.BlockSize))
	list = append(list, blockToBlock, bytesToBytes, identification32)
	list[43] = 3
	binary.BigEndian.PutUint32(list, uint32(len(list)-4))
	t.reply(list, t.allocation())
}

// thirdPartyCopy is page 8Fh: the commands (0001h), the limits (0004h), the
// descriptors (0008h) and the general operations (8001h) that there are (SPC-4
// 7.8.17).
func thirdPartyCopy(t *Task) []byte {
	descriptor := func(kind uint16, body ...byte) []byte {
		for len(body)%4 != 0 {
			body = append(body, 0)
		}
		d := binary.BigEndian.AppendUint16(nil, kind)
		return append(binary.BigEndian.AppendUint16(d, uint16(len(body))), body...)
	}
	all := descriptor(0x0001, 9, 0x83, 1, 0x00, 0x84, 3, 0x00, 0x03, 0x04)
	limits := make([]byte, 28)
	binary.BigEndian.PutUint16(limits[4:], maxCopyTargets)
	binary.BigEndian.PutUint16(limits[6:], maxCopySegments)
	binary.BigEndian.PutUint32(limits[8:], maxCopyList)
	all = append(all, descriptor(0x0004, limits...)...)
	all = append(all, descriptor(0x0008, 3, blockToBlock, bytesToBytes, identification32)...)
	return append(all, descriptor(0x8001, generalCopy(t)...)...)
}

// generalCopy is the general copy operations descriptor.
func generalCopy(t *Task) []byte {
	d := make([]byte, 32)
	binary.BigEndian.PutUint32(d, maxCopies)
	binary.BigEndian.PutUint32(d[4:], maxCopies)
	binary.BigEndian.PutUint32(d[8:], uint32(maxCopySegment(t.blockSize())))
	d[12] = byte(log2(t.info.BlockSize))
	return d
}
