package iscsi

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"ashlar/target"
	"ashlar/target/iscsi/pdu"
	"ashlar/target/iscsi/session"
	"ashlar/target/scsi"
	"ashlar/target/targettest"
	"ashlar/target/targettest/initiator"
)

func TestDataSurvivesEveryTransferShape(t *testing.T) {
	r := newRig(t, nil)
	rng := rand.NewChaCha8([32]byte{1})
	n := byte(0)
	for _, digests := range []bool{false, true} {
		for _, shape := range []initiator.Options{
			{},
			{InitialR2T: true},
			{NoImmediateData: true, FirstBurst: 4096},
			{InitialR2T: true, NoImmediateData: true, MaxOutstandingR2T: 8, MaxBurst: 16384, FirstBurst: 16384},
			{MaxReceive: 512, MaxBurst: 5000, FirstBurst: 3000, MaxOutstandingR2T: 3},
		} {
			n++
			shape.HeaderDigest, shape.DataDigest = digests, digests
			s := r.host(n, shape)
			for _, size := range []int{512, 1024, 4096, 65536, 262144, 1 << 20} {
				lba := uint64(n) * 4096
				want := make([]byte, size)
				rng.Read(want)
				got := make([]byte, size)
				if err := s.Write(r.ctx, 0, lba, want, 512); err != nil {
					t.Fatalf("%+v: write of %d: %v", shape, size, err)
				}
				if err := s.Read(r.ctx, 0, lba, got, 512); err != nil {
					t.Fatalf("%+v: read of %d: %v", shape, size, err)
				}
				if !bytes.Equal(got, want) {
					t.Fatalf("%+v: %d bytes differ", shape, size)
				}
			}
			if err := s.Logout(r.ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestResidualsAreExact(t *testing.T) {
	r := newRig(t, nil)
	s := r.host(1, initiator.Options{})
	read := initiator.CDB16(0x88, 0, 2)
	for _, c := range []struct {
		expected uint32
		over     bool
		under    bool
		residual uint32
		received uint32
	}{
		{0, true, false, 1024, 0}, {200, true, false, 824, 200}, {1024, false, false, 0, 1024}, {4096, false, true, 3072, 1024},
	} {
		cmd := &initiator.Command{CDB: read, In: make([]byte, 4096), Expected: c.expected, HasExpected: true}
		if err := s.Do(r.ctx, cmd); err != nil {
			t.Fatal(err)
		}
		if cmd.Overflow != c.over || cmd.Underflow != c.under || cmd.Residual != c.residual || cmd.Received != c.received {
			t.Errorf("expected %d: o=%t u=%t residual=%d received=%d", c.expected, cmd.Overflow, cmd.Underflow, cmd.Residual, cmd.Received)
		}
	}
}

func TestThousandCommandsFlowThroughTheWindow(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Depth = 8 })
	s := r.host(1, initiator.Options{})
	ends := make(chan error, 2000)
	for i := range 1000 {
		out := bytes.Repeat([]byte{byte(i)}, 4096)
		s.Submit(&initiator.Command{CDB: initiator.CDB16(0x8a, uint64(i%100)*8, 8), Out: out, Done: func(c *initiator.Command) { ends <- c.Result() }})
		s.Submit(&initiator.Command{CDB: initiator.CDB16(0x88, uint64(i%100)*8, 8), In: make([]byte, 4096), Done: func(c *initiator.Command) { ends <- c.Result() }})
	}
	for range 2000 {
		if err := r.wait(ends); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDiscoveryListsEveryPortalOfEveryNode(t *testing.T) {
	r := newRig(t, nil)
	r.dir.Targets["iqn.2026-11.com.example:"+string(bytes.Repeat([]byte{'x'}, 180))] = r.dir.Targets[iqn]
	for _, receive := range []uint32{0, 512} {
		found, err := initiator.Discover(r.ctx, r.address, initiator.Options{MaxReceive: receive})
		if err != nil {
			t.Fatal(err)
		}
		if len(found) != 3 {
			t.Fatalf("%d targets", len(found))
		}
		for _, f := range found {
			if want := []string{r.address + ",1", "[fd00::2]:3260,2"}; !slices.Equal(f.Addresses, want) {
				t.Fatalf("%s at %v, want %v", f.Name, f.Addresses, want)
			}
		}
	}
	s := r.host(1, initiator.Options{})
	pairs, err := s.Text(r.ctx, pdu.Pair{Key: "SendTargets", Value: "All"})
	if err != nil || len(pairs) != 3 || pairs[0].Value != iqn {
		t.Fatalf("SendTargets=All in a normal session: %v, %v", pairs, err)
	}
}

func TestLoginToAnUnknownTarget(t *testing.T) {
	r := newRig(t, nil)
	_, err := initiator.Dial(r.ctx, r.address, "iqn.none", initiator.Options{})
	var refused *initiator.LoginError
	if !errors.As(err, &refused) || refused.Status != uint16(session.LoginNotFound) {
		t.Fatal(err)
	}
}

func TestPingIsEchoedWhileTheDeviceIsStuck(t *testing.T) {
	r := newRig(t, nil)
	r.holdWrites()
	s := r.host(1, initiator.Options{})
	var writes []<-chan error
	for i := range 200 { // more than the window
		writes = append(writes, submit(s, &initiator.Command{CDB: initiator.CDB16(0x8a, uint64(i), 1), Out: make([]byte, 512)}))
	}
	r.eventually("the window is full", func() bool { return r.device.Held() == 128 })
	if err := s.Ping(r.ctx, []byte("are you there?")); err != nil {
		t.Fatal(err)
	}
	r.device.Intercept(nil)
	r.device.Release()
	for _, w := range writes {
		if err := r.wait(w); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReinstatementFencesTheOldSessionFirst(t *testing.T) {
	r := newRig(t, nil)
	old := r.host(1, initiator.Options{})
	r.holdWrites()
	zombie := submit(old, &initiator.Command{CDB: initiator.CDB16(0x8a, 0, 1), Out: bytes.Repeat([]byte{'z'}, 512)})
	r.eventually("the write is held", func() bool { return r.device.Held() == 1 })
	young := r.host(1, initiator.Options{})
	if n := r.device.Held(); n != 0 {
		t.Fatalf("login answered while %d writes of the old session are under way", n)
	}
	if err := r.wait(zombie); err == nil {
		t.Fatal("the old session's write was acknowledged")
	}
	r.device.Intercept(nil)
	r.device.Release()
	got := make([]byte, 512)
	if err := young.Read(r.ctx, 0, 0, got, 512); err != nil || got[0] != 0 {
		t.Fatalf("read %q, %v", got[:1], err)
	}
	if n := r.server.Sessions(); n != 1 {
		t.Fatalf("%d sessions", n)
	}
}

func TestAbortTaskEndsAHeldWriteWithoutResponse(t *testing.T) {
	r := newRig(t, nil)
	s := r.host(1, initiator.Options{})
	r.holdWrites()
	cmd := &initiator.Command{CDB: initiator.CDB16(0x8a, 0, 1), Out: make([]byte, 512)}
	done := submit(s, cmd)
	r.eventually("the write is held", func() bool { return r.device.Held() == 1 })
	for i, want := range []session.TaskResponse{session.FunctionComplete, session.TaskDoesNotExist} {
		if resp, err := s.Manage(r.ctx, uint8(session.AbortTask), 0, cmd.Tag()); err != nil || resp != uint8(want) {
			t.Fatalf("abort %d: response %d, %v", i, resp, err)
		}
	}
	select {
	case err := <-done:
		t.Fatalf("the aborted command was answered: %v", err)
	default:
	}
	if !s.Forget(cmd) || r.device.Held() != 0 {
		t.Fatal("the write is still there")
	}
}

func TestResetDropsEverySessionsTasks(t *testing.T) {
	r := newRig(t, nil)
	a, b := r.host(1, initiator.Options{}), r.host(2, initiator.Options{})
	gatherer := r.dial()
	gatherer.login(3, pdu.Pair{Key: "InitialR2T", Value: "Yes"}, pdu.Pair{Key: "ImmediateData", Value: "No"})
	r.holdWrites()
	cmd := &initiator.Command{CDB: initiator.CDB16(0x8a, 0, 1), Out: make([]byte, 512)}
	submit(b, cmd)
	// A write that never gets its data.
	gatherer.put(&pdu.SCSICommand{Final: true, Write: true, ITT: 1, EDTL: 512, CmdSN: 1, CDB: [16]byte(initiator.CDB16(0x8a, 8, 1))}, nil)
	if h, _ := gatherer.get(); h.Opcode() != pdu.OpR2T {
		t.Fatalf("opcode %#x", h.Opcode())
	}
	r.eventually("the write is held", func() bool { return r.device.Held() == 1 })
	if resp, err := a.Manage(r.ctx, uint8(session.LogicalUnitReset), 0, 0); err != nil || resp != 0 {
		t.Fatalf("reset: %d, %v", resp, err)
	}
	if r.device.Held() != 0 || r.server.pool.InUse() != 0 {
		t.Fatal("tasks survived the reset")
	}
	b.Forget(cmd)
	r.device.Intercept(nil)
	err := b.Do(r.ctx, &initiator.Command{CDB: make([]byte, 6)})
	var status *initiator.StatusError
	if !errors.As(err, &status) || status.Key != 6 {
		t.Fatalf("no unit attention for the other session: %v", err)
	}
	if resp, err := a.Manage(r.ctx, uint8(session.TaskReassign), 0, 0); err != nil || resp != uint8(session.ReassignNotSupported) {
		t.Fatalf("reassign: %d, %v", resp, err)
	}
	if resp, err := a.Manage(r.ctx, uint8(session.LogicalUnitReset), 0x0063000000000000, 0); err != nil || resp != uint8(session.LUNDoesNotExist) {
		t.Fatalf("reset of no unit: %d, %v", resp, err)
	}
}

// TestAWriteThatGathersComesAgainWhenAnotherNodeResetsTheUnit: its host hears of it
// at once, and does not wait for an answer until its own timeout.
func TestAWriteThatGathersComesAgainWhenAnotherNodeResetsTheUnit(t *testing.T) {
	r := newRig(t, nil)
	c := r.dial()
	r2t := c.asked(512)
	fenced := make(chan error, 1)
	r.device.Through(2).Fence(target.FenceUnit, target.Nexus{}, func(err error) { fenced <- err })
	if err := r.wait(fenced); err != nil {
		t.Fatal(err)
	}
	c.put(&pdu.DataOut{ITT: 1, TTT: r2t.TTT, DataLength: 512, Final: true}, bytes.Repeat([]byte{'x'}, 512))
	var resp pdu.SCSIResponse
	h, _ := c.get()
	if h.Opcode() != pdu.OpSCSIResponse {
		t.Fatalf("opcode %#x", h.Opcode())
	}
	if resp.Unmarshal(&h); resp.Status != scsi.StatusBusy {
		t.Errorf("status %#x", resp.Status)
	}
	if got := make([]byte, 512); r.host(1, initiator.Options{}).Read(r.ctx, 0, 0, got, 512) != nil || got[0] != 0 {
		t.Errorf("read %q", got[:1])
	}
}

func TestLogoutWaitsForCommands(t *testing.T) {
	r := newRig(t, nil)
	s := r.host(1, initiator.Options{})
	r.holdWrites()
	write := submit(s, &initiator.Command{CDB: initiator.CDB16(0x8a, 0, 1), Out: make([]byte, 512)})
	r.eventually("the write is held", func() bool { return r.device.Held() == 1 })
	logout := make(chan error, 1)
	go func() { logout <- s.Logout(r.ctx) }()
	r.eventually("the logout has arrived", func() bool {
		for _, c := range r.server.conns.All() {
			c.mu.Lock()
			waits := c.logout != nil
			c.mu.Unlock()
			if waits {
				return true
			}
		}
		return false
	})
	r.device.Intercept(nil)
	r.device.Release()
	if err := r.wait(write); err != nil {
		t.Fatal(err)
	}
	if err := r.wait(logout); err != nil {
		t.Fatal(err)
	}
}

func TestDropClosesOnlyThatTargetsSessions(t *testing.T) {
	r := newRig(t, nil)
	one := r.host(1, initiator.Options{})
	two, err := initiator.Dial(r.ctx, r.address, other, initiator.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer two.Close()
	r.settle(two)
	r.server.Drop(r.ctx, iqn)
	r.eventually("the first session is over", func() bool { return one.Err() != nil })
	if err := two.Ping(r.ctx, nil); err != nil {
		t.Fatal(err)
	}
	r.server.DropAll()
	r.eventually("the second session is over", func() bool { return two.Err() != nil })
}

func TestSilentHostIsAskedThenDropped(t *testing.T) {
	r := newRig(t, func(c *Config) { c.PingInterval = 100 * time.Millisecond })
	lively := r.host(1, initiator.Options{})
	dead := r.dial()
	dead.login(2)
	h, _ := dead.get()
	var ping pdu.NopIn
	ping.Unmarshal(&h)
	if h.Opcode() != pdu.OpNopIn || ping.ITT != pdu.NoTag || ping.TTT == pdu.NoTag {
		t.Fatalf("%v", &ping)
	}
	dead.ends()
	if lively.Err() != nil {
		t.Fatal("the host that answers pings was dropped:", lively.Err())
	}
}

func TestBytesBufferedOverAStallAreNotTouched(t *testing.T) {
	var clock atomic.Int64
	watch := target.NewStallWatchOn(clock.Load)
	r := newRig(t, func(c *Config) { c.Watch = watch })
	var writes atomic.Int64
	r.device.Intercept(func(op *target.Op) (v targettest.Verdict) {
		if op.Kind == target.Write {
			writes.Add(1)
		}
		return v
	})
	s := r.host(1, initiator.Options{})
	clock.Add(int64(time.Second)) // nobody has noticed yet
	if err := s.Write(r.ctx, 0, 0, make([]byte, 512), 512); err == nil {
		t.Fatal("a write over a stall was acknowledged")
	}
	if n := writes.Load(); n != 0 {
		t.Fatalf("%d writes reached the device", n)
	}
	r.host(1, initiator.Options{}) // a new connection is served
}

func TestMemoryOfASessionIsBounded(t *testing.T) {
	r := newRig(t, func(c *Config) { c.SessionMemory = 64 << 10 })
	r.holdWrites()
	s := r.host(1, initiator.Options{})
	ends := make(chan error, 100)
	for i := range 100 {
		s.Submit(&initiator.Command{CDB: initiator.CDB16(0x8a, uint64(i)*8, 8), Out: make([]byte, 4096), Done: func(c *initiator.Command) { ends <- c.Result() }})
	}
	for range 84 {
		var status *initiator.StatusError
		if err := r.wait(ends); !errors.As(err, &status) || status.Status != 0x28 {
			t.Fatalf("want TASK SET FULL, got %v", err)
		}
	}
	if n := r.server.pool.InUse(); n != 64<<10 {
		t.Fatalf("%d bytes in use", n)
	}
	r.device.Intercept(nil)
	r.device.Release()
	for range 16 {
		if err := r.wait(ends); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTheGreedyLeaveEachSessionItsShare(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Memory, c.SessionMemory = 4<<20, 4<<20 })
	modest := r.host(1, initiator.Options{})
	r.device.Intercept(func(op *target.Op) targettest.Verdict {
		return targettest.Verdict{Hold: op.Kind == target.Write && op.LBA >= 8192}
	})
	greedy := r.host(2, initiator.Options{})
	ends := make(chan error, 64)
	for n := range 64 {
		greedy.Submit(&initiator.Command{CDB: initiator.CDB16(0x8a, uint64(8192+n*256), 256), Out: make([]byte, 131072), Done: func(c *initiator.Command) { ends <- c.Result() }})
	}
	for range 32 { // the rest is refused
		var status *initiator.StatusError
		if err := r.wait(ends); !errors.As(err, &status) || status.Status != 0x28 {
			t.Fatalf("want TASK SET FULL, got %v", err)
		}
	}
	want, got := bytes.Repeat([]byte{'m'}, 131072), make([]byte, 131072)
	if err := modest.Write(r.ctx, 0, 0, want, 512); err != nil {
		t.Error(err)
	}
	if err := modest.Read(r.ctx, 0, 0, got, 512); err != nil || !bytes.Equal(got, want) {
		t.Error(err)
	}
	r.device.Intercept(nil)
	r.device.Release()
	for range 32 {
		if err := r.wait(ends); err != nil {
			t.Error(err)
		}
	}
}

func TestALoginThatNamesASessionMayOnlyTakeItsConnectionOver(t *testing.T) {
	r := newRig(t, nil)
	login := func(tsih, cid uint16) (pdu.LoginResponse, *raw) {
		c := r.dial()
		text := pdu.AppendText(pdu.AppendText(nil, "InitiatorName", "iqn.raw"), "TargetName", iqn)
		c.put(&pdu.LoginRequest{Transit: true, CSG: 1, NSG: 3, TSIH: tsih, CID: cid, CmdSN: 1, DataLength: uint32(len(text))}, text)
		h, _ := c.get()
		var resp pdu.LoginResponse
		resp.Unmarshal(&h)
		return resp, c
	}
	first, old := login(0, 5)
	if first.Status != 0 || first.TSIH == 0 {
		t.Fatalf("%v", &first)
	}
	if resp, _ := login(first.TSIH, 6); resp.Status != uint16(session.LoginTooManyConnections) {
		t.Errorf("a second connection: %v", &resp)
	}
	if resp, _ := login(first.TSIH+1, 5); resp.Status != uint16(session.LoginNoSession) {
		t.Errorf("no such session: %v", &resp)
	}
	resp, _ := login(first.TSIH, 5)
	if resp.Status != 0 || resp.TSIH != first.TSIH {
		t.Errorf("the connection again: %v", &resp)
	}
	old.ends()
}
