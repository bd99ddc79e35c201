package carrier

import (
	"errors"
	"net"
	"sync/atomic"

	"ashlar/target"
)

// ErrStalled ends a connection: a host may have repeated on another path what its
// socket still held.
var ErrStalled = errors.New("this process stood still: buffered bytes may be stale")

// Fresh reads a socket and refuses its bytes when this process stood still since the
// connection was accepted.
type Fresh struct {
	nc     net.Conn
	watch  *target.StallWatch
	stalls uint64
	heard  atomic.Bool
}

// NewFresh is of a connection that was accepted just now; a nil watch sees no stall.
func NewFresh(nc net.Conn, w *target.StallWatch) *Fresh {
	f := &Fresh{nc: nc, watch: w}
	if w != nil {
		f.stalls = w.Stalls()
	}
	return f
}

func (f *Fresh) Read(b []byte) (int, error) {
	n, err := f.nc.Read(b)
	if f.Stale() {
		return 0, ErrStalled
	}
	f.heard.Store(true)
	return n, err
}

// Stale says whether the process stood still since.
func (f *Fresh) Stale() bool { return f.watch != nil && f.watch.Stalls() != f.stalls }

// Heard says whether something was read since it was asked last.
func (f *Fresh) Heard() bool { return f.heard.Swap(false) }
