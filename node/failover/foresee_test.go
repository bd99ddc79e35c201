package failover

import (
	"testing"

	"ashlar/node/cluster"
)

func TestADrainIsForeseenToItsEnd(t *testing.T) {
	s := newStage(t)
	before := s.on("1")
	c := cluster.Command{SetDiskDrained: &cluster.SetDiskDrained{Disk: "1", Drained: true}}
	f := Foresee(s.State, c)
	if f.Result.Problem != "" || !f.Whole || f.Before != s.State || before == 0 {
		t.Fatalf("%+v of %d copies", f.Result, before)
	}
	if now := f.Next.HeldOn("1").Copies; now != before {
		t.Errorf("%d copies of %d are there right after the order", now, before)
	}
	// It is what comes of it.
	s.do(c)
	for s.step() > 0 {
		s.fill()
	}
	if left := f.After.HeldOn("1").Copies; left != 0 || s.on("1") != 0 {
		t.Errorf("%d copies were foreseen to stay, and %d did", left, s.on("1"))
	}
}

func TestARefusalIsForeseen(t *testing.T) {
	s := newStage(t)
	f := Foresee(s.State, cluster.Command{RemoveDisk: &cluster.RemoveDisk{Disk: "1"}})
	if f.Result.Code != cluster.Refused || f.After.HeldOn("1").Copies != s.on("1") {
		t.Errorf("%+v", f.Result)
	}
}
