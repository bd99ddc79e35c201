package targettest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ashlar/target"
)

// answerWithin bounds every wait of the suite: a Device answers within 4 s,
// whatever is stuck.
const answerWithin = 5 * time.Second

// nexus is the one that most of the suite's operations come from.
var nexus = target.Nexus{Host: "iqn.2001-04.com.example:suite,i,0x000000000001", Port: 1, Generation: 1}

// Suite is what every target.Device must pass. make returns an empty,
// writable device of at least 16 MiB, and sees to its end with t.Cleanup; it is
// called once for each subtest.
func Suite(t *testing.T, make func() target.Device) {
	for _, c := range []struct {
		rule string
		test func(*testing.T, *device)
	}{
		{"an unwritten block reads as zeros", unwrittenReadsZero},
		{"what was written is read, at any block", roundTrips},
		{"the last block is like any other", lastBlock},
		{"no range goes beyond the end", outOfRange},
		{"zeroed and unmapped blocks read as zeros, their neighbours stay", discards},
		{"compare-and-write writes all or nothing", compareAndWrite},
		{"verify tells the first difference", verify},
		{"compare-and-write is atomic", compareAndWriteRace},
		{"compare-and-write is repeated after a lost answer, and only then", claimed},
		{"overlapping writes do not mix", overlappingWrites},
		{"a read after an acknowledged write sees it", readYourWrites},
		{"done is called exactly once", doneOnce},
		{"a fence completes what came before it", fences},
		{"extents tell the allocation from the LBA on", extents},
		{"identity does not change", identities},
		{"a reservation forbids what its type says", reservations},
		{"who is preempted and aborted writes no more", preemption},
	} {
		t.Run(c.rule, func(t *testing.T) { c.test(t, newDevice(t, make())) })
	}
}

// device is a Device with operations that wait.
type device struct {
	target.Device
	t      *testing.T
	size   uint64 // block size, bytes
	blocks uint64
	starts atomic.Uint32 // of operations: every other lends
}

func newDevice(t *testing.T, d target.Device) *device {
	i := d.Info()
	return &device{Device: d, t: t, size: uint64(i.BlockSize), blocks: i.Blocks}
}

// start submits an operation; the channel gets it when it is done.
func (d *device) start(kind target.Kind, lba, blocks uint64, data []byte) <-chan *target.Op {
	return d.startAs(nexus, kind, lba, blocks, data)
}

func (d *device) startAs(as target.Nexus, kind target.Kind, lba, blocks uint64, data []byte) <-chan *target.Op {
	done := make(chan *target.Op, 1)
	op := &target.Op{Kind: kind, LBA: lba, Blocks: uint32(blocks), Data: data, Nexus: as, Stamp: d.Stamp(),
		Done: func(o *target.Op) { done <- o }}
	if d.starts.Add(1)%2 == 0 && (kind == target.Read || kind == target.Write) {
		lend(op)
	}
	if kind == target.LBAStatus {
		op.Extents = make([]target.Extent, 0, 16)
	}
	d.Submit(op)
	return done
}

// lend has an operation's data in memory that is used for something else as soon as it is done, unless it is kept.
func lend(op *target.Op) {
	data, memory, done := op.Data, bytes.Clone(op.Data), op.Done
	op.Lends, op.Data = true, memory
	op.Done = func(o *target.Op) {
		copy(data, o.Data)
		if !o.Kept {
			for i := range memory {
				memory[i] = 0x5A
			}
		}
		o.Data = data
		done(o)
	}
}

// wait is the operation's result. It may be called from any goroutine.
func wait(done <-chan *target.Op) (*target.Op, error) {
	select {
	case o := <-done:
		return o, nil
	case <-time.After(answerWithin):
		return nil, fmt.Errorf("no answer within %v", answerWithin)
	}
}

