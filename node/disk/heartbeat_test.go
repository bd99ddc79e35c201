package disk_test

import (
	"errors"
	"testing"
	"time"

	"ashlar/node/disk"
	"ashlar/node/disk/disktest"
)

// A beat writes what is there: it changes nothing, on a device that a crash cuts it off on as well.
func TestABeatIsADurableWriteThatChangesNothing(t *testing.T) {
	dev := formatted(t)
	s := open(t, dev)
	before := s.Beats()
	trace := dev.Record()
	check(t, s.Beat())
	if s.Beats() != before+1 || trace.Len() < 2 {
		t.Fatalf("%d beats, then %d", before, s.Beats())
	}
	check(t, s.Close())
	wantError(t, s.Beat(), disk.ErrClosed)
	crash := trace.Start()
	for range 2 {
		crash.Step()
		if _, err := disk.Probe(crash.Image(0, nil)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestABeatThatFailsEndsTheStore(t *testing.T) {
	dev := disktest.NewFaulty(formatted(t))
	s := open(t, dev)
	dev.FailWrite(dev.Writes()+1, errors.New("broken"))
	if err := s.Beat(); err == nil {
		t.Fatal("it did not fail")
	}
	wantError(t, s.Err(), disk.ErrFailed)
}

func TestADeviceThatHangsShowsAtOnceAndASlowOneInItsLatency(t *testing.T) {
	dev := disktest.NewFaulty(formatted(t))
	s := open(t, dev)
	dev.Slow(30 * time.Millisecond)
	check(t, s.Beat())
	if l := s.Latency().RecentWrites; l.P99 < int64(30*time.Millisecond) || l.Oldest != 0 {
		t.Errorf("a slow device: %+v", l)
	}
	dev.Slow(0)
	release := dev.Hold()
	beats, done := s.Beats(), make(chan error)
	go func() { done <- s.Beat() }()
	time.Sleep(60 * time.Millisecond)
	if l := s.Latency().RecentWrites; l.Oldest < int64(30*time.Millisecond) || l.Oldest > int64(5*time.Second) || s.Beats() != beats {
		t.Errorf("a device that hangs: %+v, %d beats after %d", l, s.Beats(), beats)
	}
	release()
	check(t, <-done)
	if l := s.Latency().RecentWrites; l.Oldest != 0 || s.Beats() == beats {
		t.Errorf("afterwards: %+v", l)
	}
}
