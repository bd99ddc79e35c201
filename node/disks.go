package node

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"ashlar/node/cluster"
	"ashlar/node/disk"
	"ashlar/node/engine"
	"ashlar/replication/wire"
)

// disks are the stores of this node: those that the cluster's state lists for
// it, opened as they can be.
type disks struct {
	service *service

	work sync.Mutex // one disk is opened at a time

	mu      sync.Mutex
	open    map[cluster.DiskID]*disk.Store
	missing map[cluster.DiskID]error // why it could not be opened
	full    map[cluster.DiskID]bool  // it was logged to be nearly full
	labels  labels
}

// reopenEvery is how often a disk that could not be opened is tried again: it
// may only be late.
const reopenEvery = 2 * time.Second

// AddDisk gives a block device or file of this node to the pool. A file that
// does not exist is made, where size (bytes) is not zero. Force overwrites what
// is on it, but never a disk that this cluster uses.
func (n *Node) AddDisk(ctx context.Context, path string, size uint64, force bool) (cluster.DiskID, error) {
	s, err := n.member()
	if err != nil {
		return "", err
	}
	e := s.engine.Load()
	if e == nil {
		return "", problem(NotReady, "this node is still starting").next("ashlar status shows how it is")
	}
	return s.disks.add(ctx, e, path, size, force)
}

func (d *disks) add(ctx context.Context, e *engine.Engine, path string, size uint64, force bool) (id cluster.DiskID, err error) {
	if !filepath.IsAbs(path) {
		return "", problem(cluster.Invalid, "the path of a disk must be absolute, not %q", path)
	}
	if d.service.record.Witness {
		return "", problem(cluster.Refused, "this node is a witness: it votes, and holds no disks").next("add the disk on another node")
	}
	d.work.Lock()
	defer d.work.Unlock()
	state := d.service.consensus.State()
	for _, have := range state.Disks {
		if have.Node == d.service.record.Node && have.Path == path && !have.Failed {
			return "", problem(cluster.Exists, "%s is already in the pool", path)
		}
	}
	made, err := provide(path, size)
	if err != nil {
		return "", err
	}
	have := cluster.AddDisk{Node: d.service.record.Node, Path: path}
	store, err := claim(&have, state, force || made)
	if err == nil {
		if _, err = d.service.propose(ctx, cluster.Command{AddDisk: &have}); err != nil {
			store.Close()
		}
	}
	if err != nil {
		if refused := (*Problem)(nil); made && errors.As(err, &refused) && refused.Code != NotReady {
			os.Remove(path)
		}
		return "", err
	}
	if n, err := d.admit(have.ID, store); err == nil {
		d.take(e, have.ID, store, n)
	} else {
		d.service.log.Warn("a disk that is in the pool now is opened later", "disk", have.ID, "error", err)
	}
	return have.ID, nil
}

// admit is labels.admit; the store is closed with an error. A disk that is not as the cluster left it is out for ever.
func (d *disks) admit(id cluster.DiskID, store *disk.Store) (nonces, error) {
	n, err := d.labels.admit(id, store)
	if errors.Is(err, errDiverged) {
		ctx, cancel := context.WithTimeout(d.service.ctx, noteMax)
		defer cancel()
		if _, e := d.service.propose(ctx, cluster.Command{FailDisk: &cluster.FailDisk{ID: id, Outdated: true}}); e != nil {
			d.service.log.Warn("telling the cluster of a disk that is an old copy", "disk", id, "error", e)
		}
	}
	if err != nil {
		store.Close()
	}
	return n, err
}

// claim opens the store on a device, and makes it first where there is none.
// What it learns goes into the disk's entry. Where that is then not agreed on,
// the disk stays formatted, and the next attempt takes it as it is.
func claim(entry *cluster.AddDisk, state *cluster.State, force bool) (*disk.Store, error) {
	dev, err := disk.OpenFile(entry.Path)
	if err != nil {
		return nil, diskProblem(entry.Path, err)
	}
	id, err := identify(entry.Path, dev, state, force)
	if err != nil {
		dev.Close()
		return nil, err
	}
	store, err := disk.Open(dev, id, disk.Options{})
	if err != nil {
		dev.Close()
		return nil, diskProblem(entry.Path, err)
	}
	entry.ID, entry.Size = cluster.DiskID(hex.EncodeToString(id.Disk[:])), uint64(dev.Size())
	return store, nil
}

