package sim

import "slices"

// place is a machine in the network: nodes first, then hosts.
type place int

// link is one direction between two machines.
type link struct {
	cut  bool
	cuts int   // how often it was cut
	slow int64 // up to so much is added to each delay
}

// Times of the machines' kernels.
const (
	userTimeout = 3 * second // a connection whose bytes are not acknowledged ends
	delayLow    = 40 * microsecond
	delayHigh   = 400 * microsecond
)

// network knows all links and connections.
type network struct {
	*timeline
	shape *shape
	links map[[2]place]*link
	conns []*conn
	last  int // number of connections ever
}

func newNetwork(t *timeline, s *shape) *network {
	return &network{timeline: t, shape: s, links: map[[2]place]*link{}}
}

func (n *network) link(a, b place) *link {
	l := n.links[[2]place{a, b}]
	if l == nil {
		l = &link{}
		n.links[[2]place{a, b}] = l
	}
	return l
}

// connected says whether packets go both ways.
func (n *network) connected(a, b place) bool {
	return a == b || !n.link(a, b).cut && !n.link(b, a).cut
}

func (n *network) delay(a, b place) int64 {
	d := n.between(delayLow, delayHigh)
	if most := n.link(a, b).slow + n.shape.wire; most > 0 {
		d += n.between(0, most)
	}
	return d
}

// conn is a TCP connection. Each end learns of its end by itself.
type conn struct {
	net  *network
	id   int
	ends [2]end
}

// end is one side: what it receives, in order, and lost once at the end, unless
// it closed by itself.
type end struct {
	at      place
	open    bool
	receive func(msg any)
	lost    func()
	arrives int64 // when the last message to here arrives
	stuck   []any // sent from here, not yet in the network
}

func (n *network) dial(a, b place) *conn {
	n.last++
	c := &conn{net: n, id: n.last}
	c.ends[0] = end{at: a, open: true}
	c.ends[1] = end{at: b, open: true}
	n.conns = append(n.conns, c)
	if !n.connected(a, b) {
		n.timeout(c, a, b)
	}
	return c
}

// send queues a message at one end.
func (c *conn) send(from int, msg any) {
	e := &c.ends[from]
	if !e.open {
		return
	}
	if c.net.link(e.at, c.ends[1-from].at).cut {
		e.stuck = append(e.stuck, msg)
		return
	}
	c.deliver(from, func(to *end) { to.receive(msg) })
}

// deliver brings something to the other end after all that was sent before it.
func (c *conn) deliver(from int, do func(to *end)) {
	to := &c.ends[1-from]
	to.arrives = max(to.arrives, c.net.now+c.net.delay(c.ends[from].at, to.at))
	c.net.after(to.arrives-c.net.now, func() {
		if to.open && to.receive != nil {
			do(to)
		}
	})
}

// close ends one side; its kernel tells the other if it can.
func (c *conn) close(side int) {
	e := &c.ends[side]
	if !e.open {
		return
	}
	e.open, e.stuck = false, nil
	c.farewell(side)
	c.net.forget(c)
}

func (c *conn) farewell(side int) {
	if c.ends[1-side].open && !c.net.link(c.ends[side].at, c.ends[1-side].at).cut {
		c.deliver(side, func(*end) { c.fail(1 - side) })
	}
}

// fail ends one side because its kernel says so.
func (c *conn) fail(side int) {
	e := &c.ends[side]
	if !e.open {
		return
	}
	e.open, e.stuck = false, nil
	if e.lost != nil {
		e.lost()
	}
	c.farewell(side)
	c.net.forget(c)
}

// vanish is the end of a side's machine: nobody says anything.
func (c *conn) vanish(side int) {
	c.ends[side].open, c.ends[side].stuck = false, nil
	c.net.after(userTimeout+c.net.between(0, second), func() { c.fail(1 - side) })
}

func (n *network) forget(c *conn) {
	if !c.ends[0].open && !c.ends[1].open {
		if i := slices.Index(n.conns, c); i >= 0 {
			n.conns = slices.Delete(n.conns, i, i+1)
		}
	}
}

// of lists the connections with an end at a, and which.
func (n *network) of(a place) (list []*conn, sides []int) {
	for _, c := range n.conns {
		for side := range c.ends {
			if c.ends[side].at == a {
				list, sides = append(list, c), append(sides, side)
			}
		}
	}
	return list, sides
}

// sever cuts one direction: what is sent waits in the kernel, and connections
// that use it end after a time.
func (n *network) sever(a, b place) {
	l := n.link(a, b)
	if l.cut {
		return
	}
	l.cut = true
	l.cuts++
	for _, c := range n.conns {
		n.timeout(c, a, b)
	}
}

// timeout ends both sides of a connection, each in its own time, if it uses a
// direction that stays cut.
func (n *network) timeout(c *conn, a, b place) {
	if c.ends[0].at != a && c.ends[0].at != b || c.ends[1].at != a && c.ends[1].at != b {
		return
	}
	l := n.link(a, b)
	cuts := l.cuts
	for side := range c.ends {
		n.after(userTimeout+n.between(0, second), func() {
			if l.cut && l.cuts == cuts {
				c.fail(side)
			}
		})
	}
}

// mend lets one direction work again: kernels send what waits, and answer for
// connections that they do not know any more.
func (n *network) mend(a, b place) {
	l := n.link(a, b)
	if !l.cut {
		return
	}
	l.cut = false
	for _, c := range slices.Clone(n.conns) {
		for side := range c.ends {
			e := &c.ends[side]
			if e.at != a || c.ends[1-side].at != b {
				continue
			}
			if !e.open {
				c.farewell(side)
				continue
			}
			stuck := e.stuck
			e.stuck = nil
			for _, msg := range stuck {
				c.deliver(side, func(to *end) { to.receive(msg) })
			}
		}
	}
}

// reset ends a connection for both sides.
func (n *network) reset(c *conn) {
	for side := range c.ends {
		n.after(n.between(0, 50*millisecond), func() { c.fail(side) })
	}
}

// datagram brings a small message that is sent again for a while by whoever
// wants it to arrive.
func (n *network) datagram(a, b place, arrive func()) {
	switch {
	case a == b:
		n.after(10*microsecond, arrive)
	case !n.link(a, b).cut:
		n.after(n.delay(a, b), arrive)
	case n.chance(0.5):
		n.after(n.between(0, userTimeout), func() {
			if !n.link(a, b).cut {
				arrive()
			}
		})
	}
}
