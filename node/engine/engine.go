// Package engine is the data path of one incarnation of a node: its lease, its
// sessions with the other nodes, its disks, and every volume of the cluster. See DESIGN.md.
package engine

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"ashlar/node/cluster"
	"ashlar/node/disk"
	"ashlar/node/failover"
	"ashlar/node/peer"
	"ashlar/node/volume"
	"ashlar/replication/wire"
	"ashlar/target"
	"ashlar/target/boottime"
)

// Consensus is what the engine needs of the control plane.
type Consensus interface {
	State() *cluster.State
	Watch() (*cluster.State, <-chan struct{}) // the channel is closed when the state is no longer the latest
	Propose(ctx context.Context, c cluster.Command) (cluster.Result, error)
	Leader() (wire.NodeID, bool)
	IsLeader() bool
	Voters() (version uint64, ids []wire.NodeID)
}

// Config of an Engine.
type Config struct {
	Self        wire.NodeID
	Incarnation wire.Incarnation // as registered
	Consensus   Consensus
	Network     *peer.Network
	Log         *slog.Logger
	Session     func() uint32 // number of the newest host session, the low half of its generation
}

// Engine is one incarnation's data path. All methods may be called from any goroutine.
type Engine struct {
	Config
	ctx    context.Context
	cancel context.CancelFunc
	tasks  sync.WaitGroup

	follows atomic.Pointer[func() uint64]

	lease      atomic.Int64
	rate       atomic.Uint64 // of each head's copying, bytes per second
	registered atomic.Bool   // the state has this incarnation up
	fenced     chan struct{}
	minute     atomic.Pointer[[]failover.NodeFacts]    // ways to other nodes
	suspended  atomic.Pointer[map[cluster.DiskID]bool] // disks that are silent; nil: none
	control    *control
	untidy     chan struct{} // there may be copies to remove
	ticked     chan struct{} // a tick of the volumes is due

	mu        sync.Mutex
	state     *cluster.State
	volumes   map[wire.VolumeID]*volume.Volume
	links     map[wire.NodeID]*peer.Session // for our requests
	sources   map[wire.NodeID]*source
	stores    map[cluster.DiskID]*disk.Store
	guards    map[*disk.Store]*sync.RWMutex // of copies that are created and removed
	tokens    map[wire.NodeID]token
	drops     []func()
	answerers map[string]Answerer
	bad       map[cluster.DiskID][]cluster.BadBlock // to be told to the cluster
	closed    bool
}

type token struct {
	incarnation wire.Incarnation
	token       int64
}

// Start begins to act for an incarnation that is registered. It serves once it
// holds its lease.
func Start(c Config) (*Engine, error) {
	e := &Engine{Config: c, fenced: make(chan struct{}), volumes: map[wire.VolumeID]*volume.Volume{},
		links: map[wire.NodeID]*peer.Session{}, sources: map[wire.NodeID]*source{}, stores: map[cluster.DiskID]*disk.Store{}, guards: map[*disk.Store]*sync.RWMutex{},
		untidy: make(chan struct{}, 1), ticked: make(chan struct{}, 1),
		tokens: map[wire.NodeID]token{}, answerers: map[string]Answerer{}, bad: map[cluster.DiskID][]cluster.BadBlock{}}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	for id := range c.Consensus.State().Nodes {
		if s := c.Network.Session(id, peer.Data); s != nil {
			e.links[id] = s
		}
	}
	e.Answer(aboutSpace, e.space)
	e.Answer(aboutLatency, e.measured)
	e.Answer(aboutFormat, format)
	e.control = newControl(e)
	e.tasks.Go(e.control.run)
	e.tasks.Go(e.tickVolumes)
	e.tasks.Go(e.watch)
	e.tasks.Go(e.cleaner)
	e.tasks.Go(func() { e.every(badEvery, e.countBad) })
	e.tasks.Go(func() { e.every(fillEvery, e.noteFill) })
	e.tasks.Go(func() { e.scrubber(false) })
	e.tasks.Go(func() { e.scrubber(true) })
	e.tasks.Go(e.worker)
	return e, nil
}

// tickVolumes has the volumes' turns of each tick one after the other, so that not each of them is woken for it.
func (e *Engine) tickVolumes() {
	for {
		select {
		case <-e.ctx.Done():
			return
		case <-e.ticked:
			e.each((*volume.Volume).Tick)
		}
	}
}

// Sessions is volume.Node's.
func (e *Engine) Sessions() uint32 { return e.Session() }

// every does f again and again until the engine ends.
func (e *Engine) every(d time.Duration, f func()) {
	t := boottime.Ticker(d)
	defer t.Stop()
	for {
		select {
		case <-e.ctx.Done():
			return
		case <-t.C:
			f()
		}
	}
}

