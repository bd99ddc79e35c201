package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"ashlar/target/targettest/initiator"
)

// work is what a client asks for.
type work struct {
	write    bool
	bytes    int // of each operation
	depth    int // operations under way, of each session
	sessions int
	inOrder  bool // one operation behind the other, instead of anywhere
	span     uint64
}

func (w work) String() string {
	kind := "read"
	if w.write {
		kind = "write"
	}
	return fmt.Sprintf("%s of %d KiB, depth %d, sessions %d", kind, w.bytes>>10, w.depth, w.sessions)
}

const (
	sector  = 512
	opRead  = 0x88 // READ(16)
	opWrite = 0x8a // WRITE(16)
)

// drive is the Go initiator.
func drive(s *server, w work) func(time.Duration) (sample, error) {
	return func(length time.Duration) (sample, error) {
		return s.observed(func() (sample, error) { return driveFor(s, w, length) })
	}
}

func driveFor(s *server, w work, length time.Duration) (sample, error) {
	streams, end, err := s.streams(w)
	if err != nil {
		return sample{}, err
	}
	defer end()
	until := time.Now().Add(length)
	return together(streams, func(x *stream) { x.run(until) })
}

// streams logs in: one session after the other, each at the next of the server's units.
func (s *server) streams(w work) (all []*stream, end func(), err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	end = func() {
		for _, x := range all {
			x.session.Close()
		}
	}
	for i := range w.sessions {
		iqn := s.iqn
		if len(s.units) > 0 {
			iqn = s.units[i%len(s.units)]
		}
		session, err := initiator.Dial(ctx, s.address, iqn, initiator.Options{ISID: [6]byte{0x00, 0x02, 0x3d, 9, byte(i >> 8), byte(i)}})
		if err != nil {
			end()
			return nil, nil, err
		}
		lun := uint64(s.lun) << 48 // peripheral device addressing (SAM-5 4.7.7.2)
		// It takes the unit attention of a new nexus.
		session.Do(ctx, &initiator.Command{LUN: lun, CDB: make([]byte, 6)}) //nolint:errcheck // that is its answer
		all = append(all, newStream(session, lun, w, uint64(i)))
	}
	return all, end, nil
}

// together runs streams side by side.
func together(streams []*stream, run func(*stream)) (sample, error) {
	begin := time.Now()
	var all sync.WaitGroup
	for _, x := range streams {
		all.Go(func() { run(x) })
	}
	all.Wait()
	took := time.Since(begin)
	var latency []int64
	for _, x := range streams {
		if x.err != nil {
			return sample{}, x.err
		}
		latency = append(latency, x.latency...)
	}
	if len(latency) == 0 {
		return sample{}, errors.New("not one operation ended")
	}
	return sample{rate: float64(len(latency)) / took.Seconds(), latency: pick(latency), took: took}, nil
}

// pick gives the quantiles of latencies in ns, in us.
func pick(latency []int64) (us []float64) {
	slices.Sort(latency)
	for _, q := range quantiles {
		us = append(us, float64(latency[min(len(latency)-1, int(q*float64(len(latency))))])/1000)
	}
	return us
}

// stream keeps one session's queue full.
type stream struct {
	session *initiator.Session
	w       work
	lun     uint64
	random  *rand.Rand
	next    uint64

	mu      sync.Mutex // of keepFull
	latency []int64    // ns
	err     error
}

type slot struct {
	initiator.Command
	begin time.Time
}

func newStream(session *initiator.Session, lun uint64, w work, seed uint64) *stream {
	x := &stream{session: session, w: w, lun: lun, random: rand.New(rand.NewPCG(seed, 7))}
	if w.inOrder {
		x.next = x.random.Uint64N(w.span / uint64(w.bytes))
	}
	return x
}

func (x *stream) run(end time.Time) {
	x.keepFull(x.w.depth, func(now time.Time) bool { return now.Before(end) })
}

// keepFull keeps so many operations under way for as long as there are to be more. Who has read an answer asks for the
// next, as the clients of the other protocols do: another goroutine would have to be woken for it.
func (x *stream) keepFull(under int, more func(now time.Time) bool) {
	var left sync.WaitGroup
	left.Add(under)
	var all []*slot
	for range under {
		k := x.slot()
		k.Done = func(*initiator.Command) {
			x.mu.Lock()
			now := x.ended(k)
			again := x.err == nil && more(now)
			if again {
				x.plan(k, now)
			}
			x.mu.Unlock()
			if again {
				x.session.Submit(&k.Command)
			} else {
				left.Done()
			}
		}
		x.plan(k, time.Now())
		all = append(all, k)
	}
	for _, k := range all {
		x.session.Submit(&k.Command)
	}
	left.Wait()
}

