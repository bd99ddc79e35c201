package clusters

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ashlar/target/targettest/initiator"
)

// Load is a host's verified I/O: writers that each own some of a volume's
// blocks, so that each knows what they must hold, and that fail over between
// portals as multipath does.
type Load struct {
	Pace time.Duration // after each write, where all of a processor is not to be had

	t       testing.TB
	target  string
	portals []string
	blocks  uint64
	ledger  ledger

	stopping context.Context
	stop     context.CancelFunc
	tasks    sync.WaitGroup
	writes   atomic.Uint64
	longest  atomic.Int64 // ns: of one write, with its repetitions
	left     atomic.Uint64

	mu       sync.Mutex
	problems []string
}

const (
	writers    = 8
	writeMax   = 16               // blocks
	blockLBAs  = BlockBytes / 512 // of a volume with logical blocks of 512 bytes
	pauseAfter = 50 * time.Millisecond

	// commandTimeout is more than a node holds a command (4 s), so a session
	// that it ends is broken.
	commandTimeout = 6 * time.Second
)

// NewLoad plans writes over the whole of a volume through all portals of nodes.
func NewLoad(t testing.TB, target string, bytes uint64, nodes ...*Node) *Load {
	var portals []string
	for _, n := range nodes {
		portals = append(portals, n.Portals()...)
	}
	return NewLoadAt(t, target, bytes, portals...)
}

// NewLoadAt is NewLoad through certain portals only.
func NewLoadAt(t testing.TB, target string, bytes uint64, portals ...string) *Load {
	return &Load{t: t, target: target, blocks: bytes / BlockBytes, portals: portals,
		ledger: ledger{begun: map[uint64]uint64{}, acknowledged: map[uint64]uint64{}}}
}

// Start begins to write, and checks a part of it, until Stop.
func (l *Load) Start() {
	l.stopping, l.stop = context.WithCancel(context.Background())
	for k := range uint64(writers) {
		l.tasks.Go(func() { l.write(k) })
	}
}

// Grow has a load that is stopped go on over a volume that has grown. What is new
// there has to be zeros.
func (l *Load) Grow(bytes uint64) { l.blocks = bytes / BlockBytes }

// Stop lets each writer end its write, within so long.
func (l *Load) Stop(patience time.Duration) {
	l.t.Helper()
	l.stop()
	ended := make(chan struct{})
	go func() {
		l.tasks.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(patience):
		l.t.Fatalf("writes do not end within %v", patience)
	}
	l.Check()
}

// Abandon stops the writers where they are: what was begun may be there or not.
func (l *Load) Abandon() {
	l.t.Helper()
	l.stop()
	l.tasks.Wait()
	l.Check()
}

// Writes is how many were acknowledged.
func (l *Load) Writes() uint64 { return l.writes.Load() }

// Longest is the longest that a write took since it was last asked for.
func (l *Load) Longest() time.Duration { return time.Duration(l.longest.Swap(0)) }

// Left is how often a writer left a portal because of an error or of BUSY.
func (l *Load) Left() uint64 { return l.left.Load() }

// AwaitWrites waits for so many more.
func (l *Load) AwaitWrites(more uint64, timeout time.Duration) {
	l.t.Helper()
	for from, deadline := l.Writes(), time.Now().Add(timeout); l.Writes() < from+more; time.Sleep(10 * time.Millisecond) {
		l.Check()
		if time.Now().After(deadline) {
			l.t.Fatalf("%d writes within %v, want %d", l.Writes()-from, timeout, more)
		}
	}
}

// Check fails the test where something was wrong so far.
func (l *Load) Check() {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.problems) > 0 {
		l.t.Fatalf("%d problems: %s", len(l.problems), l.problems[0])
	}
}

func (l *Load) problem(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.problems = append(l.problems, fmt.Sprintf(format, args...))
}

// write is one writer: in each run of blocks of the volume one of these is its own.
func (l *Load) write(k uint64) {
	p := &path{l: l, at: int(k), isid: [6]byte{0x00, 0x02, 0x3d, 0, 1, byte(k)}}
	defer p.close()
	buffer := make([]byte, writeMax*BlockBytes)
	random := rand.New(rand.NewPCG(k, 1))
	for l.stopping.Err() == nil {
		run := random.Uint64N(l.blocks/(writers*writeMax))*writers*writeMax + k*writeMax
		offset := random.IntN(writeMax)
		blocks := 1 + random.IntN(writeMax-offset)
		block, data := run+uint64(offset), buffer[:blocks*BlockBytes]
		l.ledger.begin(block, data)
		begin := time.Now()
		if err := p.do(l.stopping, writeCommand(block, data)); err != nil {
			if l.stopping.Err() == nil {
				l.problem("write of %d blocks at block %d: %v", blocks, block, err)
			}
			return
		}
		l.ledger.acknowledge(block, blocks)
		l.writes.Add(1)
		l.took(time.Since(begin))
		time.Sleep(l.Pace)
		if random.IntN(4) == 0 && l.check(p, l.stopping, block, data) != nil {
			return
		}
	}
}

