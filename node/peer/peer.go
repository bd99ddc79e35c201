// Package peer connects the nodes of a cluster: one TLS port per node, split by
// ALPN protocol, with message sessions for control and data. See DESIGN.md.
package peer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"sync"
	"time"

	"ashlar/node/identity"
	"ashlar/replication/wire"
)

// Class is what a connection is for.
type Class uint8

const (
	Control Class = iota // messages: small and urgent
	Data                 // messages: large and many
	Raft                 // hashicorp/raft's stream
	API                  // HTTP

	messageClasses = 2 // Control and Data
)

// protocols are their ALPN names. HTTP has its registered one (RFC 7301 section 6),
// which any client offers; net/http hangs up on names that it does not know.
var protocols = [...]string{Control: "ashlar-control/1", Data: "ashlar-data/1", Raft: "ashlar-raft/1", API: "http/1.1"}

// Protocol is the class's ALPN name, for who dials with another tls.Config (a node that joins).
func (c Class) Protocol() string { return protocols[c] }

func (c Class) String() string { return protocols[c] }

// Config of a Network. Zero limits mean the defaults.
type Config struct {
	Credentials *identity.Credentials // of a node
	Lineage     string                // the cluster's: nodes of another are refused in the handshake
	Listen      string                // host:port; also where our own connections come from, if host is an address
	Events      func(Event)           // may be nil; must not block
	Log         *slog.Logger

	QueueFrames int // unsent frames per session, default 16,384
	QueueBytes  int // and their bytes, default 256 MiB
}

// EventKind is what happened.
type EventKind uint8

const (
	Connected   EventKind = iota // a session began
	Lost                         // it ended
	Refused                      // a dial was refused by the peer's kernel: no process listened
	Unreachable                  // a dial failed in another way
)

func (k EventKind) String() string {
	return [...]string{"connected", "lost", "refused", "unreachable"}[k]
}

// Event is news of a peer. Sessions that the peer dialled are told of too.
type Event struct {
	Kind    EventKind
	Peer    wire.NodeID
	Class   Class
	Session *Session  // Connected, Lost
	Address string    // Refused, Unreachable: what was dialled
	Began   time.Time // Refused, Unreachable: when the dial began
	Err     error     // Lost, Refused, Unreachable
}

// Handler takes one message. payload is valid until it returns, or longer after s.Take.
// It runs on the session's reader and must not block.
type Handler func(s *Session, kind uint16, payload []byte)

// Network is a node's port and its sessions with the other nodes.
type Network struct {
	config   Config
	id       wire.NodeID
	listener net.Listener
	source   *net.TCPAddr // nil: any
	handlers [messageClasses]handlers
	streams  map[Class]*streamListener
	ctx      context.Context // ends with Close
	cancel   context.CancelFunc
	tasks    sync.WaitGroup

	mu       sync.Mutex
	serving  bool
	closed   bool
	peers    map[wire.NodeID]string // as of SetPeers
	sessions map[*Session]bool
	dialers  map[wire.NodeID]*dialer
}

type handlers struct {
	rest Handler
	kind map[uint16]Handler
}

// Listen takes the port. Nothing is accepted before Serve, but the kernel
// answers from now on: dials wait, they are not refused.
func Listen(config Config) (*Network, error) {
	if config.Credentials.Name.Node == 0 {
		return nil, fmt.Errorf("peer: %v is no node", config.Credentials.Name)
	}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	if config.Events == nil {
		config.Events = func(Event) {}
	}
	if config.QueueFrames == 0 {
		config.QueueFrames = 16384
	}
	if config.QueueBytes == 0 {
		config.QueueBytes = 256 << 20
	}
	ctx, cancel := context.WithCancel(context.Background())
	listener, err := listenConfig().Listen(ctx, "tcp", config.Listen)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("peer: %w", err)
	}
	n := &Network{config: config, id: config.Credentials.Name.Node, listener: listener, ctx: ctx, cancel: cancel,
		sessions: map[*Session]bool{}, dialers: map[wire.NodeID]*dialer{}}
	n.streams = map[Class]*streamListener{Raft: newStreamListener(listener.Addr()), API: newStreamListener(listener.Addr())}
	if a := listener.Addr().(*net.TCPAddr); !a.IP.IsUnspecified() {
		n.source = &net.TCPAddr{IP: a.IP, Zone: a.Zone}
	}
	for i := range n.handlers {
		n.handlers[i].kind = map[uint16]Handler{}
	}
	return n, nil
}

