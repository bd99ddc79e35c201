package consensus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"ashlar/node/cluster"
	"ashlar/node/logging"
	"ashlar/node/peer"
	"ashlar/replication/wire"
)

const (
	electionTimeout  = time.Second // less loses leaders on a busy machine
	leaderLease      = 500 * time.Millisecond
	rpcTimeout       = 2 * time.Second
	writeMax         = 2 * time.Second
	stopMax          = 5 * time.Second
	snapshotsKept    = 2
	snapshotEntries  = 4096 // log entries between snapshots, and kept behind one
	snapshotInterval = time.Minute
	logCacheEntries  = 512
)

// Config of a node's part. Zero durations mean the defaults.
type Config struct {
	Folder    string                 // exists, or is made; one process at a time
	Network   *peer.Network          // not serving yet: Open registers its handlers
	Addresses map[wire.NodeID]string // what a node that joins was told; the state replaces it
	Fatal     func(error)            // the process must end at once: the store hangs or failed, or an entry is not understood. May be called again
	Log       *slog.Logger
	Observer  Observer // of all changes; may be nil

	VoterSpacing time.Duration // between changes of voters, default 3 s: leases given by the old majority have run out
	StepEvery    time.Duration // of Reconcile, default 500 ms

	wrap     func(stores) stores // faults for tests
	trailing uint64              // log entries kept behind a snapshot; 0: snapshotEntries
}

// Consensus is this node's part in the agreement.
type Consensus struct {
	config  Config
	id      wire.NodeID
	store   *store
	book    *book
	seen    *configurations
	machine *machine
	raft    *raft.Raft
	voting  reconciler
	calls   calls

	transport atomic.Pointer[raft.NetworkTransport] // raft's

	ctx    context.Context // ends with Shutdown
	cancel context.CancelFunc
	tasks  sync.WaitGroup
	agreed chan struct{} // see spread
	ending atomic.Bool
}

// Errors of who asks in vain.
var (
	ErrNotLeader = errors.New("consensus: this node does not lead")
	ErrNoLeader  = errors.New("consensus: no node leads")
	ErrClosed    = errors.New("consensus: shut down")
)

// Open starts the node's part, from its folder. It takes no part in anything
// before the network serves, and leads nothing before Bootstrap or before a leader admitted it.
func Open(config Config) (*Consensus, error) {
	if config.Fatal == nil {
		return nil, errors.New("consensus: nobody to tell of a fatal error")
	}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	if config.VoterSpacing == 0 {
		config.VoterSpacing = 3 * time.Second
	}
	if config.StepEvery == 0 {
		config.StepEvery = 500 * time.Millisecond
	}
	if err := os.MkdirAll(config.Folder, 0o700); err != nil {
		return nil, fmt.Errorf("consensus: %w", err)
	}
	file, err := openStore(filepath.Join(config.Folder, "raft.db"))
	if err != nil {
		return nil, err
	}
	c := &Consensus{config: config, id: config.Network.ID(), store: file}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	if err := c.start(); err != nil {
		c.cancel()
		return nil, errors.Join(err, file.Close())
	}
	c.tasks.Go(c.reconcileAlways)
	c.tasks.Go(c.spreadAlways)
	return c, nil
}

func (c *Consensus) start() error {
	log := logging.Hashi(c.config.Log)
	files, err := raft.NewFileSnapshotStoreWithLogger(c.config.Folder, snapshotsKept, log)
	if err != nil {
		return fmt.Errorf("consensus: %w", err)
	}
	if c.seen, err = readConfigurations(c.store, files); err != nil {
		return err
	}
	var disk stores = c.store
	if c.config.wrap != nil {
		disk = c.config.wrap(disk)
	}
	watched := &guard{stores: disk, limit: writeMax, fatal: c.broken, seen: c.seen}
	if c.book, err = openBook(watched, c.config.Network, c.config.Addresses); err != nil {
		return err
	}
	c.machine = newMachine(c.follow, c.config.Fatal)
	c.machine.told = c.config.Observer
	c.calls.waiting, c.agreed = map[uint64]chan answer{}, make(chan struct{}, 1)
	c.config.Network.Handle(peer.Control, c.receive, KindPropose, KindProposed, KindPassOn)
	cache, err := raft.NewLogCache(logCacheEntries, watched)
	if err != nil {
		return err
	}
	transport := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream:          stream{c.config.Network.Stream(peer.Raft), c.config.Network, c.book, watched.poisoned},
		MaxPool:         3,
		MaxRPCsInFlight: 1, // pipelining can wedge a follower after a change of leader
		Timeout:         rpcTimeout,
		Logger:          log,
	})
	c.transport.Store(transport)
	settings := raft.DefaultConfig()
	settings.LocalID = serverID(c.id)
	settings.HeartbeatTimeout, settings.ElectionTimeout, settings.LeaderLeaseTimeout = electionTimeout, electionTimeout, leaderLease
	settings.CommitTimeout = spreadByItself
	settings.SnapshotThreshold, settings.TrailingLogs, settings.SnapshotInterval = snapshotEntries, snapshotEntries, snapshotInterval
	if c.config.trailing != 0 {
		settings.TrailingLogs = c.config.trailing
	}
	settings.ShutdownOnRemove = false
	settings.NoLegacyTelemetry = true
	settings.Logger = log
	c.raft, err = raft.NewRaft(settings, c.machine, cache, watched, watchedSnapshots{files, watched}, transport)
	if err != nil {
		return errors.Join(fmt.Errorf("consensus: %w", err), transport.Close())
	}
	return nil
}

