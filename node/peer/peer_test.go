package peer

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"ashlar/node/identity"
	"ashlar/replication/wire"
)

const (
	kindAsk    = 1
	kindAnswer = 2
)

func TestAnswersComeBackOnTheSessionThatAsked(t *testing.T) {
	node := authority(t, cluster)
	answers := make(chan *Buffer, 3)
	a := listen(t, node(1), "127.0.0.1:0", func(n *Network) {
		n.Handle(Data, func(s *Session, kind uint16, payload []byte) { answers <- s.Take() }, kindAnswer)
	})
	b := listen(t, node(2), "127.0.0.2:0", func(n *Network) {
		n.Handle(Data, func(s *Session, kind uint16, payload []byte) {
			if s.Peer() != 1 || s.Dialled() {
				t.Errorf("asked by node %d, dialled here: %v", s.Peer(), s.Dialled())
			}
			taken := s.Take()
			s.Send(Frame{Kind: kindAnswer, Head: []byte("you said "), Body: taken.Bytes, Done: taken.Release})
		}, kindAsk)
	})
	s := connect(t, a, b, Data)
	if a.Session(2, Data) != s {
		t.Error("the session is not published")
	}
	large := make([]byte, 8<<20)
	rand.Read(large)
	for _, body := range [][]byte{nil, []byte("short"), large} {
		if err := s.Send(Frame{Kind: kindAsk, Body: body}); err != nil {
			t.Fatal(err)
		}
	}
	for _, body := range [][]byte{nil, []byte("short"), large} {
		select {
		case answer := <-answers:
			if want := append([]byte("you said "), body...); !bytes.Equal(answer.Bytes, want) {
				t.Fatalf("%d bytes answered to %d", len(answer.Bytes), len(body))
			}
			answer.Release()
		case <-time.After(patience):
			t.Fatal("no answer")
		}
	}
}

func TestRefusedDialIsReportedWithItsBeginning(t *testing.T) {
	node := authority(t, cluster)
	gone := listen(t, node(2), "127.0.0.2:0", nil)
	address := gone.Addr().String()
	gone.Close()
	started := time.Now()
	a := listen(t, node(1), "127.0.0.1:0", nil)
	a.SetPeers(map[wire.NodeID]string{2: address})
	e := a.await(t, "refused", is(Refused, 2, Control, true))
	if e.Began.Before(started) || e.Address != address {
		t.Errorf("%+v", e)
	}
	b := listen(t, node(2), address, nil)
	a.await(t, "connected", is(Connected, 2, Control, true))
	b.await(t, "connected", is(Connected, 1, Control, false))
	ended := time.Now()
	b.Close()
	a.await(t, "lost", is(Lost, 2, Control, true))
	a.await(t, "refused again", func(e Event) bool { return e.Kind == Refused && e.Began.After(ended) })
}