func (l *Load) took(d time.Duration) {
	for {
		old := l.longest.Load()
		if int64(d) <= old || l.longest.CompareAndSwap(old, int64(d)) {
			return
		}
	}
}

// check reads blocks that nobody writes meanwhile.
func (l *Load) check(p *path, ctx context.Context, block uint64, data []byte) error {
	if err := p.do(ctx, readCommand(block, data)); err != nil {
		if ctx.Err() == nil {
			l.problem("read of %d blocks at block %d: %v", len(data)/BlockBytes, block, err)
		}
		return err
	}
	for i := range uint64(len(data) / BlockBytes) {
		if !l.ledger.holds(block+i, data[i*BlockBytes:][:BlockBytes]) {
			l.problem("block %d does not hold what was acknowledged", block+i)
		}
	}
	return nil
}

// CheckAll reads the whole volume through one portal after the other, and
// returns what is not as it was acknowledged.
func (l *Load) CheckAll() []string {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	p := &path{l: l, isid: [6]byte{0x00, 0x02, 0x3d, 0, 2, 1}}
	defer p.close()
	const most = 256
	data := make([]byte, most*BlockBytes)
	for block := uint64(0); block < l.blocks; block += most {
		p.leave()
		if l.check(p, ctx, block, data[:min(most, l.blocks-block)*BlockBytes]) != nil {
			break
		}
	}
	if ctx.Err() != nil {
		l.problem("the volume could not be read within two minutes")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.problems
}

// ExpectAll fails the test where anything is not as it was acknowledged.
func (l *Load) ExpectAll() {
	l.t.Helper()
	l.CheckAll()
	l.Check()
}

func writeCommand(block uint64, data []byte) *initiator.Command {
	return &initiator.Command{CDB: initiator.CDB16(0x8a, block*blockLBAs, uint32(len(data)/512)), Out: data}
}

func readCommand(block uint64, data []byte) *initiator.Command {
	return &initiator.Command{CDB: initiator.CDB16(0x88, block*blockLBAs, uint32(len(data)/512)), In: data}
}

// path is one session at a time, through any of the portals.
type path struct {
	l       *Load
	at      int
	isid    [6]byte
	session *initiator.Session
}

// do carries out a command, again and again on one path after the other, until
// it is done or refused for good.
func (p *path) do(ctx context.Context, c *initiator.Command) error {
	for {
		err := p.once(ctx, c)
		if err == nil || !IsTemporary(err) {
			return err
		}
		if !IsAttention(err) {
			p.l.left.Add(1)
			p.leave()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w; last: %w", context.Cause(ctx), err)
		case <-time.After(pauseAfter):
		}
	}
}

func (p *path) once(ctx context.Context, c *initiator.Command) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commandTimeout)
	defer cancel()
	if p.session == nil {
		s, err := initiator.Dial(ctx, p.portal(), p.l.target, initiator.Options{Name: HostIQN, ISID: p.isid})
		if err != nil {
			return err
		}
		p.session = s
	}
	return p.session.Do(ctx, c)
}

func (p *path) portal() string { return p.l.portals[p.at%len(p.l.portals)] }

// leave goes to the next portal.
func (p *path) leave() {
	p.close()
	p.at++
}

func (p *path) close() {
	if p.session != nil {
		p.session.Close()
		p.session = nil
	}
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

// IsAttention says whether the command was not carried out, for its host to hear
// of something first.
func IsAttention(err error) bool {
	var s *initiator.StatusError
	return errors.As(err, &s) && s.Key == senseUnitAttention
}

// IsTemporary is what multipath hides from its host: all but an answer that
// says no.
func IsTemporary(err error) bool {
	var s *initiator.StatusError
	if !errors.As(err, &s) {
		return true
	}
	switch s.Status {
	case statusBusy, statusTaskSetFull:
		return true
	case statusCheckCondition:
		return s.Key == senseNotReady || s.Key == senseUnitAttention || s.Key == senseAborted
	}
	return false
}
