package sim

import (
	"maps"
	"slices"

	"ashlar/replication/mirror"
	"ashlar/replication/wire"
)

// hostConn is a host's session with one volume through this node's portal.
type hostConn struct {
	p          *process
	c          *conn
	host       *host
	volume     wire.VolumeID
	generation uint64
	since      int64  // when it logged in
	losses     uint64 // of the volume's, then
	ready      bool
	over       bool
	ended      int64 // when it was over
	pending    []*hostCommand
	claims     map[int]uint64 // of answers that the host has not acknowledged, by the command's id
}

// What a host and a portal say to each other.
type (
	login   struct{}
	welcome struct{}
	command struct {
		id     int
		kind   wire.OpKind
		offset uint64
		length uint64
		data   []byte
		fua    bool
	}
	answer struct {
		id     int
		status wire.Status
		data   []byte
		from   *hostConn
	}
	acknowledge struct{ id int } // of an answer
	reset       struct{ of *resetting }
)

// hostCommand is a command on its way through the portal.
type hostCommand struct {
	conn *hostConn
	id   int
	of   *command
	sent int // how often it was sent to a head
	into []byte
}

func (p *process) acceptHost(c *conn, h *host, v wire.VolumeID) {
	hc := &hostConn{p: p, c: c, host: h, volume: v, ended: never, claims: map[int]uint64{}}
	c.ends[1].receive = func(msg any) { p.run(c.id, func() { hc.read(msg) }) }
	c.ends[1].lost = func() { p.run(c.id, func() { hc.lost() }) }
}

func (hc *hostConn) portal() *mirror.Portal { return hc.p.portals[hc.volume-1] }

func (hc *hostConn) nexus() wire.Nexus {
	return wire.Nexus{Host: hc.host.name, Port: uint16(hc.p.s.id), Generation: hc.generation}
}

// read is the moment in which the last byte of a command is read.
func (hc *hostConn) read(msg any) {
	hc.p.watchStall()
	if hc.over {
		return
	}
	switch m := msg.(type) {
	case login:
		hc.login()
	case *command:
		if !hc.ready {
			return
		}
		p := hc.p
		x := &hostCommand{conn: hc, id: m.id, of: m}
		if m.kind == wire.OpRead {
			x.into = make([]byte, m.length)
		}
		p.w.operations[m.id>>8-1].arrived(m.id&255, p.w.now)
		hc.pending = append(hc.pending, x)
		r := hc.portal().NewRequest()
		*r = mirror.Request{Kind: m.kind, Nexus: hc.nexus(), Stamp: hc.portal().Stamp(), Read: p.now(),
			Offset: m.offset, Length: m.length, Data: m.data, Into: x.into, Private: x,
			Cached: p.st.Volumes[hc.volume].WriteCache, FUA: m.fua, Losses: hc.losses}
		hc.portal().Submit(p.now(), r)
	case acknowledge:
		hc.settle(m.id, true)
	case reset:
		hc.reset(m.of)
	}
}

// settle says whether the host has heard an answer.
func (hc *hostConn) settle(id int, acknowledged bool) {
	if claim := hc.claims[id]; claim != 0 {
		delete(hc.claims, id)
		hc.portal().Settle(hc.p.now(), claim, acknowledged)
	}
}

// reset is a LOGICAL UNIT RESET.
func (hc *hostConn) reset(r *resetting) {
	if !hc.ready {
		return
	}
	p := hc.p
	r.began = p.w.now
	p.w.note("reset", int64(p.s.id), int64(hc.volume))
	p.fence(hc.portal(), wire.FenceUnit, wire.Nexus{}, func(proven bool) {
		if proven {
			r.done = p.w.now
			p.w.note("reset done", int64(p.s.id), int64(hc.volume))
		}
	})
}

