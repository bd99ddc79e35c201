package nvme

import (
	"bytes"
	"testing"

	"ashlar/target"
	"ashlar/target/targettest"
)

func blocks(seed byte, n int) []byte { return bytes.Repeat([]byte{seed, seed ^ 0x55, 1, 2}, n*128) }

func (r *rig) put(lba uint64, data []byte) {
	r.Helper()
	r.good(1, ranged(Write, lba, uint32(len(data)/512), 0), data)
}

func (r *rig) see(lba uint64, want []byte) {
	r.Helper()
	if got := r.good(1, ranged(Read, lba, uint32(len(want)/512), 0), nil).Data; !bytes.Equal(got, want) {
		r.Fatalf("block %d begins %x, want %x", lba, got[:4], want[:4])
	}
}

func TestReadsAndWritesKeepToTheirRange(t *testing.T) {
	r := newRig(t, targettest.Options{Blocks: 4096})
	r.put(4094, blocks(1, 2))
	r.see(4094, blocks(1, 2))
	for _, c := range []struct {
		lba uint64
		n   uint32
	}{{4095, 2}, {4096, 1}, {1 << 63, 1}, {1<<64 - 1, 1}} {
		r.bad(LBAOutOfRange|DoNotRetry, 1, ranged(Read, c.lba, c.n, 0), nil)
		r.bad(LBAOutOfRange|DoNotRetry, 1, ranged(Write, c.lba, c.n, 0), make([]byte, 1024))
		r.bad(LBAOutOfRange|DoNotRetry, 1, ranged(WriteZeroes, c.lba, c.n, 0), nil)
		r.bad(LBAOutOfRange|DoNotRetry, 1, ranged(Verify, c.lba, c.n, 0), nil)
	}
	r.bad(InvalidField|DoNotRetry, 1, ranged(Read, 0, 2049, 0), nil) // more than MDTS
	absent := ranged(Read, 0, 1, 0)
	absent[4] = 2
	r.bad(InvalidNamespace|DoNotRetry, 1, absent, nil)
	r.bad(InvalidOpcode|DoNotRetry, 1, command64(0x04, 1), nil) // Write Uncorrectable
	r.bad(InvalidOpcode|DoNotRetry, 0, command64(0x80, 1), nil) // Format NVM
}

func TestForceUnitAccessGoesToTheDevice(t *testing.T) {
	r := newRig(t, targettest.Options{})
	var seen []bool
	r.device.Intercept(func(op *target.Op) targettest.Verdict {
		seen = append(seen, op.FUA)
		return targettest.Verdict{}
	})
	r.good(1, ranged(Write, 0, 1, 0x4000), blocks(1, 1))
	r.good(1, ranged(Write, 0, 1, 0), blocks(1, 1))
	if len(seen) != 2 || !seen[0] || seen[1] {
		t.Errorf("FUA %v", seen)
	}
}

func TestCompareFindsADifference(t *testing.T) {
	r := newRig(t, targettest.Options{})
	r.put(8, blocks(3, 2))
	r.good(1, ranged(Compare, 8, 2, 0), blocks(3, 2))
	r.bad(CompareFailure|DoNotRetry, 1, ranged(Compare, 8, 2, 0), blocks(4, 2))
	r.good(1, ranged(Verify, 0, 0x10000, 0), nil)
}