// broken ends this node's part in raft: a leader whose disk hangs goes on to send
// heartbeats, so that the others would follow it until its process has ended.
func (c *Consensus) broken(err error) {
	if t := c.transport.Load(); t != nil {
		t.Close()
		t.CloseStreams()
	}
	c.config.Fatal(err)
}

func (c *Consensus) follow(s *cluster.State) {
	if err := c.book.follow(s); err != nil && !c.ending.Load() {
		c.config.Log.Error("consensus: address book", "error", err)
	}
}

// Bootstrap makes this node the only voter of a new cluster. Once in a folder's life.
func (c *Consensus) Bootstrap() error {
	err := c.raft.BootstrapCluster(raft.Configuration{Servers: []raft.Server{
		{Suffrage: raft.Voter, ID: serverID(c.id), Address: serverAddress(c.id)}}}).Error()
	if err != nil {
		return fmt.Errorf("consensus: bootstrap: %w", err)
	}
	return nil
}

// Existing says whether the folder belongs to a cluster already: bootstrapped, or admitted by a leader.
func (c *Consensus) Existing() bool {
	version, _ := c.seen.latest()
	return version != 0
}

// State is the latest that this node knows to be agreed. It may be behind.
func (c *Consensus) State() *cluster.State { return c.machine.view.Load().state }

// Watch is State, and a channel that closes when there is a newer one.
func (c *Consensus) Watch() (*cluster.State, <-chan struct{}) {
	v := c.machine.view.Load()
	return v.state, v.newer
}

// Leader is the node that leads as far as this one knows.
func (c *Consensus) Leader() (wire.NodeID, bool) {
	_, id := c.raft.LeaderWithID()
	return nodeID(id), nodeID(id) != 0
}

// IsLeader may be out of date by leaderLease; what it is told then cannot be agreed on.
func (c *Consensus) IsLeader() bool { return c.raft.State() == raft.Leader }

// Voters are those of raft's latest configuration, committed or not, ascending;
// version is its raft index, 0 where there is none.
func (c *Consensus) Voters() (version uint64, ids []wire.NodeID) {
	version, servers := c.seen.latest()
	ids, _ = split(servers)
	return version, ids
}

// Health tells how this node's part is doing.
type Health struct {
	Leader      wire.NodeID // 0: none known
	Term        uint64
	Committed   uint64        // raft index
	Applied     uint64        // raft index; far behind Committed while heartbeats arrive is an alarm
	LastContact time.Duration // with the leader; 0 at the leader, negative: never
}

// Health is for people and alarms, not for decisions.
func (c *Consensus) Health() Health {
	h := Health{Term: c.raft.CurrentTerm(), Committed: c.raft.CommitIndex(), Applied: c.raft.AppliedIndex()}
	h.Leader, _ = c.Leader()
	if last := c.raft.LastContact(); c.IsLeader() {
		h.LastContact = 0
	} else if last.IsZero() {
		h.LastContact = -1
	} else {
		h.LastContact = time.Since(last)
	}
	return h
}

// LeadershipTransfer hands the lead to a voter that is up to date.
func (c *Consensus) LeadershipTransfer(ctx context.Context) error {
	return c.wait(ctx, c.raft.LeadershipTransfer())
}

// Barrier returns when this node, the leader, has applied all that was agreed before the call.
func (c *Consensus) Barrier(ctx context.Context) error {
	return c.wait(ctx, c.raft.Barrier(rpcTimeout))
}

// Snapshot writes the state and trims the log, as raft does by itself now and then.
func (c *Consensus) Snapshot(ctx context.Context) error { return c.wait(ctx, c.raft.Snapshot()) }

// wait is for a future, or the end of ctx or of this node's part.
func (c *Consensus) wait(ctx context.Context, f raft.Future) error {
	result := make(chan error, 1)
	go func() { result <- f.Error() }()
	select {
	case err := <-result:
		if errors.Is(err, raft.ErrNotLeader) {
			return ErrNotLeader
		}
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-c.ctx.Done():
		return ErrClosed
	}
}

// Shutdown ends this node's part, within 5 s: raft may wait for a disk that
// hangs. The store is then left as it is, and so is its lock.
func (c *Consensus) Shutdown() error {
	if c.ending.Swap(true) {
		return nil
	}
	c.cancel()
	stopped := make(chan error, 1)
	go func() {
		err := c.raft.Shutdown().Error()
		c.tasks.Wait()
		stopped <- errors.Join(err, c.store.Close())
	}()
	select {
	case err := <-stopped:
		return err
	case <-time.After(stopMax):
		return fmt.Errorf("consensus: raft did not stop within %v", stopMax)
	}
}
