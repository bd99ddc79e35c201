package disk

import (
	"sync"
	"sync/atomic"
	"time"

	"ashlar/replication/latency"
)

// pulse measures what the device takes, and whether it still does anything.
type pulse struct {
	mu      sync.Mutex
	reads   latency.Window
	durable latency.Window // what a write waits for: writes through, syncs, and data past the journal before its sync
	under   [2]flying      // reads, and those
	beats   atomic.Uint64  // writes through and syncs that have ended well
}

// flying are operations in the device's hands: how many, and since when at least
// one has been there. The oldest of several is not known, only that none ended
// since: what hangs alone while others go on shows in the histogram when it ends.
type flying struct {
	n     int
	since int64 // when the last one ended, or the first of these began
}

const (
	reading = iota
	writing
)

// now is CLOCK_MONOTONIC, ns since this process began: it stands still while the machine is suspended, so
// that a device is not blamed for that.
func (p *pulse) now() int64 { return int64(time.Since(zeroTime)) }

var zeroTime = time.Now()

// begin and end go round each operation of the device.
func (p *pulse) begin(kind int) (at int64) {
	at = p.now()
	p.mu.Lock()
	if p.under[kind].n++; p.under[kind].n == 1 {
		p.under[kind].since = at
	}
	p.mu.Unlock()
	return at
}

func (p *pulse) end(kind int, began int64) {
	at := p.now()
	p.mu.Lock()
	p.under[kind].n--
	p.under[kind].since = at
	if kind == reading {
		p.reads.Add(at, at-began)
	} else {
		p.durable.Add(at, at-began)
	}
	p.mu.Unlock()
}

// endDurable is end of what is on stable storage now, or failed.
func (p *pulse) endDurable(began int64, err error) {
	p.end(writing, began)
	if err == nil {
		p.beats.Add(1)
	}
}

// Latency is what a device took lately.
type Latency struct {
	Reads, Writes             latency.Facts // of the last minute; writes are durable ones
	RecentReads, RecentWrites latency.Facts // of the last seconds
}

// Latency of the device.
func (s *Store) Latency() (l Latency) {
	p := &s.dev.pulse
	now := p.now()
	p.mu.Lock()
	defer p.mu.Unlock()
	var oldest [2]int64
	for k, f := range p.under {
		if f.n > 0 {
			oldest[k] = now - f.since
		}
	}
	facts := func(sum latency.Sum, oldest int64) latency.Facts { return sum.Facts(oldest) }
	l.Reads, l.Writes = facts(p.reads.Minute(now), oldest[reading]), facts(p.durable.Minute(now), oldest[writing])
	l.RecentReads, l.RecentWrites = facts(p.reads.Recent(now), oldest[reading]), facts(p.durable.Recent(now), oldest[writing])
	return l
}

// Beats counts the durable writes that the device has ended well since it was opened.
func (s *Store) Beats() uint64 { return s.dev.pulse.beats.Load() }

// Beat makes a durable write of 4 KiB, of what is there already, so that it is
// known of an idle device, too, whether it writes. It returns when that is done.
func (s *Store) Beat() error {
	s.beating.Lock()
	defer s.beating.Unlock()
	s.mu.Lock()
	refused := s.refuses()
	s.mu.Unlock()
	if refused != nil {
		return refused
	}
	_, err := s.dev.WriteThrough(s.beat, s.superblocks()[beatCopy])
	if err != nil {
		s.fail(err)
	}
	return err
}

// beatCopy is the superblock that is written again and again: equal bytes over
// equal ones, which a crash cannot tear, and there are three others.
const beatCopy = 1
