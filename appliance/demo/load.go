package demo

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

const (
	writers      = 16
	stripeBlocks = (1 << 20) / blockBytes // what one writer owns of a window
	writeMax     = 16                     // blocks in one write
	patience     = 30 * time.Second       // a write that takes longer is stuck
)

// load is what the host does: writers that each write one extent after the
// other, without end, and now and then read one back.
//
// They write where it hurts: in windows round the borders of the segments, so
// that some writes belong to two segments. Each writer owns a stripe of each
// window, so it alone knows what must be there.
type load struct {
	volume  *multipath
	ledger  *ledger
	windows []uint64 // their first blocks

	longest atomic.Int64 // ns, of a write since it was last asked for

	mu       sync.Mutex
	problems []string
	cancel   context.CancelFunc
	stopping atomic.Bool
	tasks    sync.WaitGroup
}

const problemsMax = 20

// newLoad plans the windows of a volume.
func newLoad(volume *multipath, volumeBytes, segmentBytes uint64) *load {
	l := &load{volume: volume, ledger: newLedger()}
	const half = writers * stripeBlocks / 2
	segment := segmentBytes / blockBytes
	for border := segment; border < volumeBytes/blockBytes; border += segment {
		// Half a stripe aside, so that one of the stripes lies across the border.
		l.windows = append(l.windows, border-half-stripeBlocks/2)
	}
	return l
}

func (l *load) start() {
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	for w := range writers {
		l.tasks.Go(func() { l.write(ctx, uint64(w)) })
	}
	l.tasks.Go(func() {
		for ctx.Err() == nil && !l.stopping.Load() {
			l.volume.prefer(ctx)
			pauseFor(ctx, 500*time.Millisecond)
		}
	})
}

// stop lets the writers finish what they have begun.
func (l *load) stop() {
	l.stopping.Store(true)
	l.tasks.Wait()
	l.cancel()
}

func (l *load) write(ctx context.Context, w uint64) {
	buffer := make([]byte, writeMax*blockBytes)
	for !l.stopping.Load() && ctx.Err() == nil {
		first := l.windows[rand.IntN(len(l.windows))] + w*stripeBlocks
		blocks := 1 + rand.IntN(writeMax)
		block := first + uint64(rand.IntN(stripeBlocks-blocks+1))
		p := buffer[:blocks*blockBytes]
		l.ledger.begin(block, p)
		began := time.Now()
		once, cancel := context.WithTimeout(ctx, patience)
		err := l.volume.write(once, block, p)
		cancel()
		l.took(time.Since(began))
		if err != nil {
			l.problem("a write of %d blocks at block %d failed: %v", blocks, block, err)
			return
		}
		l.ledger.acknowledge(block, len(p))
		if rand.IntN(8) == 0 {
			l.check(ctx, block, p)
		}
	}
}

// check reads blocks that nobody writes meanwhile and compares them with the ledger.
func (l *load) check(ctx context.Context, block uint64, p []byte) (good bool) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := l.volume.read(ctx, block, p); err != nil {
		l.problem("a read of %d blocks at block %d failed: %v", len(p)/blockBytes, block, err)
		return false
	}
	good = true
	for i := range uint64(len(p) / blockBytes) {
		if !l.ledger.intact(block+i, p[i*blockBytes:][:blockBytes]) {
			l.problem("block %d does not hold what was acknowledged", block+i)
			good = false
		}
	}
	return good
}

// checkAll reads all that was ever written, over all paths in turn.
func (l *load) checkAll(ctx context.Context) {
	stripes := make(chan uint64)
	var readers sync.WaitGroup
	for range 8 {
		readers.Go(func() {
			p := make([]byte, stripeBlocks*blockBytes)
			for block := range stripes {
				l.check(ctx, block, p)
			}
		})
	}
	for i, first := range l.windows {
		l.volume.preferred.Store(int32(i % len(l.volume.paths)))
		for w := range uint64(writers) {
			stripes <- first + w*stripeBlocks
		}
	}
	close(stripes)
	readers.Wait()
}

func (l *load) took(d time.Duration) {
	for {
		old := l.longest.Load()
		if int64(d) <= old || l.longest.CompareAndSwap(old, int64(d)) {
			return
		}
	}
}

// longestSince gives the longest write since the last call.
func (l *load) longestSince() time.Duration { return time.Duration(l.longest.Swap(0)) }

func (l *load) problem(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.problems) < problemsMax {
		l.problems = append(l.problems, fmt.Sprintf(format, args...))
	}
}

func (l *load) allProblems() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.problems
}

func pauseFor(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
