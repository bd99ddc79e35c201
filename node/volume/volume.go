// Package volume runs one volume's machines on one node: the portal for the
// hosts that come in here, the replica for the copies that are here, and, while
// the cluster says so, the head. It does what they decide: sends, stores,
// answers. Device is the volume as a front end sees it.
package volume

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"ashlar/node/cluster"
	"ashlar/node/disk"
	"ashlar/replication/mirror"
	"ashlar/replication/wire"
	"ashlar/target"
	"ashlar/target/reserve"
)

// Session is where a request came from, and where its answer goes.
type Session interface {
	// Reply queues a message; it is lost where the session has ended. now says that it is the only one,
	// so that it is better written at once.
	Reply(volume wire.VolumeID, m wire.Message, now bool)
}

// Node is what a volume needs of its node. All methods may be called from any goroutine.
type Node interface {
	Now() int64                   // CLOCK_BOOTTIME, ns
	Lease() int64                 // when this node's lease ends
	Token(from wire.NodeID) int64 // the newest of the incarnation that is up
	// Send is a request; it is lost where no session lives. now is Reply's.
	Send(to wire.NodeID, v wire.VolumeID, m wire.Message, now bool)
	Store(d cluster.DiskID) *disk.Store         // nil: no such disk is open here
	Sessions() uint32                           // number of the newest host session, the low half of its generation
	Spent(m wire.Message)                       // a write, or an answer to one, of another node's that nobody looks at any more
	Pace() uint64                               // of each head's copying, bytes per second; 0: as fast as it goes
	Suspended(d cluster.DiskID) bool            // the disk is silent: its copies answer nothing
	Stores() []*disk.Store                      // all that are open
	Create(s *disk.Store, r disk.Replica) error // an empty copy; no error where there is one
	Bad(s *disk.Store, b *disk.ChecksumError)   // blocks that a store could not give
	// Complain tells the raft leader that n does not answer; promised: n has promised the epoch.
	Complain(v wire.VolumeID, epoch uint64, n wire.NodeID, promised bool)
	Join(c cluster.Join, refused func()) // propose; refused is called when the cluster said no

	// Reserve proposes, under a request id; done is called once, from any goroutine.
	Reserve(request string, c cluster.Reserve, done func(cluster.Result, error))
}

// Volume is one volume on this node.
type Volume struct {
	id          wire.VolumeID
	node        Node
	self        wire.NodeID
	incarnation wire.Incarnation
	log         *slog.Logger

	// What other goroutines look at.
	info   atomic.Pointer[target.Info]
	place  atomic.Pointer[place]
	status atomic.Pointer[Status]
	busy   atomic.Bool // since the last Tick something came, or is under way
	rested int         // ticks: Tick's

	reservations atomic.Pointer[reserve.State]

	mu        sync.Mutex
	queue     []event
	closed    bool
	running   bool          // somebody has a turn, and looks at the queue at its end
	wake      chan struct{} // capacity 1
	stopped   chan struct{}
	listeners map[int]func(target.Event)
	lastKey   int

	traffic [classes]counters

	// Of whoever has the turn.
	state    *cluster.State
	agreed   *cluster.Volume
	portal   *mirror.Portal
	replica  *mirror.Replica
	head     *mirror.Head
	sessions map[uint64]Session // of requests to the replica, by number
	numbers  map[Session]uint64
	lastID   uint64
	fences   map[uint64]func(error)
	tellings map[uint64]*telling
	links    map[wire.NodeID]bool // nodes to which a session for requests lives
	local    []event              // for ourselves, before anything else
	handled  []event              // the memory of the local ones before
	batch    []event              // that is handled
	now      int64                // when the event began that is handled, node.Now
	worked   []worker             // whose answers are on their way, and told when carryOut ends
	held     []mirror.Job         // for disks that are silent
	jobs     int                  // that the store has not answered
	pausing  bool                 // an evGoOn comes
	measured int64                // when the load was last
	gone     bool
	losses   []loss // since the volume was opened here

	operations spare[operation]
	storings   spare[storing]
	readings   spare[reading]
}

// place is where the head is, for Stamp and Groups.
type place struct {
	head   wire.NodeID
	epoch  uint64
	groups []target.PortGroup
}

// Status is what a volume does on this node.
type Status struct {
	Head     bool
	Epoch    uint64
	Catching []mirror.Progress // copies that catch up, at the head
	Load     mirror.Load       // at the head
}

