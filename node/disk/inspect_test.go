package disk_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"testing"

	"ashlar/node/disk"
	"ashlar/node/disk/disktest"
	"ashlar/replication/wire"
)

// inspectedAs says how an inspection differs from the store that a recovery then opens.
func inspectedAs(in *disk.Inspection, s *disk.Store) error {
	switch {
	case in.Err != nil:
		return fmt.Errorf("inspection: %w", in.Err)
	case in.Identity != s.Identity():
		return fmt.Errorf("identity %v, want %v", in.Identity, s.Identity())
	}
	label, err := s.Label()
	if !bytes.Equal(in.Label, label) || (err == nil) != (in.LabelErr == nil) {
		return fmt.Errorf("label %x (%v), want %x (%v)", in.Label, in.LabelErr, label, err)
	}
	replicas := s.Replicas()
	if len(in.Replicas) != len(replicas) {
		return fmt.Errorf("replicas %v, want %v", in.Replicas, replicas)
	}
	for i, want := range replicas {
		if got := in.Replicas[i]; got.ReplicaState != want || got.Promised != s.Promised(want.Volume) {
			return fmt.Errorf("replica %+v, want %+v, promised %d", got, want, s.Promised(want.Volume))
		}
	}
	return nil
}

// populated is a store with a past: replicas that were written, zeroed, reset and removed; most of it in the journal alone.
func populated(t *testing.T, dev disk.Device) *disk.Store {
	s := open(t, dev)
	for i := range 4 {
		check(t, s.Create(replica(1+i%2, i)))
		check(t, put(s, replica(1+i%2, i), 0, 40, v(1, 1)))
	}
	s.Checkpoint()
	check(t, put(s, replica(1, 0), 100, 100, v(2, 7)))
	check(t, zero(s, replica(1, 0), 0, 32, v(2, 8)))
	check(t, s.Reset(replica(1, 2)))
	check(t, s.Remove(replica(2, 3)))
	s.SetCommit(replica(1, 0), v(2, 7))
	check(t, s.Promise(1, 2))
	check(t, s.Promise(9, 4)) // a volume without a replica here
	check(t, s.SetLabel([]byte("all about the cluster")))
	return s
}

func TestInspectionFindsWhatARecoveryFindsAndWritesNothing(t *testing.T) {
	dev := formatted(t)
	populated(t, dev).Abandon()
	watched := disktest.NewFaulty(dev.Again())
	in, err := disk.Inspect(watched)
	check(t, err)
	if n := watched.Writes(); n != 0 {
		t.Errorf("%d writes", n)
	}
	if in.Format == 0 || in.Size != testDevice || in.InUse || in.Promises[wire.VolumeID(9)] != 4 {
		t.Errorf("inspection %+v", in)
	}
	s := open(t, watched)
	check(t, inspectedAs(in, s))
	if len(in.Replicas) != 3 || in.Replicas[0].Commit != v(2, 7) || in.Replicas[0].Promised != 2 || in.Replicas[0].Mapped != 108 || in.Replicas[0].Highest != v(2, 8) {
		t.Errorf("replicas %+v", in.Replicas)
	}
	check(t, s.Close())
}

func TestInspectionOfAFileInUseSaysSoAndHindersNobody(t *testing.T) {
	path := tempFile(t, testDevice)
	f, err := disk.OpenFile(path)
	check(t, err)
	check(t, disk.Format(f, testIdentity, disk.FormatOptions{Journal: testJournal}))
	s := populated(t, f)
	in, err := disk.InspectFile(path)
	check(t, err)
	if !in.InUse || in.Replicas != nil || in.Identity != testIdentity || string(in.Label) != "all about the cluster" {
		t.Errorf("inspection %+v", in)
	}
	check(t, put(s, replica(1, 0), 0, 1, v(3, 1)))
	s.Abandon()

	check(t, os.Chmod(path, 0o400))
	before, err := os.ReadFile(path)
	check(t, err)
	in, err = disk.InspectFile(path)
	check(t, err)
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the inspection wrote to the file: %v", err)
	}
	check(t, os.Chmod(path, 0o600))
	f, err = disk.OpenFile(path)
	check(t, err)
	s = open(t, f)
	check(t, inspectedAs(in, s))
	check(t, s.Close())
}

func TestInspectionOfADamagedStoreTellsWhatIsLeft(t *testing.T) {
	dev := formatted(t)
	s := populated(t, dev)
	s.Checkpoint() // one that is under way would give the block another page
	_, page := s.BlockPlace(replica(1, 0), 0)
	_, control, slot, _, _ := s.Layout()
	s.Abandon()
	dev = dev.Again()

	dev.Flip(page + 200)
	in, err := disk.Inspect(dev)
	check(t, err)
	if in.Err != nil || in.Replicas[0].Lost == 0 || in.Replicas[1].Lost != 0 {
		t.Errorf("one page is damaged: %+v", in)
	}
	dev.Flip(control + 40)
	dev.Flip(control + slot + 40)
	in, err = disk.Inspect(dev)
	check(t, err)
	if !errors.Is(in.Err, disk.ErrDamaged) || in.Replicas != nil || in.Identity != testIdentity || string(in.Label) != "all about the cluster" {
		t.Errorf("the control slots are damaged: %+v", in)
	}
	_, err = disk.Inspect(disktest.NewMemory(testDevice))
	wantError(t, err, disk.ErrNoStore)
}
