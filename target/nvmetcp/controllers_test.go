package nvmetcp

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ashlar/target"
	"ashlar/target/nvme"
	"ashlar/target/targettest/nvmehost"
)

// refused is how a Connect ends.
func (r *rig) refused(o nvmehost.Options, name string, queue, controller uint16, want nvme.Status, result uint64) {
	r.Helper()
	if o.Host.NQN == "" {
		o.Host = nvmehost.DefaultHost
	}
	q, err := nvmehost.Open(r.ctx, r.address, o)
	if err != nil {
		r.Fatal(err)
	}
	defer q.Close()
	c := nvmehost.Connect(&o, name, queue, controller)
	r.fails(q, c, want)
	if c.Result != result {
		r.Errorf("result %xh, want %xh", c.Result, result)
	}
	<-q.Ended() // the connection ends with it
}

// moody is a directory that changes its mind.
type moody struct {
	*Static
	starting, loading atomic.Bool
	proof             func(nvme.AuthRequest) nvme.Authenticator
	resets            chan nvme.Instance
}

func (m *moody) Ready() bool { return !m.starting.Load() }
func (m *moody) Subsystem(h nvme.Host, nqn string) *nvme.Subsystem {
	if m.loading.Load() {
		return nil
	}
	return m.Static.Subsystem(h, nqn)
}
func (m *moody) Authenticator(q nvme.AuthRequest) nvme.Authenticator {
	if m.proof == nil {
		return nil
	}
	return m.proof(q)
}
func (m *moody) ResetController(_ context.Context, _ string, i nvme.Instance) error {
	m.resets <- i
	if i.ID == 3001 {
		return errors.New("no answer")
	}
	return nil
}

func TestAConnectIsRefusedForGoodOnlyWhereItIsWrong(t *testing.T) {
	var dir *moody
	r := newRig(t, func(c *Config) {
		dir = &moody{Static: c.Directory.(*Static)}
		c.Directory = dir
	})
	o := nvmehost.Options{}
	dir.starting.Store(true)
	r.refused(o, nqn, 0, 0xFFFF, nvme.ControllerBusy, 0)
	dir.starting.Store(false)
	dir.loading.Store(true)
	r.refused(o, nqn, 0, 0xFFFF, nvme.ControllerBusy, 0)
	dir.loading.Store(false)
	r.refused(o, "nqn.2026-11.com.example:none", 0, 0xFFFF, nvme.InvalidHost|nvme.DoNotRetry, 0)
	r.refused(o, nqn, 0, 1, nvme.ConnectInvalid|nvme.DoNotRetry, 1<<16|16)
	r.refused(nvmehost.Options{Size: 200}, nqn, 0, 0xFFFF, nvme.ConnectInvalid|nvme.DoNotRetry, 44)
	r.refused(nvmehost.Options{Size: 129}, nqn, 0, 0xFFFF, nvme.ConnectInvalid|nvme.DoNotRetry, 44)
	r.refused(o, strings.Repeat("x", 230), 0, 0xFFFF, nvme.ConnectInvalid|nvme.DoNotRetry, 1<<16|256)

	c := r.host(o)
	r.refused(o, nqn, 1, c.ID, nvme.ConnectInvalid|nvme.DoNotRetry, 42) // the queue is there already
	r.refused(o, nqn, 65, c.ID, nvme.ConnectInvalid|nvme.DoNotRetry, 42)
	r.refused(o, nqn, 2, c.ID+1, nvme.ConnectInvalid|nvme.DoNotRetry, 1<<16|16)
	r.refused(nvmehost.Options{Host: otherHost(1)}, nqn, 2, c.ID, nvme.ConnectInvalid|nvme.DoNotRetry, 1<<16|16)
	r.refused(o, other, 2, c.ID, nvme.ConnectInvalid|nvme.DoNotRetry, 1<<16|16)
	r.must(c.IO[0], nvmehost.New(nvme.Flush, 1)) // none of them harmed it
	if _, err := c.AddQueue(r.ctx, 2); err != nil {
		t.Error(err)
	}
}

