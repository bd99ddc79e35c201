package engine

import (
	"context"
	"encoding/json"
	"maps"
	"sync"
	"time"

	"ashlar/node/cluster"
	"ashlar/node/peer"
	"ashlar/replication/wire"
)

// questionMax bounds how long the other nodes' answers are waited for.
const questionMax = time.Second

// question is what one node asks another about something that is not agreed on:
// how full its disks are, who is logged in there.
type question struct {
	ID    uint64
	About string
	Body  json.RawMessage `json:",omitempty"`
}

// reply is the answer to a question.
type reply struct {
	ID   uint64
	Body json.RawMessage
}

// Answerer answers a question; the result is sent as JSON. It may take its time.
type Answerer func(from wire.NodeID, question json.RawMessage) any

// poll is a question that waits for answers. left is the control loop's.
type poll struct {
	left map[wire.NodeID]bool
	done chan struct{}

	mu      sync.Mutex
	answers map[wire.NodeID]json.RawMessage
}

// Answer registers who answers questions about something.
func (e *Engine) Answer(about string, f Answerer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.answerers[about] = f
}

// AskAll asks every node that is up and can be reached, this one too, and
// returns the answers that came within a second, or before ctx ended.
func (e *Engine) AskAll(ctx context.Context, about string, body any) map[wire.NodeID]json.RawMessage {
	return e.askThose(ctx, about, body, func(wire.NodeID) bool { return true })
}

// Ask asks one node. It is false where no answer came.
func (e *Engine) Ask(ctx context.Context, to wire.NodeID, about string, body any) (json.RawMessage, bool) {
	answer, ok := e.askThose(ctx, about, body, func(n wire.NodeID) bool { return n == to })[to]
	return answer, ok
}

func (e *Engine) askThose(ctx context.Context, about string, body any, whom func(wire.NodeID) bool) map[wire.NodeID]json.RawMessage {
	text, err := json.Marshal(body)
	if err != nil {
		panic("engine: " + err.Error())
	}
	p := &poll{left: map[wire.NodeID]bool{}, answers: map[wire.NodeID]json.RawMessage{}, done: make(chan struct{})}
	st := e.Consensus.State()
	e.control.post(func() { e.control.question(st, p, question{About: about, Body: text}, whom) })
	timeout := time.NewTimer(questionMax)
	defer timeout.Stop()
	select {
	case <-p.done:
	case <-timeout.C:
	case <-ctx.Done():
	case <-e.ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.answers)
}

func (c *control) question(st *cluster.State, p *poll, q question, whom func(wire.NodeID) bool) {
	for n, node := range st.Nodes {
		if whom(n) && (n == c.e.Self || node.Up && c.e.Network.Session(n, peer.Control) != nil) {
			p.left[n] = true
		}
	}
	if len(p.left) == 0 {
		close(p.done)
		return
	}
	c.lastWait++
	q.ID = c.lastWait
	c.polls[q.ID] = p
	time.AfterFunc(2*questionMax, func() { c.post(func() { delete(c.polls, q.ID) }) })
	for n := range p.left {
		c.send(n, kindQuestion, q)
	}
}

// questioned has a question answered outside of the loop.
func (c *control) questioned(from wire.NodeID, q question) {
	c.e.mu.Lock()
	f := c.e.answerers[q.About]
	c.e.mu.Unlock()
	if f == nil {
		return
	}
	c.e.tasks.Go(func() {
		body, err := json.Marshal(f(from, q.Body))
		if err != nil {
			panic("engine: " + err.Error())
		}
		c.post(func() { c.send(from, kindReply, reply{q.ID, body}) })
	})
}

func (c *control) answered(from wire.NodeID, r reply) {
	p := c.polls[r.ID]
	if p == nil || !p.left[from] {
		return
	}
	p.mu.Lock()
	p.answers[from] = r.Body
	p.mu.Unlock()
	if delete(p.left, from); len(p.left) == 0 {
		delete(c.polls, r.ID)
		close(p.done)
	}
}

// aboutFormat is a question that nodes of the first release do not know.
const aboutFormat = "format"

func format(wire.NodeID, json.RawMessage) any { return cluster.FormatVersion }

// Formats asks every node which cluster.FormatVersion its release knows. Who does not answer is not in it.
func (e *Engine) Formats(ctx context.Context) map[wire.NodeID]int {
	known := map[wire.NodeID]int{}
	for from, text := range e.AskAll(ctx, aboutFormat, nil) {
		var version int
		if err := json.Unmarshal(text, &version); err != nil {
			e.Log.Warn("a malformed answer about formats", "from", from, "error", err)
			continue
		}
		known[from] = version
	}
	return known
}
