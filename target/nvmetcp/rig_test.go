package nvmetcp

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"ashlar/target"
	"ashlar/target/carrier"
	"ashlar/target/nvme"
	"ashlar/target/targettest"
	"ashlar/target/targettest/nvmehost"
)

const (
	nqn     = "nqn.2026-11.com.example:one"
	other   = "nqn.2026-11.com.example:two"
	patient = 10 * time.Second
)

// rig is a server on loopback with two subsystems of one memory device each, at
// namespace 1.
type rig struct {
	testing.TB
	server    *Server
	dir       *Static
	device    *targettest.Memory
	subsystem *nvme.Subsystem
	address   string
	ctx       context.Context
}

func newRig(t testing.TB, change func(*Config)) *rig {
	t.Helper()
	return newRigOn(t, nil, change)
}

func newRigOn(t testing.TB, device *targettest.Memory, change func(*Config)) *rig {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 6*patient)
	r := &rig{TB: t, address: l.Addr().String(), ctx: ctx, device: device, dir: &Static{Subsystems: map[string]*nvme.Subsystem{}, Group: 1}}
	if r.device == nil {
		r.device = targettest.NewMemory(targettest.Options{})
	}
	for name, d := range map[string]target.Device{nqn: r.device, other: targettest.NewMemory(targettest.Options{ID: 2})} {
		s := nvme.NewSubsystem(nvme.SubsystemConfig{NQN: name, Serial: "ASHLAR" + name[len(name)-3:], MaxNamespaces: 64})
		if err := s.Add(1, d); err != nil {
			t.Fatal(err)
		}
		r.dir.Subsystems[name] = s
	}
	r.subsystem = r.dir.Subsystems[nqn]
	r.dir.Portals = []nvme.Portal{{Address: netip.MustParseAddrPort(r.address), ID: 1}, {Address: netip.MustParseAddrPort("[fd00::2]:4420"), ID: 2}}
	config := Config{Directory: r.dir}
	if change != nil {
		change(&config)
	}
	r.server = NewServer(config)
	served := make(chan error, 1)
	go func() { served <- r.server.Serve(l) }()
	t.Cleanup(func() {
		r.server.Close()
		if err := <-served; err != carrier.ErrClosed {
			t.Errorf("Serve: %v", err)
		}
		r.eventually("all connections and buffers are gone", func() bool {
			return r.server.Controllers() == 0 && len(r.server.conns.All()) == 0 && r.server.pool.InUse() == 0
		})
		cancel()
	})
	return r
}

func (r *rig) eventually(what string, ok func() bool) {
	r.Helper()
	for deadline := time.Now().Add(patient); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			r.Fatalf("not in %v: %s", patient, what)
		}
	}
}

// host connects; o may be left out.
func (r *rig) host(o nvmehost.Options) *nvmehost.Controller {
	r.Helper()
	c, err := nvmehost.Dial(r.ctx, r.address, nqn, o)
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(c.Close)
	return c
}

// other is another host.
func otherHost(n byte) nvme.Host {
	return nvme.Host{NQN: "nqn.2014-08.org.nvmexpress:uuid:other-" + string('a'+rune(n)), ID: [16]byte{0: 0xAA, 15: n}}
}

// must runs a command that has to succeed.
func (r *rig) must(q *nvmehost.Queue, c *nvmehost.Command) *nvmehost.Command {
	r.Helper()
	if err := q.Do(r.ctx, c); err != nil {
		r.Fatalf("%02xh: %v", c.Command[0], err)
	}
	return c
}

// fails runs a command that has to fail with a status, DNR as it is told.
func (r *rig) fails(q *nvmehost.Queue, c *nvmehost.Command, want nvme.Status) {
	r.Helper()
	err := q.Do(r.ctx, c)
	e, ok := err.(*nvmehost.StatusError)
	if !ok || e.Status&(0x7FF|nvme.DoNotRetry) != want {
		r.Fatalf("%02xh: %v, want status %v", c.Command[0], err, want)
	}
}

// hold has the device hold operations of a kind.
func (r *rig) hold(kind target.Kind) {
	r.device.Intercept(func(op *target.Op) targettest.Verdict { return targettest.Verdict{Hold: op.Kind == kind} })
}

func (r *rig) release() {
	r.device.Intercept(nil)
	r.device.Release()
}
