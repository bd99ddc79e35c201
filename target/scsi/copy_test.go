package scsi

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"ashlar/target"
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

func copyTarget(m *targettest.Memory) []byte {
	d := make([]byte, targetBytes)
	naa := m.Info().NAA
	d[0], d[4], d[5], d[7] = identification32, binaryCode, naaDesignator, 16
	binary.BigEndian.PutUint32(d[28:], m.Info().BlockSize)
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

// byteSegment is a segment of bytes, with offsets in its first blocks.
func byteSegment(from, to byte, lba uint64, skip uint16, at uint64, leave uint16, bytes uint32) []byte {
	d := make([]byte, byteSegmentBytes)
	d[0], d[3], d[5], d[7] = bytesToBytes, byteSegmentBytes-4, from, to
	binary.BigEndian.PutUint32(d[8:], bytes)
	binary.BigEndian.PutUint64(d[12:], lba)
	binary.BigEndian.PutUint64(d[20:], at)
	binary.BigEndian.PutUint16(d[28:], skip)
	binary.BigEndian.PutUint16(d[30:], leave)
	return d
}

func copyCommand(targets, segments []byte) (cdb, list []byte) {
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
	targets := append(copyTarget(c.memory), copyTarget(c.other)...)
	cdb, list := copyCommand(targets, append(copySegment(0, 1, 100, 3, 5000), copySegment(1, 1, 3, 9000, 7)...))
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

// copyStatusOf is COPY STATUS's status, segments and bytes of a list identifier.
func (r *rig) copyStatusOf(list byte) (status byte, segments uint16, bytes uint32) {
	r.Helper()
	d := r.good([]byte{0x84, 0, list, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0, 0}, nil)
	return d[4], binary.BigEndian.Uint16(d[5:]), binary.BigEndian.Uint32(d[8:])
}

func failedDetails(list byte) []byte {
	return []byte{0x84, 4, list, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0, 0}
}

// TestACopyOfAnyShapeIsWhatItsSegmentsSay copies between two units, of blocks of
// the same size and of different ones, and compares them with a model after each.
func TestACopyOfAnyShapeIsWhatItsSegmentsSay(t *testing.T) {
	const size = 4 << 20
	random := rand.New(rand.NewPCG(1, 2))
	for _, sizes := range [][2]uint64{{512, 512}, {512, 4096}, {4096, 512}, {4096, 4096}} {
		r := newRig(t, targettest.Options{BlockSize: uint32(sizes[0]), Blocks: size / sizes[0]})
		other := targettest.NewMemory(targettest.Options{ID: 2, BlockSize: uint32(sizes[1]), Blocks: size / sizes[1]})
		if err := r.target.Add(1, other); err != nil {
			t.Fatal(err)
		}
		r.ready(r.nexus, 0)
		r.ready(r.nexus, 1)
		targets := append(copyTarget(r.memory), copyTarget(other)...)
		var model [2][]byte
		for u := range model {
			model[u] = make([]byte, size)
			for i := range model[u] {
				if i>>15%5 != 3 { // else a hole, or a part of one
					model[u][i] = byte(random.Uint32())
				}
			}
			for at := uint64(0); at < size; at += 1 << 20 {
				cdb := ranged(0x8A, 0, at/sizes[u], 1<<20/sizes[u])
				r.run(r.task(r.nexus, FormatLUN(uint16(u)), cdb, bytes.Clone(model[u][at:at+1<<20])))
			}
		}
		for range 40 {
			from, to := random.IntN(2), random.IntN(2)
			n := uint64(random.IntN(3 << 19))
			if random.IntN(3) == 0 {
				n %= 9000
			}
			source, dest := random.Uint64N(size-n), random.Uint64N(size-n)
			if random.IntN(2) == 0 { // not far, so that they overlap
				dest = min(source+random.Uint64N(2000), size-n)
			}
			segment := byteSegment(byte(from), byte(to), source/sizes[from], uint16(source%sizes[from]), dest/sizes[to], uint16(dest%sizes[to]), uint32(n))
			if random.IntN(2) == 0 {
				step := max(sizes[0], sizes[1])
				source, dest, n = source/step*step, dest/step*step, n/step*step
				segment = copySegment(byte(from), byte(to), source/sizes[from], dest/sizes[to], uint16(n/sizes[from]))
				if random.IntN(2) == 0 {
					segment[1] = 2 // counted in blocks of the destination
					binary.BigEndian.PutUint16(segment[10:], uint16(n/sizes[to]))
				}
			}
			cdb, list := copyCommand(targets, segment)
			r.expect("00", cdb, list)
			copy(model[to][dest:dest+n], bytes.Clone(model[from][source:source+n]))
			lba := dest / sizes[to]
			blocks := ratio(dest+n, sizes[to]) - lba
			if blocks == 0 {
				continue
			}
			if got := r.run(r.task(r.nexus, FormatLUN(uint16(to)), ranged(0x88, 0, lba, blocks), nil)).Data; !bytes.Equal(got, model[to][lba*sizes[to]:][:len(got)]) {
				t.Fatalf("blocks of %v bytes: %d bytes from %d at %d to %d at %d", sizes, n, from, source, to, dest)
			}
		}
	}
}

// TestACopyOfNothingTakesNoSpace: what is not allocated in one volume is not in the
// other either, and what was there before reads as zeros.
func TestACopyOfNothingTakesNoSpace(t *testing.T) {
	c := newCopier(t)
	c.good(ranged(0x2A, 0, 4096+256, 8), blocksOf(9, 8))
	c.run(c.task(c.nexus, FormatLUN(1), ranged(0x2A, 0, 16, 8), blocksOf(7, 8)))
	targets := append(copyTarget(c.memory), copyTarget(c.other)...)
	cdb, list := copyCommand(targets, copySegment(0, 1, 0, 8, 6000))
	c.expect("00", cdb, list)
	mapped := map[uint64]uint64{} // where, and how many blocks
	d := c.run(c.task(c.nexus, FormatLUN(1), raw("9e 12 00 00 00 00 00 00 00 08 00 00 04 00 00 00"), nil)).Data
	for d = d[8:]; len(d) > 0; d = d[16:] {
		if d[12]&0xF == 0 {
			mapped[binary.BigEndian.Uint64(d)] = uint64(binary.BigEndian.Uint32(d[8:]))
		}
	}
	if len(mapped) != 1 || mapped[8+4096+256] != copyHoleBytes/512 {
		t.Errorf("%v are allocated", mapped)
	}
	if got := c.run(c.task(c.nexus, FormatLUN(1), ranged(0x28, 0, 16, 8), nil)).Data; !allZero(got) {
		t.Error("the old data is still there")
	}
	if got := c.run(c.task(c.nexus, FormatLUN(1), ranged(0x28, 0, 8+4096+256, 8), nil)).Data; !bytes.Equal(got, blocksOf(9, 8)) {
		t.Error("the data is not there")
	}
}

func TestAnInexactSegmentIsRefused(t *testing.T) {
	r := newRig(t, targettest.Options{})
	other := targettest.NewMemory(targettest.Options{ID: 2, BlockSize: 4096})
	if err := r.target.Add(1, other); err != nil {
		t.Fatal(err)
	}
	r.ready(r.nexus, 0)
	targets := append(copyTarget(r.memory), copyTarget(other)...)
	cdb, list := copyCommand(targets, copySegment(0, 1, 0, 0, 7))
	r.expect("02 a/260a", cdb, list)
	cdb, list = copyCommand(targets, copySegment(0, 1, 0, 0, 8))
	r.expect("00", cdb, list)
}

// TestAWriteInBetweenIsNotLostToTheEdgeOfACopy: a part of a block is written by a
// comparison, again if another host was faster.
func TestAWriteInBetweenIsNotLostToTheEdgeOfACopy(t *testing.T) {
	c := newCopier(t)
	c.good(ranged(0x2A, 0, 0, 2), blocksOf(9, 2))
	between := 3
	c.other.Intercept(func(o *target.Op) (v targettest.Verdict) {
		if o.Kind == target.CompareAndWrite && between > 0 {
			between--
			v.Status = target.Miscompare
		}
		return v
	})
	targets := append(copyTarget(c.memory), copyTarget(c.other)...)
	cdb, list := copyCommand(targets, byteSegment(0, 1, 0, 3, 8, 5, 100))
	c.expect("00", cdb, list)
	want := append(append(make([]byte, 5), blocksOf(9, 1)[:100]...), make([]byte, 407)...)
	if got := c.run(c.task(c.nexus, FormatLUN(1), ranged(0x28, 0, 8, 1), nil)).Data; !bytes.Equal(got, want) || between != 0 {
		t.Errorf("% x", got)
	}
	c.other.Intercept(func(o *target.Op) (v targettest.Verdict) {
		if o.Kind == target.CompareAndWrite {
			v.Status = target.Miscompare
		}
		return v
	})
	c.expect("08", cdb, list)
}

func TestAWrongCopyCopiesNothing(t *testing.T) {
	c := newCopier(t)
	good, stranger := copyTarget(c.memory), copyTarget(targettest.NewMemory(targettest.Options{ID: 9}))
	changed := func(at int, value byte, d []byte) []byte {
		d = bytes.Clone(d)
		d[at] = value
		return d
	}
	one := copySegment(0, 0, 0, 8, 8)
	for _, x := range []struct {
		name, want        string
		targets, segments []byte
	}{
		{"an unknown volume", "02 a/0d02", stranger, one},
		{"an index beyond the targets", "02 a/0804", good, copySegment(0, 1, 0, 8, 8)},
		{"beyond the end", "02 a/0000", good, copySegment(0, 0, 0, capacity-7, 8)},
		{"from beyond the end", "02 a/0000", good, copySegment(0, 0, 1<<63, 0, 8)},
		{"bytes beyond the end", "02 a/0000", good, byteSegment(0, 0, 0, 0, capacity-1, 1, 512)},
		{"an offset beyond the block", "02 5/2600", good, byteSegment(0, 0, 0, 512, 0, 0, 1)},
		{"an offset beyond the other block", "02 5/2600", good, byteSegment(0, 0, 0, 0, 0, 512, 1)},
		{"more bytes than a segment may have", "02 5/2600", good, byteSegment(0, 0, 0, 0, 0, 0, 0xFFFF*512+1)},
		{"a stream segment", "02 5/2609", good, changed(0, 3, one)},
		{"a target by its port", "02 5/2607", changed(0, 0xE0, good), one},
		{"a null device", "02 a/0804", changed(1, 0x20, good), one},
		{"a tape", "02 a/0d03", changed(1, 1, good), one},
		{"a block size that is not the unit's", "02 5/2600", changed(30, 8, good), one},
		{"a name of another type", "02 a/0d02", changed(5, vendorDesignator, good), one},
		{"too many targets", "02 5/2606", bytes.Repeat(good, maxCopyTargets+1), nil},
		{"too many segments", "02 5/2608", good, bytes.Repeat(one, maxCopySegments+1)},
		{"far too many segments", "02 5/2608", good, bytes.Repeat(one, maxCopySegments*2)},
		{"a part of a segment", "02 5/1a00", good, one[:20]},
		{"a wrong length in a segment", "02 5/2600", good, changed(3, 0x19, one)},
		{"a part of a segment of bytes", "02 5/1a00", good, byteSegment(0, 0, 0, 0, 8, 0, 1)[:28]},
		{"a right segment, then a wrong one", "02 a/0000", good, append(bytes.Clone(one), copySegment(0, 0, capacity, 0, 1)...)},
	} {
		cdb, list := copyCommand(x.targets, x.segments)
		if got := verdict(c.do(cdb, list)); got != x.want {
			t.Errorf("%s: %s, want %s", x.name, got, x.want)
		}
	}
	for _, x := range []struct {
		name, want string
		at         int
		value      byte
	}{
		{"a wrong length of targets", "02 5/1a00", 3, 31},
		{"inline data", "02 5/1a00", 15, 1},
		{"a reserved use of the list identifier", "02 5/2600", 1, 0x08},
		{"a list identifier that is not used", "02 5/2600", 1, 0x18},
	} {
		cdb, list := copyCommand(good, one)
		list[x.at] = x.value
		if got := verdict(c.do(cdb, list)); got != x.want {
			t.Errorf("%s: %s, want %s", x.name, got, x.want)
		}
	}
	c.expect("00", raw("83 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00"), []byte{})
	c.expect("02 5/1a00", raw("83 00 00 00 00 00 00 00 00 00 00 00 40 00 00 00"), []byte{})
	if d := c.block(8); !allZero(d) {
		t.Error("something was copied")
	}
}

func TestEachSegmentOfACopyCounts(t *testing.T) {
	c := newCopier(t)
	targets := append(copyTarget(c.memory), copyTarget(c.other)...)
	segments := bytes.Repeat(copySegment(0, 1, 0, 0, 8), maxCopySegments)
	cdb, list := copyCommand(targets, segments)
	c.expect("00", cdb, list)
	if status, n, moved := c.copyStatusOf(7); status != copyCompleted || n != maxCopySegments || moved != maxCopySegments*4096 {
		t.Errorf("status %d, %d segments, %d bytes", status, n, moved)
	}
	c.expect("02 5/2400", failedDetails(7), nil)

	fail := 0
	c.other.Intercept(func(o *target.Op) (v targettest.Verdict) {
		if fail++; fail == 3 {
			v.Status = target.MediumError
		}
		return v
	})
	task := c.expect("02 a/0d01", cdb, list)
	if task.Sense[11] != 2 {
		t.Errorf("sense % x, want segment 2", task.Sense)
	}
	if status, n, moved := c.copyStatusOf(7); status != copyEndedBadly || n != 2 || moved != 2*4096 {
		t.Errorf("status %d, %d segments, %d bytes", status, n, moved)
	}
	d := c.good(failedDetails(7), nil)
	if d[56] != StatusCheckCondition || !bytes.Equal(d[60:], task.Sense) || int(d[59]) != len(task.Sense) || int(d[3]) != len(d)-4 {
		t.Errorf("failed segment details % x", d)
	}
	c.expect("02 5/2400", failedDetails(7), nil)
	if status, _, _ := c.copyStatusOf(7); status != copyEndedBadly {
		t.Errorf("status %d after the details were read", status)
	}
}

// TestACopyEndsAsItsOperationDid: what passes lets the host send it again, and leaves
// no result; the rest aborts it.
func TestACopyEndsAsItsOperationDid(t *testing.T) {
	for status, want := range map[target.Status]string{
		target.Busy: "08", target.Full: "28", target.Aborted: "08", target.Gone: "02 a/0d02", target.NoSpace: "02 7/2707",
		target.MediumError: "02 a/0d01", target.Conflict: "02 a/0d01", target.OutOfRange: "02 a/0d01", target.Protected: "02 a/0d01",
	} {
		for _, kind := range []target.Kind{target.Read, target.Write} {
			r := newRig(t, targettest.Options{})
			r.good(ranged(0x2A, 0, 0, 8), blocksOf(1, 8))
			r.memory.Intercept(func(o *target.Op) (v targettest.Verdict) {
				if o.Kind == kind {
					v.Status = status
				}
				return v
			})
			cdb, list := copyCommand(copyTarget(r.memory), copySegment(0, 0, 0, 8, 8))
			r.expect(want, cdb, list)
			result := "00"
			if len(want) == 2 {
				result = "02 5/2400"
			}
			r.expect(result, raw("84 00 07 00 00 00 00 00 00 00 00 00 00 ff 00 00"), nil)
			if n := r.target.copies.Load(); n != 0 {
				t.Errorf("%v: %d copies under way", status, n)
			}
		}
	}

	// What would copy what was written is not to be sent again.
	for name, x := range map[string]struct {
		segments []byte
		after    int // operations
		want     string
	}{
		"two segments":                  {bytes.Repeat(copySegment(0, 0, 0, 8, 8), 2), 3, "02 a/0d01"},
		"two segments, nothing written": {bytes.Repeat(copySegment(0, 0, 0, 8, 8), 2), 1, "08"},
		"two pieces":                    {copySegment(0, 0, 0, 8192, 4096), 3, "08"},
		"up over itself":                {copySegment(0, 0, 0, 8, 4096), 3, "02 a/0d01"},
		"down over itself":              {copySegment(0, 0, 8, 0, 4096), 3, "02 a/0d01"},
		"onto itself":                   {copySegment(0, 0, 8, 8, 4096), 3, "02 a/0d01"},
	} {
		r := newRig(t, targettest.Options{})
		n := 0
		r.memory.Intercept(func(*target.Op) (v targettest.Verdict) {
			if n++; n == x.after {
				v.Status = target.Busy
			}
			return v
		})
		cdb, list := copyCommand(copyTarget(r.memory), x.segments)
		if got := verdict(r.do(cdb, list)); got != x.want {
			t.Errorf("%s: %s, want %s", name, got, x.want)
		}
	}
}

func TestANexusKeepsTheResultsOfItsLastCopies(t *testing.T) {
	c := newCopier(t)
	cdb, list := copyCommand(copyTarget(c.memory), copySegment(0, 0, 0, 8, 8))
	for id := range byte(copiesKept + 1) {
		list[0] = id
		c.expect("00", cdb, list)
	}
	status := func(n *Nexus, id byte) string {
		return verdict(c.run(c.task(n, 0, []byte{0x84, 0, id, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0, 0}, nil)))
	}
	for id := range byte(copiesKept + 1) {
		want := "00"
		if id == 0 {
			want = "02 5/2400"
		}
		if got := status(c.nexus, id); got != want {
			t.Errorf("list %d: %s, want %s", id, got, want)
		}
	}
	if got := status(c.login("b"), 3); got != "02 5/2400" {
		t.Errorf("another host's list: %s", got)
	}
	list[0], list[1] = 0, 0x18 // nobody will ask
	c.expect("00", cdb, list)
	c.expect("02 5/2400", raw("84 00 00 00 00 00 00 00 00 00 00 00 00 ff 00 00"), nil)
	c.target.Manage(c.nexus, LogicalUnitReset, 0, func(TMFResult) {})
	c.ready(c.nexus, 0)
	if got := status(c.nexus, 3); got != "02 5/2400" {
		t.Errorf("list 3 after a reset: %s", got)
	}
}

func TestCopiesUnderWay(t *testing.T) {
	h := newHeld(t)
	cdb, list := copyCommand(copyTarget(h.memory), copySegment(0, 0, 0, 8, 8))
	var tasks []*Task
	begin := func(id byte) {
		l := bytes.Clone(list)
		l[0] = id
		tasks = append(tasks, h.begin(h.nexus, cdb, l))
	}
	for id := range byte(maxCopies - 1) {
		begin(id)
	}
	if status, n, _ := h.copyStatusOf(3); status != copyInProgress || n != 0 {
		t.Errorf("status %d, %d segments", status, n)
	}
	list[0] = 3
	h.expect("02 5/0016", cdb, list)
	begin(maxCopies)
	h.expect("28", cdb, list) // one too many
	h.target.Abort(tasks[0], func(TMFResult) {})
	for i, task := range tasks {
		h.want(task, 1, i == 0)
	}
	h.expect("02 5/2400", raw("84 00 00 00 00 00 00 00 00 00 00 00 00 ff 00 00"), nil) // nothing came of it
	h.memory.Intercept(nil)
	h.expect("00", cdb, list)
}

func TestAThirdPartyCopyPageTellsTheLimits(t *testing.T) {
	r := newRig(t, targettest.Options{})
	compareGolden(t, "vpd-8f", r.good(raw("12 01 8f 04 00 00"), nil))
	compareGolden(t, "vpd-88", r.good(raw("12 01 88 04 00 00"), nil))
	compareGolden(t, "copy-parameters", r.good(raw("84 03 00 00 00 00 00 00 00 00 00 00 00 ff 00 00"), nil))
}
