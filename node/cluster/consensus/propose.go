package consensus

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"ashlar/node/cluster"
	"ashlar/node/peer"
	"ashlar/replication/wire"
)

// Kinds of messages on node/peer's Control class. Big endian:
//
//	KindPropose:  call, 8 bytes | cluster.Command, JSON
//	KindProposed: call, 8 bytes | 1: agreed, 0: not | raft index, 8 bytes | cluster.Result, JSON, or why not
const (
	KindPropose  uint16 = 0x0100
	KindProposed uint16 = 0x0101

	// KindPassOn is KindPropose to a node that does not lead, which asks the leader.
	KindPassOn uint16 = 0x0102
)

const (
	commandMax  = 1 << 20         // bytes of JSON
	attemptMax  = 3 * time.Second // for one try at one leader
	retryPause  = 25 * time.Millisecond
	forwardsMax = 64 // of other nodes, at a leader at a time

	unledMax  = 3 * time.Second // without word from any leader: longer than elections take
	passOnMax = time.Second     // for each node that is asked to pass a command on
)

// Propose has the cluster agree on a command, from any node: it goes to whoever leads, again
// and again over elections, with the same Request (made here where it is empty), until ctx ends. On success this
// node's State contains it. A Result with a Problem is an agreement too.
//
// An error leaves open whether the command was, or still will be, agreed on.
func (c *Consensus) Propose(ctx context.Context, command cluster.Command) (cluster.Result, error) {
	if command.Request == "" {
		command.Request = rand.Text()
	}
	if command.Version == 0 {
		command.Version = command.Needs()
	}
	if command.Version > cluster.FormatVersion {
		return cluster.Result{}, fmt.Errorf("consensus: command has version %d, this program knows %d", command.Version, cluster.FormatVersion)
	}
	text, err := json.Marshal(command)
	if err != nil {
		return cluster.Result{}, fmt.Errorf("consensus: %w", err)
	}
	if len(text) > commandMax {
		return cluster.Result{}, fmt.Errorf("consensus: a command of %d bytes is larger than %d", len(text), commandMax)
	}
	for {
		a := c.attempt(ctx, text)
		if a.err == nil {
			return a.result, c.applied(ctx, a.index)
		}
		select {
		case <-time.After(retryPause):
		case <-ctx.Done():
			return cluster.Result{}, fmt.Errorf("%w (%w)", a.err, ctx.Err())
		case <-c.ctx.Done():
			return cluster.Result{}, ErrClosed
		}
	}
}

// answer is what one attempt came to.
type answer struct {
	result cluster.Result
	index  uint64
	err    error
}

func (c *Consensus) attempt(ctx context.Context, text []byte) answer {
	ctx, cancel := context.WithTimeout(ctx, attemptMax)
	defer cancel()
	switch leader, ok := c.Leader(); {
	case !ok && time.Since(c.raft.LastContact()) > unledMax:
		return c.passOn(ctx, text)
	case !ok:
		return answer{err: ErrNoLeader}
	case leader == c.id:
		return c.lead(ctx, text)
	default:
		return c.forward(ctx, leader, KindPropose, text)
	}
}

// passOn asks who else there is, in turn: a leader that has this node under an address of
// before never reaches it, and others know who that leader is.
func (c *Consensus) passOn(ctx context.Context, text []byte) answer {
	a := answer{err: ErrNoLeader}
	for _, id := range c.book.nodes() {
		if id == c.id || c.config.Network.Session(id, peer.Control) == nil {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, passOnMax)
		a = c.forward(ctx, id, KindPassOn, text)
		cancel()
		if a.err == nil {
			return a
		}
	}
	return a
}

// lead proposes here.
func (c *Consensus) lead(ctx context.Context, text []byte) answer {
	f := c.raft.Apply(text, time.Second)
	if err := c.insist(ctx, f); err != nil {
		return answer{err: fmt.Errorf("consensus: proposing as the leader: %w", err)}
	}
	c.spread()
	return answer{result: f.Response().(cluster.Result), index: f.Index()}
}

// applied waits until this node has applied what was agreed on at an index.
func (c *Consensus) applied(ctx context.Context, index uint64) error {
	for {
		v := c.machine.view.Load()
		if v.applied >= index {
			return nil
		}
		select {
		case <-v.newer:
		case <-ctx.Done():
			return fmt.Errorf("consensus: agreed on, but this node has not applied it yet: %w", ctx.Err())
		case <-c.ctx.Done():
			return ErrClosed
		}
	}
}