// Close ends all that the engine does. The stores remain their owner's.
func (e *Engine) Close() error {
	e.cancel()
	e.tasks.Wait()
	e.mu.Lock()
	e.closed = true
	list := e.list()
	e.mu.Unlock()
	for _, v := range list {
		v.Close()
	}
	return nil
}

// Now is CLOCK_BOOTTIME, which goes on while a machine is suspended, ns.
func (e *Engine) Now() int64 { return now() }

func now() int64 { return boottime.Now() }

// Lease is when this node's lease ends, by Now.
func (e *Engine) Lease() int64 { return e.lease.Load() }

// Ready says whether the node may serve hosts: it holds its lease, and knows of
// its own registration and so of everything agreed on before.
func (e *Engine) Ready() bool { return e.registered.Load() && now() < e.Lease() }

// Fenced is closed when this incarnation is over.
func (e *Engine) Fenced() <-chan struct{} { return e.fenced }

// DropHosts registers what ends all host connections at once.
func (e *Engine) DropHosts(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.drops = append(e.drops, f)
}

// Follow registers what tells up to which of the cluster's changes everything else
// on this node has followed it: see Everywhere.
func (e *Engine) Follow(index func() uint64) { e.follows.Store(&index) }

// follows says whether the node has followed the cluster up to a change.
func (e *Engine) followed(index uint64) bool {
	f := e.follows.Load()
	return f == nil || (*f)() >= index
}

// AddDisk gives an open store to the engine.
func (e *Engine) AddDisk(id cluster.DiskID, s *disk.Store) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stores = maps.Clone(e.stores)
	e.stores[id] = s
	go e.beat(s) // not of tasks, which Close waits for: the disk may hang
}

// RemoveDisk takes an open store back. Nothing is placed on it any more; what goes on there ends by itself.
func (e *Engine) RemoveDisk(id cluster.DiskID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stores = maps.Clone(e.stores)
	delete(e.guards, e.stores[id])
	delete(e.stores, id)
}

// Store is an open disk of this node, or nil.
func (e *Engine) Store(id cluster.DiskID) *disk.Store {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.stores[id]
}

// Stores are all open disks of this node.
func (e *Engine) Stores() (list []*disk.Store) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, s := range e.stores {
		list = append(list, s)
	}
	return list
}

// Device is a volume as front ends see it; nil where it is unknown here.
func (e *Engine) Device(id wire.VolumeID) target.Device {
	if v := e.volume(id); v != nil {
		return v
	}
	return nil
}

// Status is what a volume does on this node; nil where it is unknown here.
func (e *Engine) Status(id wire.VolumeID) *volume.Status {
	if v := e.volume(id); v != nil {
		return v.Status()
	}
	return nil
}

func (e *Engine) volume(id wire.VolumeID) *volume.Volume {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.volumes[id]
}

// list is all volumes. mu is held.
func (e *Engine) list() (l []*volume.Volume) {
	for _, v := range e.volumes {
		l = append(l, v)
	}
	return l
}

// each does f with every volume.
func (e *Engine) each(f func(*volume.Volume)) {
	e.mu.Lock()
	list := e.list()
	e.mu.Unlock()
	for _, v := range list {
		f(v)
	}
}

// Token is the newest one of a node's present incarnation.
func (e *Engine) Token(from wire.NodeID) int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	t := e.tokens[from]
	if n := e.state; n == nil || n.Nodes[from] == nil || n.Nodes[from].Incarnation != t.incarnation {
		return 0
	}
	return t.token
}

func (e *Engine) setToken(from wire.NodeID, m *wire.Token) {
	e.mu.Lock()
	defer e.mu.Unlock()
	t := e.tokens[from]
	if m.Incarnation > t.incarnation || m.Incarnation == t.incarnation && m.Token > t.token {
		e.tokens[from] = token{m.Incarnation, m.Token}
	}
}

// watch has the control loop follow each new state at once.
func (e *Engine) watch() {
	for e.ctx.Err() == nil {
		st, changed := e.Consensus.Watch()
		e.control.post(func() { e.control.follow(st) })
		select {
		case <-changed:
		case <-e.ctx.Done():
		}
	}
}

// follow opens and closes volumes as the cluster has agreed. It is the control
// loop's.
func (e *Engine) follow(st *cluster.State) {
	e.mu.Lock()
	if e.closed || e.state != nil && st.Index < e.state.Index {
		e.mu.Unlock()
		return
	}
	e.state = st
	var gone []*volume.Volume
	for id, v := range e.volumes {
		if st.Volumes[id] == nil {
			gone = append(gone, v)
			delete(e.volumes, id)
		}
	}
	known := e.list()
	e.mu.Unlock()
	for _, v := range gone {
		e.tasks.Go(v.Close)
	}
	for _, v := range known {
		v.State(st)
	}
	for id := range st.Volumes {
		if e.volume(id) == nil {
			e.open(id, st)
		}
	}
	select {
	case e.untidy <- struct{}{}:
	default:
	}
}

