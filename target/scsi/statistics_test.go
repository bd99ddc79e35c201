package scsi

import (
	"encoding/binary"
	"testing"
	"time"

	"ashlar/target"
	"ashlar/target/targettest"
)

// counts are the values of log page 19h, parameter 1, and the idle time.
func (r *rig) counts() (general [8]uint64, idle uint64) {
	r.Helper()
	d := r.good(raw("4d 00 59 00 00 00 00 01 00 00"), nil)
	for i := range general {
		general[i] = binary.BigEndian.Uint64(d[8+8*i:])
	}
	return general, binary.BigEndian.Uint64(d[8+64+4:])
}

func TestStatisticsCountWhatEndedWell(t *testing.T) {
	r := newRig(t, targettest.Options{})
	r.good(ranged(0x2A, 0, 0, 5), blocksOf(1, 5))
	r.good(ranged(0x8B, 0, 0, 1), blocksOf(1, 1))
	r.good(ranged(0x89, 0, 0, 2), blocksOf(1, 4))
	r.good(ranged(0x88, 0, 0, 7), nil)
	r.good(ranged(0x28, 0, 0, 9), nil)
	r.good(ranged(0x28, 0, 0, 2), nil)
	r.good(ranged(0x2F, 0, 0, 2), nil) // no data goes to the host
	r.expect("02 5/2100", ranged(0x28, 0, capacity, 1), nil)
	r.memory.Intercept(func(*target.Op) targettest.Verdict { return targettest.Verdict{Status: target.MediumError} })
	r.expect("02 3/1100", ranged(0x28, 0, 0, 1), nil)
	r.memory.Intercept(nil)
	got, _ := r.counts()
	got[4], got[5] = 0, 0 // times
	if want := [8]uint64{3, 3, 8, 18}; got != want {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestStatisticsMeasureTime: what a command takes counts as its processing, and no
// time in which one is under way counts as idle.
func TestStatisticsMeasureTime(t *testing.T) {
	h := newHeld(t)
	before := time.Now()
	_, idle := h.counts()
	read := h.begin(h.nexus, ranged(0x28, 0, 0, 1), nil)
	write := h.write(h.nexus)
	time.Sleep(20 * time.Millisecond) // the least that both take
	_, during := h.counts()
	held := h.memory.Held()
	h.memory.Release()
	got, after := h.counts()
	whole := uint64(time.Since(before).Microseconds())
	for what, took := range map[string]uint64{"read": got[4], "write": got[5]} {
		if took < 20000 || took > whole {
			t.Errorf("the %s took %d us of %d", what, took, whole)
		}
	}
	if held != 2 || read.Status|write.Status != StatusGood || during-idle > whole-20000 || after < during || after-idle > whole-20000 {
		t.Errorf("idle for %d, %d and %d us, with %d us in all", idle, during, after, whole)
	}
}
