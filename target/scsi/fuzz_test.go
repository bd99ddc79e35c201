package scsi

import (
	"runtime"
	"testing"

	"ashlar/target/targettest"
)

// FuzzCommand gives a unit any CDB with any data-out. It never panics, ends
// every task once, moves no more than its limit, and answers a host in the
// protocol.
func FuzzCommand(f *testing.F) {
	for _, c := range commands {
		cdb := make([]byte, 16)
		copy(cdb, c.usage)
		f.Add(cdb, make([]byte, 512), uint64(0), uint32(512))
		clear(cdb[2:])
		f.Add(cdb, make([]byte, 24), uint64(0), uint32(24))
		cdb[8], cdb[13] = 1, 1
		f.Add(cdb, make([]byte, 1024), uint64(1)<<48, uint32(0))
	}
	list := unmapList([]extent{{0, 8}, {capacity, 0}})
	f.Add(unmapCDB(list), list, uint64(0), uint32(len(list)))
	targets := copyTarget(targettest.NewMemory(targettest.Options{}))
	for _, segment := range [][]byte{copySegment(0, 0, 3, 99, 8), byteSegment(0, 0, 1, 5, 2, 7, 3000)} {
		cdb, list := copyCommand(targets, segment)
		f.Add(cdb, list, uint64(0), uint32(len(list)))
	}
	f.Fuzz(func(t *testing.T, cdb, out []byte, lun uint64, limit uint32) {
		r := newRig(t, targettest.Options{Blocks: 20000})
		task := r.task(r.nexus, lun, cdb, nil)
		task.Limit = limit % (8 << 20)
		direction, n := Demand(cdb, r.target, lun)
		if n > 64<<20 {
			t.Fatalf("demands %d bytes", n)
		}
		if direction == DataOut {
			task.Data = out[:min(uint64(len(out)), n)]
		}
		r.run(task)
		switch task.Status {
		case StatusGood:
			if len(task.Sense) != 0 {
				t.Errorf("good, with sense % x", task.Sense)
			}
		case StatusCheckCondition:
			// Of data that ends within a block the residual is told.
			within := direction == DataOut && task.Transfer == n && uint64(len(task.Data)) < n
			if len(task.Sense) < 8 || task.Transfer != 0 && !within {
				t.Errorf("sense % x, transfer %d", task.Sense, task.Transfer)
			}
		case StatusReservationConflict:
			if len(task.Sense) != 0 || task.Transfer != 0 {
				t.Errorf("reservation conflict, with sense % x, transfer %d", task.Sense, task.Transfer)
			}
		default:
			t.Errorf("status %#x", task.Status)
		}
		if direction != DataOut && uint64(len(task.Data)) > min(task.Transfer, uint64(task.Limit)) {
			t.Errorf("%d bytes of data-in, of %d with room for %d", len(task.Data), task.Transfer, task.Limit)
		}
		if direction == DataOut && task.Status == StatusGood && n != task.Transfer {
			t.Errorf("moved %d bytes, demanded %d", task.Transfer, n)
		}
	})
}

// TestARefusedCommandCostsNoMemory: what a CDB claims is checked before
// anything is set aside for it.
func TestARefusedCommandCostsNoMemory(t *testing.T) {
	r := newRig(t, targettest.Options{Blocks: 1 << 40})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for _, c := range rangedCodes() {
		r.do(ranged(c.code(), 0, 0, 1<<32-1), nil)
		r.do(ranged(c.code(), 0, 1<<39, 1<<31), nil)
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 2<<20 {
		t.Errorf("%d bytes were allocated", got)
	}
}
