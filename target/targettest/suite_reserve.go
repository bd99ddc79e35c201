package targettest

import (
	"bytes"
	"sync/atomic"
	"testing"

	"ashlar/target"
	"ashlar/target/reserve"
)

// rival is another host's nexus.
var rival = target.Nexus{Host: "iqn.2001-04.com.example:rival,i,0x000000000002", Port: 1, Generation: 1}

// from starts an operation of a nexus.
func (d *device) from(n target.Nexus, op target.Op) <-chan *target.Op {
	done := make(chan *target.Op, 1)
	op.Nexus, op.Stamp = n, d.Stamp()
	op.Done = func(o *target.Op) { done <- o }
	d.Submit(&op)
	return done
}

// ask makes a request of the reservations that has to end with a status.
func (d *device) ask(want reserve.Status, n target.Nexus, r reserve.Request) *target.Op {
	d.t.Helper()
	r.Nexus, r.Session = n.Ports(), n.Generation
	o, err := wait(d.from(n, target.Op{Kind: target.Reserve, Request: &r}))
	if err != nil {
		d.t.Fatalf("%v: %v", r.Kind, err)
	}
	if o.Status != target.OK || o.Reserved.Status != want {
		d.t.Fatalf("%v: %v, %d, want %d", r.Kind, o.Status, o.Reserved.Status, want)
	}
	return o
}

// allowed checks what the reservations let a nexus do.
func (d *device) allowed(n target.Nexus, reads, writes bool) {
	d.t.Helper()
	for _, kind := range []target.Kind{target.Read, target.Verify, target.LBAStatus, target.Write, target.Zero, target.Unmap, target.CompareAndWrite, target.Flush} {
		op := target.Op{Kind: kind, LBA: 8, Blocks: 8}
		switch kind {
		case target.Read, target.Write:
			op.Data = make([]byte, 8*d.size)
		case target.CompareAndWrite:
			op.Data = make([]byte, 16*d.size)
		case target.LBAStatus:
			op.Blocks, op.Extents = 0, make([]target.Extent, 0, 4)
		case target.Flush:
			op.LBA, op.Blocks = 0, 0
		}
		want := target.OK
		if kind.Access() == reserve.Reads && !reads || kind.Access() == reserve.Writes && !writes {
			want = target.Conflict
		}
		o, err := wait(d.from(n, op))
		if err != nil || o.Status != want {
			d.t.Fatalf("%v: %v, %v; want %v", kind, o, err, want)
		}
	}
}

func reservations(t *testing.T, d *device) {
	var told atomic.Uint64
	defer d.Watch(func(e target.Event) {
		if e == target.Reserved {
			told.Store(d.Reservations().Change)
		}
	})()
	d.write(8, d.pattern(70, 8))
	d.must(target.OK, target.Zero, 8, 8, nil)
	d.ask(reserve.Conflict, rival, reserve.Request{Kind: reserve.Reserve, Type: reserve.WriteExclusive})
	d.ask(reserve.Good, nexus, reserve.Request{Kind: reserve.Register, Service: 1})
	for _, c := range []struct {
		kind  reserve.Type
		reads bool
	}{{reserve.WriteExclusive, true}, {reserve.ExclusiveAccess, false}, {reserve.WriteExclusiveAllRegistrants, true}} {
		d.ask(reserve.Good, nexus, reserve.Request{Kind: reserve.Reserve, Key: 1, Type: c.kind})
		d.allowed(nexus, true, true)
		d.allowed(rival, c.reads, false)
		o := d.ask(reserve.Good, rival, reserve.Request{Kind: reserve.Look})
		if o.After == nil || o.After.Type != c.kind {
			t.Fatalf("a look saw %+v", o.After)
		}
		if s := d.Reservations(); s == nil || s.Change != o.After.Change || told.Load() != s.Change {
			t.Fatalf("the device shows %+v, change %d was told, a look saw %d", s, told.Load(), o.After.Change)
		}
		d.ask(reserve.Good, nexus, reserve.Request{Kind: reserve.Release, Key: 1, Type: c.kind})
		d.allowed(rival, true, true)
	}
	d.ask(reserve.Good, nexus, reserve.Request{Kind: reserve.Clear, Key: 1})
	d.ask(reserve.Good, rival, reserve.Request{Kind: reserve.ReserveUnit})
	d.allowed(nexus, false, false)
	d.ask(reserve.Good, rival, reserve.Request{Kind: reserve.NexusLost})
	d.allowed(nexus, true, true)
}

// preemption has a host write without end until it is preempted. Each of its
// writes is done when the answer comes, and what is read then stays.
func preemption(t *testing.T, d *device) {
	d.ask(reserve.Good, nexus, reserve.Request{Kind: reserve.Register, Service: 1})
	d.ask(reserve.Good, rival, reserve.Request{Kind: reserve.Register, Service: 2})
	d.ask(reserve.Good, rival, reserve.Request{Kind: reserve.Reserve, Key: 2, Type: reserve.WriteExclusiveRegistrantsOnly})
	var writes []<-chan *target.Op
	for i := range uint64(32) {
		writes = append(writes, d.from(rival, target.Op{Kind: target.Write, LBA: i, Blocks: 1, Data: d.pattern(i, 1)}))
	}
	d.ask(reserve.Good, nexus, reserve.Request{Kind: reserve.PreemptAndAbort, Key: 1, Service: 2, Type: reserve.WriteExclusiveRegistrantsOnly})
	after := d.read(0, 32)
	for i, w := range writes {
		o, err := wait(w)
		if err != nil {
			t.Fatal(err)
		}
		there := bytes.Equal(after[uint64(i)*d.size:][:d.size], d.pattern(uint64(i), 1))
		if o.Status == target.OK && !there || o.Status == target.Conflict && there {
			t.Errorf("write %d: %v, on the device: %v", i, o.Status, there)
		}
	}
	d.expect(0, after)
	d.allowed(rival, true, false)
	d.ask(reserve.Conflict, rival, reserve.Request{Kind: reserve.Release, Key: 2, Type: reserve.WriteExclusiveRegistrantsOnly})
}