// A listener that nobody accepts from is a process that lives.
func TestListeningWithoutServingIsNotRefused(t *testing.T) {
	node := authority(t, cluster)
	b, err := Listen(Config{Credentials: node(2), Listen: "127.0.0.2:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	a := listen(t, node(1), "127.0.0.1:0", nil)
	a.SetPeers(map[wire.NodeID]string{2: b.Addr().String()})
	a.await(t, "unreachable", is(Unreachable, 2, Control, true))
	b.Serve()
	a.await(t, "connected", is(Connected, 2, Control, true))
}

func TestStrangersGetNoSession(t *testing.T) {
	node, other := authority(t, cluster), authority(t, cluster)
	a := listen(t, node(1), "127.0.0.1:0", nil)
	b := listen(t, other(2), "127.0.0.2:0", nil)
	c := listen(t, node(3), "127.0.0.3:0", nil)
	// Node 2 is of another authority; at node 4's address node 3 answers.
	a.SetPeers(map[wire.NodeID]string{2: b.Addr().String(), 4: c.Addr().String()})
	a.await(t, "another authority", is(Unreachable, 2, Control, true))
	e := a.await(t, "another node", is(Unreachable, 4, Control, true))
	if !errors.Is(e.Err, identity.ErrWrongPeer) {
		t.Error(e.Err)
	}
	b.SetPeers(map[wire.NodeID]string{1: a.Addr().String()})
	b.await(t, "refused by certificate", is(Unreachable, 1, Control, true))
	for _, n := range []testNode{a, b, c} {
		n.Network.mu.Lock()
		if len(n.sessions) != 0 {
			t.Errorf("node %d has sessions", n.ID())
		}
		n.Network.mu.Unlock()
	}
}

// dialRaw speaks TLS as node id, but frames for itself.
func dialRaw(t *testing.T, c *identity.Credentials, to testNode, class Class) *tls.Conn {
	t.Helper()
	conn, err := tls.Dial("tcp", to.Addr().String(), c.ClientTLS(to.ID(), protocols[class]))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func TestFramesOutOfBoundsEndTheSession(t *testing.T) {
	node := authority(t, cluster)
	for name, c := range map[string]struct {
		length uint32
		kind   uint16
		want   error
	}{
		"oversized": {MaxPayload + 1, kindAsk, ErrTooLarge},
		"unknown":   {0, 77, ErrUnknown},
		"cut":       {100, kindAsk, io.ErrUnexpectedEOF},
	} {
		t.Run(name, func(t *testing.T) {
			b := listen(t, node(2), "127.0.0.2:0", func(n *Network) {
				n.Handle(Control, func(*Session, uint16, []byte) { t.Error("handled") }, kindAsk)
			})
			conn := dialRaw(t, node(1), b, Control)
			var header [frameHeader]byte
			binary.BigEndian.PutUint32(header[:], c.length)
			binary.BigEndian.PutUint16(header[4:], c.kind)
			conn.Write(header[:])
			if errors.Is(c.want, io.ErrUnexpectedEOF) {
				conn.Write([]byte("half a message"))
				conn.Close()
			}
			if e := b.await(t, "lost", is(Lost, 1, Control, false)); !errors.Is(e.Err, c.want) {
				t.Errorf("ended with %v", e.Err)
			}
		})
	}
	a := listen(t, node(1), "127.0.0.1:0", nil)
	b := listen(t, node(2), "127.0.0.2:0", nil)
	var done int
	err := connect(t, a, b, Data).Send(Frame{Body: make([]byte, MaxPayload+1), Done: func() { done++ }})
	if !errors.Is(err, ErrTooLarge) || done != 1 {
		t.Errorf("sending too much: %v, done %d times", err, done)
	}
}

// The peer reads nothing: sending must end the session instead of waiting, and
// every frame must be let go exactly once.
func TestFullQueueEndsTheSession(t *testing.T) {
	node := authority(t, cluster)
	stuck := make(chan struct{})
	b := listen(t, node(2), "127.0.0.2:0", func(n *Network) {
		n.Handle(Data, func(*Session, uint16, []byte) { <-stuck })
	})
	defer close(stuck)
	a := listen(t, node(1), "127.0.0.1:0", nil)
	a.config.QueueBytes = 32 << 20
	s := connect(t, a, b, Data)
	body := make([]byte, 1<<20)
	var released atomic.Int32
	var err error
	sent := 0
	for ; err == nil && sent < 1000; sent++ {
		err = s.Send(Frame{Body: body, Done: func() { released.Add(1) }})
	}
	if !errors.Is(err, ErrFull) {
		t.Fatalf("after %d frames: %v", sent, err)
	}
	a.await(t, "lost", is(Lost, 2, Data, true))
	if got := released.Load(); got != int32(sent) {
		t.Errorf("%d frames sent, %d let go", sent, got)
	}
	var late int
	if err := s.Send(Frame{Done: func() { late++ }}); !errors.Is(err, ErrFull) || late != 1 {
		t.Errorf("sending on an ended session: %v, done %d times", err, late)
	}
}

// A process that does not read, with few bytes to get, is ended by the write's time.
func TestPeerThatDoesNotReadIsLeft(t *testing.T) {
	t.Parallel()
	node := authority(t, cluster)
	stuck := make(chan struct{})
	b := listen(t, node(2), "127.0.0.2:0", func(n *Network) {
		n.Handle(Data, func(*Session, uint16, []byte) { <-stuck })
	})
	defer close(stuck)
	a := listen(t, node(1), "127.0.0.1:0", nil)
	s := connect(t, a, b, Data)
	began := time.Now()
	for range 32 { // far more than two sockets hold, far less than the queue
		if err := s.Send(Frame{Body: make([]byte, 1<<20)}); err != nil {
			t.Fatal(err)
		}
	}
	a.await(t, "lost", is(Lost, 2, Data, true))
	if took := time.Since(began); took < silenceMax-100*time.Millisecond {
		t.Errorf("left after %v", took)
	}
}

func TestPeerAtNewAddress(t *testing.T) {
	node := authority(t, cluster)
	a := listen(t, node(1), "127.0.0.1:0", nil)
	b := listen(t, node(2), "127.0.0.2:0", nil)
	first := connect(t, a, b, Control)
	moved := listen(t, node(2), "127.0.0.3:0", nil)
	a.SetPeers(map[wire.NodeID]string{2: moved.Addr().String()})
	moved.await(t, "connected", is(Connected, 1, Control, false))
	a.await(t, "first lost", func(e Event) bool { return e.Kind == Lost && e.Session == first })
	if !errors.Is(first.Err(), ErrAddressed) {
		t.Error(first.Err())
	}
	a.SetPeers(nil)
	moved.await(t, "left", is(Lost, 1, Control, false))
	if a.Session(2, Control) != nil {
		t.Error("a peer that left has a session")
	}
}

func TestRaftStreamComesFromTheNodesOwnAddress(t *testing.T) {
	node := authority(t, cluster)
	a := listen(t, node(1), "127.0.0.1:0", nil)
	b := listen(t, node(2), "127.0.0.2:0", nil)
	got := make(chan net.Conn, 1)
	go func() {
		if c, err := b.Stream(Raft).Accept(); err == nil {
			got <- c
		}
	}()
	conn, err := a.Dial(context.Background(), 2, b.Addr().String(), Raft)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	select {
	case c := <-got:
		defer c.Close()
		if ip := c.RemoteAddr().(*net.TCPAddr).IP.String(); ip != "127.0.0.1" {
			t.Errorf("came from %s", ip)
		}
		if name, _ := identity.PeerOf(c.(*tls.Conn).ConnectionState()); name.Node != 1 {
			t.Errorf("came from %v", name)
		}
	case <-time.After(patience):
		t.Fatal("no connection")
	}
}

func TestAPIAnswersWhoHasNoCertificate(t *testing.T) {
	node := authority(t, cluster)
	b := listen(t, node(2), "127.0.0.2:0", nil)
	server := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, known := identity.PeerOf(*r.TLS)
		if known {
			io.WriteString(w, name.String())
		} else {
			io.WriteString(w, "stranger")
		}
	})}
	go server.Serve(b.Stream(API))
	defer server.Close()
	pem := node(9)
	for name, c := range map[string]struct {
		config *tls.Config
		want   string
	}{
		"a node":          {pem.ClientTLS(2, protocols[API]), pem.Name.String()},
		"any HTTP client": {&tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"}}, "stranger"},
		"no ALPN":         {&tls.Config{InsecureSkipVerify: true}, "stranger"},
	} {
		client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true,
			DialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				return (&tls.Dialer{Config: c.config}).DialContext(ctx, network, address)
			}}}
		answer, err := client.Get("https://" + b.Addr().String())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		body, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if string(body) != c.want || err != nil {
			t.Errorf("%s: %q, %v", name, body, err)
		}
	}
}

