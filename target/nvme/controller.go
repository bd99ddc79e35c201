package nvme

import (
	"crypto/rand"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	"ashlar/target"
)

// Carrier is what a controller needs of what carries its queues. Its methods may
// be called from any goroutine, and do not block.
type Carrier interface {
	// AbortCommand ends a command of one of the controller's queues. done is called
	// once, with true when nothing of the command takes effect later than that.
	AbortCommand(queue, command uint16, done func(ended bool))
	// CloseQueues ends the controller's I/O queues: it was disabled.
	CloseQueues()
	// ResetController ends another controller of the subsystem, wherever it is, and
	// calls done once, with nil when nothing of it can take effect any more.
	ResetController(i Instance, done func(error))
}

// Params are what a controller is made of.
type Params struct {
	Subsystem  *Subsystem       // nil: a discovery controller
	NQN        string           // as the host asked for it
	Discovery  func() Discovery // of a discovery controller
	Host       Host
	ID         uint16        // CNTLID
	Port       uint16        // the port group through which it was made
	Generation func() uint64 // more with each call
	KeepAlive  uint32        // KATO, ms; 0: none
	Queues     uint16        // I/O queues at most
	Carrier    Carrier
}

// Controller is a dynamic controller (NVMe Base 3.1.2): it is made by a Connect
// and ends with its admin queue. All methods may be called from any goroutine, and
// none blocks.
type Controller struct {
	Params
	subsystem *Subsystem // nil: discovery
	instance  Instance
	log       errorLog

	nexus    atomic.Pointer[target.Nexus]
	heard    atomic.Bool // a command came since the last tick of the keep alive
	leaving  atomic.Bool // hosts are told to use other paths
	gone     atomic.Bool // no operation is submitted any more
	underWay atomic.Int64
	csts     atomic.Uint32 // changed under mu

	mu       sync.Mutex
	cc       uint32
	silence  time.Duration // since the keep alive began anew
	drained  []*wait       // until underWay is 0 after gone
	features features
	events   events
	refusals refusals
	aborts   int // Abort commands under way
	resets   int // Cross-Controller Resets under way
}

// NewController makes a controller.
func NewController(p Params) *Controller {
	c := &Controller{Params: p, subsystem: p.Subsystem}
	var random [9]byte
	rand.Read(random[:]) //nolint:errcheck // it does not fail
	c.instance = Instance{ID: p.ID, Host: p.Host, Uniquifier: max(1, random[8]), Random: max(1, binary.LittleEndian.Uint64(random[:]))}
	c.newNexus()
	c.features.reset(p.KeepAlive)
	if c.subsystem != nil {
		c.subsystem.mu.Lock()
		c.subsystem.controllers[c] = struct{}{}
		c.subsystem.mu.Unlock()
	}
	return c
}

func (c *Controller) newNexus() {
	c.nexus.Store(&target.Nexus{Host: c.Params.Host.nexusHost(c.ID), Port: c.Port, Generation: c.Generation()})
}

// Host is who made the controller.
func (c *Controller) Host() Host { return c.Params.Host }

// Is says whether an instance that a host names is this controller.
func (c *Controller) Is(i Instance) bool {
	return i.ID == c.ID && i.Host == c.Params.Host &&
		(i.Uniquifier == 0 || i.Uniquifier == c.instance.Uniquifier) && (i.Random == 0 || i.Random == c.instance.Random)
}

// Stamp says when the last byte of a command for a namespace was read; a carrier
// asks for it right after that read.
func (c *Controller) Stamp(nsid uint32) target.Stamp {
	if c.subsystem != nil {
		if n := c.subsystem.namespace(nsid); n != nil {
			return n.device.Stamp()
		}
	}
	return target.Stamp{}
}

// Heard takes note of a command on any queue: it keeps the controller alive (TBKAS).
func (c *Controller) Heard() {
	if !c.heard.Load() {
		c.heard.Store(true)
	}
}

// Tick passes time. It is true when the keep alive has run out: the controller
// has failed, and the carrier ends it.
func (c *Controller) Tick(d time.Duration) (expired bool) {
	c.mu.Lock()
	due := c.refusals.tick()
	expired = c.pass(d)
	c.mu.Unlock()
	finishRefused(due)
	return expired
}

// pass is the keep alive's part of Tick; mu is held.
func (c *Controller) pass(d time.Duration) (expired bool) {
	kato := time.Duration(c.features.keepAlive) * time.Millisecond
	if kato == 0 || c.gone.Load() {
		return false
	}
	if c.silence += d; c.silence < kato {
		return false
	}
	c.silence = 0
	if c.heard.Swap(false) {
		return false
	}
	c.csts.Or(statusFatal)
	return true
}

