package mirror

import (
	"testing"

	"ashlar/replication/wire"
)

// writers are the only hosts that may write.
type writers struct {
	hosts   []string
	changes uint64
}

func (w writers) Changes() uint64 { return w.changes }

func (w writers) Allows(n wire.Nexus, k wire.OpKind) bool {
	if k == wire.OpRead || k == wire.OpReserve {
		return true
	}
	for _, h := range w.hosts {
		if h == n.Host {
			return true
		}
	}
	return false
}

// reign is a head on node 1 with its only copy there; the test answers for it.
type reign struct {
	*testing.T
	*Head
	sends  []Send
	done   []*Op
	asked  []*Op
	member Member
}

func newReign(t *testing.T) *reign {
	r := &reign{T: t, Head: NewHead(1, 1, 1, 1<<20, 1<<20, Bugs{}), member: Member{Node: 1, Incarnation: 1, InSync: true, Usable: true}}
	r.Lease(0, 1000*Second)
	r.agree(nil)
	r.Connected(0, 1)
	r.pump(true)
	return r
}

func (r *reign) agree(v Reservations) {
	r.Configure(0, View{MinInSync: 1, Segments: []SegmentView{{Gen: 1, Members: []Member{r.member}}}, Reservations: v})
	r.collect()
}

func (r *reign) collect() {
	a := r.Take()
	r.sends, r.done, r.asked = append(r.sends, a.Sends...), append(r.done, a.Done...), append(r.asked, a.Reserve...)
}

// pump answers the copy's requests, writes too if told so.
func (r *reign) pump(writes bool) {
	for r.collect(); len(r.sends) > 0; r.collect() {
		var kept []Send
		sends := r.sends
		r.sends = nil
		for _, s := range sends {
			switch m := s.Msg.(type) {
			case *wire.Prepare:
				p := &wire.Prepared{Req: m.Req, Epoch: m.Epoch}
				for _, i := range m.Segments {
					p.Segments = append(p.Segments, wire.Tail{Segment: i})
				}
				r.Receive(0, s.To, p)
			case *wire.Write:
				if !writes {
					kept = append(kept, s)
					continue
				}
				r.Receive(0, s.To, &wire.Ack{Req: m.Req})
			}
		}
		if len(kept) > 0 {
			r.collect()
			r.sends = append(kept, r.sends...)
			return
		}
	}
}

func (r *reign) submit(host string, kind wire.OpKind) *Op {
	op := &Op{Kind: kind, Nexus: wire.Nexus{Host: host, Port: 1, Generation: 1}, Stamp: wire.Stamp{Epoch: 1}, Deadline: 4 * Second}
	if kind == wire.OpWrite {
		op.Length, op.Data = wire.BlockSize, make([]byte, wire.BlockSize)
		op.Data[0] = 1
	}
	r.Submit(0, op)
	r.pump(false)
	return op
}

func (r *reign) answered(op *Op) bool {
	for _, d := range r.done {
		if d == op {
			return true
		}
	}
	return false
}

// TestAChangeIsAnsweredWhenWhatStartedBeforeHasEnded: the write of the host that
// loses its access is on its way to the copy when the change takes effect.
func TestAChangeIsAnsweredWhenWhatStartedBeforeHasEnded(t *testing.T) {
	r := newReign(t)
	before := r.submit("loser", wire.OpWrite)
	change := r.submit("winner", wire.OpReserve)
	if len(r.asked) != 1 || r.asked[0] != change || r.answered(change) {
		t.Fatalf("the cluster was asked %d times", len(r.asked))
	}
	r.Reserved(0, change, 1, nil)
	r.pump(false)
	if r.answered(change) {
		t.Fatal("answered before the change was in a view")
	}
	r.agree(writers{[]string{"winner"}, 1})
	if after := r.submit("loser", wire.OpWrite); after.Status != wire.Conflict {
		t.Errorf("a write after the change: %v", after.Status)
	}
	if r.answered(change) {
		t.Fatal("answered while an earlier write was on its way")
	}
	r.pump(true)
	if !r.answered(before) || before.Status != wire.OK || !r.answered(change) || change.Status != wire.OK {
		t.Errorf("the write ended with %v, the change with %v", before.Status, change.Status)
	}
	for i, op := range r.done {
		if op == change && i == 0 {
			t.Error("the change was answered first")
		}
	}
}

// TestAnOperationIsJudgedWhenItStarts: it waited behind another write of its
// range, and the reservation came meanwhile.
func TestAnOperationIsJudgedWhenItStarts(t *testing.T) {
	r := newReign(t)
	first, second := r.submit("loser", wire.OpWrite), r.submit("loser", wire.OpWrite)
	r.agree(writers{nil, 1})
	r.pump(true)
	if first.Status != wire.OK || second.Status != wire.Conflict || !r.answered(second) {
		t.Errorf("%v, then %v", first.Status, second.Status)
	}
}

// TestPreemptAndAbortFencesTheNexus: what waited of it is aborted, what was
// sequenced has ended before the answer, and others are left alone.
func TestPreemptAndAbortFencesTheNexus(t *testing.T) {
	r := newReign(t)
	sequenced, waiting, other := r.submit("loser", wire.OpWrite), r.submit("loser", wire.OpWrite), r.submit("other", wire.OpWrite)
	change := r.submit("winner", wire.OpReserve)
	r.agree(writers{[]string{"winner", "loser", "other"}, 1})
	r.Reserved(0, change, 1, []wire.Nexus{{Host: "loser", Port: 1}})
	r.pump(false)
	if waiting.Status != wire.Aborted || sequenced.Status != wire.Aborted || r.answered(change) || r.answered(other) {
		t.Errorf("waiting %v, sequenced %v, change answered: %v", waiting.Status, sequenced.Status, r.answered(change))
	}
	r.pump(true)
	if !r.answered(change) || other.Status != wire.OK {
		t.Errorf("change answered: %v, the other host's %v", r.answered(change), other.Status)
	}
}

func TestAFlushAndAnEmptyWriteMeetReservationsToo(t *testing.T) {
	r := newReign(t)
	r.agree(writers{nil, 1})
	if op := r.submit("loser", wire.OpFlush); op.Status != wire.Conflict {
		t.Errorf("flush: %v", op.Status)
	}
	op := &Op{Kind: wire.OpWrite, Nexus: wire.Nexus{Host: "loser"}, Stamp: wire.Stamp{Epoch: 1}, Deadline: 4 * Second}
	if r.Submit(0, op); op.Status != wire.Conflict {
		t.Errorf("empty write: %v", op.Status)
	}
}

func TestAChangeThatNoOneAgreesOnIsBusyInTime(t *testing.T) {
	r := newReign(t)
	refused, lost := r.submit("a", wire.OpReserve), r.submit("b", wire.OpReserve)
	r.Unreserved(0, refused)
	if refused.Status != wire.Busy {
		t.Errorf("refused: %v", refused.Status)
	}
	r.Tick(4 * Second)
	if lost.Status != wire.Busy {
		t.Errorf("without an answer: %v", lost.Status)
	}
	r.Reserved(5*Second, lost, 1, nil)
	r.agree(writers{nil, 1})
	if r.pump(true); len(r.done) != 2 {
		t.Errorf("%d answers", len(r.done))
	}
}
