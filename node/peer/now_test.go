package peer

import (
	"bytes"
	"encoding/binary"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Whoever gives them to the kernel: the frames of each sender come whole and in order, and each is let go of once,
// also where the other node reads late.
func TestFramesComeInOrderWhoeverWritesThem(t *testing.T) {
	const senders, each = 4, 3000
	node := authority(t, cluster)
	var got [senders]atomic.Int64
	all := make(chan struct{})
	b := listen(t, node(2), "127.0.0.2:0", func(n *Network) {
		count := 0
		n.Handle(Data, func(s *Session, kind uint16, payload []byte) {
			from, i := binary.BigEndian.Uint32(payload), binary.BigEndian.Uint32(payload[4:])
			if want := got[from].Add(1) - 1; int64(i) != want {
				t.Errorf("frame %d of sender %d comes as number %d", i, from, want)
			}
			if fill := payload[8:]; len(fill) > 0 && !bytes.Equal(fill, bytes.Repeat([]byte{byte(i)}, len(fill))) {
				t.Errorf("frame %d of sender %d is not what was sent", i, from)
			}
			if count++; count%1000 == 0 {
				time.Sleep(30 * time.Millisecond) // so that the sockets are full
			}
			if count == senders*each {
				close(all)
			}
		}, kindAsk)
	})
	a := listen(t, node(1), "127.0.0.1:0", nil)
	s := connect(t, a, b, Data)
	var done atomic.Int64
	var work sync.WaitGroup
	for from := range uint32(senders) {
		work.Go(func() {
			for i := range uint32(each) {
				body := bytes.Repeat([]byte{byte(i)}, int(i%7)*1500)
				f := Frame{Kind: kindAsk, Head: binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, from), i), Body: body, Done: func() { done.Add(1) }}
				send := s.SendNow
				if i%3 == 0 {
					send = s.Send
				}
				if err := send(f); err != nil {
					t.Errorf("frame %d of sender %d: %v", i, from, err)
					return
				}
				if i%50 == 0 {
					time.Sleep(time.Millisecond)
				}
			}
		})
	}
	work.Wait()
	select {
	case <-all:
	case <-time.After(patience):
		t.Fatal("not all frames come")
	}
	for deadline := time.Now().Add(patience); done.Load() < senders*each && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if n := done.Load(); n != senders*each {
		t.Errorf("%d frames were let go of, of %d", n, senders*each)
	}
}

// A session that ends lets go of each frame once, whoever had it.
func TestFramesOfASessionThatEndsAreLetGoOfOnce(t *testing.T) {
	node := authority(t, cluster)
	b := listen(t, node(2), "127.0.0.2:0", func(n *Network) {
		n.Handle(Data, func(*Session, uint16, []byte) { time.Sleep(100 * time.Microsecond) }, kindAsk)
	})
	a := listen(t, node(1), "127.0.0.1:0", nil)
	s := connect(t, a, b, Data)
	var done, sent atomic.Int64
	var work sync.WaitGroup
	for from := range 4 {
		work.Go(func() {
			for i := range 500 {
				sent.Add(1)
				s.SendNow(Frame{Kind: kindAsk, Body: make([]byte, 3000), Done: func() { done.Add(1) }}) //nolint:errcheck // it ends
				if from == 0 && i == 250 {
					s.Close()
				}
			}
		})
	}
	work.Wait()
	for deadline := time.Now().Add(patience); done.Load() < sent.Load() && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(10 * time.Millisecond)
	if done.Load() != sent.Load() {
		t.Errorf("%d frames were let go of, of %d", done.Load(), sent.Load())
	}
}

// What the kernel has no room for is the writer's.
func TestTheWriterDoesTheRestOfWhatIsSentNow(t *testing.T) {
	const frames = 100
	node := authority(t, cluster)
	all := make(chan struct{})
	b := listen(t, node(2), "127.0.0.2:0", func(n *Network) {
		next := 0
		n.Handle(Data, func(s *Session, kind uint16, payload []byte) {
			if !bytes.Equal(payload, bytes.Repeat([]byte{byte(next)}, 40<<10)) {
				t.Errorf("frame %d is not what was sent", next)
			}
			if next++; next == frames {
				close(all)
			}
			time.Sleep(200 * time.Microsecond)
		}, kindAsk)
	})
	a := listen(t, node(1), "127.0.0.1:0", nil)
	s := connect(t, a, b, Data)
	s.raw.Conn.(*net.TCPConn).SetWriteBuffer(4 << 10) //nolint:errcheck // the test is then harder
	rests, done := 0, make(chan struct{}, 1)
	for i := range frames {
		if err := s.SendNow(Frame{Kind: kindAsk, Body: bytes.Repeat([]byte{byte(i)}, 40<<10), Done: func() { done <- struct{}{} }}); err != nil {
			t.Fatal(err)
		}
		<-done
		s.mu.Lock()
		if s.rest {
			rests++
		}
		s.mu.Unlock()
	}
	select {
	case <-all:
	case <-time.After(patience):
		t.Fatal("not all frames come")
	}
	if rests == 0 {
		t.Error("the kernel had room for all of it at once")
	}
}

// A frame that is queued while another is being written waits for no third.
func TestNoFrameIsLeftBehindByWhoWrites(t *testing.T) {
	node := authority(t, cluster)
	came := make(chan struct{}, 2)
	b := listen(t, node(2), "127.0.0.2:0", func(n *Network) {
		n.Handle(Data, func(*Session, uint16, []byte) { came <- struct{}{} }, kindAsk)
	})
	a := listen(t, node(1), "127.0.0.1:0", nil)
	s := connect(t, a, b, Data)
	for i := range 3000 {
		go s.SendNow(Frame{Kind: kindAsk, Body: make([]byte, 30<<10)}) //nolint:errcheck // then it does not come
		for range i % 64 {
			runtime.Gosched()
		}
		s.Send(Frame{Kind: kindAsk}) //nolint:errcheck // likewise
		for range 2 {
			select {
			case <-came:
			case <-time.After(patience):
				t.Fatalf("a frame of pair %d does not come", i)
			}
		}
	}
}
