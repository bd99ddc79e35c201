package mirror

import (
	"testing"

	"ashlar/replication/wire"
)

// What the destination does not take, or no source can give, is not counted as copied.
func TestACopyDoesNotCountBeforeItsChecksumsWereRight(t *testing.T) {
	for _, where := range []string{"source", "destination"} {
		c := newCluster(t, Bugs{})
		c.agree(in(1), outside(3))
		lag(c)
		bad := true
		c.corrupt = func(to wire.NodeID, m wire.Message) wire.Message {
			switch m := m.(type) {
			case *wire.Read:
				if bad && where == "source" && m.Block <= 100 && 100 < m.Block+m.Count {
					return &wire.Blocks{Req: m.Req, Status: wire.Corrupt, Bad: []uint32{100}, Data: make([]byte, m.Count*wire.BlockSize),
						CRC: make([]uint32, m.Count), Versions: make([]wire.Version, m.Count)}
				}
			case *wire.Write:
				if bad && where == "destination" && m.Versions != nil && m.Block <= 100 && 100 < m.Block+m.Count {
					return &wire.Ack{Req: m.Req, Status: wire.Corrupt}
				}
			}
			return nil
		}
		if c.pass(3 * Second); len(c.caught) != 0 {
			t.Errorf("%s: %+v", where, c.caught)
		}
		bad = false
		if c.pass(5 * Second); len(c.caught) == 0 {
			t.Errorf("%s: a copy that can be made is not", where)
		}
	}
}

// Runs end where a store's chunks do: one that begins in the middle of some is made up for by the next ones.
func TestRunsToBeCopiedEndAtMultiplesOfTheirLength(t *testing.T) {
	changes := func(from, to uint32) (list []wire.Change) {
		for b := from; b < to; b++ {
			list = append(list, wire.Change{Block: b, Version: wire.Version{Epoch: 1, Seq: 1}})
		}
		return list
	}
	j := joiner{mine: pager{list: append(changes(10, 200), changes(300, 310)...), ended: true}, its: pager{ended: true}}
	for _, want := range [][2]uint32{{10, 64}, {64, 128}, {128, 192}, {192, 200}, {300, 310}} {
		run, rewrite := j.nextRun()
		if rewrite || len(run) != int(want[1]-want[0]) || run[0] != want[0] {
			t.Fatalf("run %v, want %v", run, want)
		}
	}
}

// A copy that has caught up, and is about to be taken into its set, gives way to an empty one of its node's, be it on the same disk. Its head may
// hear of both at once: the empty one is not taken for the other.
func TestACopyMadeAnewCatchesUpAnew(t *testing.T) {
	made := func(gen uint64) Member {
		m := outside(2)
		m.Made = gen
		return m
	}
	s := newStand(t, 1)
	own := 0
	s.changes = func(_ wire.NodeID, m *wire.Changes) *wire.Page {
		if m.Own {
			own++
		}
		return &wire.Page{}
	}
	s.configure(1, 1, in(1), made(0))
	s.h.Connected(0, 1)
	s.h.Connected(0, 2)
	s.settle()
	s.pass(Second)
	if len(s.caught) != 1 || s.caught[0].Gen != 1 || own != 1 {
		t.Fatalf("it is to be taken in as %+v, and was asked %d times", s.caught, own)
	}
	s.caught = nil
	s.configure(2, 1, in(1), made(0))
	s.h.Refused(s.now, Caught{Node: 2, Incarnation: 1, Gen: 1})
	s.pass(Second)
	if own != 1 || len(s.caught) != 1 || s.caught[0].Gen != 2 {
		t.Errorf("of another generation: %+v, asked %d times", s.caught, own)
	}
	s.caught = nil
	s.configure(3, 1, in(1), made(3))
	if len(s.caught) != 0 {
		t.Errorf("the empty copy is to be taken in: %+v", s.caught)
	}
	s.pass(Second)
	if own != 2 || len(s.caught) == 0 || s.caught[0].Gen != 3 {
		t.Errorf("the empty copy was asked %d times, and is to be taken in as %+v", own-1, s.caught)
	}
}