func TestZeroesAndDeallocatedRangesReadAsZeros(t *testing.T) {
	r := newRig(t, targettest.Options{})
	var kinds []target.Kind
	for _, zero := range []func(){
		func() { r.good(1, ranged(WriteZeroes, 8, 8, 0), nil) },
		func() { r.good(1, ranged(WriteZeroes, 8, 8, 1<<9), nil) },
		func() {
			ranges := make([]byte, 32)
			le.PutUint32(ranges[4:], 3)
			le.PutUint64(ranges[8:], 8)
			le.PutUint32(ranges[20:], 5)
			le.PutUint64(ranges[24:], 11)
			r.good(1, command64(DatasetManagement, 1, 1, 1<<2), ranges)
		},
	} {
		r.put(7, blocks(9, 10))
		r.device.Intercept(func(op *target.Op) targettest.Verdict {
			kinds = append(kinds, op.Kind)
			return targettest.Verdict{}
		})
		zero()
		r.device.Intercept(nil)
		r.see(7, append(append(blocks(9, 1), make([]byte, 8*512)...), blocks(9, 1)...))
	}
	want := []target.Kind{target.Zero, target.Unmap, target.Unmap, target.Unmap}
	for i := range want {
		if len(kinds) != len(want) || kinds[i] != want[i] {
			t.Fatalf("operations %v, want %v", kinds, want)
		}
	}
	hint := make([]byte, 16)
	le.PutUint32(hint[4:], 8)
	r.put(0, blocks(1, 8))
	r.good(1, command64(DatasetManagement, 1, 0, 1<<0), hint) // a hint, no deallocation
	r.see(0, blocks(1, 8))
	le.PutUint64(hint[8:], 1<<40)
	r.bad(LBAOutOfRange|DoNotRetry, 1, command64(DatasetManagement, 1, 0, 1<<2), hint)
	big := make([]byte, 16*256)
	for i := range 256 {
		le.PutUint32(big[16*i+4:], maxUnmapBlocks/256+1)
		le.PutUint64(big[16*i+8:], 0)
	}
	r.bad(CommandSizeLimit|DoNotRetry, 1, command64(DatasetManagement, 1, 255, 1<<2), big)
}

func TestCopyTakesItsRangesInOrder(t *testing.T) {
	for format, size := range copyFormats {
		r := newRig(t, targettest.Options{})
		r.put(0, blocks(1, 1000))
		r.put(2000, blocks(2, 3))
		sources := make([]byte, 2*size)
		le.PutUint64(sources[8:], 2000)
		le.PutUint16(sources[16:], 2)
		le.PutUint64(sources[size+8:], 0)
		le.PutUint16(sources[size+16:], 999)
		cmd := command64(Copy, 1, 5000, 0, 1|uint32(format)<<8)
		r.good(1, cmd, sources)
		r.see(5000, append(blocks(2, 3), blocks(1, 1000)...))
		r.see(6003, make([]byte, 512))
		le.PutUint16(sources[16:], 2048) // MSSRL is 2048 blocks
		r.bad(CommandSizeLimit|DoNotRetry, 1, cmd, sources)
		le.PutUint16(sources[16:], 0)
		le.PutUint64(sources[8:], 1<<50)
		r.bad(LBAOutOfRange|DoNotRetry, 1, cmd, sources)
		r.bad(InvalidField|DoNotRetry, 1, command64(Copy, 1, 0, 0, 2<<8), sources)
	}
	if n := copies.Load(); n != 0 {
		t.Errorf("%d copies are still counted", n)
	}
}

func TestFlushReachesEveryNamespaceThatIsMeant(t *testing.T) {
	r := newRig(t, targettest.Options{})
	two := targettest.NewMemory(targettest.Options{ID: 2})
	if err := r.subsystem.Add(5, two); err != nil {
		t.Fatal(err)
	}
	var first, second int
	r.device.Intercept(func(op *target.Op) targettest.Verdict { first++; return targettest.Verdict{} })
	two.Intercept(func(op *target.Op) targettest.Verdict { second++; return targettest.Verdict{} })
	r.good(1, command64(Flush, 1), nil)
	r.good(1, command64(Flush, allNamespaces), nil)
	if first != 2 || second != 1 {
		t.Errorf("%d and %d flushes", first, second)
	}
	r.bad(InvalidNamespace|DoNotRetry, 1, command64(Flush, 3), nil)
}

