package mirror

import (
	"bytes"
	"testing"

	"ashlar/replication/wire"
)

// cluster is three nodes, each with a copy of one segment of 256 blocks and a
// portal, and a head that moves as a test says. All messages are delivered at
// once, unless lose says that they are lost.
type cluster struct {
	*testing.T
	now     int64
	nodes   map[wire.NodeID]*node
	members []Member
	gen     uint64
	h       *Head
	at      wire.NodeID // of the head; 0: it is dead
	epoch   uint64
	bugs    Bugs
	lose    func(to wire.NodeID, m wire.Message) bool
	fenced  map[any]int
	corrupt func(to wire.NodeID, m wire.Message) wire.Message // what a copy answers instead; nil: what it has
	caught  []Caught                                          // copies that the cluster was asked to take in
}

type node struct {
	id       wire.NodeID
	run      wire.Incarnation
	dead     bool
	replica  *Replica
	portal   *Portal
	blocks   map[uint32]stored
	commit   wire.Version
	full     bool
	fenced   []uint64
	unfenced []uint64
	cleared  []wire.FenceScope
}

type stored struct {
	data    []byte
	version wire.Version
}

const sector = 512

func newCluster(t *testing.T, bugs Bugs) *cluster {
	c := &cluster{T: t, now: 100 * Second, nodes: map[wire.NodeID]*node{}, bugs: bugs, fenced: map[any]int{},
		lose: func(wire.NodeID, wire.Message) bool { return false }}
	for n := wire.NodeID(1); n <= 3; n++ {
		c.nodes[n] = &node{id: n, blocks: map[uint32]stored{}}
		c.members = append(c.members, in(n))
		c.boot(n)
	}
	c.headOn(1)
	return c
}

// boot begins a run of a node. What it had in memory is gone.
func (c *cluster) boot(n wire.NodeID) {
	x := c.nodes[n]
	x.run++
	x.dead = false
	promised := map[wire.VolumeID]uint64{1: c.epoch}
	x.replica = NewReplica(promised, c.bugs)
	x.portal = NewPortal(1, wire.Portal{Node: n, Incarnation: x.run}, c.bugs)
	x.replica.Lease(c.now, 1000*Second)
	x.portal.Lease(c.now, 1000*Second)
}

func (c *cluster) kill(n wire.NodeID) {
	c.nodes[n].dead = true
	if c.at == n {
		c.at = 0
		c.each(func(x *node) { x.portal.Head(c.now, 0, 0, false) })
	} else {
		c.h.Lost(c.now, n)
	}
	c.settle()
}

func (c *cluster) each(f func(*node)) {
	for n := wire.NodeID(1); n <= 3; n++ {
		if !c.nodes[n].dead {
			f(c.nodes[n])
		}
	}
}

func (c *cluster) view() View {
	v := View{MinInSync: 1, Bytes: 1 << 20, Segments: []SegmentView{{Gen: c.gen, Members: c.members}}}
	for n := wire.NodeID(1); n <= 3; n++ {
		v.Nodes = append(v.Nodes, NodeView{wire.Portal{Node: n, Incarnation: c.nodes[n].run}, !c.nodes[n].dead})
	}
	return v
}

// agree changes what the cluster has agreed on.
func (c *cluster) agree(members ...Member) {
	c.gen++
	c.members = members
	c.h.Configure(c.now, c.view())
	c.settle()
}

// headOn begins the next reign. The old head hears nothing of it.
func (c *cluster) headOn(n wire.NodeID) {
	c.epoch++
	c.gen++
	c.at = n
	c.h = NewHead(1, c.epoch, n, 1<<20, 1<<20, c.bugs)
	c.h.Lease(c.now, 1000*Second)
	c.h.Configure(c.now, c.view())
	c.each(func(x *node) { c.h.Connected(c.now, x.id) })
	c.each(func(x *node) {
		x.portal.Head(c.now, n, c.epoch, true)
		x.portal.Token(c.now, n, c.now)
	})
	c.settle()
}

// settle lets everything happen that is to happen now.
func (c *cluster) settle() {
	for again := true; again; {
		again = c.carryHead()
		c.each(func(x *node) { again = c.carryReplica(x) || c.carryPortal(x) || again })
	}
}

