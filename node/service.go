package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"ashlar/node/cluster"
	"ashlar/node/cluster/consensus"
	"ashlar/node/disk"
	"ashlar/node/engine"
	"ashlar/node/identity"
	"ashlar/node/peer"
	"ashlar/replication/wire"
	"ashlar/target"
	"ashlar/target/iscsi"
	"ashlar/target/nvmetcp"
	"ashlar/target/scsi"
)

// service is what a node runs while it belongs to a cluster, for one
// incarnation. Its parts start in the order of the fields.
type service struct {
	node   *Node
	record record
	log    *slog.Logger

	identity  *identity.Credentials
	network   *peer.Network
	history   *history
	consensus *consensus.Consensus
	portals   []net.Listener // iSCSI
	ports     []net.Listener // NVMe/TCP, and its discovery
	watch     *target.StallWatch
	server    *iscsi.Server
	nvme      *nvmetcp.Server
	directory *directory
	spaces    *subsystems
	drain     *drain
	disks     *disks
	addresses *addresses

	incarnation atomic.Uint64                 // 0 until registered
	followed    atomic.Uint64                 // the cluster's change up to which exports are followed
	sessions    atomic.Uint64                 // of hosts, so far
	engine      atomic.Pointer[engine.Engine] // nil until registered

	asking  atomic.Bool                   // another node's lineage
	refused atomic.Pointer[lineageAnswer] // of a node that goes on without this one; nil: none is known
	removed atomic.Bool                   // the cluster says that it has no node of this number any more

	registered chan struct{}   // closed when incarnation and engine are set
	ctx        context.Context // ends with close
	cancel     context.CancelFunc
	tasks      sync.WaitGroup
}

// newService takes the ports and opens raft's log. Nothing is served before start. hints
// are addresses of peers for a node that never ran.
func (n *Node) newService(r record, hints map[wire.NodeID]string) (s *service, err error) {
	s = &service{node: n, record: r, log: n.log.With("node", r.Name), registered: make(chan struct{})}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.directory = &directory{service: s, targets: map[targetKey]*scsi.Target{}, hosts: map[string]*numbered{}}
	s.spaces = newSubsystems(s)
	s.drain = &drain{service: s}
	s.addresses = newAddresses(s)
	s.disks = &disks{service: s, open: map[cluster.DiskID]*disk.Store{}, missing: map[cluster.DiskID]error{}, full: map[cluster.DiskID]bool{},
		labels: labels{service: s, note: map[cluster.DiskID]string{}}}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	credentials, err := identity.Load(n.folder.identity())
	if err != nil {
		return s, fmt.Errorf("the identity in %s cannot be read: %w", n.folder.identity(), err)
	}
	if credentials.Name.Cluster != r.Cluster || credentials.Name.Node != r.Node {
		return s, fmt.Errorf("the identity in %s is that of %v, not of node %d of cluster %s", n.folder.identity(), credentials.Name, r.Node, r.Cluster)
	}
	s.identity = credentials
	if s.network, err = peer.Listen(peer.Config{Credentials: credentials, Lineage: r.Lineage, Listen: n.config.Peer(), Events: s.peerEvent, Log: s.log}); err != nil {
		return s, listenProblem(n.config.Peer(), err)
	}
	engine.Handle(s.network, s.engine.Load)
	if !r.Witness {
		if s.portals, err = listen(n.config.PortalTexts()); err != nil {
			return s, err
		}
		if s.ports, err = listen(slices.Concat(n.config.NVMeTexts(), n.config.DiscoveryTexts())); err != nil {
			return s, err
		}
	}
	if s.history, err = openHistory(n.folder, s.log); err != nil {
		return s, err
	}
	s.consensus, err = consensus.Open(consensus.Config{Folder: n.folder.raft(), Network: s.network, Addresses: hints, Fatal: n.end, Log: s.log, Observer: s.history})
	return s, err
}

// registration is what this node tells of itself. A witness has no portals.
func (s *service) registration() *cluster.Register {
	c := s.node.config
	r := &cluster.Register{Node: s.record.Node, Peer: c.Peer(), Gossip: c.gossip()}
	if !s.record.Witness {
		r.Portals, r.NVMe, r.Discovery = c.PortalTexts(), c.NVMeTexts(), c.DiscoveryTexts()
	}
	return r
}

// newStallWatch is other where a node's hosts are in its own process, as tests have
// them: they stand still with it.
var newStallWatch = target.NewStallWatch

