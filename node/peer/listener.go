package peer

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"

	"ashlar/node/identity"
)

// handshakesMax bounds the connections of strangers, who may be slow on purpose.
const handshakesMax = 128

// accept takes connections until the network is closed.
func (n *Network) accept() {
	config := n.config.Credentials.ServerTLS([]string{n.protocol(Control), n.protocol(Data), n.protocol(Raft)}, []string{n.protocol(API)})
	slots := make(chan struct{}, handshakesMax)
	for {
		slots <- struct{}{}
		raw, err := n.listener.Accept()
		if err != nil {
			if n.ctx.Err() != nil {
				return
			}
			// Out of descriptors, or the connection went away before we took it.
			n.config.Log.Warn("peer: accept", "error", err)
			<-slots
			pause(n.ctx, 50*time.Millisecond)
			continue
		}
		if !n.start(func() { n.welcome(raw, config, func() { <-slots }) }) {
			raw.Close()
			return
		}
	}
}

// welcome shakes hands, calls shaken, and serves the connection as its protocol says.
func (n *Network) welcome(tcp net.Conn, config *tls.Config, shaken func()) {
	raw := newBatchConn(tcp)
	conn := tls.Server(raw, config)
	ctx, cancel := context.WithTimeout(n.ctx, handshakeMax)
	err := conn.HandshakeContext(ctx)
	cancel()
	shaken()
	if err != nil {
		n.config.Log.Debug("peer: handshake", "from", tcp.RemoteAddr(), "error", err)
		tcp.Close()
		return
	}
	state := conn.ConnectionState()
	class := API // also of who offers no protocol
	for c := range Class(len(protocols)) {
		if n.protocol(c) == state.NegotiatedProtocol {
			class = c
		}
	}
	if class >= messageClasses {
		n.streams[class].offer(conn)
		return
	}
	name, _ := identity.PeerOf(state) // checked by the handshake
	n.run(newSession(n, name.Node, class, false, conn, raw))
}

// run serves a session until it ends.
func (n *Network) run(s *Session) {
	if !n.enter(s) {
		s.end(ErrClosed)
		return
	}
	var writer sync.WaitGroup
	writer.Go(s.write)
	n.config.Events(Event{Kind: Connected, Peer: s.peer, Class: s.class, Session: s})
	s.read()
	writer.Wait()
	n.mu.Lock()
	delete(n.sessions, s)
	n.mu.Unlock()
	n.config.Events(Event{Kind: Lost, Peer: s.peer, Class: s.class, Session: s, Err: s.Err()})
}

func (n *Network) enter(s *Session) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return false
	}
	n.sessions[s] = true
	return true
}

// streamListener hands connections of one class to a server.
type streamListener struct {
	addr   net.Addr
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func newStreamListener(addr net.Addr) *streamListener {
	return &streamListener{addr: addr, conns: make(chan net.Conn), closed: make(chan struct{})}
}

var errStreamClosed = errors.Join(ErrClosed, net.ErrClosed)

// offer waits until the server takes the connection, a handshake's time at most.
func (l *streamListener) offer(c net.Conn) {
	select {
	case l.conns <- c:
	case <-l.closed:
		c.Close()
	case <-time.After(handshakeMax):
		c.Close()
	}
}

func (l *streamListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, errStreamClosed
	}
}

func (l *streamListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *streamListener) Addr() net.Addr { return l.addr }

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
