package mirror

import (
	"slices"

	"ashlar/replication/wire"
)

// call is a request to a copy: a write's, which is sent again in the next session; a fetch's, which asks somebody else
// then; or any other, which is sent again if lost is nil.
type call struct {
	node   wire.NodeID
	msg    wire.Message
	sent   int64
	flight *flight
	fetch  *fetch
	user   *Op // whose memory the message refers to
	reply  func(wire.Message)
	lost   func()
}

// asking is a request to a copy, with its message.
type asking[M any] struct {
	call
	msg M
}

// again is before a request is sent once more. The former one may still be at work, and who of the two answers is not
// told: its memory is never returned, and the later one reads elsewhere.
func (c *call) again() {
	if c.flight != nil {
		c.flight.loose = true
	}
	if c.fetch != nil {
		c.fetch.loose = true
	}
	if c.user == nil {
		return
	}
	c.user = nil
	if r, ok := c.msg.(*wire.Read); ok {
		elsewhere := *r
		elsewhere.Into = nil
		c.msg = &elsewhere
	}
}

func (h *Head) callsTo(node wire.NodeID) (reqs []uint64) {
	for req, c := range h.calls {
		if c.node == node {
			reqs = append(reqs, req)
		}
	}
	slices.Sort(reqs)
	return reqs
}

// call sends a request, now or once its node has promised the epoch.
func (h *Head) call(node wire.NodeID, msg func(req uint64) wire.Message, reply func(wire.Message), lost func()) uint64 {
	h.lastReq++
	return h.request(h.lastReq, &call{node: node, msg: msg(h.lastReq), reply: reply, lost: lost})
}

func (h *Head) request(req uint64, c *call) uint64 {
	c.sent = h.now
	h.calls[req] = c
	if p := h.peer(c.node); p.connected && p.prepared {
		h.out.Sends = append(h.out.Sends, Send{c.node, c.msg})
	}
	return req
}

// Receive takes a node's answer to a request.
func (h *Head) Receive(now int64, from wire.NodeID, m wire.Message) {
	h.now = now
	req, status := replyOf(m)
	c := h.calls[req]
	if c == nil || c.node != from || h.deposed {
		return // to a request that nobody waits for any more
	}
	if m.Kind() != answers[c.msg.Kind()] {
		return // the answer to something else: no answer
	}
	p := h.peer(from)
	p.since = now
	switch status {
	case wire.Stale:
		h.depose()
		return
	case wire.Unprepared:
		if p.prepared {
			p.prepared = false
			h.prepare(from)
		}
		return // asked again when it has promised
	case wire.Held:
		if c.flight != nil {
			h.holds(c.flight, from)
		}
		return // and answered again
	}
	delete(h.calls, req)
	if c.user != nil {
		c.user.users--
	}
	if ordered(c.msg) {
		p.took.Add(now, now-c.sent)
	}
	switch {
	case c.flight != nil:
		h.acked(c.flight, from, m.(*wire.Ack))
	case c.fetch != nil:
		h.fetched(c.fetch, from, m.(*wire.Blocks))
	default:
		c.reply(m)
	}
}

// answers are the kinds of message that answer each request to a copy.
var answers = map[wire.Kind]wire.Kind{
	wire.KindPrepare: wire.KindPrepared, wire.KindWrite: wire.KindAck, wire.KindCachedWrite: wire.KindAck, wire.KindReserve: wire.KindAck,
	wire.KindRead: wire.KindBlocks, wire.KindChanges: wire.KindPage, wire.KindExtents: wire.KindRuns, wire.KindRetire: wire.KindAck,
	wire.KindCheck: wire.KindChecked,
}

func replyOf(m wire.Message) (uint64, wire.Status) {
	switch m := m.(type) {
	case *wire.Prepared:
		return m.Req, m.Status
	case *wire.Ack:
		return m.Req, m.Status
	case *wire.Blocks:
		return m.Req, m.Status
	case *wire.Page:
		return m.Req, m.Status
	case *wire.Runs:
		return m.Req, m.Status
	case *wire.Checked:
		return m.Req, m.Status
	}
	return 0, wire.OK
}