// must runs an operation that has to end with a status.
func (d *device) must(want target.Status, kind target.Kind, lba, blocks uint64, data []byte) *target.Op {
	d.t.Helper()
	o, err := wait(d.start(kind, lba, blocks, data))
	if err != nil {
		d.t.Fatalf("%v of %d blocks at %d: %v", kind, blocks, lba, err)
	}
	if o.Status != want {
		d.t.Fatalf("%v of %d blocks at %d: %v, want %v", kind, blocks, lba, o.Status, want)
	}
	return o
}

func (d *device) write(lba uint64, data []byte) {
	d.t.Helper()
	d.must(target.OK, target.Write, lba, uint64(len(data))/d.size, bytes.Clone(data))
}

// read fills its buffer with other bytes first, so that a read that does
// nothing is found out.
func (d *device) read(lba, blocks uint64) []byte {
	d.t.Helper()
	b := bytes.Repeat([]byte{0xEE}, int(blocks*d.size))
	d.must(target.OK, target.Read, lba, blocks, b)
	return b
}

func (d *device) expect(lba uint64, want []byte) {
	d.t.Helper()
	got := d.read(lba, uint64(len(want))/d.size)
	if i := difference(got, want); i >= 0 {
		d.t.Fatalf("block %d, byte %d of the range: %#x, want %#x", lba+uint64(i)/d.size, i, got[i], want[i])
	}
}

func difference(a, b []byte) int {
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return -1
}

// pattern is blocks whose every 8 bytes differ, and differ by seed.
func (d *device) pattern(seed uint64, blocks uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, blocks*d.size)
	for i := 0; i < len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], r.Uint64()|1)
	}
	return b
}

func unwrittenReadsZero(t *testing.T, d *device) {
	for _, lba := range []uint64{0, 1, 7, d.blocks / 2, d.blocks - 9} {
		d.expect(lba, make([]byte, 9*d.size))
	}
}

func roundTrips(t *testing.T, d *device) {
	model := make([]byte, 64*d.size)
	for seed, r := range []struct{ lba, blocks uint64 }{
		{0, 1}, {1, 1}, {7, 1}, {8, 8}, {7, 2}, {3, 9}, {15, 17}, {0, 64}, {63, 1}, {9, 40}, {5, 3}, {31, 33},
	} {
		p := d.pattern(uint64(seed), r.blocks)
		d.write(r.lba, p)
		copy(model[r.lba*d.size:], p)
		d.expect(r.lba, p)
		d.expect(0, model)
	}
	big := d.pattern(99, 4<<20/d.size)
	d.write(65, big)
	d.expect(65, big)
	d.expect(0, model)
}

func lastBlock(t *testing.T, d *device) {
	p := d.pattern(1, 3)
	d.write(d.blocks-3, p)
	d.expect(d.blocks-3, p)
	q := d.pattern(2, 1)
	d.write(d.blocks-1, q)
	d.expect(d.blocks-3, append(p[:2*d.size:2*d.size], q...))
}

func outOfRange(t *testing.T, d *device) {
	d.write(0, d.pattern(3, 8))
	d.write(d.blocks-8, d.pattern(4, 8))
	for _, kind := range []target.Kind{target.Read, target.Write, target.Zero, target.Unmap, target.CompareAndWrite, target.Verify} {
		for _, r := range []struct{ lba, blocks uint64 }{
			{d.blocks, 1}, {d.blocks - 1, 2}, {d.blocks + 1, 1}, {1 << 40, 8},
			{1<<64 - 1, 1}, {1<<64 - 1, 2}, {1<<64 - 4, 8},
		} {
			var data []byte
			switch kind {
			case target.CompareAndWrite:
				data = make([]byte, 2*r.blocks*d.size)
			case target.Read, target.Write:
				data = make([]byte, r.blocks*d.size)
			}
			d.must(target.OutOfRange, kind, r.lba, r.blocks, data)
		}
	}
	d.expect(0, d.pattern(3, 8))
	d.expect(d.blocks-8, d.pattern(4, 8))
}

