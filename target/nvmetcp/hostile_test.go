package nvmetcp

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"ashlar/target"
	"ashlar/target/nvme"
	"ashlar/target/nvmetcp/pdu"
	"ashlar/target/targettest"
	"ashlar/target/targettest/nvmehost"
)

// bystander is verified I/O of another host, on the same namespace, that must not
// notice what the test does.
func (r *rig) bystander() (stop func()) {
	r.Helper()
	c := r.host(nvmehost.Options{Host: otherHost(9), Queues: 1, DataDigest: true})
	var over atomic.Bool
	done := make(chan struct{})
	rounds := 0
	go func() {
		defer close(done)
		for !over.Load() {
			rounds++
			want := pattern(uint64(rounds), 16<<10)
			got := make([]byte, len(want))
			began := time.Now()
			if err := c.IO[0].Write(r.ctx, 1, 100000, want, 512); err != nil {
				r.Errorf("the bystander's write: %v", err)
				return
			}
			if err := c.IO[0].Read(r.ctx, 1, 100000, got, 512); err != nil || !bytes.Equal(got, want) {
				r.Errorf("the bystander's read: %v, equal %t", err, bytes.Equal(got, want))
				return
			}
			if took := time.Since(began); took > 3*time.Second {
				r.Errorf("the bystander waited for %v", took)
			}
		}
	}()
	return func() {
		r.Helper()
		over.Store(true)
		<-done
		if rounds < 3 {
			r.Errorf("the bystander had %d rounds", rounds)
		}
	}
}

// raw is a connection whose bytes the test makes.
type raw struct {
	net.Conn
	t testing.TB
}

func (r *rig) dial() *raw {
	r.Helper()
	c, err := net.Dial("tcp", r.address)
	if err != nil {
		r.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(patient))
	r.Cleanup(func() { c.Close() })
	return &raw{c, r.TB}
}

func (c *raw) put(b []byte) { c.Write(b) } //nolint:errcheck // the answer tells

// get reads one PDU: its type and all of it. ok is false when the connection ended.
func (c *raw) get() (kind pdu.Type, b []byte, ok bool) {
	head := make([]byte, pdu.CommonSize)
	if _, err := io.ReadFull(c, head); err != nil {
		return 0, nil, false
	}
	var common pdu.Common
	common.Unmarshal(head)
	b = append(head, make([]byte, common.Length-pdu.CommonSize)...)
	_, err := io.ReadFull(c, b[pdu.CommonSize:])
	return common.Type, b, err == nil
}

// ends expects that the connection ends, after a C2HTermReq with a fatal error
// unless that is 0.
func (c *raw) ends(want pdu.FatalError) {
	c.t.Helper()
	var told pdu.FatalError
	for {
		kind, b, ok := c.get()
		if !ok {
			break
		}
		if kind == pdu.TypeC2HTermReq {
			var p pdu.TermReq
			p.Unmarshal(b)
			told = p.Error
		}
	}
	if told != want {
		c.t.Errorf("the connection ended with %v, want %v", told, want)
	}
}

func room() []byte { return make([]byte, pdu.MaxTermReq) }

func (c *raw) open(digests bool) {
	c.t.Helper()
	q := pdu.ICReq{HeaderDigest: digests, DataDigest: digests}
	c.put(q.Marshal(room()))
	if kind, _, ok := c.get(); !ok || kind != pdu.TypeICResp {
		c.t.Fatal("no ICResp")
	}
}

// connect makes the connection a queue of a controller.
func (c *raw) connect(queue, controller uint16) (id uint16) {
	c.t.Helper()
	c.open(false)
	cmd := nvmehost.Connect(&nvmehost.Options{Host: nvmehost.DefaultHost, Size: 16}, nqn, queue, controller)
	cmd.Command[39] = 0x01
	binary.LittleEndian.PutUint32(cmd.Command[32:], nvme.ConnectSize)
	p := pdu.CapsuleCmd{Command: cmd.Command, Data: nvme.ConnectSize}
	c.put(append(p.Marshal(&pdu.Frame{}, room()), cmd.Out...))
	_, b, ok := c.get()
	if !ok {
		c.t.Fatal("no answer to the Connect")
	}
	var resp pdu.CapsuleResp
	resp.Unmarshal(b)
	if resp.Status != 0 {
		c.t.Fatal(&resp)
	}
	return uint16(resp.Result)
}

