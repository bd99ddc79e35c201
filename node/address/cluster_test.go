package address

import (
	"bufio"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"ashlar/node/address/assign"
	"ashlar/replication/wire"
	"ashlar/target/boottime"
)

// cluster is daemons on machines, and beside them what they would have agreed on
// among themselves: leases, fences and moves.
type cluster struct {
	*lab
	daemons   []*machine
	nodes     []assign.Node
	addresses []assign.Address
	planner   *assign.Planner
	granted   []time.Time // by node: when its last renewal may have been sent
}

const (
	promise = time.Duration(leaseLength + leaseLength/10) // as node/lease
	hurry   = 30                                          // how much faster the planner's clock goes
)

// newCluster has a node on each machine, each home to the n-th address.
func newCluster(t *testing.T, l *lab, addresses ...string) *cluster {
	c := &cluster{lab: l, planner: assign.NewPlanner()}
	for i, text := range addresses {
		id := wire.NodeID(i + 1)
		a, err := assign.New(netip.MustParsePrefix(text), uint16(100+i), id)
		if err != nil {
			t.Fatal(err)
		}
		c.addresses = append(c.addresses, a)
		c.daemons = append(c.daemons, l.start(i+1))
		c.granted = append(c.granted, time.Now())
		c.nodes = append(c.nodes, assign.Node{ID: id, Incarnation: 1, Up: true, Fabrics: []netip.Prefix{a.Fabric}})
	}
	return c
}

// step is one look at everything.
func (c *cluster) step() {
	c.Helper()
	for i := range c.nodes {
		n, d := &c.nodes[i], c.daemons[i]
		d.mu.Lock()
		if d.granting {
			c.granted[i] = time.Now()
		}
		d.mu.Unlock()
		if n.Up && time.Since(c.granted[i]) > promise {
			n.Up = false
		}
	}
	for _, m := range c.planner.Tick(boottime.Now()*hurry, c.nodes, c.addresses, false) {
		c.apply(m)
	}
	for i, n := range c.nodes {
		c.tell(c.daemons[i], n)
	}
}

func (c *cluster) apply(m assign.Move) {
	c.Helper()
	for i, a := range c.addresses {
		if a.Address != m.Address {
			continue
		}
		next, err := a.Apply(m, c.nodes)
		if err != nil {
			c.Fatalf("%+v: %v", m, err)
		}
		c.Logf("%s %s, node %d", m.Kind, m.Address, m.To)
		c.addresses[i] = next
	}
}

// tell is what a node does when the agreed state has changed.
func (c *cluster) tell(d *machine, n assign.Node) {
	var mine []Portal
	for _, a := range c.addresses {
		p := Portal{a.Address, a.Fabric}
		switch {
		case a.HeldBy(n.ID, n.Incarnation):
			mine = append(mine, p)
		case a.Leaving && a.Holder == n.ID && n.Up && d.look(p).Address != p.Address:
			c.apply(assign.Move{Kind: assign.Release, Address: a.Address, Gen: a.Gen, To: n.ID, Incarnation: n.Incarnation})
		}
	}
	if slices.Equal(mine, d.told) {
		return
	}
	d.told = mine
	d.hold(mine...)
}

// until steps until a condition holds. No address is ever on two machines.
func (c *cluster) until(what string, within time.Duration, condition func() bool) time.Duration {
	c.Helper()
	return c.eventually(what, within, func() bool {
		c.step()
		for _, a := range c.addresses {
			var on []int
			for k := range c.nodes {
				if c.configured(k+1, a.Address) {
					on = append(on, k+1)
				}
			}
			if len(on) > 1 {
				c.Fatalf("%s is on machines %v", a.Address, on)
			}
		}
		return condition()
	})
}

// caller is a host with one path, that logs in again when it is reset or refused.
// It waits for each answer before it says anything more.
type caller struct {
	mu     sync.Mutex
	by     string        // who answered last
	last   time.Time     // when
	outage time.Duration // the longest between two answers
	tell   []*machine    // who learn of its connections
}

func (l *lab) caller(a netip.Addr, tell ...*machine) *caller {
	c := &caller{last: time.Now(), tell: tell}
	stop := make(chan struct{})
	l.Cleanup(func() { close(stop) })
	go func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
				c.talk(l, a)
			}
		}
	}()
	return c
}

// talk asks through one connection until it ends.
func (c *caller) talk(l *lab, a netip.Addr) {
	conn, err := l.dial(a, 300*time.Millisecond)
	if err != nil {
		return
	}
	defer conn.Close()
	for _, m := range c.tell {
		m.order("known %s %s", conn.RemoteAddr(), conn.LocalAddr())
	}
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		c.mu.Lock()
		if text := lines.Text(); !strings.HasPrefix(text, "still") {
			c.by = text
		}
		c.outage = max(c.outage, time.Since(c.last))
		c.last = time.Now()
		c.mu.Unlock()
		time.Sleep(5 * time.Millisecond)
		if _, err := conn.Write([]byte("still there?\n")); err != nil {
			return
		}
	}
}

// answered says by whom, and how long the host waited at most since it was
// last asked.
func (c *caller) answered() (by string, outage time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	by, outage = c.by, c.outage
	return by, outage
}

func (c *caller) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.outage = 0
}

func TestAHostWithOnePathOutlivesItsNode(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3)
	c := newCluster(t, l, "10.1.0.101/24", "10.1.0.102/24", "fd00:1::101/64")
	a := c.addresses[0].Address
	home := func() bool {
		for i, a := range c.addresses {
			if !c.daemons[i].holds(Portal{a.Address, a.Fabric}) {
				return false
			}
		}
		return true
	}
	c.until("each node holds its own", 5*time.Second, home)
	host := l.caller(a, c.daemons[1], c.daemons[2])
	by := func(name string) func() bool {
		return func() bool { got, _ := host.answered(); return got == name }
	}
	c.until("the host is served at home", 2*time.Second, by("1"))
	host.forget()

	one := c.daemons[0]
	one.lease(false)
	one.signal(syscall.SIGSTOP)
	c.until("a survivor serves the host", 8*time.Second, func() bool { return by("2")() || by("3")() })
	_, outage := host.answered()
	t.Logf("node frozen: outage %v", outage)
	if outage > 6*time.Second {
		t.Errorf("the host waited for %v", outage)
	}
	host.forget()

	one.signal(syscall.SIGKILL)
	<-one.ended
	c.daemons[0] = l.start(1)
	c.nodes[0].Incarnation, c.nodes[0].Up, c.granted[0] = 2, true, time.Now()
	c.until("all is back at home", 8*time.Second, home)
	c.until("the host is served at home", 2*time.Second, by("1"))
	_, outage = host.answered()
	t.Logf("return: outage %v", outage)
	if outage > 3*time.Second {
		t.Errorf("the host waited for %v", outage)
	}
}
