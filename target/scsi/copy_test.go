package scsi

import (
	"bytes"
	"encoding/binary"
	"testing"

	"ashlar/target/targettest"
)

// copier is a rig with a second volume at LUN 1.
type copier struct {
	*rig
	other *targettest.Memory
}

func newCopier(t *testing.T) *copier {
	c := &copier{rig: newRig(t, targettest.Options{}), other: targettest.NewMemory(targettest.Options{ID: 2})}
	if err := c.target.Add(1, c.other); err != nil {
		t.Fatal(err)
	}
	c.run(c.task(c.nexus, 0, make([]byte, 6), nil))            // the inventory has changed
	c.run(c.task(c.nexus, FormatLUN(1), make([]byte, 6), nil)) // it is new
	return c
}

func (c *copier) copyTarget(m *targettest.Memory) []byte {
	d := make([]byte, targetBytes)
	naa := m.Info().NAA
	d[0], d[4], d[5], d[7] = identification32, binaryCode, naaDesignator, 16
	copy(d[8:], naa[:])
	return d
}

func copySegment(from, to byte, lba, at uint64, blocks uint16) []byte {
	d := make([]byte, segmentBytes)
	d[0], d[3], d[5], d[7] = blockToBlock, segmentBytes-4, from, to
	binary.BigEndian.PutUint16(d[10:], blocks)
	binary.BigEndian.PutUint64(d[12:], lba)
	binary.BigEndian.PutUint64(d[20:], at)
	return d
}

func copyList(targets, segments []byte) (cdb, list []byte) {
	list = make([]byte, copyHeader)
	list[0] = 7
	binary.BigEndian.PutUint16(list[2:], uint16(len(targets)))
	binary.BigEndian.PutUint32(list[8:], uint32(len(segments)))
	list = append(append(list, targets...), segments...)
	cdb = make([]byte, 16)
	cdb[0] = 0x83
	binary.BigEndian.PutUint32(cdb[10:], uint32(len(list)))
	return cdb, list
}

func TestACopyGoesFromUnitToUnit(t *testing.T) {
	c := newCopier(t)
	c.good(ranged(0x2A, 0, 100, 5000), blocksOf(9, 5000))
	targets := append(c.copyTarget(c.memory), c.copyTarget(c.other)...)
	cdb, list := copyList(targets, append(copySegment(0, 1, 100, 3, 5000), copySegment(1, 1, 3, 9000, 7)...))
	c.expect("00", cdb, list)
	for _, at := range []struct{ lba, blocks uint64 }{{3, 5000}, {9000, 7}} {
		read := c.run(c.task(c.nexus, FormatLUN(1), ranged(0x28, 0, at.lba, at.blocks), nil))
		if !bytes.Equal(read.Data, blocksOf(9, int(at.blocks))) {
			t.Errorf("%d blocks at %d are not the copy", at.blocks, at.lba)
		}
	}
	status := c.good(raw("84 00 07 00 00 00 00 00 00 00 00 00 00 ff 00 00"), nil)
	if status[4] != 1 || binary.BigEndian.Uint16(status[5:]) != 2 {
		t.Errorf("status % x", status)
	}
	c.expect("02 5/2400", raw("84 00 08 00 00 00 00 00 00 00 00 00 00 ff 00 00"), nil)
}

func TestACopyMeetsReservationsAndProtection(t *testing.T) {
	c := newCopier(t)
	targets := append(c.copyTarget(c.memory), c.copyTarget(c.other)...)
	cdb, list := copyList(targets, copySegment(0, 1, 0, 0, 8))
	c.other.SetReadOnly(true)
	c.expect("02 a/0d01", cdb, list)
	if status := c.good(raw("84 00 07 00 00 00 00 00 00 00 00 00 00 ff 00 00"), nil); status[4] != 2 {
		t.Errorf("status % x", status)
	}
	c.other.SetReadOnly(false)
	reserved := c.run(c.task(c.login("b"), FormatLUN(1), raw("16 00 00 00 00 00"), nil))
	if reserved.Status == StatusCheckCondition { // the new nexus's first unit attention there
		reserved = c.run(c.task(reserved.Nexus, FormatLUN(1), raw("16 00 00 00 00 00"), nil))
	}
	if reserved.Status != StatusGood {
		t.Fatalf("status %02x", reserved.Status)
	}
	c.expect("02 a/0d01", cdb, list)
}

func TestAWrongCopyCopiesNothing(t *testing.T) {
	c := newCopier(t)
	good, stranger := c.copyTarget(c.memory), c.copyTarget(targettest.NewMemory(targettest.Options{ID: 9}))
	for _, x := range []struct {
		name, want        string
		targets, segments []byte
	}{
		{"an unknown volume", "02 a/0d02", stranger, copySegment(0, 0, 0, 8, 8)},
		{"an index beyond the targets", "02 a/0d02", good, copySegment(0, 1, 0, 8, 8)},
		{"beyond the end", "02 a/0000", good, copySegment(0, 0, 0, capacity-7, 8)},
		{"a stream segment", "02 5/2609", good, append([]byte{3}, copySegment(0, 0, 0, 8, 8)[1:]...)},
		{"a target by its port", "02 5/2607", append([]byte{0xE0}, good[1:]...), copySegment(0, 0, 0, 8, 8)},
		{"too many targets", "02 5/2606", bytes.Repeat(good, maxCopyTargets+1), nil},
		{"too many segments", "02 5/2608", good, bytes.Repeat(copySegment(0, 0, 0, 8, 8), maxCopySegments+1)},
		{"a part of a segment", "02 5/1a00", good, copySegment(0, 0, 0, 8, 8)[:20]},
	} {
		cdb, list := copyList(x.targets, x.segments)
		if got := verdict(c.do(cdb, list)); got != x.want {
			t.Errorf("%s: %s, want %s", x.name, got, x.want)
		}
	}
	cdb, list := copyList(good, copySegment(0, 0, 0, 8, 8))
	list[3]--
	c.expect("02 5/1a00", cdb, list)
	c.expect("00", raw("83 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00"), []byte{})
}

func TestAThirdPartyCopyPageTellsTheLimits(t *testing.T) {
	r := newRig(t, targettest.Options{})
	compareGolden(t, "vpd-8f", r.good(raw("12 01 8f 04 00 00"), nil))
	compareGolden(t, "vpd-88", r.good(raw("12 01 88 04 00 00"), nil))
	compareGolden(t, "copy-parameters", r.good(raw("84 03 00 00 00 00 00 00 00 00 00 00 00 ff 00 00"), nil))
}