// open starts a volume. It hears of every link: of those there are now at once,
// of later ones by events, none in between.
func (e *Engine) open(id wire.VolumeID, st *cluster.State) {
	v := volume.Open(id, e, e.Self, e.Incarnation, st, e.Log)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.volumes[id] = v
	for n := range e.links {
		v.Connected(n)
	}
}

// cleaner removes copies that the cluster has placed elsewhere or that belong to
// no volume any more. It has its own goroutine, because a disk may take its time.
func (e *Engine) cleaner() {
	for {
		select {
		case <-e.ctx.Done():
			return
		case <-e.untidy:
		}
		e.mu.Lock()
		stores := e.stores
		e.mu.Unlock()
		for id, s := range stores {
			for _, r := range s.Replicas() {
				if e.ctx.Err() == nil && e.stray(e.Consensus.State(), id, r.Replica) {
					e.remove(id, s, r.Replica)
				}
			}
		}
	}
}

// stray says whether a copy has no place on a disk. What was agreed on before
// this incarnation registered is all known, so a copy that is not in the state
// is not yet to come.
func (e *Engine) stray(st *cluster.State, id cluster.DiskID, r disk.Replica) bool {
	if !e.registered.Load() || r.Volume > st.LastVolume {
		return false
	}
	v := st.Volumes[r.Volume]
	if v == nil || int(r.Segment) >= len(v.Segments) {
		return true
	}
	here := v.Segments[r.Segment].On(e.Self)
	return here == nil || here.Disk != id
}

// remove looks at the latest state once more while nobody creates a copy there:
// whoever does, does it after it was placed there again.
func (e *Engine) remove(id cluster.DiskID, s *disk.Store, r disk.Replica) {
	guard := e.guard(s)
	guard.Lock()
	defer guard.Unlock()
	if !e.stray(e.Consensus.State(), id, r) {
		return
	}
	if err := s.Remove(r); err != nil {
		e.Log.Warn("remove a copy", "volume", r.Volume, "segment", r.Segment, "error", err)
	}
}

// Create makes an empty copy on a disk; one that is there already stays as it is.
func (e *Engine) Create(s *disk.Store, r disk.Replica) error {
	guard := e.guard(s)
	guard.RLock()
	defer guard.RUnlock()
	if err := s.Create(r); !errors.Is(err, disk.ErrExists) {
		return err
	}
	return nil
}

func (e *Engine) guard(s *disk.Store) *sync.RWMutex {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.guards[s] == nil {
		e.guards[s] = &sync.RWMutex{}
	}
	return e.guards[s]
}

// dropHosts ends the connections of all hosts here, and what they waited for.
func (e *Engine) dropHosts() {
	e.mu.Lock()
	drops := e.drops
	e.mu.Unlock()
	for _, f := range drops {
		f()
	}
	e.each(func(v *volume.Volume) { v.DropHosts() })
}

// Complain tells the raft leader of a node that does not answer a head.
func (e *Engine) Complain(v wire.VolumeID, epoch uint64, about wire.NodeID, promised bool) {
	e.control.complain(failover.Complaint{Volume: v, Epoch: epoch, From: e.Self, About: about, Promised: promised})
}

// Join proposes copies for their in-sync sets until the cluster has answered.
func (e *Engine) Join(j cluster.Join, refused func()) {
	e.tasks.Go(func() {
		r, err := e.propose(cluster.Command{Join: &j})
		if err == nil && r.Problem != "" {
			e.Log.Info("copies not taken in", "volume", j.Volume, "node", j.Node, "why", r.Problem)
			// The present generation may be known here a moment later.
			select {
			case <-e.ctx.Done():
			case <-time.After(100 * time.Millisecond):
				refused()
			}
		}
	})
}

// Reserve proposes a change of a volume's reservations until the cluster has
// answered. It has the same request id whichever node's head proposes it.
func (e *Engine) Reserve(request string, c cluster.Reserve, done func(cluster.Result, error)) {
	e.tasks.Go(func() { done(e.propose(cluster.Command{Request: request, Reserve: &c})) })
}

// propose repeats a command, under one request id, until it is answered.
func (e *Engine) propose(c cluster.Command) (cluster.Result, error) {
	if c.Request == "" {
		c.Request = randomID()
	}
	for {
		ctx, cancel := context.WithTimeout(e.ctx, 10*time.Second)
		r, err := e.Consensus.Propose(ctx, c)
		cancel()
		if err == nil || e.ctx.Err() != nil {
			return r, err
		}
		select {
		case <-e.ctx.Done():
			return r, e.ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}