// start begins to serve the other nodes, and hosts as soon as the cluster has
// agreed on this incarnation.
func (s *service) start() {
	s.watch = newStallWatch()
	s.server = iscsi.NewServer(iscsi.Config{Directory: s.directory, Watch: s.watch, Generation: s.generation, Log: s.log})
	s.nvme = nvmetcp.NewServer(nvmetcp.Config{Directory: s.spaces, Watch: s.watch, Generation: s.ownGeneration, Log: s.log})
	s.network.Serve()
	s.tasks.Go(func() { s.serveJoins(s.network.Stream(peer.API)) })
	for _, l := range s.portals {
		s.tasks.Go(func() { s.servePortal(s.server.Serve, l) })
	}
	for _, l := range s.ports {
		s.tasks.Go(func() { s.servePortal(s.nvme.Serve, l) })
	}
	s.tasks.Go(s.live)
	s.tasks.Go(func() { s.renewIdentity(s.identity) })
}

// generation numbers hosts' sessions: higher than all before at the same portal
// group, also those of this node's former lives, and of other nodes that held the
// group's address, whatever clocks say.
func (s *service) generation(group uint16) uint64 {
	reign := s.incarnation.Load()
	for _, a := range s.consensus.State().Addresses {
		if a.Group == group {
			reign = a.Gen
		}
	}
	return reign<<32 | s.sessions.Add(1)
}

// ownGeneration is generation for this node's own group.
func (s *service) ownGeneration() uint64 { return s.generation(uint16(s.record.Node)) }

func (s *service) servePortal(serve func(net.Listener) error, l net.Listener) {
	if err := serve(l); s.ctx.Err() == nil {
		s.node.end(fmt.Errorf("the portal %s: %w", l.Addr(), err))
	}
}

// bootstrap makes raft's log that of a new cluster. It needs no other node.
func (s *service) bootstrap(ctx context.Context, create *cluster.Create) error {
	if err := s.consensus.Bootstrap(); err != nil {
		return err
	}
	_, err := s.propose(ctx, cluster.Command{Create: create})
	return err
}

// unheardMax is how long a node waits to hear what the cluster has agreed on, before it
// registers with what it has.
const unheardMax = 3 * time.Second

// live is the way of an incarnation: it registers, begins to work, and follows
// the state until it is over.
func (s *service) live() {
	// A leader that has this node under another address cannot tell it anything before it registers.
	unheard, cancel := context.WithTimeout(s.ctx, unheardMax)
	s.await(unheard, func(state *cluster.State) bool { return state.Nodes[s.record.Node] != nil })
	cancel()
	incarnation := s.register()
	if s.ctx.Err() != nil {
		return
	}
	e, err := engine.Start(engine.Config{Self: s.record.Node, Incarnation: incarnation, Consensus: s.consensus, Network: s.network, Log: s.log,
		Session: func() uint32 { return uint32(s.sessions.Load()) }})
	if err != nil {
		s.node.end(fmt.Errorf("the data path cannot start: %w", err))
		return
	}
	e.DropHosts(s.dropHosts)
	e.Answer(aboutController, s.spaces.answer)
	e.Follow(s.followed.Load)
	s.drain.answerAboutHosts(e)
	s.answerDisconnects(e)
	s.answerNetwork(e)
	s.incarnation.Store(uint64(incarnation))
	s.engine.Store(e)
	s.relink(e)
	close(s.registered)
	s.log.Info("registered", "cluster", s.record.ClusterName, "incarnation", incarnation)
	s.tasks.Go(func() { s.disks.keep(e) })
	s.tasks.Go(s.followExports)
	s.tasks.Go(func() { s.drain.follow(e) })
	s.tasks.Go(func() { s.addresses.follow(e) })
	s.tasks.Go(s.gossip)
	select {
	case <-s.ctx.Done():
	case <-e.Fenced():
		s.dropHosts()
		s.node.end(ErrFenced)
	}
}

// dropHosts resets all connections of hosts.
func (s *service) dropHosts() {
	s.server.DropAll()
	s.nvme.DropAll()
}

// peerEvent tells the engine, if there is one, of the network's news.
func (s *service) peerEvent(e peer.Event) {
	s.metStranger(e)
	if engine := s.engine.Load(); engine != nil {
		engine.PeerEvent(e)
	}
}

// relink tells a new engine of the sessions that began while nobody listened.
func (s *service) relink(e *engine.Engine) {
	for id := range s.consensus.State().Nodes {
		for _, class := range []peer.Class{peer.Control, peer.Data} {
			if session := s.network.Session(id, class); session != nil {
				e.PeerEvent(peer.Event{Kind: peer.Connected, Peer: id, Class: class, Session: session})
			}
		}
	}
}

// removedPause is how long a node that was removed leaves the others alone before it asks again.
const removedPause = 30 * time.Second