func TestTwoHandlersForOneKindPanic(t *testing.T) {
	n, err := Listen(Config{Credentials: authority(t, cluster)(1), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	n.Handle(Control, func(*Session, uint16, []byte) {}, 1, 2)
	n.Handle(Data, func(*Session, uint16, []byte) {}, 2)
	defer func() {
		if recover() == nil {
			t.Error("the second one was silently ignored or silently won")
		}
	}()
	n.Handle(Control, func(*Session, uint16, []byte) {}, 2)
}

func BenchmarkSend(b *testing.B) {
	for _, size := range []int{64, 4 << 10, 64 << 10, 1 << 20} {
		b.Run(byteCount(size), func(b *testing.B) { benchmarkSend(b, size) })
	}
}

func byteCount(n int) string {
	return map[int]string{64: "64B", 4 << 10: "4KiB", 64 << 10: "64KiB", 1 << 20: "1MiB"}[n]
}

// benchmarkSend has 32 messages in flight, each answered by an empty one.
func benchmarkSend(b *testing.B, size int) {
	node := authority(b, cluster)
	slots := make(chan struct{}, 32)
	x := listen(b, node(1), "127.0.0.1:0", func(n *Network) {
		n.Handle(Data, func(*Session, uint16, []byte) { <-slots }, kindAnswer)
	})
	y := listen(b, node(2), "127.0.0.2:0", func(n *Network) {
		n.Handle(Data, func(s *Session, _ uint16, _ []byte) { s.Send(Frame{Kind: kindAnswer}) }, kindAsk)
	})
	s := connect(b, x, y, Data)
	body := make([]byte, size)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		slots <- struct{}{}
		if err := s.Send(Frame{Kind: kindAsk, Body: body}); err != nil {
			b.Fatal(err)
		}
	}
	for range cap(slots) {
		slots <- struct{}{}
	}
}
