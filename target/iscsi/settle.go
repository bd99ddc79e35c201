package iscsi

import (
	"sync"
	"sync/atomic"
)

// unsettled are the responses of a connection that somebody waits to hear of:
// whether the host has acknowledged them (RFC 7143 4.2.2.2), in the order of
// their StatSN.
type unsettled struct {
	some atomic.Bool // so that it costs nothing where there are none

	mu   sync.Mutex
	list []response
	over bool
}

type response struct {
	statSN uint32
	settle func(acknowledged bool)
	asked  bool // by waits
}

// add takes note of a response before it is written.
func (u *unsettled) add(statSN uint32, settle func(acknowledged bool)) {
	u.mu.Lock()
	over := u.over
	if !over {
		u.list = append(u.list, response{statSN: statSN, settle: settle})
		u.some.Store(true)
	}
	u.mu.Unlock()
	if over {
		settle(false)
	}
}

// acknowledged is what each PDU of the host says: it has all responses before
// expStatSN. The numbers wrap (RFC 1982).
func (u *unsettled) acknowledged(expStatSN uint32) {
	if !u.some.Load() {
		return
	}
	u.mu.Lock()
	n := 0
	for n < len(u.list) && int32(expStatSN-u.list[n].statSN) > 0 {
		n++
	}
	heard := append([]response(nil), u.list[:n]...)
	u.list = append(u.list[:0], u.list[n:]...)
	u.some.Store(len(u.list) > 0)
	u.mu.Unlock()
	for _, r := range heard {
		r.settle(true)
	}
}

// waits says whether a response has waited for its acknowledgement since it was
// asked before: a host that has nothing more to say tells it when it is pinged.
func (u *unsettled) waits() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	old := len(u.list) > 0 && u.list[0].asked
	if len(u.list) > 0 {
		u.list[0].asked = true
	}
	return old
}

// end is the connection's: what the host has not acknowledged now, it never will.
func (u *unsettled) end() {
	u.mu.Lock()
	left := u.list
	u.list, u.over = nil, true
	u.some.Store(false)
	u.mu.Unlock()
	for _, r := range left {
		r.settle(false)
	}
}
