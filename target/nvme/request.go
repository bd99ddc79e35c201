package nvme

import (
	"sync/atomic"

	"ashlar/target"
)

// Request is one command on a queue of a controller. A carrier fills the first
// part, gets all of the host's data that Demand asked for, then calls Execute; Done
// is called exactly once, from any goroutine, and must not block. After it the
// request is the carrier's again, who may Reset and reuse it, and so is the memory that Data had
// at first, but where Op is Kept.
type Request struct {
	Command Command
	Queue   uint16       // 0: the admin queue
	Data    []byte       // as long as Demand said: the host's data, or room for what goes to it, which may be replaced
	Stamp   target.Stamp // of the last byte of the command or of its data
	Done    func(*Request)

	Status Status
	Result uint64 // DW0 and DW1 of the completion

	// Op is for the controller's use, so that a request is one allocation. Its
	// Settle, where it is set after Done, is for the carrier to call: when the host
	// has heard the answer, or when it never will.
	Op target.Op

	controller *Controller
	space      *namespace
	then       func(*Request) // after Op ended OK
	chain      chain
	second     *Request    // of a fused operation, the write
	aborting   atomic.Bool // it sends no further Op
	aborted    atomic.Bool // the host asked for its end
}

// Reset makes a finished request ready for another command.
func (r *Request) Reset() { *r = Request{} }

// enter counts a request in. It is false when the controller is gone.
func (c *Controller) enter(r *Request) bool {
	r.controller = c
	c.underWay.Add(1)
	return !c.gone.Load()
}

// exit counts one out. The last one after the controller has gone tells so.
func (c *Controller) exit() {
	if c.underWay.Add(-1) == 0 && c.gone.Load() {
		c.mu.Lock()
		waits := c.drained
		c.drained = nil
		c.mu.Unlock()
		for _, w := range waits {
			w.release(nil)
		}
	}
}

// finish ends a request. All ends come through here.
func (r *Request) finish(s Status) {
	c := r.controller
	if s.Code() != Success && r.aborted.Load() && s == outcomes[target.Aborted] {
		s = AbortRequested
	}
	r.Status = s
	if s.Code() != Success && s.Code() != CompareFailure {
		c.noteError(r)
	}
	second := r.second
	r.controller, r.space, r.then, r.second, r.chain = nil, nil, nil, nil, chain{}
	r.Done(r)
	if second != nil {
		second.finishSecond(s)
	}
	c.exit()
}

// finishSecond ends the second command of a fused operation as the first ended.
func (r *Request) finishSecond(first Status) {
	r.Status = first
	if first.Code() != Success {
		r.Status = FailedFused | first&DoNotRetry
	}
	r.Done(r)
}

// fail ends a request that would fail again.
func (r *Request) fail(s Status) { r.finish(s | DoNotRetry) }

// submit sends the request's next operation; then runs when it has ended OK. A
// request that is being ended sends nothing more.
func (r *Request) submit(kind target.Kind, lba, blocks uint64, data []byte, then func(*Request)) {
	r.submitTo(kind, lba, blocks, data, r.Stamp, then)
}

func (r *Request) submitTo(kind target.Kind, lba, blocks uint64, data []byte, stamp target.Stamp, then func(*Request)) {
	if r.aborting.Load() || r.controller.gone.Load() {
		r.finish(Interrupted)
		return
	}
	o := &r.Op
	o.Kind, o.LBA, o.Blocks, o.Data = kind, lba, uint32(blocks), data
	o.FUA = r.Queue != 0 && r.Command.DW(12)&forceUnitAccess != 0
	o.Nexus, o.Stamp = *r.controller.nexus.Load(), stamp
	o.Status, o.Offset, o.Kept = target.OK, 0, false
	o.Owner, o.Done = r, opDone
	r.then = then
	r.space.device.Submit(o)
}

const forceUnitAccess = 1 << 30

// opDone is every operation's completion.
func opDone(o *target.Op) {
	r := o.Owner.(*Request)
	o.Owner, o.Lends = nil, false
	switch s := outcomes[o.Status]; s.Code() {
	case Success:
		r.then(r)
	case InternalPathError:
		r.refuse(s)
	default:
		r.finish(s)
	}
}

// ok ends a request that did what it was asked.
func (r *Request) ok() { r.finish(Success) }

// Stop keeps a request that the host aborts from further operations, and fences its
// namespace; done is called when the request has ended.
func (c *Controller) Stop(r *Request, nsid uint32, done func()) {
	r.aborted.Store(true)
	r.aborting.Store(true)
	c.mu.Lock()
	refused := c.refusals.drop(r)
	c.mu.Unlock()
	if refused {
		r.finish(r.Status)
		done()
		return
	}
	n := (*namespace)(nil)
	if c.subsystem != nil {
		n = c.subsystem.namespace(nsid)
	}
	if n == nil {
		done()
		return
	}
	// The scope of a fence is a nexus at the least: siblings that it catches before
	// they were sequenced are answered Command Interrupted, and the host sends them again.
	n.device.Fence(target.FenceNexus, *c.nexus.Load(), func(error) { done() })
}

// stopOn fences a namespace that is being removed.
func (c *Controller) stopOn(n *namespace, w *wait) { w.fence(n.device, *c.nexus.Load()) }