// protocol is a class's name in the handshake. Nodes that are of different lineages of their cluster have none in common.
func (n *Network) protocol(class Class) string {
	if class == API || n.config.Lineage == "" {
		return protocols[class]
	}
	return protocols[class] + "+" + n.config.Lineage
}

// ErrLineage: the peer is of another lineage of the cluster, or of another release.
var ErrLineage = errors.New("peer: no protocol in common")

// ID is this node's number.
func (n *Network) ID() wire.NodeID { return n.id }

// Addr is where the network listens.
func (n *Network) Addr() net.Addr { return n.listener.Addr() }

// Handle gives the messages of those kinds in a class (of all other kinds, if none
// is named) to h. Only before Serve. It panics where a kind has a handler already.
func (n *Network) Handle(class Class, h Handler, kinds ...uint16) {
	to := &n.handlers[class]
	if len(kinds) == 0 {
		if to.rest != nil {
			panic(fmt.Sprintf("peer: %v has a handler for all other kinds", class))
		}
		to.rest = h
	}
	for _, k := range kinds {
		if to.kind[k] != nil {
			panic(fmt.Sprintf("peer: %v has a handler for kind %#x", class, k))
		}
		to.kind[k] = h
	}
}

func (h *handlers) of(kind uint16) Handler {
	if f := h.kind[kind]; f != nil {
		return f
	}
	return h.rest
}

// Serve begins to accept and to dial.
func (n *Network) Serve() {
	n.start(n.accept)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.serving = true
	n.adjust()
}

// Stream is the listener for the connections of class Raft or API: *tls.Conn,
// shaken hands and checked.
func (n *Network) Stream(class Class) net.Listener { return n.streams[class] }

// SetPeers says which nodes there are, by their addresses (host:port). Sessions of
// both message classes are kept to each but ourselves; who is missing, or has another address, loses its own.
func (n *Network) SetPeers(addresses map[wire.NodeID]string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.peers = maps.Clone(addresses)
	n.adjust()
}

// adjust makes the dialers those for the peers. mu is held.
func (n *Network) adjust() {
	if n.closed || !n.serving {
		return
	}
	for id, d := range n.dialers {
		if n.peers[id] != d.address {
			d.stop()
			delete(n.dialers, id)
		}
	}
	for id, address := range n.peers {
		if id != n.id && address != "" && n.dialers[id] == nil {
			n.dialers[id] = n.keep(id, address)
		}
	}
}

// Session is the one that we dialled, for our requests; nil while there is none.
func (n *Network) Session(id wire.NodeID, class Class) *Session {
	n.mu.Lock()
	defer n.mu.Unlock()
	if d := n.dialers[id]; d != nil {
		return d.current[class]
	}
	return nil
}

// Dial opens one connection to a peer's port at an address, for class Raft or API.
func (n *Network) Dial(ctx context.Context, id wire.NodeID, address string, class Class) (*tls.Conn, error) {
	c, _, err := n.dial(ctx, id, address, class)
	return c, err
}

// Close ends all sessions and frees the port. It returns when no handler runs.
// Connections from Stream and Dial belong to those who have them.
func (n *Network) Close() error {
	n.mu.Lock()
	n.closed = true
	for _, d := range n.dialers {
		d.stop()
	}
	n.mu.Unlock()
	n.cancel()
	err := n.listener.Close()
	for _, l := range n.streams {
		l.Close()
	}
	n.mu.Lock()
	for s := range n.sessions {
		s.end(ErrClosed)
	}
	n.mu.Unlock()
	n.tasks.Wait()
	return err
}

// start runs f unless the network is closed.
func (n *Network) start(f func()) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return false
	}
	n.tasks.Go(f)
	return true
}

// Reasons for the end of a session.
var (
	ErrClosed    = errors.New("peer: closed here")
	ErrFull      = errors.New("peer: too much is queued for the peer")
	ErrTooLarge  = errors.New("peer: message larger than MaxPayload")
	ErrUnknown   = errors.New("peer: message of an unknown kind")
	ErrAddressed = errors.New("peer: the peer has another address, or left")
)