// queue is an I/O queue of raw bytes, and its controller.
func (r *rig) queue() *raw {
	r.Helper()
	admin := r.host(nvmehost.Options{Queues: -1})
	c := r.dial()
	c.connect(1, admin.ID)
	return c
}

// command sends a command without data; its SGL is by the transport.
func (c *raw) command(cmd *nvmehost.Command, id uint16, length uint32) {
	binary.LittleEndian.PutUint16(cmd.Command[2:], id)
	cmd.Command[39] = 0x5A
	binary.LittleEndian.PutUint32(cmd.Command[32:], length)
	p := pdu.CapsuleCmd{Command: cmd.Command}
	c.put(p.Marshal(&pdu.Frame{}, room()))
}

// r2t sends a write of 8 KiB and returns what it is asked for.
func (c *raw) r2t(id uint16) (p pdu.R2T) {
	c.t.Helper()
	c.command(nvmehost.Ranged(nvme.Write, 1, 0, 16, 0), id, 8192)
	kind, b, ok := c.get()
	if !ok || kind != pdu.TypeR2T {
		c.t.Fatalf("a %v, not an R2T", kind)
	}
	p.Unmarshal(b)
	if p.Length != 8192 || p.Offset != 0 || p.CommandID != id {
		c.t.Fatal(&p)
	}
	return p
}

func (c *raw) data(d pdu.Data) {
	c.put(append(d.Marshal(&pdu.Frame{}, room()), make([]byte, d.Length)...))
}

func (c *raw) status() nvme.Status {
	c.t.Helper()
	kind, b, ok := c.get()
	if !ok || kind != pdu.TypeCapsuleResp {
		c.t.Fatalf("a %v, not a response", kind)
	}
	var p pdu.CapsuleResp
	p.Unmarshal(b)
	return nvme.Status(p.Status)
}

