package carrier

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"
)

const patience = 20 * time.Second

// coder makes PDUs of items: the item's number, the PDU's, and a lot of bytes. It notes what becomes of each item.
type coder struct {
	mu     sync.Mutex
	sender Sender[uint32]
	nc     net.Conn
	bytes  int // of a PDU
	closed bool

	written uint32 // PDUs so far; of whoever writes
	slots   [256][]byte
	used    int
	taken   map[uint32]int
	sent    map[uint32]int
}

func (c *coder) Little(queue []uint32) bool { return len(queue) <= len(c.slots) }

func (c *coder) Take(items []uint32) {
	c.used = 0
	for _, i := range items {
		c.taken[i]++
	}
}

func (c *coder) Put(i *uint32) (last bool) {
	if c.used == len(c.slots) {
		c.sender.Out.Flush()
		c.used = 0
	}
	if c.slots[c.used] == nil {
		c.slots[c.used] = make([]byte, c.bytes)
	}
	b := c.slots[c.used]
	c.used++
	binary.BigEndian.PutUint32(b, *i)
	binary.BigEndian.PutUint32(b[4:], c.written)
	c.written++
	c.sender.Out.Add(b)
	return *i == farewell
}

const farewell = 1<<32 - 1

func (c *coder) Sent(items []uint32) {
	for _, i := range items {
		c.sent[i]++
	}
}

func (c *coder) End() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.closed = true
		c.nc.Close()
		c.sender.Close()
	}
}

// pair is a connection, and a coder at one end.
func pair(t *testing.T, bytes int) (*coder, net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	host, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	nc, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	nc.(*net.TCPConn).SetWriteBuffer(16 << 10) //nolint:errcheck // the test is then easier
	c := &coder{nc: nc, bytes: bytes, taken: map[uint32]int{}, sent: map[uint32]int{}}
	c.sender.Open(c, &c.mu)
	c.sender.Start(nc)
	t.Cleanup(func() { host.Close(); c.End() })
	return c, host
}

// serve echoes the numbers that the host sends: each is answered by the reader or by a goroutine of its own. It reads
// so many bytes at once. It returns when the sender has ended, and all is answered.
func (c *coder) serve(ahead int) error {
	in := bufio.NewReaderSize(c.sender.Input(c.nc), ahead)
	var workers sync.WaitGroup
	var b [4]byte
	var err error
	for err == nil {
		if _, err = io.ReadFull(in, b[:]); err != nil {
			break
		}
		i := binary.BigEndian.Uint32(b[:])
		answer := func() {
			c.mu.Lock()
			c.sender.Answer(i, i%3 > 0)
		}
		if i%5 == 0 {
			answer()
		} else {
			workers.Go(answer)
		}
		c.sender.WaitForRoom(func(queued int) bool { return queued > 64 })
	}
	workers.Wait()
	c.mu.Lock()
	c.sender.Idle()
	c.mu.Unlock()
	return err
}

func (c *coder) ended(t *testing.T) {
	t.Helper()
	select {
	case <-c.sender.Ended():
	case <-time.After(patience):
		t.Fatal("the sender does not end")
	}
}

// Whoever writes: each answer goes out once, whole, and PDUs in the order of their numbers, also to a host that
// reads late.
func TestAnswersGoOutOnceAndInOrderWhoeverWritesThem(t *testing.T) {
	for i, bytes := range []int{64, 8 << 10, 64} {
		const n = 2000
		c, host := pair(t, bytes)
		served := make(chan error, 1)
		go func() { served <- c.serve(16 + i<<8) }()
		go func() {
			var b [4]byte
			for i := range uint32(n) {
				binary.BigEndian.PutUint32(b[:], i)
				if _, err := host.Write(b[:]); err != nil {
					return
				}
				if i%100 < 30 {
					time.Sleep(time.Microsecond) // what comes alone is written by who has it
				}
			}
		}()
		host.SetReadDeadline(time.Now().Add(patience)) //nolint:errcheck // a dead socket fails at its first use
		seen, b := map[uint32]bool{}, make([]byte, bytes)
		for k := range uint32(n) {
			if k%1000 == 500 {
				time.Sleep(20 * time.Millisecond) // so that the socket is full
			}
			if _, err := io.ReadFull(host, b); err != nil {
				t.Fatalf("after %d answers of %d bytes: %v", k, bytes, err)
			}
			if i := binary.BigEndian.Uint32(b); seen[i] || i >= n {
				t.Fatalf("item %d comes twice, or never was", i)
			} else {
				seen[i] = true
			}
			if got := binary.BigEndian.Uint32(b[4:]); got != k {
				t.Fatalf("PDU %d comes as number %d", got, k)
			}
		}
		host.Close()
		if err := <-served; !errors.Is(err, io.EOF) {
			t.Errorf("the reader ended by %v", err)
		}
		c.End()
		c.ended(t)
		c.once(t, n)
	}
}

