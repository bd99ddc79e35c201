package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"ashlar/node/cluster"
	"ashlar/node/disk"
	"ashlar/replication/wire"
)

// labels keeps the cluster's state on each disk, for the day when nothing else is left of it.
type labels struct {
	service *service

	mu     sync.Mutex
	packed *cluster.Label            // of the newest state that was asked for
	note   map[cluster.DiskID]string // why a disk's label is not whole
}

// nonces are what a disk is known by: see cluster.Label.
type nonces []string

// How soon a label follows the state: at once if the one before is labelEvery old. A state that takes long to write is
// written less often.
const (
	labelEvery = time.Second
	labelShare = 20 // at most a 20th of the time is spent on it
	noteMax    = 10 * time.Second
)

// errDiverged is of a disk that is not as this cluster left it.
var errDiverged = errors.New("it is an old copy of the disk that the cluster used last: what it holds is not taken")

// of is a state's label, packed once for all disks.
func (l *labels) of(s *cluster.State) (*cluster.Label, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.packed != nil && l.packed.Index == s.Index {
		return l.packed, nil
	}
	packed, err := cluster.NewLabel(s)
	if err == nil {
		l.packed = packed
	}
	return packed, err
}

// admit finds out whether a disk that was just opened is as the cluster left it, and draws what it is known by from now on.
// The disk has that before the cluster notes it, beside the former: so a crash in between leaves it known. It
// goes on until the cluster has noted it, or this node ends.
func (l *labels) admit(id cluster.DiskID, store *disk.Store) (nonces, error) {
	text, decay := store.Label()
	label, err := cluster.ParseLabel(text)
	switch {
	case decay != nil:
		l.service.log.Warn("a disk's label has decayed: whether it is an old copy cannot be told", "disk", id, "error", decay)
	case len(text) > 0 && err != nil:
		return nil, fmt.Errorf("its label: %w", err)
	case !label.IsOf(l.service.consensus.State().Disks[id].Nonce):
		return nil, errDiverged
	}
	for {
		state := l.service.consensus.State()
		noted, drawn := state.Disks[id].Nonce, randomHex(8)
		n := nonces(label.Known(noted, drawn))
		packed, err := l.of(state)
		if err == nil {
			err = n.write(store, *packed)
		}
		if err != nil {
			return nil, err
		}
		label = &cluster.Label{Nonces: n}
		ctx, cancel := context.WithTimeout(l.service.ctx, noteMax)
		_, err = l.service.propose(ctx, cluster.Command{NoteDisk: &cluster.NoteDisk{ID: id, From: noted, To: drawn, Incarnation: wire.Incarnation(l.service.incarnation.Load())}})
		cancel()
		switch p := (*Problem)(nil); {
		case err == nil:
			return n, nil
		case errors.As(err, &p) && p.Code == cluster.Refused, l.service.ctx.Err() != nil:
			return nil, err
		}
		l.service.log.Warn("having the cluster note that a disk was opened", "disk", id, "error", err)
		pause(l.service.ctx, 500*time.Millisecond)
	}
}

// write puts a label on the disk, with what it is known by.
func (n nonces) write(store *disk.Store, label cluster.Label) error {
	label.Nonces = n
	text, err := label.Marshal(store.LabelMax())
	if err != nil {
		return err
	}
	return store.SetLabel(text)
}

// keep has an open disk's label follow the state, until the disk fails or is closed.
func (l *labels) keep(id cluster.DiskID, store *disk.Store, n nonces) {
	for l.service.ctx.Err() == nil {
		state, changed := l.service.consensus.Watch()
		begin := time.Now()
		err := l.follow(id, store, n, state)
		if errors.Is(err, disk.ErrClosed) || errors.Is(err, disk.ErrFailed) {
			return
		}
		if err != nil {
			l.service.log.Error("a disk's label cannot be written", "disk", id, "error", err)
		}
		pause(l.service.ctx, max(labelEvery, labelShare*time.Since(begin)))
		select {
		case <-changed:
		case <-l.service.ctx.Done():
		}
	}
}

func (l *labels) follow(id cluster.DiskID, store *disk.Store, n nonces, state *cluster.State) error {
	label, err := l.of(state)
	if err == nil {
		err = n.write(store, *label)
	}
	if err == nil {
		l.tell(id, label, store)
	}
	return err
}

// tell notes, and logs once, that a disk is too small to tell of the whole cluster.
func (l *labels) tell(id cluster.DiskID, label *cluster.Label, store *disk.Store) {
	why := ""
	if !label.Fits(store.LabelMax()) {
		why = "it is too small to hold the cluster's state: the cluster cannot be adopted from it"
	}
	l.mu.Lock()
	before := l.note[id]
	l.note[id] = why
	l.mu.Unlock()
	if why != "" && before == "" {
		l.service.log.Error("a disk's label", "disk", id, "error", why)
	}
}

// SmallDisks are those of this node whose labels do not hold the cluster's state, and why.
func (n *Node) SmallDisks() map[cluster.DiskID]string {
	out := map[cluster.DiskID]string{}
	if s := n.service.Load(); s != nil {
		s.disks.labels.mu.Lock()
		defer s.disks.labels.mu.Unlock()
		for id, why := range s.disks.labels.note {
			if why != "" {
				out[id] = why
			}
		}
	}
	return out
}
