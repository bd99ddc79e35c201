package carrier

import (
	"container/list"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Conn is a host's connection.
type Conn interface {
	comparable
	Run()          // its life
	Reset()        // ends it at once; nothing that was not yet sent will be sent
	Net() net.Conn // constant
}

// Connections are those of a server, from all its listeners.
type Connections[C Conn] struct {
	Done chan struct{} // closed by Close

	log      *slog.Logger
	maxYoung int

	mu        sync.Mutex
	closed    bool
	listeners map[net.Listener]struct{}
	all       map[C]*list.Element // in young
	young     *list.List          // not logged in yet, oldest first
}

// NewConnections has so many at most that are not logged in: one more ends the oldest.
func NewConnections[C Conn](log *slog.Logger, maxYoung int) *Connections[C] {
	return &Connections[C]{Done: make(chan struct{}), log: log, maxYoung: maxYoung,
		listeners: map[net.Listener]struct{}{}, all: map[C]*list.Element{}, young: list.New()}
}

// ErrClosed is what Serve returns after Close.
var ErrClosed = errors.New("server closed")

// Serve accepts connections until the listener fails or Close. It takes the listener over.
func (s *Connections[C]) Serve(l net.Listener, begin func(net.Conn) C) error {
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
			s.start(begin(nc))
			continue
		}
		select {
		case <-s.Done:
			return ErrClosed
		default:
		}
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		// Out of descriptors, or a connection that died in the queue: both pass.
		s.log.Warn("accept", "error", err)
		time.Sleep(50 * time.Millisecond)
	}
}

func (s *Connections[C]) start(c C) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		c.Net().Close()
		return
	}
	if s.young.Len() >= s.maxYoung {
		s.young.Remove(s.young.Front()).(C).Reset()
	}
	s.all[c] = s.young.PushBack(c)
	go c.Run()
}

// LoggedIn takes a connection off those that are not.
func (s *Connections[C]) LoggedIn(c C) {
	s.mu.Lock()
	if e := s.all[c]; e != nil {
		s.young.Remove(e) // no-op when it was evicted
	}
	s.mu.Unlock()
}

// Forget takes an ended connection off the books.
func (s *Connections[C]) Forget(c C) {
	s.mu.Lock()
	if e := s.all[c]; e != nil {
		s.young.Remove(e)
	}
	delete(s.all, c)
	s.mu.Unlock()
}

// All is every connection at this moment.
func (s *Connections[C]) All() []C {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]C, 0, len(s.all))
	for c := range s.all {
		all = append(all, c)
	}
	return all
}

// Young is how many are not logged in.
func (s *Connections[C]) Young() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.young.Len()
}

// Ends are both ends of each.
func (s *Connections[C]) Ends() (all []Connection) {
	for _, c := range s.All() {
		all = append(all, ConnectionOf(c.Net()))
	}
	return all
}

// ResetAll ends every connection at once.
func (s *Connections[C]) ResetAll() {
	for _, c := range s.All() {
		c.Reset()
	}
}

// Closed says whether Close was called.
func (s *Connections[C]) Closed() bool {
	select {
	case <-s.Done:
		return true
	default:
		return false
	}
}

// Close ends the listeners and resets all connections.
func (s *Connections[C]) Close() {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.closed = true
	close(s.Done)
	for l := range s.listeners {
		l.Close()
	}
	s.mu.Unlock()
	s.ResetAll()
}

// Clock gives numbers of which each is more than all before, also in former lives of
// the process, as far as its clock goes forward.
func Clock() func() uint64 {
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
