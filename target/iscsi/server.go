package iscsi

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"ashlar/target"
	"ashlar/target/boottime"
	"ashlar/target/carrier"
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
	c.Depth = cmp.Or(c.Depth, 128)
	c.Memory = cmp.Or(c.Memory, 512<<20)
	c.SessionMemory = cmp.Or(c.SessionMemory, 64<<20)
	c.MaxLogins = cmp.Or(c.MaxLogins, 64)
	c.LoginTimeout = cmp.Or(c.LoginTimeout, 15*time.Second)
	c.FenceTimeout = cmp.Or(c.FenceTimeout, 4*time.Second)
	c.PingInterval = cmp.Or(c.PingInterval, 5*time.Second)
	if c.Generation == nil {
		clock := carrier.Clock()
		c.Generation = func(uint16) uint64 { return clock() }
	}
	return c
}

// Server accepts connections and serves them.
type Server struct {
	Config
	conns   *carrier.Connections[*conn] // they are young until they are logged in
	pool    *carrier.Buffers
	guesses guesses
	under   atomic.Int32 // commands at logical units

	mu        sync.Mutex
	sessions  map[sessionKey]*tenure // normal sessions, until they are fenced
	closedFor map[Scope]int          // drains under way or done, until Resume
	tsih      uint16
}

// NewServer makes a server without listeners.
func NewServer(c Config) *Server {
	c = c.withDefaults()
	s := &Server{
		Config: c, conns: carrier.NewConnections[*conn](c.Log, c.MaxLogins), pool: carrier.NewBuffers(c.Memory),
		sessions: make(map[sessionKey]*tenure), closedFor: make(map[Scope]int),
	}
	if s.Watch != nil {
		s.Watch.OnStall(func() {
			s.Log.Warn("this process stood still: all sessions are dropped")
			s.DropAll()
		})
	}
	go s.keepAlive()
	return s
}

// Serve accepts connections until the listener fails or the server is closed.
// It takes the listener over.
func (s *Server) Serve(l net.Listener) error {
	return s.conns.Serve(l, func(nc net.Conn) *conn { return newConn(s, nc) })
}

// DropAll resets every connection at once: nothing that was not yet sent will
// be sent, and nothing that was not yet read will be read.
func (s *Server) DropAll() { s.conns.ResetAll() }

// Drop resets the connections of a target's sessions, and returns when nothing of
// them can take effect any more, or when ctx has ended.
func (s *Server) Drop(ctx context.Context, iqn string) {
	s.dropForGood(ctx, func(c *conn) bool { return c.targetName() == iqn })
}

// DropAddress is Drop for the connections to one of this node's addresses.
func (s *Server) DropAddress(ctx context.Context, local netip.Addr) {
	s.dropForGood(ctx, func(c *conn) bool { return carrier.ConnectionOf(c.nc).Local.Addr() == local })
}

// Connections are all at this moment.
func (s *Server) Connections() []carrier.Connection { return s.conns.Ends() }

func (s *Server) dropForGood(ctx context.Context, match func(*conn) bool) {
	s.mu.Lock()
	tenures := slices.Collect(maps.Values(s.sessions))
	s.mu.Unlock()
	leaving := slices.DeleteFunc(tenures, func(t *tenure) bool { return !match(t.conn) })
	for _, c := range s.conns.All() {
		if match(c) {
			c.Reset()
		}
	}
	for _, t := range leaving {
		select {
		case <-t.gone:
		case <-ctx.Done():
			return
		}
	}
}

// Sessions is how many normal sessions there are, those that still wait for
// their fence included.
func (s *Server) Sessions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions)
}

// Close ends the listeners and resets all connections.
func (s *Server) Close() { s.conns.Close() }

// keepAlive looks after the connections' time limits.
func (s *Server) keepAlive() {
	tick := boottime.Ticker(s.PingInterval / pingTicks)
	defer tick.Stop()
	for {
		select {
		case <-s.conns.Done:
			return
		case <-tick.C:
			for _, c := range s.conns.All() {
				c.tick()
			}
		}
	}
}