func (c *cluster) pass(d int64) {
	for end := c.now + d; c.now < end; {
		c.now += 50 * Millisecond
		if c.at != 0 {
			c.h.Tick(c.now)
		}
		c.each(func(x *node) {
			x.replica.Lease(c.now, 1000*Second)
			if c.at != 0 {
				x.portal.Token(c.now, c.at, c.now)
			}
			x.portal.Tick(c.now)
		})
		c.settle()
	}
}

func (c *cluster) carryHead() bool {
	a := c.h.Take()
	if c.at == 0 {
		return false
	}
	for _, s := range a.Sends {
		x := c.nodes[s.To]
		if x.dead || c.lose(s.To, s.Msg) {
			continue
		}
		if m, ok := s.Msg.(*wire.Clear); ok {
			if x.portal.Clear(c.now, m) {
				x.cleared = append(x.cleared, m.Scope)
			}
			continue
		}
		x.replica.Receive(c.now, c.epoch, s.Msg)
	}
	for _, op := range a.Done {
		p := op.Private.(wire.Submit)
		d := &wire.Done{Req: p.Req, Status: op.Status, Offset: op.Miss}
		if op.Kind == wire.OpRead {
			d.Data = op.Data
		}
		if x := c.nodes[p.Command.Node]; !x.dead && !c.lose(x.id, d) {
			x.portal.Receive(c.now, c.at, d)
		}
	}
	c.caught = append(c.caught, a.Caught...)
	for _, f := range a.Fenced {
		m := f.(wire.Fence)
		c.nodes[m.Portal.Node].portal.Receive(c.now, c.at, &wire.Fenced{Req: m.Req})
	}
	return len(a.Sends)+len(a.Done)+len(a.Fenced) > 0
}

func (c *cluster) carryReplica(x *node) bool {
	a := x.replica.Take()
	for _, j := range a.Jobs {
		if c.corrupt != nil {
			if wrong := c.corrupt(x.id, j.Msg); wrong != nil {
				x.replica.Done(c.now, j, wrong)
				continue
			}
		}
		m, waits := x.work(j)
		if !waits {
			x.replica.Done(c.now, j, m)
		}
	}
	for _, r := range a.Replies {
		if c.at != 0 && r.Session == c.epoch && !c.lose(c.at, r.Msg) {
			c.h.Receive(c.now, x.id, r.Msg)
		}
	}
	return len(a.Jobs)+len(a.Replies) > 0
}

// work is the store.
func (x *node) work(j Job) (m wire.Message, waits bool) {
	switch m := j.Msg.(type) {
	case *wire.Prepare:
		if j.Promise {
			return nil, false
		}
		p := &wire.Prepared{Req: m.Req, Epoch: m.Epoch}
		for _, s := range m.Segments {
			p.Segments = append(p.Segments, wire.Tail{Segment: s, Commit: x.commit, Changes: x.above(x.commit)})
		}
		return p, false
	case *wire.Write:
		if x.full {
			return &wire.Ack{Req: m.Req, Status: wire.NoSpace}, false
		}
		for i := range m.Count {
			b := stored{version: wire.Version{Epoch: m.Epoch, Seq: m.Seq}}
			if m.Versions != nil {
				b.version = m.Versions[i]
			}
			if m.Data != nil {
				b.data = bytes.Clone(m.Data[i*wire.BlockSize:][:wire.BlockSize])
			}
			x.blocks[m.Block+i] = b
		}
		if x.commit.Less(m.Commit) {
			x.commit = m.Commit
		}
		return &wire.Ack{Req: m.Req}, false
	case *wire.Read:
		b := &wire.Blocks{Req: m.Req, Data: make([]byte, m.Count*wire.BlockSize), CRC: make([]uint32, m.Count)}
		for i := range m.Count {
			s := x.blocks[m.Block+i]
			copy(b.Data[i*wire.BlockSize:], s.data)
			b.Versions = append(b.Versions, s.version)
		}
		return b, false
	case *wire.Changes:
		after := m.After
		if m.Own {
			after = x.commit
		}
		return &wire.Page{Req: m.Req, Commit: x.commit, Changes: x.above(after)}, false
	case *wire.Check:
		k := &wire.Checked{Req: m.Req}
		for _, c := range x.above(wire.Version{}) {
			if c.Block >= m.Block && c.Block < m.Block+m.Count {
				k.Changes = append(k.Changes, c)
			}
		}
		return k, false
	case *wire.Commit:
		if k := m.Segments[0].Commit; x.commit.Less(k) {
			x.commit = k
		}
	}
	return nil, true
}

