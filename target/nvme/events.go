package nvme

// maxEvents bounds the Asynchronous Event Requests that a controller holds.
const maxEvents = 4

// Bits of the Asynchronous Event Configuration and of OAES (NVMe Base 5.27.1.8).
const (
	eventNamespace = 1 << 8
	eventANA       = 1 << 11
	eventDiscovery = 1 << 31
	eventsOfIO     = eventNamespace | eventANA
)

// eventKind is what hosts are told without asking (NVMe Base 5.2).
type eventKind uint8

const (
	namespaceEvent eventKind = iota
	anaEvent
	discoveryEvent
	reservationEvent
	eventKinds
)

// eventResults are DW0 of their completions: type, information and log page.
var eventResults = [eventKinds]uint64{
	namespaceEvent:   2 | 0x00<<8 | logChangedNamespaces<<16,
	anaEvent:         2 | 0x03<<8 | logANA<<16,
	discoveryEvent:   2 | 0xF0<<8 | logDiscovery<<16,
	reservationEvent: 6 | 0x00<<8 | logReservations<<16,
}

// events is what a controller tells its host. It is under Controller.mu.
type events struct {
	held    []*Request // waiting for an event
	pending [eventKinds]bool
	masked  [eventKinds]bool // told, and its log page not read since

	changed      []uint32 // namespaces, ascending, for log page 04h
	changedAll   bool     // there are more than the page has room for
	reservations []reservationNotice
	noticeCount  uint64
}

// release gives back the requests that are held.
func (e *events) release() []*Request {
	held := e.held
	*e = events{}
	return held
}

// asyncEvent is Asynchronous Event Request.
func asyncEvent(r *Request) {
	c := r.controller
	c.mu.Lock()
	if len(c.events.held) >= maxEvents {
		c.mu.Unlock()
		r.fail(AsyncEventLimit)
		return
	}
	if c.gone.Load() {
		c.mu.Unlock()
		r.finish(Interrupted)
		return
	}
	c.events.held = append(c.events.held, r)
	done := c.match()
	c.mu.Unlock()
	finishEvents(done)
}

// match takes the requests that have an event now; mu is held.
func (c *Controller) match() (done []*Request) {
	e := &c.events
	for k := range eventKinds {
		if !e.pending[k] || e.masked[k] || len(e.held) == 0 {
			continue
		}
		e.pending[k], e.masked[k] = false, true
		r := e.held[0]
		e.held = e.held[1:]
		r.Result = eventResults[k]
		done = append(done, r)
	}
	return done
}

func finishEvents(done []*Request) {
	for _, r := range done {
		r.ok()
	}
}

// raise has an event told, once until its log page is read.
func (c *Controller) raise(k eventKind, enabledBy uint32, note func(*events)) {
	c.mu.Lock()
	if note != nil {
		note(&c.events)
	}
	if enabledBy != 0 && c.features.events&enabledBy == 0 {
		c.mu.Unlock()
		return
	}
	c.events.pending[k] = true
	done := c.match()
	c.mu.Unlock()
	finishEvents(done)
}

// deliver tells what waited for a log page to be read.
func (c *Controller) deliver() {
	c.mu.Lock()
	done := c.match()
	c.mu.Unlock()
	finishEvents(done)
}

// read is a host's reading of an event's log page: what happens after it is told anew.
// mu is held.
func (e *events) read(k eventKind) { e.pending[k], e.masked[k] = false, false }

// dropHeld takes a held request out; the host aborts it.
func (c *Controller) dropHeld(r *Request) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, h := range c.events.held {
		if h == r {
			c.events.held = append(c.events.held[:i:i], c.events.held[i+1:]...)
			return true
		}
	}
	return false
}

// mostChanged is how many namespaces log page 04h names.
const mostChanged = 1024

func (c *Controller) namespaceChanged(nsid uint32) {
	c.raise(namespaceEvent, eventNamespace, func(e *events) {
		at := 0
		for at < len(e.changed) && e.changed[at] < nsid {
			at++
		}
		switch {
		case at < len(e.changed) && e.changed[at] == nsid:
		case len(e.changed) == mostChanged:
			e.changedAll = true
		default:
			e.changed = append(e.changed[:at], append([]uint32{nsid}, e.changed[at:]...)...)
		}
	})
}

func (c *Controller) anaChanged() { c.raise(anaEvent, eventANA, nil) }

// DiscoveryChanged tells a discovery controller's host that its log page has changed.
func (c *Controller) DiscoveryChanged() { c.raise(discoveryEvent, eventDiscovery, nil) }
