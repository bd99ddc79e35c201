package nvmetcp

import (
	"cmp"
	"context"
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
	"ashlar/target/boottime"
	"ashlar/target/carrier"
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
	c.Queues = cmp.Or(c.Queues, 64)
	c.Memory = cmp.Or(c.Memory, 512<<20)
	c.ConnectionMemory = cmp.Or(c.ConnectionMemory, 32<<20)
	c.MaxLogins = cmp.Or(c.MaxLogins, 256)
	c.LoginTimeout = cmp.Or(c.LoginTimeout, 15*time.Second)
	c.FenceTimeout = cmp.Or(c.FenceTimeout, 4*time.Second)
	if c.Generation == nil {
		c.Generation = carrier.Clock()
	}
	return c
}

// Server accepts connections and serves them.
type Server struct {
	Config
	conns *carrier.Connections[*conn] // they are young until they have a queue
	pool  *carrier.Buffers
	under atomic.Int32 // commands of I/O queues at controllers

	mu          sync.Mutex
	controllers map[controllerKey]*tenure
	lastID      map[string]uint16 // the controller ID that was given last, by subsystem
	closedFor   map[Scope]int     // drains under way or done, until Resume
}

// NewServer makes a server without listeners.
func NewServer(c Config) *Server {
	c = c.withDefaults()
	s := &Server{
		Config: c, conns: carrier.NewConnections[*conn](c.Log, c.MaxLogins), pool: carrier.NewBuffers(c.Memory),
		controllers: make(map[controllerKey]*tenure), lastID: make(map[string]uint16), closedFor: make(map[Scope]int),
	}
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

// Serve accepts connections until the listener fails or the server is closed.
// It takes the listener over.
func (s *Server) Serve(l net.Listener) error {
	return s.conns.Serve(l, func(nc net.Conn) *conn { return newConn(s, nc) })
}

// DropAll resets every connection at once: nothing that was not yet sent will
// be sent, and nothing that was not yet read will be read.
func (s *Server) DropAll() { s.conns.ResetAll() }

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
	for _, c := range s.conns.All() {
		if carrier.ConnectionOf(c.nc).Local.Addr() != local {
			continue
		}
		c.Reset()
		s.mu.Lock()
		if c.tenure != nil {
			at[c.tenure] = true
		}
		s.mu.Unlock()
	}
	drop(ctx, slices.Collect(maps.Keys(at)))
}

// Connections are all at this moment.
func (s *Server) Connections() []carrier.Connection { return s.conns.Ends() }

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

// Controllers is how many controllers there are, those of discovery and those
// that still wait for their fence included.
func (s *Server) Controllers() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.controllers)
}

// Close ends the listeners and resets all connections.
func (s *Server) Close() { s.conns.Close() }

const clockTick = 100 * time.Millisecond

// keepTime looks after the time limits of connections and controllers.
func (s *Server) keepTime() {
	tick := boottime.Ticker(clockTick)
	defer tick.Stop()
	for {
		select {
		case <-s.conns.Done:
			return
		case <-tick.C:
			for _, c := range s.conns.All() {
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
		case <-s.conns.Done:
			return
		case <-s.pool.Freed():
			for _, c := range s.conns.All() {
				c.feed()
			}
		}
	}
}