func (x *node) above(v wire.Version) (list []wire.Change) {
	for b := range uint32(256) {
		if s, ok := x.blocks[b]; ok && v.Less(s.version) {
			list = append(list, wire.Change{Block: b, Version: s.version})
		}
	}
	return list
}

func (c *cluster) carryPortal(x *node) bool {
	a := x.portal.Take()
	for _, s := range a.Sends {
		if s.To != c.at || c.lose(s.To, s.Msg) {
			continue
		}
		switch m := s.Msg.(type) {
		case *wire.Submit:
			c.h.Submit(c.now, &Op{Kind: m.Op, Command: m.Command, First: m.First, Nexus: m.Nexus, Stamp: m.Stamp, Offset: m.Offset, Length: m.Length,
				Data: m.Data, Deadline: c.now + m.Wait, Private: *m})
		case *wire.Fence:
			c.h.Fence(c.now, m, *m)
		case *wire.Cleared:
			c.h.Cleared(c.now, m)
			x.portal.Receive(c.now, c.at, &wire.Fenced{Req: m.Req})
		case *wire.Settle:
			c.h.Settle(c.now, m)
		}
	}
	x.fenced, x.unfenced = append(x.fenced, a.Fenced...), append(x.unfenced, a.Unfenced...)
	return len(a.Sends)+len(a.Done)+len(a.Fenced) > 0
}

// command is one that a host has sent through a node.
type command struct {
	*Request
	c  *cluster
	at wire.NodeID
}

func (c *cluster) submit(at wire.NodeID, host string, r *Request) *command {
	x := c.nodes[at]
	r.Nexus = wire.Nexus{Host: host + ",i,0x00023d0000" + string(rune('0'+at)), Port: uint16(at), Generation: 1}
	r.Stamp, r.Read = x.portal.Stamp(), c.now
	x.portal.Submit(c.now, r)
	c.settle()
	return &command{r, c, at}
}

// swap is a host's COMPARE AND WRITE of one sector: two letters stand for the data.
func (c *cluster) swap(at wire.NodeID, host string, s uint64, from, to byte) *command {
	data := append(bytes.Repeat([]byte{from}, sector), bytes.Repeat([]byte{to}, sector)...)
	return c.submit(at, host, &Request{Kind: wire.OpCompareAndWrite, Offset: s * sector, Length: sector, Data: data})
}

func (c *cluster) write(at wire.NodeID, host string, s uint64, to byte) *command {
	return c.submit(at, host, &Request{Kind: wire.OpWrite, Offset: s * sector, Length: sector, Data: bytes.Repeat([]byte{to}, sector)})
}

func (k *command) settle(acknowledged bool) {
	k.c.Helper()
	if k.Claim == 0 {
		k.c.Fatal("it has no claim")
	}
	k.c.nodes[k.at].portal.Settle(k.c.now, k.Claim, acknowledged)
	k.c.settle()
}

func (k *command) is(s wire.Status) *command {
	k.c.Helper()
	if !k.ended || k.Status != s {
		k.c.Errorf("ended %v with %v, want %v", k.ended, k.Status, s)
	}
	return k
}

// holds asserts what a sector is on every copy in the set.
func (c *cluster) holds(s uint64, want byte) {
	c.Helper()
	for _, m := range c.members {
		if x := c.nodes[m.Node]; m.InSync && !x.dead {
			b := x.blocks[uint32(s/8)]
			if b.data == nil {
				b.data = make([]byte, wire.BlockSize)
			}
			if got := b.data[s%8*sector]; got != want {
				c.Errorf("node %d holds %q in sector %d, want %q", m.Node, got, s, want)
			}
		}
	}
}