func TestAHostThatBreaksTheRulesHarmsOnlyItself(t *testing.T) {
	r := newRig(t, func(c *Config) { c.LoginTimeout = time.Second })
	if err := r.host(nvmehost.Options{Host: otherHost(3)}).IO[0].Write(r.ctx, 1, 0, pattern(5, 8192), 512); err != nil {
		t.Fatal(err)
	}
	stop := r.bystander()
	for name, misdeed := range map[string]func(*rig){
		"another version": func(r *rig) {
			c := r.dial()
			c.put((&pdu.ICReq{Version: 1}).Marshal(room()))
			c.ends(pdu.UnsupportedParameter)
		},
		"an alignment that there is not": func(r *rig) {
			c := r.dial()
			c.put((&pdu.ICReq{Alignment: 40}).Marshal(room()))
			c.ends(pdu.InvalidHeader)
		},
		"a command before the connection is open": func(r *rig) {
			c := r.dial()
			c.command(nvmehost.New(nvme.Flush, 1), 1, 0)
			c.ends(pdu.SequenceError)
		},
		"a command before Connect": func(r *rig) {
			c := r.dial()
			c.open(false)
			c.command(nvmehost.New(nvme.Flush, 1), 1, 0)
			c.ends(pdu.SequenceError)
		},
		"two requests for a connection": func(r *rig) {
			c := r.dial()
			c.open(false)
			c.put((&pdu.ICReq{}).Marshal(room()))
			c.ends(pdu.SequenceError)
		},
		"a wrong header digest": func(r *rig) {
			c := r.dial()
			c.open(true)
			b := (&pdu.CapsuleCmd{}).Marshal(&pdu.Frame{HeaderDigest: true, DataDigest: true}, room())
			c.put(append(b, 1, 2, 3, 4))
			c.ends(pdu.HeaderDigestError)
		},
		"a wrong data digest, again and again": func(r *rig) {
			c := r.dial()
			c.open(true)
			f := &pdu.Frame{HeaderDigest: true, DataDigest: true}
			cmd := nvmehost.Connect(&nvmehost.Options{Host: nvmehost.DefaultHost, Size: 16}, nqn, 0, 0xFFFF)
			cmd.Command[39] = 0x01
			binary.LittleEndian.PutUint32(cmd.Command[32:], nvme.ConnectSize)
			h := (&pdu.CapsuleCmd{Command: cmd.Command, Data: nvme.ConnectSize}).Marshal(f, room())
			digest := make([]byte, pdu.DigestSize)
			pdu.Digest(0).Add(h).Put(digest)
			c.put(append(append(append(h, digest...), cmd.Out...), 1, 2, 3, 4))
			c.ends(0) // the Connect fails, and with it the connection
		},
		"a queue identifier twice": func(r *rig) {
			c := r.host(nvmehost.Options{})
			if _, err := c.AddQueue(r.ctx, 1); !nvmehost.Is(err, nvme.ConnectInvalid) {
				r.Errorf("%v", err)
			}
			r.must(c.IO[0], nvmehost.New(nvme.Flush, 1))
		},
		"a queue of another host's controller": func(r *rig) {
			theirs := r.host(nvmehost.Options{Host: otherHost(4)})
			r.refused(nvmehost.Options{}, nqn, 2, theirs.ID, nvme.ConnectInvalid|nvme.DoNotRetry, nvme.BadController)
			r.must(theirs.IO[0], nvmehost.New(nvme.Flush, 1))
		},
		"data of a command that has ended": func(r *rig) {
			c := r.queue()
			p := c.r2t(1)
			d := pdu.Data{CommandID: 1, Tag: p.Tag, Length: 8192, Last: true}
			c.data(d)
			if s := c.status(); s != nvme.Success {
				r.Errorf("status %v", s)
			}
			c.data(d)
			c.ends(pdu.InvalidHeader)
			zeros := r.host(nvmehost.Options{Host: otherHost(3)})
			if err := zeros.IO[0].Write(r.ctx, 1, 0, pattern(5, 8192), 512); err != nil {
				r.Error(err)
			}
		},
		"half of a PDU, and no more": func(r *rig) {
			c := r.queue()
			c.put((&pdu.CapsuleCmd{}).Marshal(&pdu.Frame{}, room())[:40])
			c.Conn.(*net.TCPConn).CloseWrite()
			c.ends(0)
		},
		"a PDU of 4 GiB": func(r *rig) {
			c := r.queue()
			h := (&pdu.CapsuleCmd{Data: 512}).Marshal(&pdu.Frame{}, room())
			binary.LittleEndian.PutUint32(h[4:], 0xFFFFFFF0)
			c.put(h)
			c.ends(pdu.InvalidHeader)
		},
		"a type that there is not": func(r *rig) {
			c := r.queue()
			c.put([]byte{0x0C, 0, 24, 0, 24, 0, 0, 0})
			c.ends(pdu.InvalidHeader)
		},
		"data that nobody asked for": func(r *rig) {
			c := r.queue()
			c.data(pdu.Data{CommandID: 5, Length: 512, Last: true})
			c.ends(pdu.InvalidHeader)
		},
		"data of another R2T": func(r *rig) {
			c := r.queue()
			p := c.r2t(1)
			c.data(pdu.Data{CommandID: 1, Tag: p.Tag + 1, Length: 8192, Last: true})
			c.ends(pdu.InvalidHeader)
		},
		"data from beyond the command": func(r *rig) {
			c := r.queue()
			p := c.r2t(1)
			c.data(pdu.Data{CommandID: 1, Tag: p.Tag, Offset: 8192, Length: 512, Last: true})
			c.ends(pdu.DataOutOfRange)
		},
		"more data than was asked for": func(r *rig) {
			c := r.queue()
			p := c.r2t(1)
			c.data(pdu.Data{CommandID: 1, Tag: p.Tag, Length: 8704, Last: true})
			c.ends(pdu.DataOutOfRange)
		},
		"data twice": func(r *rig) {
			c := r.queue()
			p := c.r2t(1)
			c.data(pdu.Data{CommandID: 1, Tag: p.Tag, Length: 4096})
			c.data(pdu.Data{CommandID: 1, Tag: p.Tag, Length: 4096})
			c.ends(pdu.DataOutOfRange)
		},
		"half of the data, and the end": func(r *rig) {
			c := r.queue()
			p := c.r2t(1)
			c.data(pdu.Data{CommandID: 1, Tag: p.Tag, Length: 4096})
			c.Close()
		},
		"more commands than the queue has entries": func(r *rig) {
			c := r.queue()
			for i := range uint16(17) {
				c.command(nvmehost.Ranged(nvme.Write, 1, 0, 16, 0), i, 8192)
			}
			c.ends(pdu.SequenceError)
		},
		"a command identifier twice": func(r *rig) {
			c := r.queue()
			c.r2t(1)
			c.command(nvmehost.New(nvme.Flush, 1), 1, 0)
			if s := c.status(); s != nvme.CommandIDConflict|nvme.DoNotRetry {
				r.Errorf("status %v", s)
			}
		},
		"an SGL of an address": func(r *rig) {
			c := r.queue()
			cmd := nvmehost.Ranged(nvme.Write, 1, 0, 1, 0)
			cmd.Command[32], cmd.Command[33] = 0, 2
			p := pdu.CapsuleCmd{Command: cmd.Command}
			c.put(p.Marshal(&pdu.Frame{}, room()))
			if s := c.status(); s != nvme.SGLTypeInvalid|nvme.DoNotRetry {
				r.Errorf("status %v", s)
			}
		},
		"an SGL that is too short": func(r *rig) {
			c := r.queue()
			c.command(nvmehost.Ranged(nvme.Read, 1, 0, 16, 0), 1, 512)
			if s := c.status(); s != nvme.SGLLengthInvalid|nvme.DoNotRetry {
				r.Errorf("status %v", s)
			}
		},
		"an SGL of 4 GiB": func(r *rig) {
			c := r.queue()
			c.command(nvmehost.Ranged(nvme.Read, 1, 0, 1, 0), 1, 0xFFFFFFFF)
			if kind, _, _ := c.get(); kind != pdu.TypeC2HData {
				r.Errorf("a %v", kind)
			}
			if s := c.status(); s != nvme.Success {
				r.Errorf("status %v", s)
			}
		},
		"more data in a capsule than it may hold": func(r *rig) {
			c := r.queue()
			cmd := nvmehost.Ranged(nvme.Write, 1, 0, 32, 0)
			cmd.Command[39] = 0x01
			binary.LittleEndian.PutUint32(cmd.Command[32:], 16384)
			p := pdu.CapsuleCmd{Command: cmd.Command, Data: 16384}
			c.put(append(p.Marshal(&pdu.Frame{}, room()), make([]byte, 16384)...))
			if s := c.status(); s != nvme.SGLLengthInvalid|nvme.DoNotRetry {
				r.Errorf("status %v", s)
			}
		},
		"a second Connect": func(r *rig) {
			c := r.queue()
			c.command(nvmehost.New(nvme.Fabrics, nvme.Connect), 1, 1024)
			if s := c.status(); s != nvme.SequenceError|nvme.DoNotRetry {
				r.Errorf("status %v", s)
			}
		},
		"connections that say nothing, or half of a word": func(r *rig) {
			for i := range 40 {
				c := r.dial()
				c.put((&pdu.ICReq{}).Marshal(room())[:3*i])
				if i == 0 {
					c.ends(0)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			misdeed(&rig{TB: t, server: r.server, device: r.device, address: r.address, ctx: r.ctx})
		})
	}
	stop()
	got := make([]byte, 8192)
	if err := r.host(nvmehost.Options{Host: otherHost(3)}).IO[0].Read(r.ctx, 1, 0, got, 512); err != nil || !bytes.Equal(got, pattern(5, 8192)) {
		t.Errorf("refused data was written, or %v", err)
	}
}

func TestADataDigestErrorFailsTheCommandAndNotTheConnection(t *testing.T) {
	r := newRig(t, nil)
	admin := r.host(nvmehost.Options{Queues: -1})
	c := r.dial()
	q := pdu.ICReq{DataDigest: true}
	c.put(q.Marshal(room()))
	c.get()
	f := &pdu.Frame{DataDigest: true}
	send := func(p *pdu.CapsuleCmd, data []byte, flip byte) nvme.Status {
		t.Helper()
		digest := make([]byte, 4)
		pdu.Digest(0).Add(data).Put(digest)
		digest[0] ^= flip
		c.put(append(append(p.Marshal(f, room()), data...), digest...))
		return c.status()
	}
	connect := nvmehost.Connect(&nvmehost.Options{Host: nvmehost.DefaultHost, Size: 16}, nqn, 1, admin.ID)
	connect.Command[39] = 0x01
	binary.LittleEndian.PutUint32(connect.Command[32:], nvme.ConnectSize)
	if s := send(&pdu.CapsuleCmd{Command: connect.Command, Data: nvme.ConnectSize}, connect.Out, 0); s != nvme.Success {
		t.Fatal(s)
	}
	w := nvmehost.Ranged(nvme.Write, 1, 0, 1, 0)
	w.Command[39] = 0x01
	binary.LittleEndian.PutUint32(w.Command[32:], 512)
	p := &pdu.CapsuleCmd{Command: w.Command, Data: 512}
	if s := send(p, pattern(1, 512), 1); s != nvme.TransientTransport {
		t.Errorf("status %v", s)
	}
	// The same in data that was asked for.
	big := nvmehost.Ranged(nvme.Write, 1, 0, 16, 0)
	big.Command[2], big.Command[39] = 7, 0x5A
	binary.LittleEndian.PutUint32(big.Command[32:], 8192)
	c.put((&pdu.CapsuleCmd{Command: big.Command}).Marshal(f, room()))
	_, b, _ := c.get()
	var ask pdu.R2T
	ask.Unmarshal(b)
	d := pdu.Data{CommandID: 7, Tag: ask.Tag, Length: 8192, Last: true}
	c.put(append(append(d.Marshal(f, room()), pattern(1, 8192)...), 0, 0, 0, 0))
	if s := c.status(); s != nvme.TransientTransport {
		t.Errorf("status %v", s)
	}
	got := make([]byte, 8192)
	if err := r.host(nvmehost.Options{}).IO[0].Read(r.ctx, 1, 0, got, 512); err != nil || !bytes.Equal(got, make([]byte, 8192)) {
		t.Errorf("data with a wrong digest was written, or %v", err)
	}
	if s := send(p, pattern(1, 512), 0); s != nvme.Success {
		t.Errorf("status %v", s)
	}
}

func TestFusedCommandsAreAdjacentOrFail(t *testing.T) {
	r := newRig(t, nil)
	c := r.host(nvmehost.Options{})
	fused := func(op nvme.Opcode, fuse byte, n int, noCapsule bool) *nvmehost.Command {
		cmd := nvmehost.Ranged(op, 1, 0, uint32(n/512), 0)
		cmd.Command[1], cmd.NoCapsule = fuse, noCapsule
		cmd.Out = make([]byte, n)
		return cmd
	}
	run := func(all ...*nvmehost.Command) (s []nvme.Status) {
		t.Helper()
		c.IO[0].Start(all...)
		for _, cmd := range all {
			cmd.Wait(r.ctx) //nolint:errcheck // the status tells
			s = append(s, cmd.Status)
		}
		return s
	}
	for _, noCapsule := range []bool{false, true} {
		for _, n := range []int{512, 65536} {
			first, second := fused(nvme.Compare, nvme.FuseFirst, n, noCapsule), fused(nvme.Write, nvme.FuseSecond, n, noCapsule)
			if s := run(first, second); s[0] != nvme.Success || s[1] != nvme.Success {
				t.Fatalf("%d bytes, in the capsule %t: %v", n, !noCapsule, s)
			}
		}
	}
	flush := nvmehost.New(nvme.Flush, 1)
	for name, c := range map[string]struct {
		send []*nvmehost.Command
		want []nvme.Status
	}{
		"a first without a second": {[]*nvmehost.Command{fused(nvme.Compare, nvme.FuseFirst, 512, false), flush}, []nvme.Status{nvme.MissingFused, nvme.Success}},
		"a second without a first": {[]*nvmehost.Command{flush, fused(nvme.Write, nvme.FuseSecond, 512, false)}, []nvme.Status{nvme.Success, nvme.MissingFused}},
		"two firsts and a second": {[]*nvmehost.Command{fused(nvme.Compare, nvme.FuseFirst, 512, true), fused(nvme.Compare, nvme.FuseFirst, 512, true), fused(nvme.Write, nvme.FuseSecond, 512, true)},
			[]nvme.Status{nvme.MissingFused, nvme.Success, nvme.Success}},
		"a write first": {[]*nvmehost.Command{fused(nvme.Write, nvme.FuseFirst, 512, false), fused(nvme.Compare, nvme.FuseSecond, 512, false)},
			[]nvme.Status{nvme.InvalidField | nvme.DoNotRetry, nvme.FailedFused | nvme.DoNotRetry}},
		"other lengths": {[]*nvmehost.Command{fused(nvme.Compare, nvme.FuseFirst, 512, false), fused(nvme.Write, nvme.FuseSecond, 1024, false)},
			[]nvme.Status{nvme.InvalidField | nvme.DoNotRetry, nvme.FailedFused | nvme.DoNotRetry}},
	} {
		got := run(c.send...)
		for i := range c.want {
			if got[i] != c.want[i] {
				t.Errorf("%s: %v, want %v", name, got, c.want)
				break
			}
		}
	}
}

// Commands wait for memory in order, and none is refused for want of it.
func TestWantOfMemoryHoldsCommandsAndFailsNone(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Memory, c.ConnectionMemory = 1<<20, 1<<20 })
	c := r.host(nvmehost.Options{Queues: 3})
	r.hold(target.Write)
	var all []*nvmehost.Command
	for i := range 30 {
		w := nvmehost.Ranged(nvme.Write, 1, uint64(i)*1024, 1024, 0)
		w.Out = pattern(uint64(i), 512<<10)
		all = append(all, w)
		c.IO[i%3].Start(w)
	}
	r.eventually("some are held at the device", func() bool { return r.device.Held() >= 2 })
	time.Sleep(20 * time.Millisecond)
	if lent := r.server.pool.InUse(); lent > 4<<20 {
		t.Errorf("%d bytes are lent", lent)
	}
	r.release()
	for i, w := range all {
		if err := w.Wait(r.ctx); err != nil {
			t.Fatalf("write %d: %v", i, err)
		}
	}
	got := make([]byte, 512<<10)
	for i := range all {
		if err := c.IO[0].Read(r.ctx, 1, uint64(i)*1024, got, 512); err != nil || !bytes.Equal(got, pattern(uint64(i), len(got))) {
			t.Fatalf("write %d is not there: %v", i, err)
		}
	}
}