// identify says who the disk is to be: a new one, or one that was made for this
// cluster and never came into its state.
func identify(path string, dev *disk.File, state *cluster.State, force bool) (disk.Identity, error) {
	mine, err := clusterIdentity(state)
	if err != nil {
		return mine, err
	}
	found, err := disk.Probe(dev)
	switch {
	case err == nil && found.Cluster == mine.Cluster:
		have := state.Disks[cluster.DiskID(hex.EncodeToString(found.Disk[:]))]
		expelled := have != nil && state.Nodes[have.Node].Expelled
		if expelled && !force {
			return found, problem(BadDisk, "%s is of node %q, without which cluster %q was formed anew: what it holds is not taken", path, state.Nodes[have.Node].Name, state.Name).
				next("--force overwrites what is on it")
		}
		if have != nil && !expelled {
			return found, problem(InUse, "%s is a disk of this cluster already, as %s on node %q", path, have.Path, state.Nodes[have.Node].Name)
		}
		if !force {
			return found, holdsNothing(path, dev)
		}
	case err == nil && !force:
		return found, problem(BadDisk, "%s is a disk of another cluster (%x)", path, found.Cluster).next("--force overwrites what is on it")
	case errors.Is(err, disk.ErrNoStore) && !force:
		if err := blank(path); err != nil {
			return found, err
		}
	case err != nil && !force:
		return found, diskProblem(path, err)
	}
	id := mine
	rand.Read(id.Disk[:])
	if err := disk.Format(dev, id, disk.FormatOptions{Force: force}); err != nil {
		return id, diskProblem(path, err)
	}
	return disk.Probe(dev)
}

// holdsNothing refuses a disk of this cluster that the state does not know and that has copies all the same: they
// are of another lineage of the cluster, or of a time that it has forgotten.
func holdsNothing(path string, dev *disk.File) error {
	in, err := disk.Inspect(dev)
	switch {
	case err != nil:
		return diskProblem(path, err)
	case in.Err != nil:
		return diskProblem(path, in.Err)
	case len(in.Replicas) > 0:
		return problem(BadDisk, "%s holds copies that this cluster does not know: they are of another lineage of it", path).next("--force overwrites what is on it")
	}
	return nil
}

// clusterIdentity is what all disks of a cluster have in common.
func clusterIdentity(state *cluster.State) (id disk.Identity, err error) {
	raw, err := hex.DecodeString(state.ID)
	if err != nil || len(raw) != len(id.Cluster) {
		return id, fmt.Errorf("node: %q is no cluster's identity", state.ID)
	}
	copy(id.Cluster[:], raw)
	id.SegmentBlocks = uint32(state.SegmentBytes / wire.BlockSize)
	return id, nil
}

func diskProblem(path string, err error) error {
	switch {
	case errors.Is(err, disk.ErrInUse):
		return problem(InUse, "%s is in use: another process has it open, or it is mounted", path)
	case errors.Is(err, disk.ErrTooSmall):
		return problem(BadDisk, "%s is too small to be a disk: %v", path, err)
	case errors.Is(err, disk.ErrTooNew):
		return problem(TooNew, "%s was written by a later release", path).next("run that release, or overwrite it with --force")
	case errors.Is(err, disk.ErrDamaged):
		return problem(BadDisk, "%s carries a damaged store: %v", path, err).next("--force overwrites what is on it")
	case errors.Is(err, fs.ErrPermission):
		return problem(BadDisk, "%s: permission denied", path)
	}
	return problem(BadDisk, "%s cannot be a disk: %v", path, err)
}

// take gives an open store to the engine, watches it, and has its label follow the state.
func (d *disks) take(e *engine.Engine, id cluster.DiskID, store *disk.Store, n nonces) {
	d.mu.Lock()
	d.open[id] = store
	delete(d.missing, id)
	d.mu.Unlock()
	e.AddDisk(id, store)
	d.service.tasks.Go(func() { d.watch(id, store) })
	go d.labels.keep(id, store, n) // may hang with the disk; the store's end waits for it
}

// watch tells the cluster when a disk has failed, for as long as it takes: a
// disk that failed a write is out for ever.
func (d *disks) watch(id cluster.DiskID, store *disk.Store) {
	select {
	case <-d.service.ctx.Done():
		return
	case <-store.Failed():
	}
	d.service.log.Error("a disk has failed", "disk", id, "error", store.Err())
	for d.service.ctx.Err() == nil && d.isOpen(id) {
		ctx, cancel := context.WithTimeout(d.service.ctx, 10*time.Second)
		_, err := d.service.propose(ctx, cluster.Command{FailDisk: &cluster.FailDisk{ID: id}})
		cancel()
		if err == nil {
			return
		}
		d.service.log.Warn("telling the cluster of the failed disk", "disk", id, "error", err)
		pause(d.service.ctx, time.Second)
	}
}

