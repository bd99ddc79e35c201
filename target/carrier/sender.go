package carrier

import (
	"io"
	"net"
	"sync"

	"ashlar/target/socket"
)

// Coder is a connection as its Sender knows it: it turns items, which are answers and
// whatever else a host is sent, into PDUs.
type Coder[I any] interface {
	// Little says whether what is queued is soon written; the lock is held.
	Little(queue []I) bool
	// Take is told that the items are about to be written, or never will be; the lock is held.
	Take(items []I)
	// Put adds an item's PDUs to Sender.Out. It may flush that. After the last item the
	// connection ends.
	Put(item *I) (last bool)
	// Sent is told that the items were written, or never will be; the lock is held.
	Sent(items []I)
	// End ends the connection, and calls Sender.Close. The lock is not held.
	End()
}

// Sender writes what is queued for a host, and has nobody woken for it where that can be: what came
// together is answered together by the goroutine that reads, before it waits for more, and the only
// answer that a host waits for is written by the goroutine that has it. Neither waits for a host that does not read: then, and where
// much is to be written, and for all else that is queued while the reader waits, a goroutine of the sender's writes.
type Sender[I any] struct {
	Out Output

	coder      Coder[I]
	mu         sync.Locker // the connection's
	wake, room sync.Cond   // there is something to write; there is room to queue more
	queue      []I
	batch      []I           // of whoever has set writing
	last       bool          // likewise
	reading    bool          // the reader is at work, and writes what is queued before it waits
	writing    bool          // somebody has the batch, and Out
	rest       bool          // that is the sender's goroutine, to which the rest of a batch was left
	over       bool          // nothing more is written: the last item was, or an error came
	closed     bool          // nothing more is queued
	ended      chan struct{} // closed when the goroutine has ended
}

// Open is called before all else, with the connection's lock.
func (s *Sender[I]) Open(coder Coder[I], mu sync.Locker) {
	s.coder, s.mu = coder, mu
	s.wake.L, s.room.L = mu, mu
	s.ended = make(chan struct{})
}

// Start begins to write.
func (s *Sender[I]) Start(nc net.Conn) {
	s.Out.nc, s.Out.direct = nc, socket.Of(nc)
	go s.write()
}

// Ended is closed when nothing is written any more.
func (s *Sender[I]) Ended() <-chan struct{} { return s.ended }

// Close ends the writing; the lock is held.
func (s *Sender[I]) Close() {
	s.closed = true
	s.wake.Broadcast()
	s.room.Broadcast()
}

// Enqueue hands an item over; the lock is held.
func (s *Sender[I]) Enqueue(i I) {
	if s.closed {
		return
	}
	s.queue = append(s.queue, i)
	if !s.reading {
		s.wake.Signal()
	}
}

// Alone is how many bytes of data an answer may have that is written by who has it: others may wait for that one.
const Alone = 64 << 10

// Answer is Enqueue of a command's answer. The lock is held, and let go. alone says that no host waits for
// another, and that it is of no more than Alone bytes: then it is written, as far as the socket takes it, before Answer returns.
func (s *Sender[I]) Answer(i I, alone bool) {
	defer s.mu.Unlock()
	if alone && !s.reading && len(s.queue) == 0 && !s.closed {
		s.queue = append(s.queue, i)
		if s.mayWriteNow() {
			s.writeNow()
		} else {
			s.wake.Signal()
		}
		return
	}
	s.Enqueue(i)
}

// Input is what the connection's reader reads from.
func (s *Sender[I]) Input(r io.Reader) io.Reader { return &input[I]{s, r} }

type input[I any] struct {
	s *Sender[I]
	r io.Reader
}

func (i *input[I]) Read(b []byte) (int, error) {
	i.s.writeQueued()
	n, err := i.r.Read(b)
	i.s.mu.Lock()
	i.s.reading = true
	i.s.mu.Unlock()
	return n, err
}

// Idle says that the reader reads no more; the lock is held.
func (s *Sender[I]) Idle() {
	s.reading = false
	if s.rest || len(s.queue) > 0 {
		s.wake.Signal()
	}
}

// WaitForRoom keeps the reader back while the host does not read its answers: while it
// is full of so many queued items. It takes the lock.
func (s *Sender[I]) WaitForRoom(full func(queued int) bool) {
	s.mu.Lock()
	for full(len(s.queue)) && !s.closed {
		s.Idle()
		s.room.Wait()
		s.reading = true
	}
	s.mu.Unlock()
}

// write sends what is queued and left to it, batch by batch, until the connection ends.
func (s *Sender[I]) write() {
	defer close(s.ended)
	defer s.abandon()
	for {
		halfway, ok := s.takeBatch()
		if !ok {
			return
		}
		if !halfway {
			s.putBatch()
		}
		s.Out.Flush()
		s.finish()
	}
}

func (s *Sender[I]) putBatch() {
	for i := range s.batch {
		if s.coder.Put(&s.batch[i]) {
			s.last = true
			return
		}
	}
}

func (s *Sender[I]) writeQueued() {
	s.mu.Lock()
	for len(s.queue) > 0 && s.mayWriteNow() {
		s.writeNow()
	}
	s.Idle()
	s.mu.Unlock()
}

// mayWriteNow says whether what is queued may be written by who has no time to wait; the lock is held.
func (s *Sender[I]) mayWriteNow() bool {
	return !s.writing && !s.over && !s.closed && s.Out.direct != nil && s.coder.Little(s.queue)
}

// writeNow writes as much of what is queued as the socket takes, and leaves the rest to the sender's
// goroutine. The lock is held, and let go meanwhile.
func (s *Sender[I]) writeNow() {
	s.take()
	s.mu.Unlock()
	s.putBatch()
	all := s.Out.flushNow()
	if all {
		s.finish()
	}
	s.mu.Lock()
	if !all {
		s.rest = true
		s.wake.Signal()
	}
}

// takeBatch waits until there is something for the writing goroutine: what is
// queued while the reader waits, or a batch that somebody has written in part. Nobody writes any more when it returns false.
func (s *Sender[I]) takeBatch() (halfway, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.rest {
		switch {
		case s.closed && !s.writing:
			return false, false
		case !s.closed && !s.over && !s.writing && !s.reading && len(s.queue) > 0:
			s.take()
			return false, true
		}
		s.wake.Wait()
	}
	s.rest = false
	return true, true
}

// take takes all of the queue; the lock is held.
func (s *Sender[I]) take() {
	s.writing = true
	s.batch, s.queue = s.queue, s.batch[:0]
	s.coder.Take(s.batch)
	s.room.Signal()
}

// abandon gives back what will not be sent.
func (s *Sender[I]) abandon() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.coder.Take(s.queue)
	s.coder.Sent(s.queue)
	s.queue = nil
}

// finish gives back a batch that was sent, and ends the connection after its last item, or an error.
func (s *Sender[I]) finish() {
	s.mu.Lock()
	s.coder.Sent(s.batch)
	clear(s.batch)
	over := s.last || s.Out.Err != nil
	s.over = s.over || over
	s.writing = false
	if s.closed || len(s.queue) > 0 && !s.reading {
		s.wake.Signal()
	}
	s.mu.Unlock()
	if over {
		s.coder.End()
	}
}
