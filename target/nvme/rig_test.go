package nvme

import (
	"bytes"
	"testing"
	"time"

	"ashlar/target"
	"ashlar/target/targettest"
)

const patient = 5 * time.Second

// rig is a subsystem with one memory device as namespace 1, and a controller that
// is enabled.
type rig struct {
	testing.TB
	device    *targettest.Memory
	subsystem *Subsystem
	*Controller
}

type noCarrier struct{}

func (noCarrier) AbortCommand(_, _ uint16, done func(bool))        { done(false) }
func (noCarrier) CloseQueues()                                     {}
func (noCarrier) ResetController(_ Instance, done func(err error)) { done(nil) }

func newRig(t testing.TB, o targettest.Options) *rig {
	t.Helper()
	r := &rig{TB: t, device: targettest.NewMemory(o),
		subsystem: NewSubsystem(SubsystemConfig{NQN: "nqn.2026-11.com.example:one", Serial: "ASHLAR0000000001", MaxNamespaces: 64})}
	if err := r.subsystem.Add(1, r.device); err != nil {
		t.Fatal(err)
	}
	r.Controller = r.host(1, 7)
	return r
}

var generations uint64

// host is a controller of host n.
func (r *rig) host(n byte, id uint16) *Controller {
	c := NewController(Params{Subsystem: r.subsystem, NQN: r.subsystem.NQN, Host: Host{"nqn.2026-11.com.example:host-" + string('a'+rune(n)), [16]byte{15: n}}, ID: id, Port: 1,
		Queues: 4, KeepAlive: 5000, Carrier: noCarrier{}, Generation: func() uint64 { generations++; return generations }})
	set := command64(Fabrics, PropertySet)
	le.PutUint32(set[44:], propertyCC)
	le.PutUint32(set[48:], 4<<20|6<<16|1)
	if s, _ := r.do(c, 0, set, nil); s != Success {
		r.Fatalf("CC.EN: %v", s)
	}
	return c
}

// command64 is a command with its doublewords from 10 on.
func command64(op Opcode, nsid uint32, dwords ...uint32) Command {
	var c Command
	c[0] = byte(op)
	le.PutUint32(c[4:], nsid)
	for i, d := range dwords {
		le.PutUint32(c[40+4*i:], d)
	}
	return c
}

// start runs a request without waiting for its end.
func (r *rig) start(c *Controller, queue uint16, cmd Command, out []byte) <-chan *Request {
	r.Helper()
	done := make(chan *Request, 1)
	q := &Request{Command: cmd, Queue: queue, Done: func(q *Request) { done <- q }, Stamp: c.Stamp(cmd.NSID())}
	direction, n, s := c.Demand(queue, &cmd)
	switch {
	case s != Success:
		c.Fail(q, s)
		return done
	case direction == ToHost:
		q.Data = bytes.Repeat([]byte{0xEE}, int(n))
	case direction == FromHost:
		if len(out) < int(n) {
			r.Fatalf("%02xh wants %d bytes, and there are %d", cmd[0], n, len(out))
		}
		q.Data = bytes.Clone(out[:n])
	}
	c.Execute(q)
	return done
}

func (r *rig) wait(done <-chan *Request) *Request {
	r.Helper()
	select {
	case q := <-done:
		return q
	case <-time.After(patient):
		r.Fatal("no answer")
		return nil
	}
}

func (r *rig) do(c *Controller, queue uint16, cmd Command, out []byte) (Status, *Request) {
	r.Helper()
	q := r.wait(r.start(c, queue, cmd, out))
	return q.Status, q
}

// good runs a command that has to succeed.
func (r *rig) good(queue uint16, cmd Command, out []byte) *Request {
	r.Helper()
	s, q := r.do(r.Controller, queue, cmd, out)
	if s != Success {
		r.Fatalf("%02xh: %v", cmd[0], s)
	}
	return q
}

// bad runs a command that has to fail.
func (r *rig) bad(want Status, queue uint16, cmd Command, out []byte) {
	r.Helper()
	if s, _ := r.do(r.Controller, queue, cmd, out); s != want {
		r.Fatalf("%02xh: %v, want %v", cmd[0], s, want)
	}
}

func ranged(op Opcode, lba uint64, blocks uint32, control uint16) Command {
	return command64(op, 1, uint32(lba), uint32(lba>>32), blocks-1|uint32(control)<<16)
}

func log(page uint8, n int) Command {
	return command64(GetLogPage, allNamespaces, uint32(page)|uint32(n/4-1)<<16)
}

func twoNodes() targettest.Options {
	return targettest.Options{Groups: []target.PortGroup{{ID: 1, State: target.Optimized}, {ID: 2, State: target.NonOptimized}}}
}
