package socket

import (
	"bytes"
	"errors"
	"io"
	"math/rand"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// pair is two ends of a connection.
func pair(t testing.TB) (a, b *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	one, err := net.Dial("tcp", l.Addr().String())
	must(t, err)
	two, err := l.Accept()
	must(t, err)
	t.Cleanup(func() { one.Close(); two.Close() })
	return one.(*net.TCPConn), two.(*net.TCPConn)
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.New(rand.NewSource(1)).Read(b)
	return b
}

// fill writes until there is no room for good, for the peer's kernel takes some, and returns what it wrote.
func fill(t *testing.T, s *Socket) (sent []byte) {
	t.Helper()
	b := random(1 << 20)
	for full := 0; full < 20; {
		n, err := s.WriteNow(b[:1000], nil, b[1000:])
		must(t, err)
		if sent = append(sent, b[:n]...); n > 0 {
			full = 0
			continue
		}
		full++
		time.Sleep(2 * time.Millisecond)
	}
	return sent
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	a, b := pair(t)
	want := random(20 << 20)
	sent := make(chan error, 1)
	go func() {
		s := Of(a)
		for p := want; len(p) > 0; {
			part := p[:min(len(p), 300_001)]
			if n, err := s.Write(part); err != nil || n != len(part) {
				sent <- errors.Join(err, io.ErrShortWrite)
				return
			}
			p = p[len(part):]
		}
		sent <- a.CloseWrite()
	}()
	got, err := io.ReadAll(Of(b))
	must(t, err)
	must(t, <-sent)
	if !bytes.Equal(got, want) {
		t.Error("something else was read")
	}
}

func TestManyBuffersAreWrittenInTheirOrder(t *testing.T) {
	a, b := pair(t)
	want := random(3 * vectorMax * 10)
	var buffers [][]byte
	for p := want; len(p) > 0; p = p[10:] {
		buffers = append(buffers, p[:10], nil)
	}
	n, err := Of(a).WriteNow(buffers...)
	must(t, err)
	if n != len(want) {
		t.Errorf("%d bytes were written of %d", n, len(want))
	}
	got := make([]byte, len(want))
	_, err = io.ReadFull(Of(b), got)
	must(t, err)
	if !bytes.Equal(got, want) {
		t.Error("something else was read")
	}
}

func TestWriteNowWritesWhatThereIsRoomFor(t *testing.T) {
	a, b := pair(t)
	must(t, a.SetWriteDeadline(time.Now().Add(-time.Second))) // which is not its matter
	s := Of(a)
	want := fill(t, s)
	if n, err := s.WriteNow(make([]byte, 1)); n != 0 || err != nil {
		t.Fatalf("into a full socket %d bytes went, %v", n, err)
	}
	got := make([]byte, len(want))
	_, err := io.ReadFull(Of(b), got)
	must(t, err)
	if !bytes.Equal(got, want) {
		t.Error("something else was read")
	}
}

func TestDeadlinesHold(t *testing.T) {
	a, _ := pair(t)
	s := Of(a)
	fill(t, s)
	soon := time.Now().Add(20 * time.Millisecond)
	must(t, a.SetDeadline(soon))
	if n, err := s.Write(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a write into a full socket: %d, %v", n, err)
	}
	if n, err := s.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a read: %d, %v", n, err)
	}
	if time.Now().Before(soon) {
		t.Error("nobody waited")
	}
	must(t, a.SetDeadline(time.Time{}))
	if n, err := s.Read(nil); n != 0 || err != nil {
		t.Errorf("a read of nothing: %d, %v", n, err)
	}
}

func TestAnEndIsTold(t *testing.T) {
	a, b := pair(t)
	must(t, b.SetLinger(0))
	must(t, b.Close())
	if _, err := Of(a).Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a read after a reset: %v", err)
	}
	if _, err := Of(a).Write(make([]byte, 1)); !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a write after a reset: %v", err)
	}
	if _, err := Of(a).WriteNow(make([]byte, 1)); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("a write now after a reset: %v", err)
	}
	c, _ := pair(t)
	s := Of(c)
	go func() {
		time.Sleep(20 * time.Millisecond)
		c.Close()
	}()
	if _, err := s.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a read of what is closed meanwhile: %v", err)
	}
	if _, err := s.WriteNow(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a write to what is closed: %v", err)
	}
}

func TestOnlyTCPConnectionsAreSockets(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if Of(a) != nil {
		t.Error("a pipe is taken for a socket")
	}
}
