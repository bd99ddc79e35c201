package nvmetcp

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"ashlar/target"
	"ashlar/target/nvme"
)

// Config is what a server needs. Directory is required; the rest has defaults.
type Config struct {
	Directory Directory
	Watch     *target.StallWatch // nil: stalls are not looked for
	Log       *slog.Logger

	Queues           int           // I/O queues of a controller, default 64
	Memory           int           // data buffers of all connections, bytes, default 512 MiB; 1 MiB of each is not counted
	ConnectionMemory int           // data buffers of one connection, bytes, default 32 MiB
	MaxLogins        int           // connections that have no queue yet, default 256: one more ends the oldest
	LoginTimeout     time.Duration // default 15 s
	FenceTimeout     time.Duration // that a Connect or an Abort waits for a fence, default 4 s

	// Generation numbers controllers: each call gives more than all calls before
	// it for the same port group, also in former lives of the process. By default
	// it follows the clock.
	Generation func() uint64
}

func (c Config) withDefaults() Config {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.Queues = orDefault(c.Queues, 64)
	c.Memory = orDefault(c.Memory, 512<<20)
	c.ConnectionMemory = orDefault(c.ConnectionMemory, 32<<20)
	c.MaxLogins = orDefault(c.MaxLogins, 256)
	c.LoginTimeout = orDefault(c.LoginTimeout, 15*time.Second)
	c.FenceTimeout = orDefault(c.FenceTimeout, 4*time.Second)
	if c.Generation == nil {
		c.Generation = clockGeneration()
	}
	return c
}

func orDefault[T int | time.Duration](v, d T) T {
	if v == 0 {
		return d
	}
	return v
}

func clockGeneration() func() uint64 {
	var last atomic.Uint64
	return func() uint64 {
		for {
			old := last.Load()
			next := max(old+1, uint64(time.Now().UnixNano()))
			if last.CompareAndSwap(old, next) {
				return next
			}
		}
	}
}

// Server accepts connections and serves them.
type Server struct {
	Config
	pool pool
	done chan struct{}

	mu          sync.Mutex
	closed      bool
	listeners   map[net.Listener]struct{}
	conns       map[*conn]struct{}
	logins      *list.List // of *conn without a queue, oldest first
	controllers map[controllerKey]*tenure
	lastID      map[string]uint16 // the controller ID that was given last, by subsystem
	closedFor   map[Scope]int     // drains under way or done, until Resume
}

// NewServer makes a server without listeners.
func NewServer(c Config) *Server {
	s := &Server{
		Config: c.withDefaults(), done: make(chan struct{}), listeners: make(map[net.Listener]struct{}),
		conns: make(map[*conn]struct{}), logins: list.New(), controllers: make(map[controllerKey]*tenure),
		lastID: make(map[string]uint16), closedFor: make(map[Scope]int),
	}
	s.pool.init(s.Memory)
	if s.Watch != nil {
		s.Watch.OnStall(func() {
			s.Log.Warn("this process stood still: all connections are dropped")
			s.DropAll()
		})
	}
	go s.keepTime()
	go s.feed()
	return s
}

// ErrClosed is what Serve returns after Close.
var ErrClosed = errors.New("nvmetcp: server closed")

// Serve accepts connections until the listener fails or the server is closed.
// It takes the listener over.
func (s *Server) Serve(l net.Listener) error {
	defer l.Close()
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return ErrClosed
	}
	s.listeners[l] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.listeners, l)
		s.mu.Unlock()
	}()
	for {
		nc, err := l.Accept()
		if err == nil {
			s.start(nc)
			continue
		}
		select {
		case <-s.done:
			return ErrClosed
		default:
		}
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		// Out of descriptors, or a connection that died in the queue: both pass.
		s.Log.Warn("nvmetcp accept", "error", err)
		time.Sleep(50 * time.Millisecond)
	}
}

// start begins a connection, and ends the oldest one without a queue if there
// are too many.
func (s *Server) start(nc net.Conn) {
	c := newConn(s, nc)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		nc.Close()
		return
	}
	if s.logins.Len() >= s.MaxLogins {
		s.logins.Front().Value.(*conn).reset()
		s.logins.Remove(s.logins.Front())
	}
	c.login = s.logins.PushBack(c)
	s.conns[c] = struct{}{}
	go c.run()
}

// loggedIn takes a connection off those without a queue.
func (s *Server) loggedIn(c *conn) {
	s.mu.Lock()
	s.logins.Remove(c.login) // no-op when it was evicted
	s.mu.Unlock()
}

