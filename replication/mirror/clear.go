package mirror

import (
	"slices"

	"ashlar/replication/wire"
)

// A fence of the whole unit, and the abortion that a reservation's change brings,
// are about commands that came in through any node. Some of them are not with the
// head: a portal holds them, or they are under way. So each portal is told to
// clear itself of them, and answers on the session on which it submits: what
// comes before the answer is of the scope, and nothing of it comes after.
//
// A portal that does not answer does not hold a fence up for longer than a host
// waits: from then on nothing is taken from it until it has answered.

const (
	clearAgain = 500 * Millisecond
	clearMax   = 3 * Second
)

// clearing is one fence that portals are told of.
type clearing struct {
	msg   *wire.Clear
	began int64
	left  []wire.NodeID
	told  int64
	then  func() // nil: done, or given up
}

// clear tells all portals but the one that asked, whose own commands are ended
// already, and goes on when all have answered. What came in through nodes that cannot be asked
// any more ends at once.
func (h *Head) clear(m *wire.Clear, asker wire.Portal, then func()) {
	h.lastReq++
	m.Req, m.Volume = h.lastReq, h.volume
	c := &clearing{msg: m, began: h.now, told: h.now, then: then}
	for _, n := range h.nodes {
		if n.Portal != asker && h.hasPortal(n.Node) {
			c.left = append(c.left, n.Node)
		}
	}
	if !h.bugs.FenceSparesDead {
		h.abort(func(op *Op) bool {
			n := op.Command.Node
			return n != asker.Node && !slices.Contains(c.left, n) && c.covers(op.Nexus)
		})
	}
	h.clearings = append(h.clearings, c)
	for _, n := range c.left {
		h.tellClear(c, n)
	}
	h.cleared(c)
}

func (h *Head) tellClear(c *clearing, n wire.NodeID) {
	if h.peer(n).connected {
		h.out.Sends = append(h.out.Sends, Send{n, c.msg})
	}
}

// Cleared takes a portal's answer.
func (h *Head) Cleared(now int64, m *wire.Cleared) {
	h.now = now
	i := slices.IndexFunc(h.clearings, func(c *clearing) bool { return c.msg.Req == m.Clear })
	if i < 0 || h.deposed {
		return
	}
	c := h.clearings[i]
	if !slices.Contains(c.left, m.Portal.Node) {
		return
	}
	h.abortFrom(c, m.Portal.Node)
	c.left = slices.DeleteFunc(c.left, func(n wire.NodeID) bool { return n == m.Portal.Node })
	h.cleared(c)
}

// abortFrom ends what came in through a node's portal.
func (h *Head) abortFrom(c *clearing, n wire.NodeID) {
	h.abort(func(op *Op) bool { return op.Command.Node == n && c.covers(op.Nexus) })
}

func (c *clearing) covers(n wire.Nexus) bool {
	if c.msg.Scope != wire.FenceNexus {
		return true
	}
	return slices.ContainsFunc(c.msg.Nexuses, func(o wire.Nexus) bool { return Covers(wire.FenceNexus, o, n) })
}

// cleared goes on when nobody is left to answer.
func (h *Head) cleared(c *clearing) {
	if len(c.left) > 0 {
		return
	}
	h.clearings = slices.DeleteFunc(h.clearings, func(o *clearing) bool { return o == c })
	c.end()
}

func (c *clearing) end() {
	if then := c.then; then != nil {
		c.then = nil
		then()
	}
}

func (h *Head) clearTick() {
	for _, c := range slices.Clone(h.clearings) {
		if h.now-c.told >= clearAgain {
			c.told = h.now
			for _, n := range c.left {
				h.tellClear(c, n)
			}
		}
		if h.now-c.began >= clearMax && c.then != nil {
			for _, n := range c.left {
				h.abortFrom(c, n)
			}
			c.end()
		}
	}
}

// awaits says whether a portal has not answered a fence that has been given up
// waiting for it.
func (h *Head) awaits(p wire.Portal) bool {
	return len(h.clearings) > 0 && !h.bugs.AwaitsNothing && slices.ContainsFunc(h.clearings, func(c *clearing) bool { return c.then == nil && slices.Contains(c.left, p.Node) })
}

// hasPortal says whether commands may be held at a node. One that the cluster has
// fenced takes nothing more to a head, and none of its hosts hears an answer; but
// it may have begun anew before this node heard of that.
func (h *Head) hasPortal(n wire.NodeID) bool {
	i := slices.IndexFunc(h.nodes, func(v NodeView) bool { return v.Node == n })
	return i >= 0 && (h.nodes[i].Up || h.peer(n).run > h.nodes[i].Incarnation || h.peer(n).connected && h.peer(n).late)
}

// heardFrom notes which run of a node speaks.
func (h *Head) heardFrom(p wire.Portal) {
	if p.Node == 0 {
		return
	}
	k := h.peer(p.Node)
	k.run = max(k.run, p.Incarnation)
}

// gone says whether a portal is no more: its node was fenced, or began anew.
func (h *Head) gone(p wire.Portal) bool {
	return slices.ContainsFunc(h.nodes, func(v NodeView) bool {
		return v.Node == p.Node && (v.Incarnation > p.Incarnation || v.Portal == p && !v.Up)
	})
}

// nodesAre follows which nodes there are. One that has begun anew may have had
// commands before it was known here.
func (h *Head) nodesAre(nodes []NodeView) {
	before := h.nodes
	h.nodes = nodes
	for _, n := range nodes {
		if !n.Up || slices.Contains(before, n) {
			continue
		}
		for _, c := range h.clearings {
			if c.then != nil && !slices.Contains(c.left, n.Node) {
				c.left = append(c.left, n.Node)
				h.tellClear(c, n.Node)
			}
		}
	}
	h.clearGone()
	h.orphanGone()
}

// clearGone takes the nodes off that no fence has to wait for any more.
func (h *Head) clearGone() {
	for _, c := range slices.Clone(h.clearings) {
		c.left = slices.DeleteFunc(c.left, func(n wire.NodeID) bool {
			if h.hasPortal(n) {
				return false
			}
			h.abortFrom(c, n)
			return true
		})
		h.cleared(c)
	}
}
