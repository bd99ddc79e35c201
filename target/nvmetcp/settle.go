package nvmetcp

import (
	"net"
	"sync"
	"sync/atomic"

	"ashlar/target/carrier"
)

// unsettled are the answers of a connection that somebody waits to hear of. NVMe
// has no word for that a host has an answer: it is taken to have it when its kernel
// has acknowledged the bytes and something else has come from it after that.
type unsettled struct {
	some atomic.Bool // so that it costs nothing where there are none

	mu   sync.Mutex
	list []answer
	over bool
}

type answer struct {
	settle    func(acknowledged bool)
	delivered bool // the host's kernel has it
}

// add takes note of an answer before it is written.
func (u *unsettled) add(settle func(acknowledged bool)) {
	u.mu.Lock()
	over := u.over
	if !over {
		u.list = append(u.list, answer{settle: settle})
		u.some.Store(true)
	}
	u.mu.Unlock()
	if over {
		settle(false)
	}
}

// tick looks whether the host's kernel has all that was written.
func (u *unsettled) tick(nc net.Conn) {
	if !u.some.Load() {
		return
	}
	u.mu.Lock()
	before := len(u.list)
	u.mu.Unlock()
	if carrier.Unacknowledged(nc) != 0 {
		return
	}
	u.mu.Lock()
	for i := range min(before, len(u.list)) {
		u.list[i].delivered = true
	}
	u.mu.Unlock()
}

// heard is the arrival of something from the host.
func (u *unsettled) heard() {
	if !u.some.Load() {
		return
	}
	u.mu.Lock()
	n := 0
	for n < len(u.list) && u.list[n].delivered {
		n++
	}
	heard := append([]answer(nil), u.list[:n]...)
	u.list = append(u.list[:0], u.list[n:]...)
	u.some.Store(len(u.list) > 0)
	u.mu.Unlock()
	for _, a := range heard {
		a.settle(true)
	}
}

// end is the connection's: what the host has not heard now, it never will.
func (u *unsettled) end() {
	u.mu.Lock()
	left := u.list
	u.list, u.over = nil, true
	u.some.Store(false)
	u.mu.Unlock()
	for _, a := range left {
		a.settle(false)
	}
}
