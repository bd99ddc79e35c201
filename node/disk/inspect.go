package disk

import (
	"fmt"

	"ashlar/replication/wire"
)

// Inspection is what a device says about itself.
type Inspection struct {
	Identity
	Format uint32
	Size   int64 // bytes that the store was made for
	// InUse: a process has the store open. What changes under its hands is not
	// told then: Replicas and Promises are nil.
	InUse    bool
	Label    []byte // as Store.Label
	LabelErr error
	Replicas []InspectedReplica // by volume and segment
	Promises map[wire.VolumeID]uint64
	// Err is why the store would not open, if so: then Replicas and Promises are nil.
	Err error
}

// InspectedReplica is a replica as a recovery would find it.
type InspectedReplica struct {
	ReplicaState
	Promised uint64  // epoch, of the volume
	Highest  Version // of any block whose version is known
}

// Inspect tells what the store on dev holds, as a recovery would find it, and writes nothing; dev is still the
// caller's. Nobody may write dev meanwhile. Errors, if it cannot even tell whose store it is: those of Probe.
func Inspect(dev Device) (*Inspection, error) {
	in, sb, err := inspectIdentity(dev)
	if err == nil {
		in.recover(dev, sb)
	}
	return in, err
}

// inspectIdentity tells what does not depend on the journal.
func inspectIdentity(dev Device) (*Inspection, *superblock, error) {
	sb, err := readSuperblock(dev)
	if err != nil {
		return nil, nil, err
	}
	in := &Inspection{Identity: sb.id, Format: FormatVersion, Size: sb.size}
	l := loadLabels(dev, &sb.geometry, sb.id.Nonce)
	in.Label, in.LabelErr = l.newest.data, l.err
	return in, sb, nil
}

// recover fills in what the metadata pages and the journal say.
func (in *Inspection) recover(dev Device, sb *superblock) {
	s, err := recoverStore(dry{dev}, sb, Options{CachePages: 1}, forgetContent)
	if err != nil {
		in.Err = err
		return
	}
	in.Promises = s.promises
	in.Replicas = []InspectedReplica{}
	for _, r := range s.Replicas() {
		in.Replicas = append(in.Replicas, InspectedReplica{r, s.promises[r.Volume], s.highest(r.Replica)})
	}
}

func (s *Store) highest(r Replica) (v Version) {
	s.replicas[r].each(func(_ uint32, g *group) {
		if !g.lost && v.Less(g.max) {
			v = g.max
		}
	})
	return v
}

// forgetContent keeps an inspection's memory small: it asks for no block's content.
func forgetContent(s *Store, _ int64, _ uint32) error {
	s.active = newOverlay()
	return nil
}

// dry is a device to which writes are not made: what a recovery erases or heals,
// it does not look at again.
type dry struct{ Device }

func (dry) WriteAt(p []byte, _ int64) (int, error)      { return len(p), nil }
func (dry) WriteThrough(p []byte, _ int64) (int, error) { return len(p), nil }
func (dry) Sync() error                                 { return nil }

// InspectFile is Inspect of a block device or file. It needs no more than the right to read. A process that has
// the store open, or opens it meanwhile, is not disturbed: the inspection then is InUse.
func InspectFile(path string) (*Inspection, error) {
	f, err := openForReading(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	in, sb, err := inspectIdentity(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for attempt := 0; in.LabelErr != nil && attempt < 3; attempt++ { // a new one may have been on its way
		l := loadLabels(f, &sb.geometry, sb.id.Nonce)
		in.Label, in.LabelErr = l.newest.data, l.err
	}
	if in.InUse = f.isHeld(); in.InUse {
		return in, nil
	}
	in.recover(f, sb)
	if in.InUse = f.isHeld(); in.InUse {
		in.Replicas, in.Promises, in.Err = nil, nil, nil
	}
	return in, nil
}