// register has the cluster agree on this incarnation, however long that takes.
// The peer port listens by now, so from here on a refused connection is proof
// that this process is gone.
func (s *service) register() wire.Incarnation {
	for s.ctx.Err() == nil {
		ctx, cancel := context.WithTimeout(s.ctx, 10*time.Second)
		r, err := s.propose(ctx, cluster.Command{Register: s.registration()})
		cancel()
		if err == nil {
			return r.Incarnation
		}
		// What the cluster has agreed on is final, whether or not it ever reaches this node's own log.
		if r.Code == cluster.NotFound && !s.removed.Swap(true) {
			s.log.Error("this node is refused", "error", s.refusal())
		}
		if s.removed.Load() {
			pause(s.ctx, removedPause)
			continue
		}
		s.log.Warn("registering this incarnation", "error", err)
		pause(s.ctx, 500*time.Millisecond)
	}
	return 0
}

// fenceMax is how long the end of what was taken from a host may take.
const fenceMax = 4 * time.Second

// followExports ends the sessions of hosts from which a volume was taken back,
// and has those that stay see what is published to them now.
func (s *service) followExports() {
	before := s.consensus.State()
	for s.ctx.Err() == nil {
		now, changed := s.consensus.Watch()
		limit, cancel := context.WithTimeout(s.ctx, fenceMax)
		for _, v := range withdrawn(before, now) {
			s.server.Drop(limit, before.IQN(v))
			s.nvme.Drop(limit, before.NQN(v))
		}
		s.directory.forget(now)
		before = now
		var again <-chan time.Time
		complete := s.directory.follow(limit)
		if !s.spaces.follow(limit) || !complete {
			again = time.After(20 * time.Millisecond) // the engine is about to open the volume
		}
		cancel()
		s.followed.Store(now.Index)
		select {
		case <-changed:
		case <-again:
		case <-s.ctx.Done():
		}
	}
}

// withdrawn are the volumes whose own targets fewer hosts may use than before,
// or differently.
func withdrawn(before, now *cluster.State) (volumes []*cluster.Volume) {
	for id, old := range before.Volumes {
		v := now.Volumes[id]
		if v == old {
			continue
		}
		for _, e := range old.Exports {
			if !e.Numbered && (v == nil || !slices.Contains(v.Exports, e)) {
				volumes = append(volumes, old)
				break
			}
		}
	}
	return volumes
}

// settle waits until this incarnation is registered: then its node can take orders.
func (s *service) settle(ctx context.Context) error {
	select {
	case <-s.registered:
		return nil
	case <-ctx.Done():
		return problem(NotReady, "this node is in cluster %q now, but has not heard from it yet", s.record.ClusterName).
			next("ashlar status shows when it has")
	}
}

// ready says whether hosts may be served.
func (s *service) ready() bool {
	e := s.engine.Load()
	return e != nil && e.Ready()
}

// close ends everything, in the opposite order of the start: hosts first, the
// peer port last, since a refused connection there proves that nothing of this
// incarnation acts any more.
func (s *service) close() (err error) {
	s.cancel()
	if s.server != nil {
		s.server.Close()
		s.nvme.Close()
		s.watch.Close()
	}
	for _, l := range slices.Concat(s.portals, s.ports) {
		l.Close()
	}
	s.tasks.Wait()
	s.addresses.close()
	if e := s.engine.Load(); e != nil {
		err = errors.Join(err, e.Close())
	}
	if s.consensus != nil {
		s.resign() // before the disks, which take their time to write all back
	}
	err = errors.Join(err, s.disks.close())
	if s.consensus != nil {
		err = errors.Join(err, s.consensus.Shutdown())
	}
	if s.history != nil {
		s.history.close()
	}
	if s.network != nil {
		err = errors.Join(err, s.network.Close())
	}
	return err
}

// resignMax bounds how long a node that stops waits for the others' agreement.
const resignMax = time.Second

// resign tells the cluster that this incarnation answers nothing any more, so that
// nobody waits for it, and gives up the lead. What its disks still write was
// acknowledged to nobody or is known to all, as after a crash. Where it
// is not heard, the others find out from its peer port.
func (s *service) resign() {
	self, state := s.record.Node, s.consensus.State()
	me := cluster.Dead{Node: self, Incarnation: wire.Incarnation(s.incarnation.Load())}
	if n := state.Nodes[self]; n == nil || !n.Up || n.Incarnation != me.Incarnation ||
		!slices.ContainsFunc(state.NodeIDs(), func(id wire.NodeID) bool { return id != self && state.Nodes[id].Up }) {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), resignMax)
	defer cancel()
	if _, err := s.propose(ctx, cluster.Command{Fence: &cluster.Fence{Dead: []cluster.Dead{me}, Refused: true}}); err != nil {
		s.log.Info("stopping without the cluster's agreement", "error", err)
		return
	}
	if s.consensus.IsLeader() {
		if err := s.consensus.LeadershipTransfer(ctx); err != nil {
			s.log.Info("nobody took over the lead", "error", err)
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
