package disk_test

import (
	"errors"
	"testing"

	"ashlar/node/disk"
	"ashlar/node/disk/disktest"
)

// overwritten is a store whose blocks were all written several times, before checkpoints, between them and since. The
// last two records are of no block: whether such a one was written nobody can tell after a crash.
func overwritten(s *disk.Store) error {
	a, b := replica(1, 0), replica(1, 1)
	err := errors.Join(s.Create(a), s.Create(b))
	seq := uint64(0)
	for _, first := range []uint32{0, 125, 2} {
		for range 2 {
			for _, r := range []disk.Replica{a, b} {
				seq++
				err = errors.Join(err, put(s, r, first, 6, v(1, seq)))
			}
			seq++
			err = errors.Join(err, zero(s, b, first+3, 2, v(1, seq)))
		}
		s.SetCommit(a, v(1, seq))
		if first != 2 {
			s.Checkpoint()
		}
	}
	return errors.Join(err, s.Promise(1, 5), s.Promise(2, 1), s.Promise(2, 2))
}

// The device loses one write, whichever, says that it is done, and has what was there before: while the
// store goes on, and when it is opened again, each block reads as what was acknowledged, or as an error,
// or the store does not open. It never reads as what was overwritten, though that has a good checksum.
func TestNoWriteThatTheDeviceLosesBringsBackWhatWasOverwritten(t *testing.T) {
	blank := disktest.NewMemory(testDevice)
	check(t, disk.Format(blank, testIdentity, disk.FormatOptions{Journal: 4 << 20})) // so that only overwritten asks for checkpoints
	honest := open(t, blank.Clone())
	check(t, overwritten(honest))
	want, err := inspect(honest)
	check(t, err)
	honest.Abandon()
	var refused, flagged, unharmed int
	step := 1
	if testing.Short() {
		step = 7
	}
	for n := 1; ; n += step {
		memory := blank.Clone()
		dev := disktest.NewFaulty(memory)
		s, err := disk.Open(dev, testIdentity, disk.Options{Readers: 1, Writers: 1})
		check(t, err)
		before := dev.Writes()
		dev.Fail(n, disktest.Fault{Lie: true, Once: true})
		check(t, overwritten(s))
		all := dev.Writes() - before
		harmed(t, s, want)
		s.Abandon()
		s, err = disk.Open(memory.Again(), testIdentity, disk.Options{Readers: 1, Writers: 1})
		switch {
		case err != nil:
			wantError(t, err, disk.ErrDamaged)
			refused++
		case harmed(t, s, want):
			flagged++
		default:
			unharmed++
		}
		if err == nil {
			s.Abandon()
		}
		if t.Failed() {
			t.Fatalf("when write %d was lost", n)
		}
		if n > all {
			t.Logf("of %d writes lost in turn %d refused to open, %d told of harm, %d left none", all, refused, flagged, unharmed)
			break
		}
	}
	if flagged == 0 || unharmed == 0 || step == 1 && refused == 0 {
		t.Error("not all outcomes were met")
	}
}