// slot is room for one operation. What is written is no zeros, which might cost less.
func (x *stream) slot() *slot {
	k := &slot{}
	k.LUN = x.lun
	data := make([]byte, x.w.bytes)
	if x.w.write {
		for at := 0; at < len(data); at += 8 {
			binary.LittleEndian.PutUint64(data[at:], x.random.Uint64())
		}
		k.Out = data
	} else {
		k.In = data
	}
	return k
}

func (x *stream) ended(k *slot) (now time.Time) {
	now = time.Now()
	if err := k.Result(); err != nil {
		x.err = err
	}
	x.latency = append(x.latency, int64(now.Sub(k.begin)))
	return now
}

// submit sends an operation that is due at a time.
func (x *stream) submit(k *slot, due time.Time) {
	x.plan(k, due)
	x.session.Submit(&k.Command)
}

// plan says what an operation is to be.
func (x *stream) plan(k *slot, due time.Time) {
	op := byte(opRead)
	if x.w.write {
		op = opWrite
	}
	places := x.w.span / uint64(x.w.bytes)
	place := x.next
	if x.w.inOrder {
		x.next = (x.next + 1) % places
	} else {
		place = x.random.Uint64N(places)
	}
	k.CDB = initiator.CDB16(op, place*uint64(x.w.bytes)/sector, uint32(x.w.bytes/sector))
	k.begin = due
}

var perfRate = regexp.MustCompile(`iops average (\d+)`)

// iscsiPerf is libiscsi's own benchmark: reads only, at random places.
func iscsiPerf(s *server, w work) func(time.Duration) (sample, error) {
	return func(length time.Duration) (sample, error) {
		// It counts in whole seconds.
		seconds := max(1, int(length.Seconds()))
		return s.observed(func() (sample, error) {
			begin := time.Now()
			out, err := exec.Command("iscsi-perf", "-i", "iqn.2026-11.com.example:perf", "-m", strconv.Itoa(w.depth), "-b", strconv.Itoa(w.bytes/sector),
				"-t", strconv.Itoa(seconds), "-r", s.url()).CombinedOutput()
			found := perfRate.FindAllSubmatch(out, -1)
			if len(found) == 0 {
				return sample{}, fmt.Errorf("iscsi-perf: %v: %s", err, out)
			}
			rate, err := strconv.ParseFloat(string(found[len(found)-1][1]), 64)
			return sample{rate: rate, took: time.Since(begin)}, err
		})
	}
}

var qemuTook = regexp.MustCompile(`Run completed in ([0-9.]+) seconds`)

// qemuImg is QEMU's own benchmark over libiscsi, one operation behind the other.
// It is given a number of operations, so one run estimates and the next one counts.
func qemuImg(s *server, w work) func(time.Duration) (sample, error) {
	once := func(count int) (time.Duration, error) {
		args := []string{"bench", "-f", "raw", "-t", "none", "-c", strconv.Itoa(count), "-d", strconv.Itoa(w.depth), "-s", strconv.Itoa(w.bytes)}
		if w.write {
			args = append(args, "-w")
		}
		out, err := exec.Command("qemu-img", append(args, s.url())...).CombinedOutput()
		found := qemuTook.FindSubmatch(out)
		if err != nil || found == nil {
			return 0, fmt.Errorf("qemu-img bench: %v: %s", err, strings.TrimSpace(string(out)))
		}
		seconds, err := strconv.ParseFloat(string(found[1]), 64)
		return time.Duration(seconds * float64(time.Second)), err
	}
	return func(length time.Duration) (sample, error) {
		const estimate = 1000
		took, err := once(estimate)
		if err != nil {
			return sample{}, err
		}
		count := max(estimate, int(estimate*length.Seconds()/max(took.Seconds(), 0.001)))
		return s.observed(func() (sample, error) {
			took, err := once(count)
			return sample{rate: float64(count) / took.Seconds(), took: took}, err
		})
	}
}
