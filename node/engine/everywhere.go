package engine

import (
	"context"
	"time"

	"ashlar/node/cluster"
	"ashlar/node/peer"
	"ashlar/replication/wire"
)

// everywhereMax bounds how long an order waits for the nodes to follow it: what has
// been taken from a host is fenced, which takes 4 s at most.
const everywhereMax = 4500 * time.Millisecond

// known asks whether a node has followed the cluster's commands up to an index;
// the same message back says that it has.
type known struct {
	ID    uint64
	Index uint64
}

// waiting is an order that waits for other nodes.
type waiting struct {
	left map[wire.NodeID]bool
	done chan struct{}
}

// Everywhere returns when this node and every other that is up and can be reached has
// followed what this one knows now, or after everywhereMax. So what a person has ordered here is
// found at every portal: a host that is told "no such target" gives up for good.
func (e *Engine) Everywhere(ctx context.Context) {
	w := &waiting{left: map[wire.NodeID]bool{e.Self: true}, done: make(chan struct{})}
	st := e.Consensus.State()
	e.control.post(func() { e.control.askAll(st, w) })
	select {
	case <-w.done:
	case <-time.After(everywhereMax):
	case <-ctx.Done():
	case <-e.ctx.Done():
	}
}

func (c *control) askAll(st *cluster.State, w *waiting) {
	c.follow(st)
	c.lastWait++
	id := c.lastWait
	for n, node := range st.Nodes {
		if n != c.e.Self && node.Up && c.e.Network.Session(n, peer.Control) != nil {
			w.left[n] = true
			c.send(n, kindKnown, known{id, st.Index})
		}
	}
	c.waits[id] = w
	c.asked(c.e.Self, known{id, st.Index}, 0)
	time.AfterFunc(2*everywhereMax, func() { c.post(func() { delete(c.waits, id) }) })
}

// asked answers as soon as this node knows, unless the asker has given up by then.
func (c *control) asked(from wire.NodeID, k known, waited time.Duration) {
	st := c.e.Consensus.State()
	c.follow(st)
	if st.Index >= k.Index && c.e.followed(k.Index) {
		if from == c.e.Self {
			c.knows(from, k)
		} else {
			c.send(from, kindKnows, k)
		}
	} else if waited < everywhereMax {
		time.AfterFunc(tick/5, func() { c.post(func() { c.asked(from, k, waited+tick/5) }) })
	}
}

func (c *control) knows(from wire.NodeID, k known) {
	w := c.waits[k.ID]
	if w == nil {
		return
	}
	if delete(w.left, from); len(w.left) == 0 {
		delete(c.waits, k.ID)
		close(w.done)
	}
}