// event is one thing that happened.
type event struct {
	kind    eventKind
	from    wire.NodeID
	session Session // of a request; nil: this node's own
	msg     wire.Message
	state   *cluster.State
	op      *target.Op
	job     mirror.Job
	work    worker // that the store has done the job with; nil where it was none of the common ones
	run     func()
}

type eventKind uint8

const (
	evState     eventKind = iota
	evRequest             // of a head to this node's copies, or of a portal to this node's head
	evReply               // to this node's head or portal, from node from
	evConnected           // a session for requests to node from
	evLost
	evJob  // the store's answer (msg) to job
	evHeld // job is a write that the store has in memory, and room for
	evSubmit
	evTick
	evGoOn // copies that catch up have waited for an allowance
	evRun
)

// Open starts a volume's loop.
func Open(id wire.VolumeID, node Node, self wire.NodeID, incarnation wire.Incarnation, st *cluster.State, log *slog.Logger) *Volume {
	v := &Volume{id: id, node: node, self: self, incarnation: incarnation, log: log,
		wake: make(chan struct{}, 1), stopped: make(chan struct{}), listeners: map[int]func(target.Event){},
		portal: mirror.NewPortal(id, wire.Portal{Node: self, Incarnation: incarnation}, mirror.Bugs{}), sessions: map[uint64]Session{}, numbers: map[Session]uint64{}, fences: map[uint64]func(error){}, tellings: map[uint64]*telling{}, links: map[wire.NodeID]bool{}}
	promised := map[wire.VolumeID]uint64{}
	for _, s := range node.Stores() {
		promised[id] = max(promised[id], s.Promised(id))
	}
	v.replica = mirror.NewReplica(promised, mirror.Bugs{})
	v.publish(st)
	go v.loop()
	v.post(event{kind: evState, state: st})
	return v
}

// Close ends the loop; what waits is answered Gone.
func (v *Volume) Close() {
	v.mu.Lock()
	v.closed = true
	v.mu.Unlock()
	v.signal()
	<-v.stopped
}

// State gives the volume what the cluster has agreed on now.
func (v *Volume) State(st *cluster.State) { v.post(event{kind: evState, state: st}) }

// Request is a message for this node's copies or head; s is where its answer goes, nil: to this node's own.
func (v *Volume) Request(s Session, m wire.Message) {
	v.do(event{kind: evRequest, session: s, msg: m})
}

// RequestLater is Request by who must not wait for what it comes to.
func (v *Volume) RequestLater(s Session, m wire.Message) {
	v.post(event{kind: evRequest, session: s, msg: m})
}

// Reply is a node's answer to a request.
func (v *Volume) Reply(from wire.NodeID, m wire.Message) {
	v.do(event{kind: evReply, from: from, msg: m})
}

// Connected says that a session for requests to a node began.
func (v *Volume) Connected(n wire.NodeID) { v.post(event{kind: evConnected, from: n}) }

// Lost says that it ended.
func (v *Volume) Lost(n wire.NodeID) { v.post(event{kind: evLost, from: n}) }

// Forget says that a session from which requests came has ended.
func (v *Volume) Forget(s Session) {
	v.run(func() {
		if id := v.numbers[s]; id != 0 {
			delete(v.numbers, s)
			delete(v.sessions, id)
		}
	})
}

// restTicks is how many ticks an idle volume does without after each that it takes. What it puts off is to
// renew leases and tokens, which last several times as long, and to tell its copies what they need to know some day.
const restTicks = 3

// Tick is due every 50 ms, from one goroutine.
func (v *Volume) Tick() {
	if !v.busy.Swap(false) && v.rested < restTicks {
		v.rested++
		return
	}
	v.rested = 0
	v.do(event{kind: evTick})
}

// DropHosts ends every operation of this node's hosts without an answer: their
// connections are dropped.
func (v *Volume) DropHosts() { v.run(func() { v.portal.Drop(v.now) }) }

// ID is the volume's number.
func (v *Volume) ID() wire.VolumeID { return v.id }

// measureEvery is how often a head's load is looked at, ns.
const measureEvery = int64(250_000_000)

// Status may be nil before the first tick.
func (v *Volume) Status() *Status { return v.status.Load() }

func (v *Volume) run(f func()) { v.post(event{kind: evRun, run: f}) }