// login begins a session. It is answered when nothing of the one it replaces,
// in whatever life of this process, can be carried out any more.
func (hc *hostConn) login() {
	p := hc.p
	if !p.active {
		hc.end()
		return
	}
	for _, old := range slices.Clone(p.hosts) {
		if old.host == hc.host && old.volume == hc.volume {
			old.end()
		}
	}
	p.hosts = append(p.hosts, hc)
	hc.since, hc.losses = p.w.now, p.st.Volumes[hc.volume].Losses
	p.generation++
	hc.generation = uint64(p.incarnation)<<32 | p.generation
	done := func(bool) {
		if !hc.over {
			hc.ready = true
			hc.c.send(1, welcome{})
		}
	}
	former := hc.nexus()
	former.Generation--
	p.fence(hc.portal(), wire.FenceNexus, former, done)
}

func (p *process) fence(portal *mirror.Portal, scope wire.FenceScope, n wire.Nexus, then func(proven bool)) {
	p.lastFence++
	p.fences[p.lastFence] = then
	portal.Fence(p.now(), p.lastFence, scope, n)
}

func (p *process) fenceEnds(id uint64, proven bool) {
	if then := p.fences[id]; then != nil {
		delete(p.fences, id)
		then(proven)
	}
}

// end drops the connection.
func (hc *hostConn) end() {
	if hc.over {
		return
	}
	hc.over, hc.ended = true, hc.p.w.now
	hc.c.close(1)
	for _, id := range slices.Sorted(maps.Keys(hc.claims)) {
		hc.settle(id, false)
	}
	hc.p.hosts = slices.DeleteFunc(hc.p.hosts, func(x *hostConn) bool { return x == hc })
}

// lost is the host's doing, or the network's.
func (hc *hostConn) lost() {
	if hc.over {
		return
	}
	hc.end()
	if hc.ready {
		hc.p.fence(hc.portal(), wire.FenceNexus, hc.nexus(), func(bool) {})
	}
}

// watchStall drops all host connections of a process that stood still: what is
// in their buffers may be older than a host's patience.
func (p *process) watchStall() {
	now := p.now()
	if now-p.beat <= beatEvery+stallMax {
		return
	}
	p.beat = now
	p.w.note("stall", int64(p.s.id))
	p.dropHosts()
}

func (p *process) dropHosts() {
	for _, hc := range slices.Clone(p.hosts) {
		hc.end()
	}
	for _, portal := range p.portals {
		portal.Drop(p.now())
	}
}

// forwarded notes that a portal sends a command to a head. A second time is like
// a second attempt of the host: what became of the first is not known.
func (p *process) forwarded(m *wire.Submit) {
	for _, hc := range p.hosts {
		if hc.volume != m.Volume || hc.nexus() != m.Nexus {
			continue
		}
		for _, x := range hc.pending {
			c := x.of
			if c.kind != m.Op || c.offset != m.Offset || c.length != m.Length || len(c.data) != len(m.Data) || len(m.Data) > 0 && &c.data[0] != &m.Data[0] {
				continue
			}
			if x.sent++; x.sent > 1 {
				p.w.operations[x.id>>8-1].again(x.id&255, p.w.now)
			}
			return
		}
	}
}

// answer gives a host its answer. The memory of its command, if it is not lent any more, is the next command's.
func (hc *hostCommand) answer(r *mirror.Request) {
	data := slices.Clone(r.Data)
	if !r.Lent {
		overwrite(hc.of.data)
		overwrite(hc.into)
	}
	hc.conn.pending = slices.DeleteFunc(hc.conn.pending, func(x *hostCommand) bool { return x == hc })
	if r.Claim != 0 {
		hc.conn.claims[hc.id] = r.Claim
	}
	if hc.conn.over {
		hc.conn.settle(hc.id, false)
		return
	}
	a := &answer{id: hc.id, status: r.Status, from: hc.conn}
	if r.Kind == wire.OpRead && r.Status == wire.OK {
		a.data = data
	}
	hc.conn.c.send(1, a)
}

// overwrite puts something else into memory, of which a reader would think that it is torn.
func overwrite(b []byte) {
	for i := range b {
		b[i] = byte(i / 8)
	}
}