func TestControllerIDsAreOfTheNodesRangeAndNotReusedSoon(t *testing.T) {
	r := newRig(t, func(c *Config) { d := c.Directory.(*Static); d.First, d.Last = 100, 102 })
	var seen []uint16
	for range 5 {
		c := r.host(nvmehost.Options{})
		seen = append(seen, c.ID)
		c.Close()
		r.eventually("the controller has gone", func() bool { return r.server.Controllers() == 0 })
	}
	if seen[0] != 100 || seen[1] != 101 || seen[2] != 102 || seen[3] != 100 {
		t.Errorf("controller IDs %v", seen)
	}
	for range 3 {
		r.host(nvmehost.Options{})
	}
	r.refused(nvmehost.Options{}, nqn, 0, 0xFFFF, nvme.ControllerBusy, 0)
	d, err := nvmehost.Dial(r.ctx, r.address, other, nvmehost.Options{}) // of another subsystem
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
}

// The old controller's writes end before its identifier is anybody's again.
func TestALostQueueEndsTheControllerAndItsWrites(t *testing.T) {
	r := newRig(t, nil)
	c := r.host(nvmehost.Options{Queues: 2})
	r.hold(target.Write)
	w := nvmehost.Ranged(nvme.Write, 1, 0, 1, 0)
	w.Out = pattern(1, 512)
	c.IO[0].Start(w)
	r.eventually("the write is held", func() bool { return r.device.Held() == 1 })
	c.IO[1].Close()
	<-c.Admin.Ended()
	<-c.IO[0].Ended()
	r.eventually("the controller has gone", func() bool { return r.server.Controllers() == 0 })
	if r.device.Held() != 0 {
		t.Error("the write is held still")
	}
	r.release()
	got := make([]byte, 512)
	if err := r.host(nvmehost.Options{}).IO[0].Read(r.ctx, 1, 0, got, 512); err != nil || !bytes.Equal(got, make([]byte, 512)) {
		t.Errorf("the old write took effect, or %v", err)
	}
}

func TestADisconnectedQueueLeavesTheControllerAlone(t *testing.T) {
	r := newRig(t, nil)
	c := r.host(nvmehost.Options{Queues: 2})
	r.hold(target.Read)
	read := nvmehost.Ranged(nvme.Read, 1, 0, 1, 0)
	read.In = make([]byte, 512)
	bye := nvmehost.New(nvme.Fabrics, nvme.Disconnect)
	c.IO[1].Start(read, bye)
	r.eventually("the read is held", func() bool { return r.device.Held() == 1 })
	select {
	case <-bye.Done():
		t.Fatal("the queue is left with a command under way")
	case <-time.After(20 * time.Millisecond):
	}
	r.release()
	if err := errors.Join(read.Wait(r.ctx), bye.Wait(r.ctx)); err != nil {
		t.Fatal(err)
	}
	<-c.IO[1].Ended()
	r.must(c.IO[0], nvmehost.New(nvme.Flush, 1))
	r.eventually("the queue can be connected again", func() bool {
		_, err := c.AddQueue(r.ctx, 2)
		return err == nil
	})
	r.fails(c.Admin, nvmehost.New(nvme.Fabrics, nvme.Disconnect), nvme.InvalidQueueType|nvme.DoNotRetry)
}