// post queues an event for the loop.
func (v *Volume) post(e event) { v.put(e, false, false) }

// postOpen posts unless the volume is closed.
func (v *Volume) postOpen(e event) bool { return v.put(e, false, true) }

// do queues an event, which an idle volume handles before do returns, so that nobody has to be
// woken for it: the caller holds no lock that a front end or a store takes.
func (v *Volume) do(e event) { v.put(e, true, false) }

// doOpen does unless the volume is closed.
func (v *Volume) doOpen(e event) bool { return v.put(e, true, true) }

func (v *Volume) put(e event, here, open bool) bool {
	v.mu.Lock()
	if v.closed && open {
		v.mu.Unlock()
		return false
	}
	v.queue = append(v.queue, e)
	if e.kind != evTick && !v.busy.Load() {
		v.busy.Store(true) // from here on a tick comes behind e
	}
	mine := here && v.enter()
	idle := !v.running
	v.mu.Unlock()
	switch {
	case mine:
		v.turn()
	case idle:
		v.signal()
	}
	return true
}

// enter begins a turn, unless somebody is in one or there is nothing to do; mu is held.
func (v *Volume) enter() bool {
	if v.running || len(v.queue) == 0 || v.closed {
		return false
	}
	v.running = true
	v.batch, v.queue = v.queue, v.batch[:0]
	return true
}

// turn handles a batch. What came meanwhile is the loop's.
func (v *Volume) turn() {
	for i := range v.batch {
		v.now = v.node.Now()
		v.handle(&v.batch[i])
		v.batch[i] = event{}
		v.carryOut()
	}
	v.mu.Lock()
	v.running = false
	more := len(v.queue) > 0 || v.closed
	v.mu.Unlock()
	if more {
		v.signal()
	}
}

func (v *Volume) signal() {
	select {
	case v.wake <- struct{}{}:
	default:
	}
}

// loop has the turns that nobody else has.
func (v *Volume) loop() {
	defer close(v.stopped)
	for range v.wake {
		v.mu.Lock()
		ends := v.closed && !v.running
		v.running = v.running || ends // for good
		idle := !ends && v.enter()
		v.mu.Unlock()
		switch {
		case ends:
			v.end()
			return
		case idle:
			v.turn()
		}
	}
}

// end answers what waits when the volume is gone from this node.
func (v *Volume) end() {
	v.gone = true
	v.now = v.node.Now()
	if v.head != nil {
		v.head.Stop(v.now)
	}
	v.portal.Drop(v.now)
	v.carryOut()
	for {
		v.mu.Lock()
		batch := v.queue
		v.queue = nil
		v.mu.Unlock()
		if len(batch) == 0 {
			break
		}
		for i := range batch {
			switch batch[i].kind {
			case evSubmit:
				v.refuse(batch[i].op)
			case evRun:
				batch[i].run()
			}
		}
		v.portal.Drop(v.now)
		v.carryOutPortal()
	}
	v.tell(target.Removed)
}

func (v *Volume) handle(e *event) {
	now := v.now
	switch e.kind {
	case evState:
		v.apply(now, e.state)
	case evRequest:
		v.request(now, e)
	case evReply:
		switch e.msg.(type) {
		case *wire.Done, *wire.Fenced:
			v.portal.Receive(now, e.from, e.msg)
		case *wire.Told:
			v.toldBy(e.msg.(*wire.Told).Req, e.from)
		default:
			if v.head != nil {
				v.head.Receive(now, e.from, e.msg)
			}
			if e.from != v.self {
				v.node.Spent(e.msg)
			}
		}
	case evConnected:
		v.links[e.from] = true
		if v.head != nil {
			v.head.Connected(now, e.from)
		}
		v.follow()
	case evLost:
		delete(v.links, e.from)
		v.toldByNobody(e.from)
		if v.head != nil {
			v.head.Lost(now, e.from)
		}
		v.follow()
	case evJob:
		v.jobs--
		v.replica.Done(now, e.job, e.msg)
		if w, ok := e.job.Msg.(*wire.Write); ok && w.Memory != nil {
			w.Memory.Release() // the store is done with it
			v.node.Spent(w)
		}
		if e.work != nil {
			v.worked = append(v.worked, e.work)
		}
	case evHeld:
		v.replica.Held(now, e.job)
	case evSubmit:
		v.portal.Submit(now, v.requestOf(e.op))
	case evTick:
		v.tick()
	case evGoOn:
		v.pausing = false
		if v.head != nil {
			v.head.GoOn(now)
		}
	case evRun:
		e.run()
	}
}