// once says whether each item was taken, and given back, once.
func (c *coder) once(t *testing.T, most int) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.taken) > most || len(c.taken) != len(c.sent) {
		t.Errorf("%d items taken and %d given back, of %d", len(c.taken), len(c.sent), most)
	}
	for i, n := range c.taken {
		if n != 1 || c.sent[i] != 1 {
			t.Fatalf("item %d was taken %d times and given back %d times", i, n, c.sent[i])
		}
	}
}

// A connection that ends at any moment gives back every item that it has taken, and nobody writes after Ended.
func TestAConnectionThatEndsGivesBackWhatItHas(t *testing.T) {
	for seed := range uint64(75) {
		random := rand.New(rand.NewPCG(seed, 1))
		c, host := pair(t, 4<<10)
		served := make(chan struct{})
		go func() { c.serve(16 + int(seed%2)<<8); close(served) }() //nolint:errcheck // it is to fail
		go io.Copy(io.Discard, io.LimitReader(host, int64(random.IntN(1<<20))))
		end := random.IntN(400)
		go func() {
			var b [4]byte
			for i := range uint32(400) {
				if int(i) == end {
					switch seed % 3 {
					case 0:
						host.Close()
					case 1:
						c.End()
					default: // the last item ends it
						c.mu.Lock()
						c.sender.Enqueue(farewell)
						c.mu.Unlock()
					}
				}
				binary.BigEndian.PutUint32(b[:], i)
				host.Write(b[:]) //nolint:errcheck // it may be closed
			}
			if seed%3 == 2 {
				time.Sleep(5 * time.Millisecond)
				host.Close() // it may read no more, and the last item wait for that
			}
		}()
		select {
		case <-served:
		case <-time.After(patience):
			t.Fatalf("seed %d: the reader does not end", seed)
		}
		c.End()
		c.ended(t)
		c.mu.Lock()
		c.sender.Enqueue(1000) // too late: it is not taken
		c.mu.Unlock()
		c.once(t, 401)
	}
}

// What is answered while the last item is written goes out before it or never.
func TestNothingFollowsTheLastItem(t *testing.T) {
	for k := range 300 {
		c, host := pair(t, 64)
		go c.serve(16 + k%2<<8) //nolint:errcheck // it is to fail
		go func() {
			var b [4]byte
			for i := range uint32(200) {
				if i == 50 {
					go func() {
						c.mu.Lock()
						c.sender.Answer(farewell, true)
					}()
				}
				binary.BigEndian.PutUint32(b[:], i)
				if _, err := host.Write(b[:]); err != nil {
					return
				}
				if i%8 == 0 {
					time.Sleep(time.Microsecond)
				}
			}
		}()
		host.SetReadDeadline(time.Now().Add(patience)) //nolint:errcheck // a dead socket fails at its first use
		var b [64]byte
		over := false
		for {
			if _, err := io.ReadFull(host, b[:]); err != nil {
				break // a reset too: what the host has sent is not read any more
			}
			if over {
				t.Fatalf("item %d comes after the last", binary.BigEndian.Uint32(b[:]))
			}
			over = binary.BigEndian.Uint32(b[:]) == farewell
		}
		c.ended(t)
		c.once(t, 201)
		host.Close()
	}
}