func TestAStallDropsConnectionsBeforeTheirBytesAreTouched(t *testing.T) {
	var now atomic.Int64
	watch := target.NewStallWatchOn(now.Load)
	r := newRig(t, func(c *Config) { c.Watch = watch })
	c := r.host(nvmehost.Options{})
	now.Add(int64(2 * time.Second))
	w := nvmehost.Ranged(nvme.Write, 1, 0, 1, 0)
	w.Out = pattern(1, 512)
	if err := c.IO[0].Do(r.ctx, w); err == nil {
		t.Error("a write from before the stall was taken")
	}
	r.eventually("the controller has gone", func() bool { return r.server.Controllers() == 0 })
	got := make([]byte, 512)
	if err := r.host(nvmehost.Options{}).IO[0].Read(r.ctx, 1, 0, got, 512); err != nil || !bytes.Equal(got, make([]byte, 512)) {
		t.Errorf("it took effect, or %v", err)
	}
}

// footprint is what a process holds.
type footprint struct {
	goroutines, descriptors int
	heap                    uint64 // bytes
}

func takeFootprint(t *testing.T) footprint {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	runtime.GC() // what pools held over the first
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return footprint{runtime.NumGoroutine(), len(files), m.HeapAlloc}
}

func TestConnectionsComeAndGoWithoutGrowth(t *testing.T) {
	rounds := 1000
	if os.Getenv("ASHLAR_TEST_LONG") != "" {
		rounds = 10000
	}
	r := newRig(t, nil)
	r.ctx = t.Context()
	stop := r.bystander()
	comeAndGo := func(rounds int) {
		t.Helper()
		for i := range rounds {
			c, err := nvmehost.Dial(r.ctx, r.address, nqn, nvmehost.Options{})
			if err != nil {
				t.Fatalf("round %d: %v", i, err)
			}
			switch i % 4 {
			case 0: // with a write under way
				w := nvmehost.Ranged(nvme.Write, 1, 0, 8, 0)
				w.Out = pattern(1, 4096)
				c.IO[0].Start(w)
			case 1: // the I/O queue first, by a reset
				c.IO[0].Conn().(*net.TCPConn).SetLinger(0)
				c.IO[0].Close()
				<-c.Admin.Ended()
			case 2: // with a write whose data was asked for and never comes
				w := nvmehost.Ranged(nvme.Write, 1, 0, 128, 0)
				w.Out, w.NoCapsule = pattern(1, 65536), true
				c.IO[0].Start(w)
			}
			c.Close()
		}
		r.eventually("one controller is left", func() bool { return r.server.Controllers() == 1 && len(r.server.conns.All()) == 2 })
	}
	comeAndGo(rounds / 10)
	before := takeFootprint(t)
	comeAndGo(rounds)
	var after footprint
	r.eventually("no goroutine and no descriptor is left", func() bool {
		after = takeFootprint(t)
		return after.goroutines <= before.goroutines && after.descriptors <= before.descriptors
	})
	t.Logf("%d connects: before %+v, after %+v", rounds, before, after)
	if most := before.heap + 4<<20; after.heap > most {
		t.Errorf("the heap grew from %d to %d bytes", before.heap, after.heap)
	}
	stop()
	if len(r.server.lastID) > 2 || r.server.conns.Young() != 0 {
		t.Errorf("%d subsystems are remembered, %d logins", len(r.server.lastID), r.server.conns.Young())
	}
}