// copyEvery is how often copies that wait for an allowance go on.
const copyEvery = 10 * time.Millisecond

func (v *Volume) tick() {
	token := v.token()
	now, lease := v.now, v.node.Lease()
	v.replica.Lease(now, lease)
	v.portal.Lease(now, lease)
	if v.agreed != nil && v.agreed.Head != 0 {
		v.portal.Token(now, v.agreed.Head, token)
	}
	v.portal.Tick(now)
	v.giveUpTelling(now)
	s := &Status{}
	if v.head != nil {
		v.head.Lease(now, lease)
		v.head.Pace(v.node.Pace())
		v.head.Tick(now)
		s.Head, s.Epoch, s.Catching = !v.head.Deposed(), v.head.Epoch(), v.head.Progress()
		if old := v.status.Load(); old != nil && old.Epoch == s.Epoch && now-v.measured < measureEvery {
			s.Load = old.Load
		} else {
			s.Load, v.measured = v.head.Load(now), now
		}
	}
	v.unhold()
	v.status.Store(s)
	if v.jobs+len(v.held)+len(v.tellings) > 0 || !v.portal.Idle() || v.head != nil && !v.head.Idle() {
		v.busy.Store(true)
	}
}

// token is the head's newest, 0 where there is none. The clock is read after it, so that it does not look younger than it is.
func (v *Volume) token() (token int64) {
	if v.agreed != nil && v.agreed.Head != 0 {
		token = v.node.Token(v.agreed.Head)
	}
	v.now = v.node.Now()
	return token
}

// request is for a copy here, or for the head.
func (v *Volume) request(now int64, e *event) {
	switch m := e.msg.(type) {
	case *wire.Submit:
		v.submit(now, e.session, m)
	case *wire.Fence:
		v.fence(now, e.session, m)
	case *wire.Settle:
		if v.head != nil {
			v.head.Settle(now, m)
		}
	case *wire.Clear:
		v.clear(now, m)
	case *wire.Cleared:
		v.cleared(now, e.session, m)
	case *wire.Tell:
		v.hear(m)
		v.reply(e.session, &wire.Told{Req: m.Req})
	default:
		if mirror.IsRequest(e.msg) {
			if epoch, ok := mirror.Promises(e.msg); ok && v.head != nil {
				v.head.Outranked(now, epoch)
			}
			v.replica.Lease(now, v.node.Lease())
			v.replica.Receive(now, v.number(e.session), e.msg)
		}
	}
}

// number is a session's for the replica; 0 is this node's own head.
func (v *Volume) number(s Session) uint64 {
	if s == nil {
		return 0
	}
	id := v.numbers[s]
	if id == 0 {
		v.lastID++
		id = v.lastID
		v.numbers[s], v.sessions[id] = id, s
	}
	return id
}

// operation is one at the head, and whom it is answered to.
type operation struct {
	mirror.Op // its Private is this
	session   Session
	req       uint64
	reserved  reserve.Result // of OpReserve
	changes   bool           // it may have changed something
	answer    wire.Done
}

func (v *Volume) submit(now int64, s Session, m *wire.Submit) {
	if v.head == nil || v.head.Deposed() {
		v.reply(s, &wire.Done{Req: m.Req, Status: wire.NotHead, Returned: true})
		return
	}
	v.head.Lease(now, v.node.Lease())
	o := v.operations.get()
	o.session, o.req = s, m.Req
	o.Op = mirror.NewOp(now, m, o)
	v.head.Submit(now, &o.Op)
}

// reply sends an answer to a session, or back into our own queue.
func (v *Volume) reply(s Session, m wire.Message) {
	if s == nil {
		v.local = append(v.local, event{kind: evReply, from: v.self, msg: m})
		return
	}
	s.Reply(v.id, m, v.quiet())
}

// quiet says whether no more than one operation is under way, so that a message is best sent alone.
func (v *Volume) quiet() bool {
	return v.jobs <= 1 && v.portal.Waiting() <= 1 && (v.head == nil || v.head.Waiting() <= 1)
}