// calls are the forwarded proposals that wait for their answers.
type calls struct {
	mu      sync.Mutex
	last    uint64
	waiting map[uint64]chan answer
	serving int // proposals of other nodes, being worked on here
}

func (k *calls) open() (uint64, chan answer) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.last++
	reply := make(chan answer, 1)
	k.waiting[k.last] = reply
	return k.last, reply
}

// close gives the call's channel, nil if nobody waits any more.
func (k *calls) close(call uint64) chan answer {
	k.mu.Lock()
	defer k.mu.Unlock()
	reply := k.waiting[call]
	delete(k.waiting, call)
	return reply
}

// forward asks the leader to propose, or another node to pass it on.
func (c *Consensus) forward(ctx context.Context, to wire.NodeID, kind uint16, text []byte) answer {
	failed := func(err error) answer {
		return answer{err: fmt.Errorf("consensus: proposing through node %d: %w", to, err)}
	}
	s := c.config.Network.Session(to, peer.Control)
	if s == nil {
		return failed(errors.New("not connected"))
	}
	call, reply := c.calls.open()
	defer c.calls.close(call)
	if err := s.Send(peer.Frame{Kind: kind, Head: binary.BigEndian.AppendUint64(nil, call), Body: text}); err != nil {
		return failed(err)
	}
	select {
	case a := <-reply:
		if a.err != nil {
			return failed(a.err)
		}
		return a
	case <-s.Done():
		return failed(s.Err())
	case <-ctx.Done():
		return failed(ctx.Err())
	case <-c.ctx.Done():
		return failed(ErrClosed)
	}
}

// receive takes all kinds of messages. It may not block.
func (c *Consensus) receive(s *peer.Session, kind uint16, payload []byte) {
	if len(payload) < 8 {
		s.Close()
		return
	}
	call := binary.BigEndian.Uint64(payload)
	if kind == KindProposed {
		if reply := c.calls.close(call); reply != nil {
			reply <- decodeAnswer(payload[8:])
		}
		return
	}
	if !c.admit() {
		c.reply(s, call, answer{err: errors.New("too many proposals at once, or shutting down")})
		return
	}
	taken := s.Take()
	go func() {
		defer c.dismiss()
		ctx, cancel := context.WithTimeout(c.ctx, attemptMax)
		defer cancel()
		// Raft keeps the entry's bytes for good, so they are not the pool's.
		text := append([]byte(nil), taken.Bytes[8:]...)
		taken.Release()
		a := answer{err: ErrNotLeader}
		if len(text) > commandMax {
			a.err = errors.New("command too large")
		} else if c.IsLeader() {
			a = c.lead(ctx, text)
		} else if leader, ok := c.Leader(); ok && kind == KindPassOn {
			a = c.forward(ctx, leader, KindPropose, text)
		}
		c.reply(s, call, a)
	}()
}

func (c *Consensus) admit() bool {
	c.calls.mu.Lock()
	defer c.calls.mu.Unlock()
	if c.calls.serving >= forwardsMax || c.ctx.Err() != nil {
		return false
	}
	c.calls.serving++
	return true
}

func (c *Consensus) dismiss() {
	c.calls.mu.Lock()
	c.calls.serving--
	c.calls.mu.Unlock()
}

func (c *Consensus) reply(s *peer.Session, call uint64, a answer) {
	head := make([]byte, 17)
	binary.BigEndian.PutUint64(head, call)
	body, err := json.Marshal(a.result)
	if err == nil {
		err = a.err
	}
	if err == nil {
		head[8] = 1
		binary.BigEndian.PutUint64(head[9:], a.index)
	} else {
		body = []byte(err.Error())
	}
	s.Send(peer.Frame{Kind: KindProposed, Head: head, Body: body}) // who asked asks again if it is lost
}

func decodeAnswer(b []byte) (a answer) {
	switch {
	case len(b) < 9:
		a.err = errors.New("an answer that is too short")
	case b[0] == 0:
		a.err = errors.New(string(b[9:]))
	default:
		a.index = binary.BigEndian.Uint64(b[1:])
		a.err = json.Unmarshal(b[9:], &a.result)
	}
	return a
}