func TestUnfinishedConnectionsAreBoundedAndTheOldestGoes(t *testing.T) {
	r := newRig(t, func(c *Config) { c.MaxLogins = 4 })
	var idle []*raw
	for range 10 {
		idle = append(idle, r.dial())
		r.eventually("the connection was accepted", func() bool {
			n := len(r.server.conns.All())
			return n == len(idle) || n == 4
		})
	}
	idle[0].ends(0)
	r.host(nvmehost.Options{})
	r.eventually("no more than four wait", func() bool { return len(r.server.conns.All()) <= 6 })
}

// Whatever a host sends on a queue, the server answers or ends the connection, and
// goes on serving another.
func FuzzConnection(f *testing.F) {
	frame := &pdu.Frame{}
	read := nvmehost.Ranged(nvme.Read, 1, 0, 1, 0)
	read.Command[33], read.Command[39] = 2, 0x5A
	f.Add((&pdu.CapsuleCmd{Command: read.Command}).Marshal(frame, room()))
	write := nvmehost.Ranged(nvme.Write, 1, 0, 1, 0)
	write.Command[33], write.Command[39] = 2, 0x01
	f.Add(append((&pdu.CapsuleCmd{Command: write.Command, Data: 512}).Marshal(frame, room()), make([]byte, 512)...))
	f.Add(append((&pdu.Data{CommandID: 1, Tag: 1, Length: 512, Last: true}).Marshal(frame, room()), make([]byte, 512)...))
	f.Add((&pdu.TermReq{Error: pdu.InvalidHeader}).Marshal(room()))
	f.Add((&pdu.ICReq{}).Marshal(room()))
	r := newRigOn(f, targettest.NewMemory(targettest.Options{}), nil)
	r.ctx = f.Context()
	bystander := r.host(nvmehost.Options{Host: otherHost(1)})
	f.Fuzz(func(t *testing.T, sent []byte) {
		here := &rig{TB: t, server: r.server, address: r.address, ctx: r.ctx}
		admin, err := nvmehost.Dial(here.ctx, here.address, nqn, nvmehost.Options{Queues: -1})
		if err != nil {
			t.Fatal(err)
		}
		defer admin.Close()
		c := here.dial()
		defer c.Close()
		c.connect(1, admin.ID)
		go func() {
			c.put(sent)
			c.Conn.(*net.TCPConn).CloseWrite()
		}()
		io.Copy(io.Discard, c)
		if err := bystander.IO[0].Do(here.ctx, nvmehost.New(nvme.Flush, 1)); err != nil {
			t.Fatal(err)
		}
	})
}