func discards(t *testing.T, d *device) {
	for _, kind := range []target.Kind{target.Zero, target.Unmap} {
		for _, r := range []struct{ lba, blocks uint64 }{{8, 8}, {3, 1}, {7, 2}, {0, 64}, {1, 62}, {5, 20}, {16, 0}} {
			model := d.pattern(uint64(kind)<<8|r.lba, 64)
			d.write(0, model)
			d.must(target.OK, kind, r.lba, r.blocks, nil)
			clear(model[r.lba*d.size : (r.lba+r.blocks)*d.size])
			d.expect(0, model)
			d.write(r.lba, d.pattern(7, 1))
			copy(model[r.lba*d.size:], d.pattern(7, 1))
			d.expect(0, model)
		}
	}
}

func compareAndWrite(t *testing.T, d *device) {
	before := d.pattern(10, 32)
	d.write(0, before)
	for _, r := range []struct{ lba, blocks uint64 }{{0, 1}, {5, 1}, {7, 2}, {3, 17}} {
		n := r.blocks * d.size
		old := before[r.lba*d.size:][:n]
		fresh := d.pattern(11+r.lba, r.blocks)
		for _, at := range []uint64{0, 1, n / 2, n - 1} {
			wrong := bytes.Clone(old)
			wrong[at] ^= 0xFF
			wrong[n-1] ^= 0x0F
			o := d.must(target.Miscompare, target.CompareAndWrite, r.lba, r.blocks, append(wrong, fresh...))
			if o.Offset != at {
				t.Fatalf("miscompare at byte %d, want %d", o.Offset, at)
			}
			d.expect(0, before)
		}
		d.must(target.OK, target.CompareAndWrite, r.lba, r.blocks, append(bytes.Clone(old), fresh...))
		copy(old, fresh)
		d.expect(0, before)
	}
	unwritten := d.blocks / 2
	d.must(target.OK, target.CompareAndWrite, unwritten, 1, append(make([]byte, d.size), d.pattern(12, 1)...))
	d.expect(unwritten, d.pattern(12, 1))
}

func verify(t *testing.T, d *device) {
	p := d.pattern(20, 16)
	d.write(3, p)
	d.must(target.OK, target.Verify, 3, 16, nil)
	d.must(target.OK, target.Verify, 3, 16, bytes.Clone(p))
	for _, at := range []int{0, 511, int(d.size), len(p) - 1} {
		q := bytes.Clone(p)
		q[at] ^= 1
		q[len(q)-1] ^= 2
		if o := d.must(target.Miscompare, target.Verify, 3, 16, q); o.Offset != uint64(at) {
			t.Fatalf("miscompare at byte %d, want %d", o.Offset, at)
		}
	}
	d.expect(3, p)
}

// compareAndWriteRace increments one counter from many goroutines: each
// success is one increment, so none is lost and none is counted twice.
func compareAndWriteRace(t *testing.T, d *device) {
	const workers, each, lba = 8, 25, 11
	var attempts atomic.Int64
	fail := make(chan error, workers)
	for range workers {
		go func() { fail <- d.increment(lba, each, &attempts) }()
	}
	for range workers {
		if err := <-fail; err != nil {
			t.Fatal(err)
		}
	}
	if got := binary.LittleEndian.Uint64(d.read(lba, 1)); got != workers*each {
		t.Fatalf("counted %d, want %d", got, workers*each)
	}
}

// increment adds one to the counter in a block, n times.
func (d *device) increment(lba uint64, n int, attempts *atomic.Int64) error {
	seen := make([]byte, d.size)
	for done := 0; done < n; {
		if attempts.Add(1) > 1_000_000 {
			return fmt.Errorf("no progress")
		}
		next := bytes.Clone(seen)
		binary.LittleEndian.PutUint64(next, binary.LittleEndian.Uint64(seen)+1)
		o, err := wait(d.start(target.CompareAndWrite, lba, 1, append(bytes.Clone(seen), next...)))
		if err != nil {
			return err
		}
		switch o.Status {
		case target.OK:
			done, seen = done+1, next
			continue
		case target.Miscompare:
			if o, err = wait(d.start(target.Read, lba, 1, seen)); err != nil {
				return err
			}
		}
		if o.Status != target.OK {
			return fmt.Errorf("%v: %v", o.Kind, o.Status)
		}
	}
	return nil
}