// Leave tells the host that the namespaces can not be reached through this
// controller any more.
func (c *Controller) Leave() {
	if c.subsystem != nil && !c.leaving.Swap(true) {
		c.anaChanged()
	}
}

// Drain ends the controller. done is called once, with nil when nothing of it can
// take effect any more, or with why that could not be proven; then Drain may be
// called again.
func (c *Controller) Drain(done func(error)) {
	if c.subsystem != nil {
		c.subsystem.mu.Lock()
		delete(c.subsystem.controllers, c)
		c.subsystem.mu.Unlock()
	}
	w := newWait(done)
	c.mu.Lock()
	c.gone.Store(true)
	w.add()
	c.drained = append(c.drained, w)
	held, refused := c.events.release(), c.refusals.release()
	c.mu.Unlock()
	c.underWay.Add(1)
	for _, r := range held {
		r.finish(Interrupted)
	}
	finishRefused(refused)
	c.fence(w)
	c.exit()
	w.release(nil)
}

// fence fences the controller's nexus on every namespace.
func (c *Controller) fence(w *wait) {
	if c.subsystem == nil {
		return
	}
	for _, n := range c.subsystem.namespaces.Load().ordered {
		w.fence(n.device, *c.nexus.Load())
	}
}

// Bits of the properties (NVMe Base 3.1.4).
const (
	enable        = 1 << 0 // CC.EN
	shutdown      = 3 << 14
	statusReady   = 1 << 0 // CSTS.RDY
	statusFatal   = 1 << 1 // CSTS.CFS
	shutdownDone  = 2 << 2 // CSTS.SHST
	propertyCAP   = 0x00
	propertyVS    = 0x08
	propertyCC    = 0x14
	propertyCSTS  = 0x1C
	propertyNSSR  = 0x20
	version       = 2 << 16 // 2.0
	readyTimeout  = 30      // CAP.TO, 500 ms each
	onlyNVM       = 1 << 37 // CAP.CSS: the NVM command set
	contiguous    = 1 << 16 // CAP.CQR
	memoryPages   = 0       // CAP.MPSMIN and MPSMAX: 4096 bytes
	submissionLog = 6       // CC.IOSQES
	completionLog = 4       // CC.IOCQES
)

func (c *Controller) capabilities() uint64 {
	return maxQueueSize - 1 | contiguous | readyTimeout<<24 | onlyNVM
}

// property is a property's value and size, bytes; 0 if there is no such property.
func (c *Controller) property(offset uint32) (value uint64, size int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch offset {
	case propertyCAP:
		return c.capabilities(), 8
	case propertyVS:
		return version, 4
	case propertyCC:
		return uint64(c.cc), 4
	case propertyCSTS:
		return uint64(c.csts.Load()), 4
	case propertyNSSR:
		return 0, 4
	}
	return 0, 0
}

// configure is a write of CC.
func (c *Controller) configure(r *Request, cc uint32) {
	c.mu.Lock()
	before := c.cc
	if cc&enable != 0 && before&enable == 0 && !validConfiguration(cc) {
		c.mu.Unlock()
		r.fail(InvalidField)
		return
	}
	c.cc = cc
	if cc&shutdown == 0 {
		c.csts.And(^uint32(shutdownDone))
	} else {
		c.csts.Or(shutdownDone)
	}
	switch {
	case cc&enable != 0 && before&enable == 0:
		c.csts.Or(statusReady)
	case cc&enable == 0 && before&enable != 0:
		held := c.events.release()
		c.features.reset(c.features.keepAlive)
		c.mu.Unlock()
		c.disable(r, held)
		return
	}
	c.mu.Unlock()
	r.ok()
}

// validConfiguration says whether a controller can be enabled so.
func validConfiguration(cc uint32) bool {
	const commandSet, pages, arbitration = 7 << 4, 15 << 7, 7 << 11
	return cc&(commandSet|pages|arbitration) == 0
}

// disable is a controller reset (NVMe Base 3.7.2): the controller is not ready
// when the answer goes out, and no longer has I/O queues; RDY falls when nothing of
// what they brought can take effect any more.
func (c *Controller) disable(r *Request, held []*Request) {
	for _, h := range held {
		h.finish(AbortRequested)
	}
	c.Carrier.CloseQueues()
	w := newWait(func(err error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if err != nil {
			c.csts.Or(statusFatal)
			return
		}
		c.csts.And(^uint32(statusReady))
	})
	c.fence(w)
	c.newNexus()
	w.release(nil)
	r.ok()
}

// Ready says whether the controller takes I/O commands.
func (c *Controller) Ready() bool {
	return c.csts.Load()&(statusReady|statusFatal) == statusReady
}
