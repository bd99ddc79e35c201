package disk_test

import (
	"errors"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"
	"time"

	"ashlar/node/disk"
	"ashlar/node/disk/disktest"
)

// script does to a store whatever a store can be asked, in the same order each time, and
// marks it in the trace, until the first operation fails.
type script struct {
	s   *disk.Store
	tr  *disktest.Trace
	seq uint64
	err error
}

func (c *script) run() {
	a, b, d := replica(1, 0), replica(1, 1), replica(1, 2)
	c.order('c', a)
	c.order('c', b)
	for i := range uint32(3) {
		c.write(a, i*60, 8)
		c.write(b, i*5, 3)
	}
	c.promise(1)
	c.commit(a)
	c.label(1)
	c.checkpoint()
	c.zero(a, 0, 70)
	c.burst(a, 100)
	c.order('r', b)
	c.write(b, 10, 12) // into space that the reset freed
	c.checkpoint()
	c.label(2)
	c.order('d', b)
	c.order('c', d)
	c.write(d, 0, 20)
	c.write(d, 100, 40)
	c.write(a, 0, 10)
	c.write(a, 20, 120) // past the journal, three chunks of it
	c.write(a, 64, 96)  // and again, two of them to another place
	c.commit(d)
	c.promise(2)
	c.checkpoint()
	c.zero(d, 120, 90)
	c.burst(d, 0)
	c.label(3)
	if c.err == nil {
		c.err = c.s.Close()
	}
}

func (c *script) do(begin any, operation func() error, end any) {
	if c.err != nil {
		return
	}
	c.tr.Mark(begin)
	if c.err = operation(); c.err == nil && end != nil {
		c.tr.Mark(end)
	}
}

func (c *script) order(kind byte, r disk.Replica) {
	c.do(ordering{kind, r}, func() error {
		return map[byte]func(disk.Replica) error{'c': c.s.Create, 'd': c.s.Remove, 'r': c.s.Reset}[kind](r)
	}, ordered{})
}

func (c *script) promise(epoch uint64) {
	c.do(promising{epoch}, func() error { return c.s.Promise(1, epoch) }, promised{epoch})
}

func (c *script) label(n uint64) {
	c.do(labelling{n}, func() error { return c.s.SetLabel(numberedLabel(n)) }, labelled{n})
}

func (c *script) commit(r disk.Replica) {
	c.do(committing{r, v(1, c.seq)}, func() error { c.s.SetCommit(r, v(1, c.seq)); return nil }, nil)
}

func (c *script) checkpoint() {
	c.do(nil, func() error { c.s.Checkpoint(); return c.s.Err() }, nil)
}

func (c *script) write(r disk.Replica, block, count uint32) {
	c.seq++
	c.submit(dataWrite(r, block, count, v(1, c.seq)))
}

func (c *script) zero(r disk.Replica, block, count uint32) {
	c.seq++
	c.submit(&disk.Write{Replica: r, Block: block, Count: count, Version: v(1, c.seq)})
}

func (c *script) submit(w *disk.Write) {
	c.do(issued{w}, func() error { return submit(c.s, w) }, acked{w})
}

// burst has more writes queued than one record takes.
func (c *script) burst(r disk.Replica, block uint32) {
	if c.err != nil {
		return
	}
	var mu sync.Mutex
	var flying sync.WaitGroup
	for i := range uint32(14) {
		c.seq++
		w := dataWrite(r, block+i, 2, v(1, c.seq))
		w.Done = func(w *disk.Write) {
			defer flying.Done()
			if w.Err == nil {
				c.tr.Mark(acked{w})
				return
			}
			mu.Lock()
			defer mu.Unlock()
			c.err = w.Err
		}
		flying.Add(1)
		c.tr.Mark(issued{w})
		c.s.Write(w)
	}
	flying.Wait()
}

var writeFaults = map[string]disktest.Fault{
	"EIO":          {Err: syscall.EIO, Reach: func(int) int { return 0 }, Once: true},
	"EIO, written": {Err: syscall.EIO, Reach: func(n int) int { return n }, Once: true},
	"full disk":    {Err: syscall.ENOSPC},
	"torn":         {Err: syscall.EIO, Reach: func(n int) int { return n/2 + 512 }, Once: true},
	"short":        {Reach: func(n int) int { return n - 512 }, Once: true},
}