// overlappingWrites has writers fill one range, each with its own byte, while
// readers look: a range never shows two writers at once.
func overlappingWrites(t *testing.T, d *device) {
	const lba, blocks, rounds = 5, 517, 40
	var group sync.WaitGroup
	problems := make(chan error, 64)
	for w := range 4 {
		group.Go(func() {
			for i := range rounds {
				data := bytes.Repeat([]byte{byte(1 + w + 4*(i%60))}, int(blocks*d.size))
				if o, err := wait(d.start(target.Write, lba, blocks, data)); err != nil || o.Status != target.OK {
					problems <- fmt.Errorf("write: %v %v", o, err)
					return
				}
			}
		})
	}
	for range 2 {
		group.Go(func() {
			for range rounds {
				data := make([]byte, blocks*d.size)
				if o, err := wait(d.start(target.Read, lba, blocks, data)); err != nil || o.Status != target.OK {
					problems <- fmt.Errorf("read: %v %v", o, err)
					return
				}
				if !bytes.Equal(data, bytes.Repeat(data[:1], len(data))) {
					problems <- fmt.Errorf("a read shows parts of two writes")
					return
				}
			}
		})
	}
	group.Wait()
	close(problems)
	for err := range problems {
		t.Error(err)
	}
}

// readYourWrites has workers with a block each: what was acknowledged is read.
func readYourWrites(t *testing.T, d *device) {
	var group sync.WaitGroup
	problems := make(chan error, 16)
	for w := range uint64(8) {
		group.Go(func() {
			for i := range uint64(25) {
				want := d.pattern(w<<32|i, 1)
				o, err := wait(d.start(target.Write, w, 1, bytes.Clone(want)))
				if err == nil && o.Status == target.OK {
					got := make([]byte, d.size)
					o, err = wait(d.start(target.Read, w, 1, got))
					if err == nil && o.Status == target.OK && bytes.Equal(got, want) {
						continue
					}
				}
				problems <- fmt.Errorf("worker %d, round %d: %v, %v", w, i, o, err)
				return
			}
		})
	}
	group.Wait()
	close(problems)
	for err := range problems {
		t.Error(err)
	}
}

func doneOnce(t *testing.T, d *device) {
	const n = 256
	var calls [n]atomic.Int32
	all := make(chan struct{}, 2*n)
	for i := range n {
		kind := []target.Kind{target.Read, target.Write, target.Zero, target.Unmap, target.Verify, target.Flush}[i%6]
		op := &target.Op{Kind: kind, LBA: uint64(i % 32), Blocks: 3, Nexus: nexus, Stamp: d.Stamp(), Done: func(*target.Op) {
			calls[i].Add(1)
			all <- struct{}{}
		}}
		if kind == target.Read || kind == target.Write {
			op.Data = make([]byte, 3*d.size)
		}
		if kind == target.Flush {
			op.LBA, op.Blocks = 0, 0
		}
		if i%7 == 0 {
			op.LBA = d.blocks
		}
		d.Submit(op)
	}
	deadline := time.After(answerWithin)
	for range n {
		select {
		case <-all:
		case <-deadline:
			t.Fatal("an operation was not completed")
		}
	}
	d.fence(target.FenceUnit)
	for i := range calls {
		if c := calls[i].Load(); c != 1 {
			t.Errorf("operation %d was completed %d times", i, c)
		}
	}
}

