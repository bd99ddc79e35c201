package scsi

import (
	"encoding/binary"
	"sync/atomic"
	"time"
)

// statistics are what a unit's read and write commands came to that ended well,
// since the target has it. Times are in ns.
type statistics struct {
	reads, writes         atomic.Uint64 // commands
	received, transmitted atomic.Uint64 // logical blocks, of writes and reads
	reading, writing      atomic.Int64  // time that commands took, from all data-out here to the end

	active    atomic.Int64 // commands under way
	idle      atomic.Int64 // time without any, up to the last one that began
	idleSince atomic.Int64 // when the last one ended
}

// clock counts from when the process began.
var clock = func() func() int64 {
	start := time.Now()
	return func() int64 { return int64(time.Since(start)) }
}()

func newStatistics() *statistics {
	s := &statistics{}
	s.idleSince.Store(clock())
	return s
}

// begin counts a command in and says when it began.
func (s *statistics) begin() int64 {
	now := clock()
	if s.active.Add(1) == 1 {
		s.idle.Add(now - s.idleSince.Load())
	}
	return now
}

// end counts the task's command out, and what it did if it did all of it.
func (s *statistics) end(t *Task) {
	now := clock()
	s.idleSince.Store(now)
	s.active.Add(-1)
	if t.Status != StatusGood || t.Aborted {
		return
	}
	if t.command.access == writes {
		s.writes.Add(1)
		s.received.Add(t.blocks)
		s.writing.Add(now - t.began)
	} else {
		s.reads.Add(1)
		s.transmitted.Add(t.blocks)
		s.reading.Add(now - t.began)
	}
}

// idleTime is all time without a command.
func (s *statistics) idleTime() int64 {
	idle := s.idle.Load()
	if since := s.idleSince.Load(); s.active.Load() == 0 {
		idle += max(clock()-since, 0)
	}
	return idle
}

// statisticsLog is page 19h, general statistics and performance (SPC-4 7.3.9), in
// time intervals of 1 us. The weighted counts are not kept, and zero.
func statisticsLog(t *Task) []logParameter {
	const interval, exponent = 1000, 6 // ns, and negative power of ten of a second
	s := t.unit.statistics
	general := make([]byte, 64)
	for i, v := range []uint64{s.reads.Load(), s.writes.Load(), s.received.Load(), s.transmitted.Load(),
		uint64(s.reading.Load() / interval), uint64(s.writing.Load() / interval)} {
		binary.BigEndian.PutUint64(general[8*i:], v)
	}
	idle := binary.BigEndian.AppendUint64(nil, uint64(s.idleTime()/interval))
	return []logParameter{{0x0001, general}, {0x0002, idle}, {0x0003, []byte{0, 0, 0, exponent, 0, 0, 0, 1}}}
}