// send is a request to a node, or into our own queue.
func (v *Volume) send(to wire.NodeID, m wire.Message) {
	if to == v.self {
		v.local = append(v.local, event{kind: evRequest, msg: m})
		return
	}
	v.node.Send(to, v.id, m, v.quiet())
}

// carryOut does what the machines decided, until they have nothing more to say.
func (v *Volume) carryOut() {
	for {
		v.carryOutPortal()
		v.carryOutHead()
		v.carryOutReplica()
		if len(v.local) == 0 {
			for _, w := range v.worked {
				w.recycle(v)
			}
			clear(v.worked)
			v.worked = v.worked[:0]
			return
		}
		local := v.local
		v.local = v.handled
		for i := range local {
			v.handle(&local[i])
		}
		clear(local)
		v.handled = local[:0]
	}
}

func (v *Volume) carryOutPortal() {
	a := v.portal.Take()
	for _, s := range a.Sends {
		v.send(s.To, s.Msg)
	}
	for _, r := range a.Done {
		v.answer(r)
	}
	for _, id := range a.Fenced {
		v.fenced(id, nil)
	}
	for _, id := range a.Unfenced {
		v.fenced(id, errUnproven)
	}
}

func (v *Volume) carryOutHead() {
	if v.head == nil {
		return
	}
	a := v.head.Take()
	for _, s := range a.Sends {
		v.send(s.To, s.Msg)
	}
	for _, op := range a.Done {
		v.answered(op)
	}
	for _, op := range a.Spent {
		o := op.Private.(*operation)
		*o = operation{}
		v.operations.put(o)
	}
	for _, op := range a.Reserve {
		v.proposeReserve(v.head, op)
	}
	for _, f := range a.Fenced {
		f.(fencer).proven(v)
	}
	for _, x := range a.Scrubbed {
		x.Private.(func(mirror.Scrubbed))(x)
	}
	for _, n := range a.Complain {
		v.node.Complain(v.id, v.head.Epoch(), n, v.head.Promised(n))
	}
	if len(a.Caught) > 0 {
		v.join(v.head, a.Caught)
	}
	if v.head.Held() && !v.pausing {
		v.pausing = true
		time.AfterFunc(copyEvery, func() { v.do(event{kind: evGoOn}) })
	}
}

func (v *Volume) answered(op *mirror.Op) {
	o := op.Private.(*operation)
	d := &o.answer
	*d = wire.Done{Req: o.req, Status: op.Status, Offset: op.Miss, Runs: op.Runs, Returned: op.Returned()}
	switch {
	case op.Status == wire.OK && op.Kind == wire.OpRead:
		d.Data = op.Data
	case op.Status == wire.OK && op.Kind == wire.OpReserve:
		d.Data = encode(reserveAnswer{o.reserved, v.agreed.Reservations})
		if o.changes {
			v.tellNodes(&wire.Tell{Data: encode(v.agreed.Reservations)}, func() { v.reply(o.session, d) })
			return
		}
	}
	v.reply(o.session, d)
}

// join proposes all that caught up at once, one command a node.
func (v *Volume) join(head *mirror.Head, caught []mirror.Caught) {
	type who struct {
		node        wire.NodeID
		incarnation wire.Incarnation
	}
	byNode := map[who]*cluster.Join{}
	for _, c := range caught {
		k := who{c.Node, c.Incarnation}
		if byNode[k] == nil {
			byNode[k] = &cluster.Join{Volume: v.id, Epoch: head.Epoch(), Node: c.Node, Incarnation: c.Incarnation}
		}
		byNode[k].Segments = append(byNode[k].Segments, cluster.SegmentGen{Segment: c.Segment, Gen: c.Gen})
	}
	for k, j := range byNode {
		v.node.Join(*j, func() {
			v.run(func() {
				if v.head != head {
					return
				}
				for _, c := range caught {
					if (who{c.Node, c.Incarnation}) == k {
						head.Refused(v.now, c)
					}
				}
			})
		})
	}
}

func (v *Volume) carryOutReplica() {
	a := v.replica.Take()
	for _, j := range a.Jobs {
		if _, unanswered := j.Msg.(*wire.Commit); !unanswered {
			v.jobs++
		}
		v.work(j)
	}
	for _, r := range a.Replies {
		if r.Session == 0 {
			v.reply(nil, r.Msg)
		} else if s := v.sessions[r.Session]; s != nil {
			v.reply(s, r.Msg)
		}
	}
}
