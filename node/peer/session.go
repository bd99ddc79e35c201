package peer

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"ashlar/replication/wire"
)

// Session carries messages to and from one peer, in order, until it ends.
type Session struct {
	peer     wire.NodeID
	class    Class
	dialled  bool
	conn     *tls.Conn
	raw      *batchConn
	handlers *handlers
	frames   int // limits of the queue
	bytes    int
	done     chan struct{}
	wake     chan struct{} // capacity 1: the queue is no longer empty
	payload  *Buffer       // of the message being handled, unless taken; the reader's
	serial   uint64

	readHeader, writeHeader [frameHeader]byte

	mu          sync.Mutex
	queue       []Frame
	queuedBytes int // not yet given to the kernel, also of frames that left the queue
	err         error
	writing     bool // somebody has w and batch
	rest        bool // the kernel had no room for all that was written

	w     *bufio.Writer // into TLS, one full record
	batch []Frame
}

func newSession(n *Network, peer wire.NodeID, class Class, dialled bool, conn *tls.Conn, raw *batchConn) *Session {
	raw.gather()
	return &Session{w: bufio.NewWriterSize(conn, 16<<10), serial: serials.Add(1), peer: peer, class: class, dialled: dialled, conn: conn, raw: raw, handlers: &n.handlers[class],
		frames: n.config.QueueFrames, bytes: n.config.QueueBytes, done: make(chan struct{}), wake: make(chan struct{}, 1)}
}

// serials counts this process's sessions.
var serials atomic.Uint64

// Serial is higher than that of every session that began before, with whomever.
func (s *Session) Serial() uint64 { return s.serial }

// Peer is the node at the other end, as its certificate says.
func (s *Session) Peer() wire.NodeID { return s.peer }

// Class is Control or Data.
func (s *Session) Class() Class { return s.class }

// Dialled says whether we opened the session, for our requests.
func (s *Session) Dialled() bool { return s.dialled }

// Done is closed when the session has ended.
func (s *Session) Done() <-chan struct{} { return s.done }

// Err is why the session ended, nil before.
func (s *Session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Close ends the session. Queued frames may be lost.
func (s *Session) Close() { s.end(ErrClosed) }

// Send queues a frame and never blocks: where the queue is full, the session
// ends. A nil error does not say that the frame arrives.
func (s *Session) Send(f Frame) error {
	err := s.push(f)
	if err == nil {
		s.signal()
	}
	return err
}

// SendNow is Send for a frame that no other follows at once: where nobody else writes, it is given to the
// kernel, as far as that has room, before SendNow returns, so that nobody has to be woken for it.
func (s *Session) SendNow(f Frame) error {
	if err := s.push(f); err != nil {
		return err
	}
	s.mu.Lock()
	mine := !s.writing && !s.rest && s.err == nil && s.queuedBytes <= atOnce
	if mine {
		s.take()
	}
	s.mu.Unlock()
	if !mine {
		s.signal()
		return nil
	}
	s.finish(s.writeBatch((*batchConn).flushNow))
	return nil
}

// atOnce is how many bytes are written by who must not wait.
const atOnce = 64 << 10

func (s *Session) push(f Frame) error {
	if len(f.Head)+len(f.Body) > MaxPayload {
		f.done()
		return ErrTooLarge
	}
	s.mu.Lock()
	if s.err != nil {
		err := s.err
		s.mu.Unlock()
		f.done()
		return err
	}
	if len(s.queue) >= s.frames || s.queuedBytes+f.bytes() > s.bytes {
		s.mu.Unlock()
		f.done()
		s.end(ErrFull)
		return ErrFull
	}
	s.queue = append(s.queue, f)
	s.queuedBytes += f.bytes()
	s.mu.Unlock()
	return nil
}

func (s *Session) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// end closes the connection without farewell: messages have lengths, so a cut
// one is noticed.
func (s *Session) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return
	}
	s.err = err
	close(s.done)
	s.raw.Conn.Close()
}

// write sends what is queued and left to it until the session ends, then lets go of all frames.
func (s *Session) write() {
	for s.Err() == nil {
		select {
		case <-s.wake:
		case <-s.done:
		}
		s.mu.Lock()
		mine := !s.writing // who writes wakes us when he has done, if there is more
		if mine {
			s.take()
		}
		s.mu.Unlock()
		if mine {
			s.finish(s.writeBatch((*batchConn).flush))
		}
	}
	s.mu.Lock()
	left := s.queue
	s.queue = nil
	s.mu.Unlock()
	for i := range left {
		left[i].done()
	}
}

// take takes the queue and leaves an empty one in the old batch's memory; mu is held.
func (s *Session) take() {
	s.writing = true
	s.batch, s.queue = s.queue, s.batch[:0]
}

// writeBatch gives the batch to TLS and then, by flush, to the kernel, which may have no room for all.
func (s *Session) writeBatch(flush func(*batchConn) (all bool, err error)) (all bool, err error) {
	for i := range s.batch {
		f := &s.batch[i]
		f.putHeader(&s.writeHeader)
		for _, part := range [...][]byte{s.writeHeader[:], f.Head, f.Body} {
			if _, err := s.w.Write(part); err != nil {
				return false, err
			}
		}
	}
	if err := s.w.Flush(); err != nil {
		return false, err
	}
	return flush(s.raw)
}

// finish lets go of the batch. What the kernel had no room for, and what was queued meanwhile, is the writer's.
func (s *Session) finish(all bool, err error) {
	var bytes int
	for i := range s.batch {
		bytes += s.batch[i].bytes()
		s.batch[i].done()
		s.batch[i] = Frame{}
	}
	s.mu.Lock()
	s.queuedBytes -= bytes
	s.writing, s.rest = false, !all
	more := s.rest || len(s.queue) > 0
	s.mu.Unlock()
	if err != nil {
		s.end(fmt.Errorf("peer: sending to node %d: %w", s.peer, err))
	} else if more {
		s.signal()
	}
}

// read hands messages to their handlers until the session ends.
func (s *Session) read() {
	for {
		if err := s.readMessage(); err != nil {
			s.end(fmt.Errorf("peer: receiving from node %d: %w", s.peer, err))
			return
		}
	}
}

func (s *Session) readMessage() error {
	header := &s.readHeader
	if _, err := io.ReadFull(s.conn, header[:]); err != nil {
		return err
	}
	length, kind := binary.BigEndian.Uint32(header[:]), binary.BigEndian.Uint16(header[4:])
	if length > MaxPayload {
		return fmt.Errorf("%w: %d bytes", ErrTooLarge, length)
	}
	handle := s.handlers.of(kind)
	if handle == nil {
		return fmt.Errorf("%w: %#x", ErrUnknown, kind)
	}
	s.payload = newBuffer(int(length))
	defer func() {
		if s.payload != nil {
			s.payload.Release()
		}
	}()
	if _, err := io.ReadFull(s.conn, s.payload.Bytes); err != nil {
		return err
	}
	handle(s, kind, s.payload.Bytes)
	return nil
}

// Take makes the payload that is being handled the caller's, who releases it.
// Only for a Handler, once per message.
func (s *Session) Take() *Buffer {
	b := s.payload
	s.payload = nil
	return b
}
