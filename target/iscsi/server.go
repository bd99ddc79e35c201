package iscsi

import (
	"container/list"
	"context"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"ashlar/target"
)

// Config is what a server needs. Directory is required; the rest has defaults.
type Config struct {
	Directory Directory
	Watch     *target.StallWatch // nil: stalls are not looked for
	Log       *slog.Logger

	Depth         int           // commands per session, default 128
	Memory        int           // data buffers of all sessions, bytes, default 512 MiB; 1 MiB of each is not counted
	SessionMemory int           // data buffers of one session, bytes, default 64 MiB
	MaxLogins     int           // unfinished logins, default 64: one more ends the oldest
	LoginTimeout  time.Duration // default 15 s
	FenceTimeout  time.Duration // that a login or a task management function waits for a fence, default 4 s
	PingInterval  time.Duration // silence before a NOP-In, and again before the connection is dropped; default 5 s

	// Generation numbers sessions: each call gives more than all calls before
	// it for the same portal group, also in former lives of the process, and at other
	// nodes if the group moves. By default it follows the clock.
	Generation func(group uint16) uint64
}

func (c Config) withDefaults() Config {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.Depth = orDefault(c.Depth, 128)
	c.Memory = orDefault(c.Memory, 512<<20)
	c.SessionMemory = orDefault(c.SessionMemory, 64<<20)
	c.MaxLogins = orDefault(c.MaxLogins, 64)
	c.LoginTimeout = orDefault(c.LoginTimeout, 15*time.Second)
	c.FenceTimeout = orDefault(c.FenceTimeout, 4*time.Second)
	c.PingInterval = orDefault(c.PingInterval, 5*time.Second)
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

func clockGeneration() func(uint16) uint64 {
	var last atomic.Uint64
	return func(uint16) uint64 {
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
	pool    pool
	guesses guesses
	done    chan struct{}

	mu        sync.Mutex
	closed    bool
	listeners map[net.Listener]struct{}
	conns     map[*conn]struct{}
	logins    *list.List             // of *conn not logged in yet, oldest first
	sessions  map[sessionKey]*tenure // normal sessions, until they are fenced
	closedFor map[Scope]int          // drains under way or done, until Resume
	tsih      uint16
}

// NewServer makes a server without listeners.
func NewServer(c Config) *Server {
	s := &Server{
		Config: c.withDefaults(), done: make(chan struct{}), listeners: make(map[net.Listener]struct{}),
		conns: make(map[*conn]struct{}), logins: list.New(), sessions: make(map[sessionKey]*tenure),
		closedFor: make(map[Scope]int),
	}
	s.pool.limit = s.Memory
	if s.Watch != nil {
		s.Watch.OnStall(func() {
			s.Log.Warn("this process stood still: all sessions are dropped")
			s.DropAll()
		})
	}
	go s.keepAlive()
	return s
}

// ErrClosed is what Serve returns after Close.
var ErrClosed = errors.New("iscsi: server closed")

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
		s.Log.Warn("iscsi accept", "error", err)
		time.Sleep(50 * time.Millisecond)
	}
}

// start begins a connection's login, and ends the oldest unfinished one if
// there are too many.
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

// loggedIn takes a connection off the unfinished logins.
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
func (s *Server) DropAll() { s.drop(func(*conn) bool { return true }) }

// Drop resets the connections of a target's sessions, and returns when nothing of
// them can take effect any more, or when ctx has ended.
func (s *Server) Drop(ctx context.Context, iqn string) {
	s.dropForGood(ctx, func(c *conn) bool { return c.targetName() == iqn })
}

// DropAddress is Drop for the connections to one of this node's addresses.
func (s *Server) DropAddress(ctx context.Context, local netip.Addr) {
	s.dropForGood(ctx, func(c *conn) bool { return addressOf(c.nc.LocalAddr()).Addr() == local })
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

func (s *Server) dropForGood(ctx context.Context, match func(*conn) bool) {
	s.mu.Lock()
	tenures := slices.Collect(maps.Values(s.sessions))
	s.mu.Unlock()
	leaving := slices.DeleteFunc(tenures, func(t *tenure) bool { return !match(t.conn) })
	s.drop(match)
	for _, t := range leaving {
		select {
		case <-t.gone:
		case <-ctx.Done():
			return
		}
	}
}

func (s *Server) drop(match func(*conn) bool) {
	for _, c := range s.all() {
		if match(c) {
			c.reset()
		}
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

// Sessions is how many normal sessions there are, those that still wait for
// their fence included.
func (s *Server) Sessions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions)
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

// keepAlive looks after the connections' time limits.
func (s *Server) keepAlive() {
	tick := time.NewTicker(s.PingInterval / pingTicks)
	defer tick.Stop()
	for {
		select {
		case <-s.done:
			return
		case <-tick.C:
			for _, c := range s.all() {
				c.tick()
			}
		}
	}
}