func (r *rig) fused(lba uint64, compare, write []byte) (first, second Status) {
	r.Helper()
	done := make(chan *Request, 2)
	n := uint32(len(compare) / 512)
	a := &Request{Command: ranged(Compare, lba, n, 0), Queue: 1, Data: append(bytes.Clone(compare), make([]byte, len(compare))...)[:len(compare)], Done: func(q *Request) { done <- q }}
	b := &Request{Command: ranged(Write, lba, n, 0), Queue: 1, Data: write, Done: func(q *Request) { done <- q }}
	if s := r.FusedDemand(&a.Command, &b.Command); s != Success {
		return s, s
	}
	r.ExecuteFused(a, b)
	if one, two := r.wait(done), r.wait(done); one != a || two != b {
		r.Fatal("the write is answered before the compare")
	}
	return a.Status, b.Status
}

func TestFusedCompareAndWriteIsOne(t *testing.T) {
	r := newRig(t, targettest.Options{})
	var kinds []target.Kind
	r.device.Intercept(func(op *target.Op) targettest.Verdict { kinds = append(kinds, op.Kind); return targettest.Verdict{} })
	if a, b := r.fused(16, make([]byte, 512), blocks(1, 1)); a != Success || b != Success {
		t.Fatalf("%v, %v", a, b)
	}
	if a, b := r.fused(16, make([]byte, 512), blocks(2, 1)); a != CompareFailure|DoNotRetry || b != FailedFused|DoNotRetry {
		t.Fatalf("%v, %v", a, b)
	}
	if a, b := r.fused(16, blocks(1, 1), blocks(2, 1)); a != Success || b != Success {
		t.Fatalf("%v, %v", a, b)
	}
	if len(kinds) != 3 || kinds[0] != target.CompareAndWrite || kinds[2] != target.CompareAndWrite {
		t.Errorf("operations %v", kinds)
	}
	r.device.Intercept(nil)
	r.see(16, blocks(2, 1))
	if a, _ := r.fused(0, make([]byte, 512*(MaxCompareAndWrite+1)), make([]byte, 512*(MaxCompareAndWrite+1))); a != InvalidField|DoNotRetry {
		t.Errorf("more than ACWU: %v", a)
	}
	a, b := ranged(Compare, 0, 1, 0), ranged(Write, 1, 1, 0)
	if s := r.FusedDemand(&a, &b); s == Success {
		t.Error("two ranges are fused")
	}
}

// A host tries again what may pass, and never what will not.
func TestEachOutcomeOfADeviceHasItsStatus(t *testing.T) {
	r := newRig(t, targettest.Options{})
	for device, want := range map[target.Status]Status{
		target.Busy: InternalPathError | retryLater, target.Full: InternalPathError | retryLater, target.Aborted: Interrupted,
		target.OutOfRange: LBAOutOfRange | DoNotRetry, target.NoSpace: CapacityExceeded | DoNotRetry,
		target.MediumError: UnrecoveredRead | DoNotRetry, target.Protected: WriteProtected | DoNotRetry,
		target.Gone: InvalidNamespace | DoNotRetry, target.Conflict: ReservationConflict | DoNotRetry,
		target.CacheLost: WriteFault | DoNotRetry,
	} {
		r.device.Intercept(func(*target.Op) targettest.Verdict { return targettest.Verdict{Status: device} })
		done := r.start(r.Controller, 1, ranged(Write, 0, 1, 0), blocks(1, 1))
		r.Tick(0)
		r.Tick(0)
		if q := r.wait(done); q.Status != want {
			t.Errorf("%v: %v, want %v", device, q.Status, want)
		}
	}
	r.device.Intercept(nil)
	// The latest error comes first in the log.
	page := r.good(0, log(logErrors, 128), nil).Data
	if le.Uint64(page) != 10 || le.Uint64(page[64:]) != 9 || page[29] != 3 {
		t.Errorf("the error log begins with %d, %d", le.Uint64(page), le.Uint64(page[64:]))
	}
}