// forget takes an ended connection off the books.
func (s *Server) forget(c *conn) {
	s.mu.Lock()
	s.logins.Remove(c.login)
	delete(s.conns, c)
	s.mu.Unlock()
}

// DropAll resets every connection at once: nothing that was not yet sent will
// be sent, and nothing that was not yet read will be read.
func (s *Server) DropAll() {
	for _, c := range s.all() {
		c.reset()
	}
}

// Drop resets the controllers of a subsystem, and returns when nothing of them
// can take effect any more, or when ctx has ended.
func (s *Server) Drop(ctx context.Context, nqn string) {
	drop(ctx, s.within(Scope{Subsystem: nqn}))
}

func drop(ctx context.Context, leaving []*tenure) {
	for _, t := range leaving {
		t.reset()
	}
	for _, t := range leaving {
		select {
		case <-t.gone:
		case <-ctx.Done():
			return
		}
	}
}

// DropAddress is Drop for the connections to one of this node's addresses.
func (s *Server) DropAddress(ctx context.Context, local netip.Addr) {
	at := map[*tenure]bool{}
	for _, c := range s.all() {
		if addressOf(c.nc.LocalAddr()).Addr() != local {
			continue
		}
		c.reset()
		s.mu.Lock()
		if c.tenure != nil {
			at[c.tenure] = true
		}
		s.mu.Unlock()
	}
	drop(ctx, slices.Collect(maps.Keys(at)))
}

func addressOf(a net.Addr) netip.AddrPort {
	if tcp, ok := a.(*net.TCPAddr); ok {
		p := tcp.AddrPort()
		return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
	}
	return netip.AddrPort{}
}

// Connection is one that a host has with this node.
type Connection struct{ Local, Remote netip.AddrPort }

// Connections are all at this moment.
func (s *Server) Connections() (all []Connection) {
	for _, c := range s.all() {
		all = append(all, Connection{addressOf(c.nc.LocalAddr()), addressOf(c.nc.RemoteAddr())})
	}
	return all
}

// ResetController ends a controller of this node, and returns nil when nothing of
// it can take effect any more. A controller that there is not has ended already.
func (s *Server) ResetController(ctx context.Context, nqn string, i nvme.Instance) error {
	s.mu.Lock()
	t := s.controllers[controllerKey{nqn, i.ID}]
	s.mu.Unlock()
	if t == nil {
		return nil
	}
	if !t.controller.Is(i) {
		return fmt.Errorf("nvmetcp: controller %d of %s is not the one that is meant", i.ID, nqn)
	}
	t.reset()
	select {
	case <-t.gone:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("nvmetcp: controller %d of %s may not have been fenced yet: %w", i.ID, nqn, context.Cause(ctx))
	}
}

// DiscoveryChanged tells the hosts that watch for it that they may find something
// else in discovery now.
func (s *Server) DiscoveryChanged() {
	for _, t := range s.within(Scope{Subsystem: nvme.DiscoveryNQN}) {
		t.controller.DiscoveryChanged()
	}
}

// all is every connection at this moment.
func (s *Server) all() []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		all = append(all, c)
	}
	return all
}

// Controllers is how many controllers there are, those of discovery and those
// that still wait for their fence included.
func (s *Server) Controllers() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.controllers)
}

// Close ends the listeners and resets all connections.
func (s *Server) Close() {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.closed = true
	close(s.done)
	for l := range s.listeners {
		l.Close()
	}
	s.mu.Unlock()
	s.DropAll()
}

const clockTick = 100 * time.Millisecond

// keepTime looks after the time limits of connections and controllers.
func (s *Server) keepTime() {
	tick := time.NewTicker(clockTick)
	defer tick.Stop()
	for {
		select {
		case <-s.done:
			return
		case <-tick.C:
			for _, c := range s.all() {
				c.unsettled.tick(c.nc)
			}
			for _, t := range s.within(Scope{}) {
				if t.controller.Tick(clockTick) {
					s.Log.Info("nvme host is silent", "host", t.controller.Host().NQN, "subsystem", t.key.nqn, "controller", t.key.id)
					t.reset()
				}
			}
		}
	}
}

// feed gives memory to connections that wait for it.
func (s *Server) feed() {
	for {
		select {
		case <-s.done:
			return
		case <-s.pool.freed:
			for _, c := range s.all() {
				c.feed()
			}
		}
	}
}