// keep opens the disks that the state lists for this node, again and again
// those that could not be.
func (d *disks) keep(e *engine.Engine) {
	for d.service.ctx.Err() == nil {
		_, changed := d.service.consensus.Watch()
		d.openAll(e)
		d.retire()
		d.closeRemoved(e)
		d.warnOfFull()
		select {
		case <-changed:
		case <-time.After(reopenEvery):
		case <-d.service.ctx.Done():
		}
	}
}

func (d *disks) openAll(e *engine.Engine) {
	d.work.Lock()
	defer d.work.Unlock()
	state := d.service.consensus.State()
	for _, id := range state.DiskIDs() {
		have := state.Disks[id]
		if have.Node != d.service.record.Node || have.Failed || d.isOpen(id) {
			continue
		}
		store, err := reopen(have, state)
		var n nonces
		if err == nil {
			n, err = d.admit(id, store)
		}
		if err == nil {
			d.take(e, id, store, n)
			continue
		}
		d.miss(have, err)
	}
}

// retire has no disk written to that the cluster has taken out of the pool: it may
// be ejected while it works.
func (d *disks) retire() {
	state := d.service.consensus.State()
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, store := range d.open {
		if have := state.Disks[id]; have != nil && have.Failed && store.Err() == nil {
			d.service.log.Error("the cluster has ejected a disk", "disk", id, "path", have.Path)
			store.Retire()
		}
	}
}

// closeRemoved closes the disks that are not in the pool any more, once no copy is left there.
func (d *disks) closeRemoved(e *engine.Engine) {
	d.work.Lock()
	defer d.work.Unlock()
	for id, store := range d.takeRemoved(d.service.consensus.State()) {
		e.RemoveDisk(id)
		closing := func() {
			if err := store.Close(); err != nil {
				d.service.log.Warn("closing a disk that was removed", "disk", id, "error", err)
			}
			d.service.log.Info("a disk was removed", "disk", id)
		}
		if store.Err() != nil {
			go closing() // it may hang
		} else {
			closing()
		}
	}
}

// takeRemoved forgets the disks that are not in the pool any more. The stores are the caller's to close.
func (d *disks) takeRemoved(state *cluster.State) map[cluster.DiskID]*disk.Store {
	d.mu.Lock()
	defer d.mu.Unlock()
	gone := map[cluster.DiskID]*disk.Store{}
	for id, store := range d.open {
		if state.Disks[id] == nil && (len(store.Replicas()) == 0 || store.Err() != nil) {
			gone[id] = store
			delete(d.open, id)
			delete(d.full, id)
		}
	}
	for id := range d.missing {
		if state.Disks[id] == nil {
			delete(d.missing, id)
		}
	}
	return gone
}

func (d *disks) isOpen(id cluster.DiskID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.open[id] != nil
}

// miss notes why a disk could not be opened, and logs each reason once.
func (d *disks) miss(have *cluster.Disk, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.missing[have.ID] == nil || d.missing[have.ID].Error() != err.Error() {
		d.service.log.Error("a disk cannot be opened", "disk", have.ID, "path", have.Path, "error", err)
	}
	d.missing[have.ID] = err
}

// reopen opens a disk of the pool, which must be the very one.
func reopen(have *cluster.Disk, state *cluster.State) (*disk.Store, error) {
	want, err := clusterIdentity(state)
	if err != nil {
		return nil, err
	}
	if _, err := hex.Decode(want.Disk[:], []byte(have.ID)); err != nil {
		return nil, err
	}
	dev, err := disk.OpenFile(have.Path)
	if err != nil {
		return nil, err
	}
	store, err := disk.Open(dev, want, disk.Options{})
	if err != nil {
		dev.Close()
	}
	return store, err
}

// MissingDisks are those of this node that could not be opened, and why.
func (n *Node) MissingDisks() map[cluster.DiskID]error {
	out := map[cluster.DiskID]error{}
	s := n.service.Load()
	if s == nil {
		return out
	}
	s.disks.mu.Lock()
	defer s.disks.mu.Unlock()
	for id, err := range s.disks.missing {
		out[id] = err
	}
	return out
}

// close closes all stores. The engine that used them is closed before.
func (d *disks) close() (err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, store := range d.open {
		if e := store.Close(); e != nil {
			err = errors.Join(err, fmt.Errorf("disk %s: %w", id, e))
		}
		delete(d.open, id)
	}
	return err
}
