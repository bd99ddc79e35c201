package demo

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"ashlar/target/targettest/initiator"
)

// hostIQN is the demo's host.
const hostIQN = "iqn.2026-11.io.ashlar:demo.host"

const (
	commandTimeout = 6 * time.Second // more than a node holds a command
	dialTimeout    = 2 * time.Second
	dialPause      = 100 * time.Millisecond
	busyPause      = 20 * time.Millisecond
)

// multipath is a volume as a host has it: one path to each node, of which it uses the
// optimized one while that works, as Linux' dm-multipath does.
type multipath struct {
	paths     []*path
	preferred atomic.Int32
	blockSize int // logical, bytes

	cancel context.CancelFunc
	tasks  sync.WaitGroup
}

// path is a session through one portal, dialled again whenever it ends.
type path struct {
	portal  string
	target  string
	isid    [6]byte
	session atomic.Pointer[initiator.Session] // nil: none
}

// discover asks one portal for the volume's target and gives a path to each of its portals.
func discover(ctx context.Context, portal, iqn string) (*multipath, error) {
	found, err := initiator.Discover(ctx, portal, initiator.Options{Name: hostIQN})
	if err != nil {
		return nil, fmt.Errorf("discovery at %s: %w", portal, err)
	}
	i := slices.IndexFunc(found, func(f initiator.Found) bool { return f.Name == iqn })
	if i < 0 {
		return nil, fmt.Errorf("discovery at %s does not list %s", portal, iqn)
	}
	m := &multipath{}
	for k, address := range found[i].Addresses {
		address, _, _ = strings.Cut(address, ",")
		m.paths = append(m.paths, &path{portal: address, target: iqn, isid: [6]byte{0x00, 0x02, 0x3d, 0, 0, byte(k + 1)}})
	}
	return m, nil
}

// connect logs in through all portals, and stays logged in until close.
func (m *multipath) connect(ctx context.Context) error {
	keep, cancel := context.WithCancel(context.Background())
	m.cancel = cancel
	for _, p := range m.paths {
		m.tasks.Go(func() { p.keep(keep) })
	}
	if err := until(ctx, func() (bool, error) { return m.alive() == len(m.paths), nil }); err != nil {
		return fmt.Errorf("logging in: only %d of %d paths came up", m.alive(), len(m.paths))
	}
	// READ CAPACITY (16), SBC-3 5.16.
	var capacity [32]byte
	err := m.do(ctx, func(ctx context.Context, s *initiator.Session) error {
		return s.Do(ctx, &initiator.Command{CDB: []byte{0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0}, In: capacity[:]})
	})
	m.blockSize = int(binary.BigEndian.Uint32(capacity[8:]))
	return err
}

func (m *multipath) close() {
	m.cancel()
	m.tasks.Wait()
	for _, p := range m.paths {
		if s := p.session.Load(); s != nil {
			s.Close()
		}
	}
}

func (m *multipath) alive() (n int) {
	for _, p := range m.paths {
		if s := p.session.Load(); s != nil && s.Err() == nil {
			n++
		}
	}
	return n
}

// keep dials whenever there is no session.
func (p *path) keep(ctx context.Context) {
	for ctx.Err() == nil {
		if s := p.session.Load(); s == nil || s.Err() != nil {
			dial, cancel := context.WithTimeout(ctx, dialTimeout)
			s, err := initiator.Dial(dial, p.portal, p.target, initiator.Options{Name: hostIQN, ISID: p.isid})
			cancel()
			if err == nil {
				p.session.Store(s)
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(dialPause):
		}
	}
}

// do carries out a command: where a path is dead or says not now, on the next,
// until ctx ends.
func (m *multipath) do(ctx context.Context, command func(context.Context, *initiator.Session) error) error {
	last := errors.New("no path was up")
	for ctx.Err() == nil {
		i := m.preferred.Load()
		s := m.paths[i].session.Load()
		if s == nil || s.Err() != nil {
			m.leave(ctx, i)
			continue
		}
		once, cancel := context.WithTimeout(ctx, commandTimeout)
		err := command(once, s)
		cancel()
		if err == nil {
			return nil
		}
		last = err
		var status *initiator.StatusError
		switch {
		case !errors.As(err, &status): // the session is over
			m.leave(ctx, i)
		case status.Status == statusCheckCondition && status.Key == senseUnitAttention:
			// News, not a failure: the same again.
		case status.Status == statusBusy, status.Status == statusTaskSetFull,
			status.Status == statusCheckCondition && (status.Key == senseNotReady || status.Key == senseAborted):
			m.leave(ctx, i)
		default:
			return err
		}
	}
	return fmt.Errorf("%w; the last answer was: %w", context.Cause(ctx), last)
}

// Status codes (SAM-5 5.3.1) and sense keys (SPC-4 4.5.6).
const (
	statusCheckCondition = 0x02
	statusBusy           = 0x08
	statusTaskSetFull    = 0x28

	senseNotReady      = 0x2
	senseUnitAttention = 0x6
	senseAborted       = 0xb
)

// leave makes the next path that is up the preferred one, if i still is.
func (m *multipath) leave(ctx context.Context, i int32) {
	for k := range int32(len(m.paths)) {
		next := (i + 1 + k) % int32(len(m.paths))
		if s := m.paths[next].session.Load(); s != nil && s.Err() == nil {
			m.preferred.CompareAndSwap(i, next)
			break
		}
	}
	select {
	case <-ctx.Done():
	case <-time.After(busyPause):
	}
}

// prefer asks for the states of the port groups (REPORT TARGET PORT GROUPS,
// SPC-4 6.37) and makes the path to the optimized one the preferred.
func (m *multipath) prefer(ctx context.Context) {
	i := m.preferred.Load()
	s := m.paths[i].session.Load()
	if s == nil {
		return
	}
	var b [512]byte
	cdb := []byte{0xa3, 0x0a, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0}
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	if s.Do(ctx, &initiator.Command{CDB: cdb, In: b[:]}) != nil {
		return
	}
	end := min(4+int(binary.BigEndian.Uint32(b[:])), len(b))
	for at := 4; at+8 <= end; at += 8 + 4*int(b[at+7]) {
		if b[at]&0xf == 0 { // active/optimized
			m.preferGroup(i, binary.BigEndian.Uint16(b[at+2:]))
		}
	}
}

func (m *multipath) preferGroup(i int32, group uint16) {
	for k, p := range m.paths {
		if s := p.session.Load(); s != nil && s.Err() == nil && s.Params.PortalGroup == strconv.Itoa(int(group)) {
			m.preferred.CompareAndSwap(i, int32(k))
		}
	}
}

// write and read are of whole blocks of blockBytes.
func (m *multipath) write(ctx context.Context, block uint64, p []byte) error {
	return m.do(ctx, func(ctx context.Context, s *initiator.Session) error {
		return s.Write(ctx, 0, block*uint64(blockBytes/m.blockSize), p, m.blockSize)
	})
}

func (m *multipath) read(ctx context.Context, block uint64, p []byte) error {
	return m.do(ctx, func(ctx context.Context, s *initiator.Session) error {
		return s.Read(ctx, 0, block*uint64(blockBytes/m.blockSize), p, m.blockSize)
	})
}