// Whatever write or flush fails, and however much of it reaches the device: the store writes nothing
// more, and what was acknowledged is there after a restart, whatever else of what was not flushed is lost.
func TestEachWriteAndFlushFailsInTurn(t *testing.T) {
	for name, fault := range writeFaults {
		if testing.Short() && name != "EIO" && name != "full disk" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(1, 3))
			images := 0
			for n := 1; ; n++ {
				failed, opened := failOnce(t, r, n, fault)
				images += opened
				if !failed {
					t.Logf("%d writes and flushes failed in turn; %d images were recovered twice", n-1, images)
					break
				}
				if t.Failed() {
					t.Fatalf("when write %d failed", n)
				}
			}
		})
	}
}

// failOnce runs the script with a fault at the n-th write, if there are as many.
func failOnce(t *testing.T, r *rand.Rand, n int, fault disktest.Fault) (failed bool, images int) {
	memory := formatted(t)
	tr := memory.Record()
	dev := disktest.NewFaulty(memory)
	s, err := disk.Open(dev, testIdentity, disk.Options{Readers: 1, Writers: 2})
	check(t, err)
	before := dev.Writes()
	dev.Fail(n, fault)
	c := &script{s: s, tr: tr}
	c.run()
	if c.err == nil {
		if dev.Writes()-before >= n {
			t.Errorf("write %d of %d failed, and no operation did", n, dev.Writes()-before)
		}
		return false, 0
	}
	wantNoWriteAfterAFailed(t, s, dev, c.err)
	return true, recoverAfterFault(t, r, tr)
}

// recoverAfterFault opens what the device may hold when power is lost after the fault.
func recoverAfterFault(t *testing.T, r *rand.Rand, tr *disktest.Trace) (images int) {
	h, c := newHistory(&found{}), tr.Start()
	for mark, ok := c.Step(); ok; mark, ok = c.Step() {
		h.note(mark)
	}
	kept := []uint64{0, ^uint64(0)}[r.IntN(2)]
	for _, image := range []*disktest.Memory{c.Image(kept, nil), c.Image(r.Uint64(), r)} {
		images++
		if err := recoverImage(r, image, h); err != nil {
			t.Errorf("%d writes were not flushed: %v", c.InFlight(), err)
		}
		if c.InFlight() == 0 {
			break // all are equal
		}
	}
	return images
}

// mayBeOnTheirWay is how many writes may have passed the gate before it shut and reach the
// device after: of a goroutine that writes records, and of two that write back.
const mayBeOnTheirWay = 3

// wantNoWriteAfterAFailed tries to write with a store whose device would take it.
func wantNoWriteAfterAFailed(t *testing.T, s *disk.Store, dev *disktest.Faulty, err error) {
	t.Helper()
	wantError(t, err, disk.ErrFailed)
	select {
	case <-s.Failed():
	case <-time.After(5 * time.Second):
		t.Fatal("Failed was not closed")
	}
	writes, r := dev.Writes(), replica(1, 0)
	for name, err := range map[string]error{"promise": s.Promise(1, 99), "reserve": s.Reserve(r, 0, 1), "write": put(s, r, 0, 1, v(2, 0)),
		"create": s.Create(replica(1, 9)), "reset": s.Reset(r), "label": s.SetLabel([]byte("after"))} {
		if !errors.Is(err, disk.ErrFailed) {
			t.Errorf("%s after a failed write: %v", name, err)
		}
	}
	for _, state := range s.Replicas() {
		if read := get(s, state.Replica, 0, 1); read.Err != nil && !errors.Is(read.Err, disk.ErrClosed) {
			t.Errorf("read after a failed write: %v", read.Err)
		}
	}
	s.Close() // no other goroutine writes after it
	if more := dev.Writes() - writes; more > mayBeOnTheirWay {
		t.Errorf("%d writes after the store had failed", more)
	}
}