// fence fences and waits for the proof.
func (d *device) fence(scope target.Scope) {
	d.t.Helper()
	done := make(chan error, 2)
	d.Fence(scope, nexus, func(err error) { done <- err })
	select {
	case err := <-done:
		if err != nil {
			d.t.Fatalf("fence: %v", err)
		}
	case <-time.After(answerWithin):
		d.t.Fatalf("fence: not answered within %v", answerWithin)
	}
}

// fences writes much, fences in the midst of it, and writes again: all that
// came before is complete by then, and what follows is not undone.
func fences(t *testing.T, d *device) {
	for _, scope := range []target.Scope{target.FenceNexus, target.FenceHost, target.FenceUnit, target.FenceTasks} {
		var left atomic.Int32
		const n = 64
		left.Store(n)
		for i := range n {
			data := bytes.Repeat([]byte{0xAA}, int(4*d.size))
			op := &target.Op{Kind: target.Write, LBA: uint64(i % 9), Blocks: 4, Data: data, Nexus: nexus, Stamp: d.Stamp(),
				Done: func(o *target.Op) {
					if o.Status != target.OK && o.Status != target.Aborted {
						t.Errorf("write under a fence: %v", o.Status)
					}
					left.Add(-1)
				}}
			lend(op)
			d.Submit(op)
		}
		d.fence(scope)
		if l := left.Load(); l != 0 {
			t.Fatalf("scope %d: %d operations are still under way after the fence", scope, l)
		}
		after := d.pattern(uint64(scope)+40, 12)
		d.write(0, after)
		d.expect(0, after)
	}
}

func extents(t *testing.T, d *device) {
	far := d.blocks / 2 &^ 2047
	d.write(far, d.pattern(50, 2048))
	for _, lba := range []uint64{far, far + 1, far + 9} {
		e := d.must(target.OK, target.LBAStatus, lba, 0, nil).Extents
		if len(e) == 0 || !e[0].Mapped {
			t.Fatalf("written block %d is not mapped: %v", lba, e)
		}
		d.contiguous(lba, e)
	}
	e := d.must(target.OK, target.LBAStatus, 5, 0, nil).Extents
	if len(e) == 0 {
		t.Fatal("no extents")
	}
	d.contiguous(5, e)
	for _, x := range e {
		if !x.Mapped && x.LBA < far+2048 && x.LBA+x.Blocks > far {
			t.Fatalf("extent %v says that written blocks are unmapped", x)
		}
	}
	d.must(target.OutOfRange, target.LBAStatus, d.blocks+1, 0, nil)
}

// contiguous checks extents that start at lba.
func (d *device) contiguous(lba uint64, e []target.Extent) {
	d.t.Helper()
	for i, x := range e {
		if x.LBA != lba || x.Blocks == 0 || x.Blocks > d.blocks-lba {
			d.t.Fatalf("extent %d is %v, want one from %d on", i, x, lba)
		}
		if i > 0 && e[i-1].Mapped == x.Mapped {
			d.t.Fatalf("extents %d and %d are of one state", i-1, i)
		}
		lba += x.Blocks
	}
}

func identities(t *testing.T, d *device) {
	i := d.Info()
	if i.NAA[0]>>4 != 6 {
		t.Errorf("NAA %x is not of type 6", i.NAA)
	}
	if i.Serial == "" || i.Name == "" {
		t.Errorf("serial %q, name %q", i.Serial, i.Name)
	}
	if i.Physical < i.BlockSize || i.BlockSize != 512 && i.BlockSize != 4096 {
		t.Errorf("logical block %d, physical %d bytes", i.BlockSize, i.Physical)
	}
	groups, local := d.Groups()
	found := false
	for k, g := range groups {
		found = found || g.ID == local
		if k > 0 && groups[k-1].ID >= g.ID {
			t.Errorf("groups %v are not in ascending order", groups)
		}
	}
	if !found {
		t.Errorf("the local group %d is not among %v", local, groups)
	}
	d.write(0, d.pattern(60, 1))
	if j := d.Info(); j != i {
		t.Errorf("%+v became %+v", i, j)
	}
}