func TestADisabledControllerLosesItsQueuesAndKeepsItsAdminQueue(t *testing.T) {
	r := newRig(t, nil)
	c := r.host(nvmehost.Options{})
	if err := c.SetProperty(r.ctx, nvmehost.CC, 4<<20|6<<16); err != nil {
		t.Fatal(err)
	}
	<-c.IO[0].Ended()
	r.eventually("it is not ready", func() bool {
		v, err := c.Property(r.ctx, nvmehost.CSTS, 4)
		return err == nil && v&1 == 0
	})
	r.refused(nvmehost.Options{}, nqn, 1, c.ID, nvme.ConnectInvalid|nvme.DoNotRetry, 1<<16|16)
	if err := c.SetProperty(r.ctx, nvmehost.CC, nvmehost.Enabled); err != nil {
		t.Fatal(err)
	}
	q, err := c.AddQueue(r.ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Write(r.ctx, 1, 0, pattern(1, 512), 512); err != nil {
		t.Error(err)
	}
}

func TestASilentHostLosesItsController(t *testing.T) {
	r := newRig(t, nil)
	silent := r.host(nvmehost.Options{KeepAlive: time.Second, NoPings: true})
	alive := r.host(nvmehost.Options{KeepAlive: time.Second})
	select {
	case <-silent.Admin.Ended():
	case <-time.After(patient):
		t.Fatal("it is there still")
	}
	<-silent.IO[0].Ended()
	r.must(alive.IO[0], nvmehost.New(nvme.Flush, 1))
}

func TestAnAbortEndsItsCommandAndNoOther(t *testing.T) {
	r := newRig(t, nil)
	c := r.host(nvmehost.Options{})
	abort := func(q *nvmehost.Queue, id uint16, queue uint32) uint64 {
		t.Helper()
		return r.must(c.Admin, nvmehost.New(nvme.Abort, 0, uint32(id)<<16|queue)).Result
	}
	r.hold(target.Write)
	w := nvmehost.Ranged(nvme.Write, 1, 0, 1, 0)
	w.Out = pattern(1, 512)
	c.IO[0].Start(w)
	r.eventually("the write is held", func() bool { return r.device.Held() == 1 })
	if abort(c.IO[0], w.ID(), 1) != 0 {
		t.Error("it was not aborted")
	}
	if err := w.Wait(r.ctx); !nvmehost.Is(err, nvme.AbortRequested) {
		t.Errorf("the write ended with %v", err)
	}
	r.release()
	got := make([]byte, 512)
	if err := c.IO[0].Read(r.ctx, 1, 0, got, 512); err != nil || !bytes.Equal(got, make([]byte, 512)) {
		t.Errorf("the aborted write took effect, or %v", err)
	}
	event := nvmehost.New(nvme.AsyncEventRequest, 0)
	c.Admin.Start(event)
	r.eventually("the event is aborted", func() bool { return abort(c.Admin, event.ID(), 0) == 0 })
	if err := event.Wait(r.ctx); !nvmehost.Is(err, nvme.AbortRequested) {
		t.Errorf("the event ended with %v", err)
	}
	if abort(c.IO[0], 0x7777, 1) != 1 || abort(c.IO[0], 1, 60) != 1 {
		t.Error("a command that there is not was aborted")
	}
}

func TestCrossControllerResetProvesTheEndOfTheOther(t *testing.T) {
	dir := &moody{resets: make(chan nvme.Instance, 1)}
	r := newRig(t, func(c *Config) {
		dir.Static = c.Directory.(*Static)
		c.Directory = dir
	})
	sick, well := r.host(nvmehost.Options{}), r.host(nvmehost.Options{})
	page, err := sick.Identify(r.ctx, 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	reset := func(id uint16, ciu byte, cirn uint64) *nvmehost.Command {
		return nvmehost.New(nvme.CrossControllerReset, 0, uint32(id)|uint32(ciu)<<16, 0, uint32(cirn), uint32(cirn>>32))
	}
	ciu, cirn := page[135], binary.LittleEndian.Uint64(page[136:])
	r.hold(target.Write)
	w := nvmehost.Ranged(nvme.Write, 1, 0, 1, 0)
	w.Out = pattern(1, 512)
	sick.IO[0].Start(w)
	r.eventually("the write is held", func() bool { return r.device.Held() == 1 })
	r.fails(well.Admin, reset(sick.ID, ciu, cirn+1), nvme.InternalError) // another life of it
	if c := r.must(well.Admin, reset(sick.ID, ciu, cirn)); c.Result != 1 || r.device.Held() != 0 {
		t.Errorf("result %d with %d writes held", c.Result, r.device.Held())
	}
	<-sick.Admin.Ended()
	r.release()
	r.must(well.IO[0], nvmehost.New(nvme.Flush, 1))
	r.fails(well.Admin, reset(well.ID, 0, 0), nvme.InvalidField|nvme.DoNotRetry)
	r.must(well.Admin, reset(3000, 9, 5)) // another node's
	if i := <-dir.resets; i.ID != 3000 || i.Uniquifier != 9 || i.Random != 5 || i.Host != nvmehost.DefaultHost {
		t.Errorf("the directory was asked for %+v", i)
	}
	r.fails(well.Admin, reset(3001, 0, 0), nvme.InternalError)
	<-dir.resets
	// Another host's controller is not for this one to reset.
	stranger := r.host(nvmehost.Options{Host: otherHost(1)})
	r.fails(well.Admin, reset(stranger.ID, 0, 0), nvme.InternalError)
	r.must(stranger.IO[0], nvmehost.New(nvme.Flush, 1))
}

func TestADrainedNodeSendsItsHostsAway(t *testing.T) {
	r := newRig(t, nil)
	c := r.host(nvmehost.Options{})
	r.must(c.Admin, nvmehost.New(nvme.SetFeatures, 0, 0x0B, 1<<11))
	event := nvmehost.New(nvme.AsyncEventRequest, 0)
	c.Admin.Start(event)
	drained := make(chan error, 1)
	scope := Scope{Subsystem: nqn}
	go func() { drained <- r.server.Drain(r.ctx, scope, 300*time.Millisecond) }()
	if err := event.Wait(r.ctx); err != nil || event.Result>>16 != 0x0C {
		t.Fatalf("event %xh, %v", event.Result, err)
	}
	r.fails(c.IO[0], nvmehost.New(nvme.Flush, 1), nvme.AsymmetricInaccessible)
	if err := <-drained; err != nil {
		t.Fatal(err)
	}
	if all := r.server.Connected(); len(all) != 0 {
		t.Errorf("connected: %v", all)
	}
	r.refused(nvmehost.Options{}, nqn, 0, 0xFFFF, nvme.ControllerBusy, 0)
	r.server.Resume(scope)
	if all := r.server.Connected(); len(all) != 0 {
		t.Errorf("connected: %v", all)
	}
	again := r.host(nvmehost.Options{})
	if all := r.server.Connected(); len(all) != 1 || all[0] != (Scope{nvmehost.DefaultHost.NQN, nqn, again.ID}) {
		t.Errorf("connected: %v", all)
	}
	r.server.Drop(r.ctx, nqn)
	<-again.Admin.Ended()
	if r.server.Controllers() != 0 {
		t.Error("a controller is left after Drop")
	}
}

func TestAnAddressThatIsGivenUpLosesItsConnectionsAndNoOthers(t *testing.T) {
	r := newRig(t, nil)
	l, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	go r.server.Serve(l)
	stays := r.host(nvmehost.Options{Host: otherHost(1)})
	leaves, err := nvmehost.Dial(r.ctx, l.Addr().String(), nqn, nvmehost.Options{Queues: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(leaves.Close)
	half, err := net.Dial("tcp", l.Addr().String()) // it has no queue yet
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { half.Close() })
	local := netip.MustParseAddr("127.0.0.2")
	count := func() (here int) {
		for _, c := range r.server.Connections() {
			if c.Local.Addr() == local {
				here++
			}
		}
		return here
	}
	r.eventually("four connections are there", func() bool { return count() == 4 })
	r.hold(target.Write)
	w := nvmehost.Ranged(nvme.Write, 1, 0, 1, 0)
	w.Out = pattern(1, 512)
	leaves.IO[1].Start(w)
	r.eventually("a write is under way", func() bool { return r.device.Held() == 1 })
	r.server.DropAddress(r.ctx, local)
	if n := r.server.Controllers(); n != 1 {
		t.Errorf("%d controllers are left", n)
	}
	r.release()
	for _, q := range append(leaves.IO, leaves.Admin) {
		<-q.Ended()
	}
	if _, err := io.ReadAll(half); err == nil {
		t.Error("a connection without a queue ends as if it had been closed, not reset")
	}
	r.must(stays.IO[0], nvmehost.New(nvme.Flush, 1))
	got := make([]byte, 512)
	if err := stays.IO[0].Read(r.ctx, 1, 0, got, 512); err != nil || !bytes.Equal(got, make([]byte, 512)) {
		t.Errorf("the write took effect after it was fenced, or %v", err)
	}
	r.eventually("no connection is left there", func() bool { return count() == 0 })
}

func TestDiscoveryTellsOfPortalsAndOfChanges(t *testing.T) {
	r := newRig(t, nil)
	c, err := nvmehost.Dial(r.ctx, r.address, nvme.DiscoveryNQN, nvmehost.Options{Queues: -1, KeepAlive: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	page, err := c.Log(r.ctx, 0x70, 0, 5*1024, false)
	if err != nil {
		t.Fatal(err)
	}
	if n := binary.LittleEndian.Uint64(page[8:]); n != 4 || !bytes.Contains(page, []byte("fd00::2")) || !bytes.Contains(page, []byte(other)) {
		t.Errorf("%d records", n)
	}
	r.must(c.Admin, nvmehost.New(nvme.SetFeatures, 0, 0x0B, 1<<31))
	event := nvmehost.New(nvme.AsyncEventRequest, 0)
	c.Admin.Start(event)
	r.must(c.Admin, nvmehost.New(nvme.KeepAlive, 0))
	r.server.DiscoveryChanged()
	if err := event.Wait(r.ctx); err != nil || event.Result != 2|0xF0<<8|0x70<<16 {
		t.Errorf("event %xh, %v", event.Result, err)
	}
	if _, err := c.AddQueue(r.ctx, 1); !nvmehost.Is(err, nvme.InvalidQueueType) {
		t.Errorf("an I/O queue of discovery: %v", err)
	}
}

// A compare and write is told as settled only when its host has gone on.
func TestAnAnswerIsSettledWhenTheHostHasIt(t *testing.T) {
	r := newRig(t, nil)
	swap := func(c *nvmehost.Controller, lba uint64, old, new []byte) (first, second error) {
		t.Helper()
		a, b := nvmehost.Ranged(nvme.Compare, 1, lba, 1, 0), nvmehost.Ranged(nvme.Write, 1, lba, 1, 0)
		a.Command[1], b.Command[1] = nvme.FuseFirst, nvme.FuseSecond
		a.Out, b.Out = old, new
		c.IO[0].Start(a, b)
		return a.Wait(r.ctx), b.Wait(r.ctx)
	}
	zeros, one := make([]byte, 512), pattern(1, 512)
	lost := r.host(nvmehost.Options{})
	if a, b := swap(lost, 0, zeros, one); a != nil || b != nil {
		t.Fatal(a, b)
	}
	lost.Close() // before it said anything more
	r.eventually("the controller has gone", func() bool { return r.server.Controllers() == 0 })
	c := r.host(nvmehost.Options{})
	if a, b := swap(c, 0, zeros, one); a != nil || b != nil {
		t.Errorf("the repetition of a swap whose answer may be lost: %v, %v", a, b)
	}
	time.Sleep(3 * clockTick)
	r.must(c.IO[0], nvmehost.New(nvme.Flush, 1))
	c.Close()
	r.eventually("the controller has gone", func() bool { return r.server.Controllers() == 0 })
	c = r.host(nvmehost.Options{})
	if a, b := swap(c, 0, zeros, one); !nvmehost.Is(a, nvme.CompareFailure) || !nvmehost.Is(b, nvme.FailedFused) {
		t.Errorf("a swap whose answer was heard is another: %v, %v", a, b)
	}
}