func TestAReadOnlyDeviceIsProtectedAndSaysSo(t *testing.T) {
	r := newRig(t, targettest.Options{ReadOnly: true})
	for _, cmd := range []Command{ranged(Write, 0, 1, 0), ranged(WriteZeroes, 0, 1, 0)} {
		r.bad(WriteProtected|DoNotRetry, 1, cmd, make([]byte, 512))
	}
	r.bad(WriteProtected|DoNotRetry, 1, command64(DatasetManagement, 1, 0, 1<<2), make([]byte, 16))
	if r.good(0, command64(GetFeatures, 1, featureWriteProtect), nil).Result != 1 || r.good(0, command64(Identify, 1, 0), nil).Data[99] != 1 {
		t.Error("it is not told")
	}
}

func TestFeaturesKeepWhatTheyAreSet(t *testing.T) {
	r := newRig(t, targettest.Options{})
	set := func(id uint8, value uint32) Command { return command64(SetFeatures, 0, uint32(id), value) }
	get := func(id uint8) Command { return command64(GetFeatures, 0, uint32(id)) }
	for id, c := range map[uint8]struct{ value, want uint32 }{
		featureArbitration: {0x010203, 0x010203}, featureRecovery: {5, 5}, featureWriteNormal: {1, 1},
		featureEvents: {eventsOfIO, eventsOfIO}, featureKeepAlive: {2500, 3000}, featureQueues: {9<<16 | 1, 3<<16 | 1}, featurePower: {0, 0},
	} {
		r.good(0, set(id, c.value), nil)
		if got := r.good(0, get(id), nil).Result; got != uint64(c.want) {
			t.Errorf("feature %02xh: %xh, want %xh", id, got, c.want)
		}
	}
	if got := r.good(0, set(featureQueues, 0), nil).Result; got != 0 {
		t.Errorf("one queue was asked for, %xh granted", got)
	}
	now := []byte{1, 2, 3, 4, 5, 6, 0, 0}
	r.good(0, set(featureTimestamp, 0), now)
	if got := r.good(0, get(featureTimestamp), nil).Data; !bytes.Equal(got[:6], now[:6]) || got[6] != 2 {
		t.Errorf("timestamp % x", got)
	}
	behaviour := make([]byte, 512)
	behaviour[0] = 1
	r.good(0, set(featureBehaviour, 0), behaviour)
	if got := r.good(0, get(featureBehaviour), nil).Data; !bytes.Equal(got, behaviour) {
		t.Error("host behavior is lost")
	}
	if got := r.good(0, command64(GetFeatures, 0, featureHostID, widerHostID), nil).Data; got[15] != 1 {
		t.Errorf("host identifier % x", got)
	}
	r.bad(HostIDInconsistent|DoNotRetry, 0, get(featureHostID), nil)
	r.bad(FeatureNotChangeable|DoNotRetry, 0, set(featureHostID, 0), make([]byte, 16))
	r.bad(FeatureNotChangeable|DoNotRetry, 0, set(featureTemperature, 0), nil)
	r.bad(FeatureNotSaveable|DoNotRetry, 0, command64(SetFeatures, 0, featureEvents|1<<31), nil)
	r.bad(InvalidField|DoNotRetry, 0, get(0x7F), nil)
	r.bad(InvalidField|DoNotRetry, 0, get(featureWriteCache), nil) // there is none
	r.bad(InvalidField|DoNotRetry, 0, set(featurePower, 1), nil)
	if got := r.good(0, get(featureTemperature), nil).Result; got != defaultTemperature {
		t.Errorf("temperature threshold %d", got)
	}
	if got := r.good(0, command64(GetFeatures, 1, featureResvPersist|selectCapabilities<<8), nil).Result; got != featureChangeable|featureOfNamespace {
		t.Errorf("capabilities %xh", got)
	}
	cached := newRig(t, targettest.Options{WriteCache: true})
	if cached.good(0, get(featureWriteCache), nil).Result != 1 || cached.good(0, command64(Identify, 0, 1), nil).Data[525]&1 == 0 {
		t.Error("a write cache is not told")
	}
}
