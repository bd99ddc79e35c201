package iscsi

import (
	"bytes"
	"testing"
	"time"

	"ashlar/target/iscsi/pdu"
	"ashlar/target/targettest/initiator"
)

func TestWrongDataSNFailsTheWriteAndOnlyThat(t *testing.T) {
	r := newRig(t, nil)
	c := r.dial()
	c.login(2, pdu.Pair{Key: "InitialR2T", Value: "Yes"}, pdu.Pair{Key: "ImmediateData", Value: "No"})
	c.put(&pdu.SCSICommand{Final: true, Read: true, ITT: 9, CmdSN: 1}, nil) // takes the unit attention
	c.get()
	for i, sns := range [][]uint32{{0, 0}, {27}, {0xffffffff}, {1, 0}} {
		sn := uint32(i + 2)
		size := uint32(len(sns)) * 512
		c.put(&pdu.SCSICommand{Final: true, Write: true, ITT: sn, EDTL: size, CmdSN: sn, CDB: [16]byte(initiator.CDB16(0x8a, 0, size/512))}, nil)
		h, _ := c.get()
		var r2t pdu.R2T
		r2t.Unmarshal(&h)
		for j, dataSN := range sns {
			c.put(&pdu.DataOut{ITT: sn, TTT: r2t.TTT, DataSN: dataSN, Offset: uint32(j) * 512, DataLength: 512, Final: j+1 == len(sns)}, bytes.Repeat([]byte{'x'}, 512))
		}
		h, _ = c.get()
		var resp pdu.SCSIResponse
		resp.Unmarshal(&h)
		if h.Opcode() != pdu.OpSCSIResponse || resp.Status != 2 {
			t.Fatalf("DataSN %v: %v", sns, &resp)
		}
	}
	got := make([]byte, 512)
	if err := r.host(1, initiator.Options{}).Read(r.ctx, 0, 0, got, 512); err != nil || got[0] != 0 {
		t.Fatalf("refused data was written: %q, %v", got[:1], err)
	}
}

func TestUnfinishedLoginsAreBoundedAndTheOldestGoes(t *testing.T) {
	r := newRig(t, func(c *Config) { c.MaxLogins = 4 })
	var idle []*raw
	for range 10 {
		idle = append(idle, r.dial())
		r.eventually("the connection was accepted", func() bool {
			n := len(r.server.conns.All())
			return n == len(idle) || n == 4
		})
	}
	idle[0].ends()
	r.host(1, initiator.Options{})
	r.eventually("no more than four wait", func() bool { return len(r.server.conns.All()) <= 5 })
}

func TestPingsThatNobodyReadsTheEchoesOfTakeBoundedMemory(t *testing.T) {
	r := newRig(t, nil)
	c := r.dial()
	c.login(2, pdu.Pair{Key: "MaxRecvDataSegmentLength", Value: "262144"})
	var h pdu.Header
	(&pdu.NopOut{Immediate: true, ITT: 1, TTT: pdu.NoTag, CmdSN: 1, DataLength: 262144}).Marshal(&h)
	ping := append(h[:], make([]byte, 262144)...)
	c.SetWriteDeadline(time.Now().Add(time.Second))
	sent := 0
	for _, err := c.Write(ping); err == nil; _, err = c.Write(ping) {
		if sent++; sent > 1000 {
			t.Fatal("the target reads on and on")
		}
	}
	for _, o := range r.server.conns.All() {
		o.mu.Lock()
		if o.echo > maxEcho+262144 {
			t.Errorf("%d bytes of echo are queued", o.echo)
		}
		o.mu.Unlock()
	}
}

// The flags of a PDU that do not fit its CDB are answered, and move no data that
// the CDB and the flags do not both mean.
func TestFlagsAgainstTheCDBMoveNoData(t *testing.T) {
	r := newRig(t, nil)
	if err := r.host(1, initiator.Options{}).Write(r.ctx, 0, 0, bytes.Repeat([]byte{'d'}, 4096), 512); err != nil {
		t.Fatal(err)
	}
	c := r.dial()
	c.login(2)
	c.settleRaw()
	for name, p := range map[string]struct {
		pdu.SCSICommand
		received, residual uint32
		over, fails        bool
	}{
		"WRITE with R":            {pdu.SCSICommand{Read: true, EDTL: 512, CDB: [16]byte(initiator.CDB16(0x8a, 0, 1))}, 0, 512, true, false},
		"WRITE with neither":      {pdu.SCSICommand{CDB: [16]byte(initiator.CDB16(0x8a, 0, 1))}, 0, 512, true, false},
		"READ with W":             {pdu.SCSICommand{Write: true, EDTL: 512, DataLength: 512, CDB: [16]byte(initiator.CDB16(0x88, 0, 1))}, 0, 512, true, false},
		"READ with neither":       {pdu.SCSICommand{CDB: [16]byte(initiator.CDB16(0x88, 0, 1))}, 0, 512, true, false},
		"READ with both":          {pdu.SCSICommand{Read: true, Write: true, EDTL: 512, DataLength: 512, CDB: [16]byte(initiator.CDB16(0x88, 0, 1))}, 512, 0, false, false},
		"TEST UNIT READY with W":  {pdu.SCSICommand{Write: true, EDTL: 512, DataLength: 512}, 0, 512, false, false},
		"TEST UNIT READY with R":  {pdu.SCSICommand{Read: true, EDTL: 512}, 0, 512, false, false},
		"READ of EDTL 0 with R":   {pdu.SCSICommand{Read: true, CDB: [16]byte(initiator.CDB16(0x88, 0, 1))}, 0, 512, true, false},
		"WRITE of EDTL 0 with W":  {pdu.SCSICommand{Write: true, CDB: [16]byte(initiator.CDB16(0x8a, 0, 1))}, 0, 512, true, false},
		"WRITE of EDTL 4 GiB - 1": {pdu.SCSICommand{Write: true, EDTL: 0xffffffff, CDB: [16]byte(initiator.CDB16(0x8a, 0, 0x7fffff))}, 0, 0, false, true},
	} {
		p.Final, p.ITT, p.CmdSN = true, c.sn, c.sn
		c.sn++
		c.put(&p.SCSICommand, make([]byte, p.DataLength))
		received := uint32(0)
		h, data := c.get()
		for ; h.Opcode() == pdu.OpDataIn && h[1]&1 == 0; h, data = c.get() {
			received += uint32(len(data))
		}
		var resp pdu.SCSIResponse
		if h.Opcode() == pdu.OpDataIn { // with status
			var in pdu.DataIn
			in.Unmarshal(&h)
			received += uint32(len(data))
			resp = pdu.SCSIResponse{Status: in.Status, Overflow: in.Overflow, Underflow: in.Underflow, Residual: in.Residual}
		} else {
			resp.Unmarshal(&h)
		}
		if received != p.received || (resp.Status != 0) != p.fails || !p.fails && (resp.Residual != p.residual || resp.Overflow != p.over) {
			t.Errorf("%s: received %d, %v", name, received, &resp)
		}
	}
	got := make([]byte, 4096)
	if err := r.host(3, initiator.Options{}).Read(r.ctx, 0, 0, got, 512); err != nil || !bytes.Equal(got, bytes.Repeat([]byte{'d'}, 4096)) {
		t.Errorf("the data has changed: %q, %v", got[:1], err)
	}
}
