package engine

import (
	"encoding/binary"
	"sync"

	"ashlar/node/peer"
	"ashlar/node/volume"
	"ashlar/replication/mirror"
	"ashlar/replication/wire"
)

// Messages of class Data are about one volume: its number, 8 bytes, and then
// the message. Requests go on the session that their asker has dialled, answers
// come back on it.
const volumeHeader = 8

// Handle registers the handlers of the engine's messages with a network that
// does not serve yet. current is the engine, or nil while there is none: then
// the session ends, and its owner asks again on another.
func Handle(n *peer.Network, current func() *Engine) {
	with := func(f func(*Engine, *peer.Session, uint16, []byte)) peer.Handler {
		return func(s *peer.Session, kind uint16, payload []byte) {
			if e := current(); e != nil {
				f(e, s, kind, payload)
			} else {
				s.Close()
			}
		}
	}
	n.Handle(peer.Data, with((*Engine).data))
	n.Handle(peer.Control, with((*Engine).controlMessage), controlKinds...)
}

// PeerEvent takes the network's news.
func (e *Engine) PeerEvent(ev peer.Event) {
	switch {
	case ev.Kind == peer.Refused:
		e.control.refused(ev)
	case ev.Class != peer.Data || ev.Session == nil:
	case ev.Kind == peer.Connected && ev.Session.Dialled():
		e.linked(ev.Peer, ev.Session)
	case ev.Kind == peer.Lost && ev.Session.Dialled():
		e.unlinked(ev.Peer, ev.Session)
	case ev.Kind == peer.Connected:
		e.began(ev.Session)
	case ev.Kind == peer.Lost:
		e.forget(ev.Session)
	}
}

func (e *Engine) linked(n wire.NodeID, s *peer.Session) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.links[n] == s {
		return
	}
	for _, v := range e.volumes {
		if e.links[n] != nil {
			v.Lost(n)
		}
		v.Connected(n)
	}
	e.links[n] = s
}

func (e *Engine) unlinked(n wire.NodeID, s *peer.Session) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.links[n] != s {
		return
	}
	delete(e.links, n)
	for _, v := range e.volumes {
		v.Lost(n)
	}
}

// refuse answers what is about a volume that is not known here yet.
func refuse(s *inbound, v wire.VolumeID, m wire.Message) {
	if r := mirror.Refuse(m); r != nil {
		s.Reply(v, r, false)
	}
}

// inbound is a session from which requests come.
type inbound struct{ session *peer.Session }

// source is a node's newest session for its requests. What an older one still
// brings comes too late: its asker has asked again, or given up, on this one.
type source struct {
	mu     sync.Mutex
	newest *inbound // nil: there is none now
	serial uint64   // of the newest there ever was
}

// Reply sends an answer back.
func (i *inbound) Reply(v wire.VolumeID, m wire.Message, now bool) { send(i.session, v, m, now) }

func (e *Engine) source(n wire.NodeID) *source {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.sources[n] == nil {
		e.sources[n] = &source{}
	}
	return e.sources[n]
}

// began makes s its node's newest session, unless a later one is known.
func (e *Engine) began(s *peer.Session) {
	src := e.source(s.Peer())
	src.mu.Lock()
	defer src.mu.Unlock()
	src.take(e, s)
}

// take says whether s is the newest session, as the asker of its requests, if
// so. mu is held.
func (src *source) take(e *Engine, s *peer.Session) (*inbound, bool) {
	old := src.newest
	switch {
	case old != nil && old.session == s:
		return old, true
	case s.Serial() <= src.serial:
		s.Close()
		return nil, false
	}
	src.newest, src.serial = &inbound{s}, s.Serial()
	if old != nil {
		old.session.Close()
		e.each(func(v *volume.Volume) { v.Forget(old) })
	}
	return src.newest, true
}

func (e *Engine) forget(s *peer.Session) {
	src := e.source(s.Peer())
	src.mu.Lock()
	old := src.newest
	if old != nil && old.session == s {
		src.newest = nil
	} else {
		old = nil
	}
	src.mu.Unlock()
	if old != nil {
		e.each(func(v *volume.Volume) { v.Forget(old) })
	}
}

// Send is a request to a node over its link, lost where there is none: then the
// asker hears of the link's end, if it has not yet.
func (e *Engine) Send(to wire.NodeID, v wire.VolumeID, m wire.Message, now bool) {
	e.mu.Lock()
	s := e.links[to]
	e.mu.Unlock()
	if s != nil {
		send(s, v, m, now)
	}
}

// frame is the memory of a message on its way out.
type frame struct {
	bytes []byte
	done  func() // gives it back
}

var frames sync.Pool // of *frame

func newFrame() *frame {
	f := new(frame)
	f.done = func() { frames.Put(f) }
	return f
}

func send(s *peer.Session, v wire.VolumeID, m wire.Message, now bool) {
	memory, ok := frames.Get().(*frame)
	if !ok {
		memory = newFrame()
	}
	head, data := wire.MarshalApart(binary.BigEndian.AppendUint64(memory.bytes[:0], uint64(v)), m)
	memory.bytes = head
	f := peer.Frame{Kind: uint16(m.Kind()), Head: head, Body: data, Done: memory.done}
	if now {
		s.SendNow(f)
	} else {
		s.Send(f)
	}
}

var decoders = sync.Pool{New: func() any { return new(wire.Decoder) }}

var spentWrites, spentAcks sync.Pool // of *wire.Write and *wire.Ack

// Spent is volume.Node's.
func (e *Engine) Spent(m wire.Message) {
	switch m := m.(type) {
	case *wire.Write:
		m.Memory, m.Data = nil, nil
		spentWrites.Put(m)
	case *wire.Ack:
		spentAcks.Put(m)
	}
}

// unmarshal is a message of another node's.
func unmarshal(kind wire.Kind, payload []byte) (wire.Message, error) {
	d := decoders.Get().(*wire.Decoder)
	defer decoders.Put(d)
	switch kind {
	case wire.KindWrite, wire.KindCachedWrite:
		d.Write, _ = spentWrites.Get().(*wire.Write)
	case wire.KindAck:
		d.Ack, _ = spentAcks.Get().(*wire.Ack)
	}
	return d.Unmarshal(kind, payload)
}

// data takes a message about a volume. Its buffer is kept where the message refers to it: a write does so
// until it is on the disk.
func (e *Engine) data(s *peer.Session, kind uint16, payload []byte) {
	if len(payload) < volumeHeader {
		e.Log.Warn("a malformed message", "from", s.Peer(), "bytes", len(payload))
		s.Close()
		return
	}
	id := wire.VolumeID(binary.BigEndian.Uint64(payload))
	m, err := unmarshal(wire.Kind(kind), payload[volumeHeader:])
	if err != nil {
		e.Log.Warn("a malformed message", "from", s.Peer(), "error", err)
		s.Close()
		return
	}
	if wire.Refers(m) {
		buffer := s.Take()
		if w, ok := m.(*wire.Write); ok {
			w.Memory = buffer
		}
	}
	if s.Dialled() {
		e.reply(s.Peer(), id, m)
		return
	}
	src := e.source(s.Peer())
	src.mu.Lock()
	defer src.mu.Unlock() // so that nothing of it is queued behind the first of a newer one
	from, newest := src.take(e, s)
	if !newest {
		return
	}
	if v := e.volume(id); v != nil {
		v.Request(from, m)
	} else {
		refuse(from, id, m)
	}
}

func (e *Engine) reply(from wire.NodeID, id wire.VolumeID, m wire.Message) {
	if v := e.volume(id); v != nil {
		v.Reply(from, m)
	}
}
