package disk_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"syscall"
	"testing"

	"ashlar/node/disk"
	"ashlar/node/disk/disktest"
)

// labelOf is a label of n bytes that differ from those of any other i.
func labelOf(i uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(i, 1))
	for at := range b {
		b[at] = byte(r.Uint64())
	}
	return b
}

func wantLabel(t testing.TB, s *disk.Store, want []byte) {
	t.Helper()
	got, err := s.Label()
	check(t, err)
	if !bytes.Equal(got, want) {
		t.Fatalf("the label has %d bytes, want other %d", len(got), len(want))
	}
}

func TestLabelIsKeptAcrossOpensAndReplacedAsAWhole(t *testing.T) {
	dev := formatted(t)
	var last []byte
	for i, size := range []int{0, 1, 4096, 5000, 0, 1 << 20, 7} {
		s := open(t, dev)
		wantLabel(t, s, last)
		last = labelOf(uint64(i), size)
		check(t, s.SetLabel(last))
		wantLabel(t, s, last)
		s.Abandon()
		dev = dev.Again()
	}
}

func TestDiskOf512MiBTakesALabelOf8MiB(t *testing.T) {
	dev := disktest.NewMemory(512 << 20)
	check(t, disk.Format(dev, testIdentity, disk.FormatOptions{Journal: testJournal}))
	s := open(t, dev)
	big := labelOf(1, 8<<20)
	check(t, s.SetLabel(big))
	wantError(t, s.SetLabel(make([]byte, s.LabelMax()+1)), disk.ErrNoSpace)
	check(t, s.Close())
	wantError(t, s.SetLabel(nil), disk.ErrClosed)
	s = open(t, dev.Again())
	wantLabel(t, s, big)
	check(t, s.Close())
}

func TestLabelThatIsSetAlreadyCostsNoWrite(t *testing.T) {
	dev := disktest.NewFaulty(formatted(t))
	s := open(t, dev)
	check(t, s.SetLabel([]byte("one")))
	before := dev.Writes()
	check(t, s.SetLabel([]byte("one")))
	if n := dev.Writes() - before; n != 0 {
		t.Errorf("%d writes", n)
	}
	check(t, s.Close())
}

// A crash at each moment of a new label, with every choice of what was in flight, leaves the old one or the new one.
func TestCrashLeavesTheOldLabelOrTheNew(t *testing.T) {
	dev := formatted(t)
	s := open(t, dev)
	labels := [][]byte{nil, labelOf(1, 70000), labelOf(2, 9000), labelOf(3, 1<<20), {}, labelOf(5, 20)}
	tr := dev.Record()
	for i, l := range labels {
		check(t, s.SetLabel(l))
		tr.Mark(i)
	}
	s.Abandon()
	r := rand.New(rand.NewPCG(1, 2))
	set, both := 0, 0
	for c := tr.Start(); ; {
		for keep := range uint64(1) << c.InFlight() {
			for _, torn := range []*rand.Rand{nil, r, r} {
				image := c.Image(keep, torn)
				s := open(t, image)
				got, err := s.Label()
				check(t, err)
				isNext := set+1 < len(labels) && bytes.Equal(got, labels[set+1])
				if !bytes.Equal(got, labels[set]) && !isNext {
					t.Fatalf("moment %d: neither label %d nor the next", c.Moment(), set)
				}
				if isNext {
					both++
				}
				check(t, s.SetLabel([]byte("after")))
				s.Abandon()
				s = open(t, image.Again())
				wantLabel(t, s, []byte("after"))
				s.Abandon()
			}
		}
		mark, ok := c.Step()
		if !ok {
			break
		}
		if mark != nil {
			set = mark.(int)
		}
	}
	if both == 0 {
		t.Error("no crash left a new label that was not acknowledged")
	}
}

func TestDecayedLabelIsToldFromAnOlderOne(t *testing.T) {
	for _, part := range []int64{10, 5000} { // in the header, in the data
		dev := formatted(t)
		s := open(t, dev)
		check(t, s.SetLabel(labelOf(1, 9000)))
		check(t, s.SetLabel(labelOf(2, 9000)))
		s.Abandon()
		dev = dev.Again()
		newest := s.LabelSlots()[1] // Format made labels 0 and 1, these are 2 and 3
		dev.Flip(newest + part)
		s = open(t, dev)
		got, err := s.Label()
		wantError(t, err, disk.ErrDamaged)
		if !bytes.Equal(got, labelOf(1, 9000)) {
			t.Error("the label before was not found")
		}
		check(t, s.SetLabel(labelOf(1, 9000))) // is not what is set already
		wantLabel(t, s, labelOf(1, 9000))
		s.Abandon()
		s = open(t, dev.Again())
		wantLabel(t, s, labelOf(1, 9000))
		check(t, s.Close())
	}
}

func TestLabelIsHealedWithoutOverwritingTheWholeOne(t *testing.T) {
	dev := formatted(t)
	s := open(t, dev)
	check(t, s.SetLabel(labelOf(1, 9000)))
	check(t, s.SetLabel(labelOf(2, 9000)))
	s.Abandon()
	slots := s.LabelSlots()
	dev = dev.Again()
	dev.Flip(slots[1] + 5000)
	faulty := disktest.NewFaulty(dev)
	s = open(t, faulty)
	faulty.FailWrite(1, syscall.EIO)
	wantError(t, s.SetLabel(labelOf(3, 9000)), disk.ErrFailed)
	s.Close()
	s = open(t, dev.Again())
	if got, err := s.Label(); !errors.Is(err, disk.ErrDamaged) || !bytes.Equal(got, labelOf(1, 9000)) {
		t.Errorf("the only whole label is gone: %v", err)
	}
	check(t, s.Close())
}
