package iscsi

import (
	"context"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"ashlar/target"
	"ashlar/target/carrier"
	"ashlar/target/iscsi/pdu"
	"ashlar/target/scsi"
	"ashlar/target/targettest"
	"ashlar/target/targettest/initiator"
)

const (
	iqn     = "iqn.2026-11.com.example:one"
	other   = "iqn.2026-11.com.example:two"
	patient = 10 * time.Second
)

// rig is a server on loopback with two targets on one memory device each.
type rig struct {
	testing.TB
	server  *Server
	dir     *Static
	device  *targettest.Memory
	address string
	ctx     context.Context
}

func newRig(t testing.TB, change func(*Config)) *rig {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*patient)
	r := &rig{TB: t, address: l.Addr().String(), ctx: ctx, dir: &Static{Targets: map[string]*scsi.Target{}, Group: 1}}
	for i, name := range []string{iqn, other} {
		device := targettest.NewMemory(targettest.Options{ID: uint64(i + 1)})
		unit := scsi.NewTarget(scsi.Config{Name: name})
		if err := unit.Add(0, device); err != nil {
			t.Fatal(err)
		}
		r.dir.Targets[name] = unit
		if name == iqn {
			r.device = device
		}
	}
	r.dir.Portals = []Portal{
		{netip.MustParseAddrPort(r.address), 1},
		{netip.MustParseAddrPort("[fd00::2]:3260"), 2},
	}
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
			return r.server.Sessions() == 0 && len(r.server.conns.All()) == 0 && r.server.pool.InUse() == 0
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

// host logs in; n tells hosts apart.
func (r *rig) host(n byte, o initiator.Options) *initiator.Session {
	r.Helper()
	if o.ISID == [6]byte{} {
		o.ISID = [6]byte{0, 2, 0x3d, 0, 0, n}
	}
	s, err := initiator.Dial(r.ctx, r.address, iqn, o)
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(s.Close)
	r.settle(s)
	return s
}

// settle takes the unit attentions of a new nexus.
func (r *rig) settle(s *initiator.Session) {
	r.Helper()
	for range 5 {
		err := s.Do(r.ctx, &initiator.Command{CDB: make([]byte, 6)})
		if err == nil {
			return
		}
		if status, ok := err.(*initiator.StatusError); !ok || status.Key != 6 {
			r.Fatal(err)
		}
	}
	r.Fatal("unit attentions do not end")
}

// holdWrites has the device hold every write.
func (r *rig) holdWrites() {
	r.device.Intercept(func(op *target.Op) targettest.Verdict {
		return targettest.Verdict{Hold: op.Kind == target.Write}
	})
}

// submit starts a write and gives the channel of its end.
func submit(s *initiator.Session, c *initiator.Command) <-chan error {
	done := make(chan error, 1)
	c.Done = func(c *initiator.Command) { done <- c.Result() }
	s.Submit(c)
	return done
}

func (r *rig) wait(ch <-chan error) error {
	r.Helper()
	select {
	case err := <-ch:
		return err
	case <-time.After(patient):
		r.Fatal("no answer")
		return nil
	}
}

// raw is a connection that speaks PDU by PDU.
type raw struct {
	*rig
	net.Conn
	digests bool   // in both directions, of header and data
	sn      uint32 // the next CmdSN
	name    string // the initiator's
}

func (r *rig) dial() *raw {
	r.Helper()
	nc, err := net.Dial("tcp", r.address)
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(patient))
	return &raw{rig: r, Conn: nc, sn: 1, name: "iqn.raw"}
}

// dialFrom is dial, with a connection that lasts as long as the rig of all.
func (r *rig) dialFrom(all *rig) *raw {
	c := all.dial()
	c.rig = r
	return c
}

// identity is the text that a login begins with.
func (c *raw) identity() []byte {
	return pdu.AppendText(pdu.AppendText(nil, "InitiatorName", c.name), "TargetName", iqn)
}

// login opens a full feature phase with offers of its own.
func (c *raw) login(isid byte, offers ...pdu.Pair) {
	c.Helper()
	text := c.identity()
	for _, o := range offers {
		text = pdu.AppendText(text, o.Key, o.Value)
	}
	c.put(&pdu.LoginRequest{Transit: true, CSG: 1, NSG: 3, ISID: [6]byte{5: isid}, CmdSN: 1, DataLength: uint32(len(text))}, text)
	h, _ := c.get()
	var resp pdu.LoginResponse
	resp.Unmarshal(&h)
	if h.Opcode() != pdu.OpLoginResponse || resp.Status != 0 || resp.NSG != 3 {
		c.Fatalf("login: %v", &resp)
	}
}

// settleRaw takes the unit attentions of a new nexus.
func (c *raw) settleRaw() {
	c.Helper()
	for range 5 {
		c.put(&pdu.SCSICommand{Final: true, Read: true, ITT: c.sn, CmdSN: c.sn}, nil)
		c.sn++
		h, _ := c.get()
		var resp pdu.SCSIResponse
		resp.Unmarshal(&h)
		if h.Opcode() != pdu.OpSCSIResponse {
			c.Fatalf("opcode %#x", h.Opcode())
		}
		if resp.Status == 0 {
			return
		}
	}
	c.Fatal("unit attentions do not end")
}

func (c *raw) put(m pdu.Message, data []byte) {
	c.Helper()
	if _, err := c.Write(c.bytes(m, nil, data)); err != nil {
		c.Fatal(err)
	}
}

// bytes are a PDU as on the wire.
func (c *raw) bytes(m pdu.Message, ahs, data []byte) []byte {
	var h pdu.Header
	m.Marshal(&h)
	var digest [pdu.DigestSize]byte
	b := append(h[:len(h):len(h)], ahs...)
	if c.digests {
		pdu.Digest(0).Add(b).Put(digest[:])
		b = append(b, digest[:]...)
	}
	if len(data) == 0 {
		return b
	}
	data = append(data[:len(data):len(data)], make([]byte, pdu.Padding(len(data)))...)
	b = append(b, data...)
	if c.digests {
		pdu.Digest(0).Add(data).Put(digest[:])
		b = append(b, digest[:]...)
	}
	return b
}

func (c *raw) get() (h pdu.Header, data []byte) {
	c.Helper()
	if _, err := io.ReadFull(c, h[:]); err != nil {
		c.Fatal(err)
	}
	n := h.DataLength() + pdu.Padding(h.DataLength())
	if c.digests {
		io.CopyN(io.Discard, c, pdu.DigestSize)
		if n > 0 {
			n += pdu.DigestSize
		}
	}
	data = make([]byte, n)
	if _, err := io.ReadFull(c, data); err != nil {
		c.Fatal(err)
	}
	return h, data[:h.DataLength()]
}

// ends waits until the target has closed the connection.
func (c *raw) ends() {
	c.Helper()
	_, err := io.Copy(io.Discard, c)
	if e, ok := err.(net.Error); ok && e.Timeout() {
		c.Fatal("the connection is still open")
	}
}
