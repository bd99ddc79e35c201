package main

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync/atomic"
	"time"
)

// What a rebuild does is counted in pieces of 1 MiB a second.
const (
	before  = "hosts before"
	during  = "hosts meanwhile"
	beside  = "copying beside them"
	alone   = "copying, floor raised"
	ddName  = "dd"
	hosting = 200 // writes of 4 KiB a second
	slow    = 5   // usual lengths, for enough of them
)

// rebuildCases have a disk's copies made anew on another node: with writes of hosts at a fixed
// rate beside it, at the default throttle; and without any, with the floor of the throttle raised, so
// that the seconds in which it grows do not count. dd copies a file with the same durability.
func (b *bench) rebuildCases() []benchCase {
	return []benchCase{{name: "h-rebuild", about: "3 nodes, 2 copies: copies move to another node's disk; hosts write 4 KiB, " + fmt.Sprint(hosting) + " a second",
		rivals: func() ([]rival, error) {
			// Of its own: the copies of all volumes on a disk move together, and v's alone are counted.
			c, err := b.clusterWithDisks("rebuild", 3, 2)
			if err != nil {
				return nil, err
			}
			if err := c.fill(volumeBytes); err != nil {
				return nil, err
			}
			// What was moved is to stay where it is.
			if _, err := c.order(0, "", "cluster", "set", "rebalance", "off"); err != nil {
				return nil, err
			}
			w := work{write: true, bytes: kib4, depth: 1, sessions: 1, span: volumeBytes}
			var copied sample
			return []rival{
				{before, func(length time.Duration) (sample, error) { return c.copyNothing(w, length*slow) }},
				{during, func(length time.Duration) (s sample, err error) {
					s, copied, err = c.copyBeside(w, length*slow)
					return s, err
				}},
				{beside, func(time.Duration) (sample, error) { return copied, nil }},
				{alone, func(time.Duration) (sample, error) { return c.copyAlone() }},
				{ddName, func(time.Duration) (sample, error) { return b.dd() }},
			}, nil
		},
		goals: []goal{
			{what: "p99", of: p99, ours: during, to: before, atMost: 2},
			{what: "rate", of: rate, ours: alone, to: ddName, atLeast: 0.6},
			{what: "rate", of: rate, ours: beside, to: ddName},
		}}}
}

// copying is a disk's copies that go elsewhere.
type copying struct {
	c    *cluster
	disk string // identity
}

// drain begins to empty the disk that has v's copy which is not the head's.
func (c *cluster) drain() (*copying, error) {
	var v struct {
		Placement []struct{ Replicas []struct{ Node, Disk string } }
	}
	if err := c.ask(&v, "volume", "show", "v"); err != nil {
		return nil, err
	}
	for _, g := range v.Placement {
		for _, r := range g.Replicas {
			if r.Node != nodeName(0) {
				_, err := c.order(0, "", "disk", "drain", r.Disk)
				return &copying{c, r.Disk}, err
			}
		}
	}
	return nil, errors.New("v has no copy beside the head's")
}

// left is how much of v is still to be copied, bytes; going is false before it begins and after its end.
func (m *copying) left() (bytes uint64, going bool, err error) {
	var status struct {
		Health struct {
			Doing []struct {
				Kind, Volume string
				Bytes        uint64
			}
		}
	}
	if err := m.c.ask(&status, "status"); err != nil {
		return 0, false, err
	}
	for _, d := range status.Health.Doing {
		if d.Kind == "rebuild" && d.Volume == "v" {
			return d.Bytes, true, nil
		}
	}
	return 0, false, nil
}

// follow measures copying from when it begins until its end, or until it is told to stop.
func (m *copying) follow(every time.Duration, stop func() bool) (s sample, ended bool, err error) {
	var began time.Time
	var first, last uint64
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(every) {
		left, going, err := m.left()
		now := time.Now()
		switch {
		case err != nil:
			return s, false, err
		case now.After(deadline):
			return s, false, errors.New("copies did not move within two minutes")
		case began.IsZero() && going:
			began, first, last = now, left, left
		case !began.IsZero():
			last = left
		}
		if ended = !began.IsZero() && !going; ended || stop() && !began.IsZero() {
			s.took = now.Sub(began)
			s.rate = float64(first-min(first, last)) / mib1 / max(s.took.Seconds(), 0.001)
			return s, ended, nil
		}
	}
}

// end waits until the disk is empty, and lets it take copies again.
func (m *copying) end() error {
	err := errors.New("copies did not move within three minutes")
	for deadline := time.Now().Add(3 * time.Minute); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		var d struct{ Replicas int }
		if err = m.c.ask(&d, "disk", "show", m.disk); err != nil || d.Replicas == 0 {
			break
		}
	}
	_, undo := m.c.order(0, "", "disk", "undrain", m.disk)
	return errors.Join(err, undo)
}

// followEvery is between looks, each a process of its own.
const followEvery = 250 * time.Millisecond

// copyNothing has a host write for a length, beside the same looks at the cluster's state as copyBeside.
func (c *cluster) copyNothing(w work, length time.Duration) (sample, error) {
	end := time.Now().Add(length)
	looked := make(chan error, 1)
	go func() {
		var err error
		for ; err == nil && time.Now().Before(end); time.Sleep(followEvery) {
			_, _, err = (&copying{c: c}).left()
		}
		looked <- err
	}()
	s, err := paced(c.head, w, hosting)(length)
	return s, errors.Join(err, <-looked)
}

// copyBeside has copies move while a host writes, for a length or until they have.
func (c *cluster) copyBeside(w work, length time.Duration) (hosts, copied sample, err error) {
	var over atomic.Bool
	m, err := c.drain()
	if err != nil {
		return hosts, copied, err
	}
	failed := make(chan error, 1)
	hosts, err = c.head.observed(func() (sample, error) {
		end := time.Now().Add(length)
		go func() {
			var err error
			copied, _, err = m.follow(followEvery, func() bool { return time.Now().After(end) })
			over.Store(true)
			failed <- err
		}()
		return pacedUntil(c.head, w, hosting, func(time.Time) bool { return over.Load() })
	})
	if err == nil {
		err = <-failed
	}
	if err == nil {
		_, err = c.order(0, "", "cluster", "set", "rebuild-floor", "1G")
	}
	return hosts, copied, errors.Join(err, m.end())
}

func (c *cluster) copyAlone() (sample, error) {
	if _, err := c.order(0, "", "cluster", "set", "rebuild-floor", "1G"); err != nil {
		return sample{}, err
	}
	m, err := c.drain()
	if err != nil {
		return sample{}, err
	}
	s, _, err := m.follow(followEvery, func() bool { return false })
	err = errors.Join(err, m.end())
	_, undo := c.order(0, "", "cluster", "set", "rebuild-floor", "16M")
	return s, errors.Join(err, undo)
}

// dd copies a file past the cache, each piece on stable storage before the next one.
func (b *bench) dd() (sample, error) {
	const pieces = 256
	from, err := b.scratchFile("fio0")
	if err != nil {
		return sample{}, err
	}
	to, err := b.scratchFile("tgt")
	if err != nil {
		return sample{}, err
	}
	begin := time.Now()
	out, err := exec.Command("dd", "if="+from, "of="+to, "bs=1M", fmt.Sprintf("count=%d", pieces), "iflag=direct", "oflag=direct,dsync", "conv=notrunc").CombinedOutput()
	if err != nil {
		return sample{}, fmt.Errorf("dd: %w: %s", err, strings.TrimSpace(string(out)))
	}
	took := time.Since(begin)
	return sample{rate: pieces / took.Seconds(), took: took}, nil
}
